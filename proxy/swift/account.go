package swift

import (
	"net/http"
	"strconv"
	"strings"

	"henge/internal/clock"
	"henge/proxy/core"
)

const accountMethods = "HEAD, GET, POST, OPTIONS"

func (q *request) serveAccount() error {
	switch q.r.Method {
	case http.MethodHead, http.MethodGet:
		return q.getAccount()
	case http.MethodPost:
		return q.postAccount()
	case http.MethodPut, http.MethodDelete:
		return q.manageAccount()
	}
	return notAllowed(accountMethods)
}

// getAccount is GET and HEAD: what the account holds, and a page of its containers.
func (q *request) getAccount() error {
	if err := q.authorize(q.account, "", toOwn); err != nil {
		return err
	}
	ctype, err := q.listingType()
	if err != nil {
		return err
	}
	options, err := listOptions(q.query)
	if err != nil {
		return err
	}
	info, err := q.h.Core.Account(q.r.Context(), q.account)
	if err != nil {
		return err
	}
	if !info.Deleted.IsZero() {
		return status(http.StatusGone)
	}
	q.accountHeaders(info)
	if q.r.Method == http.MethodHead {
		q.header("Content-Type", ctype+"; charset=utf-8")
		return q.answer(http.StatusNoContent)
	}
	l := &listing{ctype: ctype, what: "account", name: q.account}
	if options.Limit == 0 {
		return q.answerListing(l, nil)
	}
	page, err := q.h.Core.ListContainers(q.r.Context(), q.account, options)
	if err != nil {
		return err
	}
	return q.answerListing(l, page.Entries)
}

func (q *request) accountHeaders(info core.AccountInfo) {
	stamp := info.Timestamp
	if stamp == 0 {
		stamp = clock.FromTime(q.h.Clock.Now())
	}
	numbers := []string{strconv.FormatInt(info.Containers, 10), strconv.FormatInt(info.Objects, 10), strconv.FormatInt(info.Bytes, 10)}
	suffixes := []string{"Container-Count", "Object-Count", "Bytes-Used"}
	policies := q.h.Core.Policies()
	for i, suffix := range suffixes {
		q.header("X-Account-"+suffix, numbers[i])
		if len(policies) == 1 { // with more we do not know how they share
			q.header("X-Account-Storage-Policy-"+policies[0].Name+"-"+suffix, numbers[i])
		}
	}
	q.header("X-Timestamp", stamp.Swift())
	q.header("Accept-Ranges", "bytes")
	q.showMeta(info.Meta, "account")
}

// showMeta gives metadata back. Keys of temporary URLs are for owners' eyes.
func (q *request) showMeta(meta map[string]string, kind string) {
	prefix := "x-" + kind + "-meta-"
	for name, value := range meta {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if !q.owner && strings.HasPrefix(name, prefix+"temp-url-key") {
			continue
		}
		q.header(name, value)
	}
}

// accountChange is metaChange of an account. Its quota is set by those who own the cloud, not by whom it bounds.
func (q *request) accountChange() (map[string]string, error) {
	change, err := metaChange(q.r.Header, "account")
	if err != nil {
		return nil, err
	}
	if v, ok := change[metaAccountQuota]; ok {
		switch {
		case !q.cloudAdmin():
			return nil, status(http.StatusForbidden)
		case strings.Trim(v, "0123456789") != "":
			return nil, text(http.StatusBadRequest, "Invalid account quota.")
		}
	}
	return change, nil
}

func (q *request) postAccount() error {
	if err := q.authorize(q.account, "", toOwn); err != nil {
		return err
	}
	change, err := q.accountChange()
	if err != nil {
		return err
	}
	info, err := q.h.Core.Account(q.r.Context(), q.account)
	if err != nil {
		return err
	}
	if err := checkMerged(info.Meta, change, "account"); err != nil {
		return err
	}
	if err := q.h.Core.UpdateAccount(q.r.Context(), q.account, change); err != nil {
		return err
	}
	q.h.quotas.forget(q.account)
	return q.answerHTML(http.StatusNoContent)
}

// manageAccount is PUT and DELETE, which only those may who own every account: others' accounts come to be, and end, with their project.
func (q *request) manageAccount() error {
	if err := q.authorize(q.account, "", toOwn); err != nil {
		return err
	}
	if !q.cloudAdmin() {
		return notAllowed(accountMethods)
	}
	if q.r.Method == http.MethodDelete {
		if err := q.h.Core.DeleteAccount(q.r.Context(), q.account); err != nil {
			return err
		}
		q.h.quotas.forget(q.account)
		return q.answerHTML(http.StatusNoContent)
	}
	change, err := q.accountChange()
	if err != nil {
		return err
	}
	info, err := q.h.Core.Account(q.r.Context(), q.account)
	if err != nil {
		return err
	}
	if !info.Deleted.IsZero() {
		return text(http.StatusForbidden, "Recently deleted")
	}
	if err := checkMerged(info.Meta, change, "account"); err != nil {
		return err
	}
	if err := q.h.Core.UpdateAccount(q.r.Context(), q.account, change); err != nil {
		return err
	}
	q.h.quotas.forget(q.account)
	if info.Exists {
		return q.answerHTML(http.StatusAccepted)
	}
	return q.answerHTML(http.StatusCreated)
}
