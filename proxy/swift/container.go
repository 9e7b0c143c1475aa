package swift

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"henge/internal/clock"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

const containerMethods = "HEAD, GET, PUT, POST, DELETE, OPTIONS"

// sysRFCEtags is where a container keeps that its objects' ETags are to be quoted.
const sysRFCEtags = "sys-rfc-compliant-etags"

func (q *request) serveContainer() error {
	if len(q.container) > limits.ContainerNameBytesMax {
		return text(http.StatusBadRequest, "Container name length of %d longer than %d", len(q.container), limits.ContainerNameBytesMax)
	}
	switch q.r.Method {
	case http.MethodHead, http.MethodGet:
		return q.getContainer()
	case http.MethodPut:
		return q.putContainer()
	case http.MethodPost:
		return q.postContainer()
	case http.MethodDelete:
		return q.deleteContainer()
	}
	return notAllowed(containerMethods)
}

// getContainer is GET and HEAD.
func (q *request) getContainer() error {
	if err := q.authorize(q.account, q.container, toList); err != nil {
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
	// Fresh: what one client set a moment ago, through another proxy perhaps, this one must see.
	info, err := q.h.Core.Container(q.r.Context(), q.account, q.container, true)
	if err != nil {
		return err
	}
	q.containerHeaders(info)
	if q.r.Method == http.MethodHead {
		q.header("Content-Type", ctype+"; charset=utf-8")
		return q.answer(http.StatusNoContent)
	}
	l := &listing{ctype: ctype, what: "container", name: q.container}
	if options.Limit == 0 {
		return q.answerListing(l, nil)
	}
	if q.query.Has("path") {
		entries, err := q.listPath(q.query.Get("path"), options)
		if err != nil {
			return err
		}
		return q.answerListing(l, entries)
	}
	page, err := q.h.Core.ListObjects(q.r.Context(), q.account, q.container, options)
	if err != nil {
		return err
	}
	return q.answerListing(l, page.Entries)
}

// listPath lists one level of a tree of names: the objects that lie in path, and those that stand for a folder in it ("a/b/"), but no folders that only the
// names below them show.
func (q *request) listPath(path string, o core.ListOptions) ([]core.Entry, error) {
	o.Prefix, o.Delimiter = "", "/"
	if path != "" {
		o.Prefix = strings.TrimRight(path, "/") + "/"
	}
	limit := o.Limit
	var entries []core.Entry
	for {
		page, err := q.h.Core.ListObjects(q.r.Context(), q.account, q.container, o)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Entries {
			if e.Folder != "" {
				if e, err = q.folderObject(e.Folder); err != nil {
					return nil, err
				}
			}
			if e.Name == "" || e.Name == o.Prefix {
				continue
			}
			if entries = append(entries, e); len(entries) == limit {
				return entries, nil
			}
		}
		if !page.More {
			return entries, nil
		}
		o.Marker = page.Next
	}
}

// folderObject finds the object whose name is exactly that of a folder; without one, the Entry is empty.
func (q *request) folderObject(name string) (core.Entry, error) {
	page, err := q.h.Core.ListObjects(q.r.Context(), q.account, q.container, core.ListOptions{Prefix: name, Limit: 1})
	if err != nil || len(page.Entries) == 0 || page.Entries[0].Name != name {
		return core.Entry{}, err
	}
	return core.Entry{Row: peerapi.Row(page.Entries[0].Row)}, nil
}

func (q *request) containerHeaders(info core.ContainerInfo) {
	q.header("X-Container-Object-Count", strconv.FormatInt(info.Objects, 10))
	q.header("X-Container-Bytes-Used", strconv.FormatInt(info.Bytes, 10))
	q.header("X-Timestamp", info.Created.Swift())
	q.header("Last-Modified", httpDate(max(info.Created, info.Changed)))
	q.header("X-Storage-Policy", info.Policy.Name)
	q.header("Accept-Ranges", "bytes")
	q.showMeta(info.Meta, "container")
	if v := info.Meta[sysRFCEtags]; v != "" {
		q.header("X-Container-Rfc-Compliant-Etags", v)
	}
	if q.owner {
		for _, name := range []string{"x-container-read", "x-container-write"} {
			if v := info.Meta[name]; v != "" {
				q.header(name, v)
			}
		}
	}
}

// httpDate is a timestamp as Last-Modified, whole seconds up as Swift rounds: an object is never older than what it says.
func httpDate(t clock.Timestamp) string {
	whole := t.Time().Truncate(time.Second)
	if whole.Before(t.Time()) {
		whole = whole.Add(time.Second)
	}
	return whole.Format(http.TimeFormat)
}

// containerChange is metaChange and what else a container's PUT and POST may set.
func (q *request) containerChange() (map[string]string, error) {
	h := q.r.Header
	for _, name := range []string{"X-Versions-Location", "X-History-Location", "X-Versions-Enabled"} {
		if h.Get(name) != "" && !strings.EqualFold(h.Get(name), "false") {
			return nil, text(http.StatusPreconditionFailed, "Versioned Writes is disabled")
		}
	}
	for _, name := range []string{"X-Container-Sync-To", "X-Container-Sync-Key"} {
		if h.Get(name) != "" {
			return nil, text(http.StatusNotImplemented, "Container sync is not supported")
		}
	}
	change, err := metaChange(h, "container")
	if err != nil {
		return nil, err
	}
	for name, what := range map[string]string{metaQuotaBytes: "bytes", metaQuotaCount: "count"} {
		if v := change[name]; strings.Trim(v, "0123456789") != "" {
			return nil, text(http.StatusBadRequest, "Invalid %s quota.", what)
		}
	}
	for _, name := range []string{"Read", "Write"} {
		key := "x-container-" + strings.ToLower(name)
		if _, ok := h["X-Remove-Container-"+name]; ok {
			change[key] = ""
		}
		values, ok := h["X-Container-"+name]
		if !ok {
			continue
		}
		if change[key], err = cleanACL(name == "Write", strings.Join(values, ",")); err != nil {
			return nil, err
		}
		if len(change[key]) > headerBytesMax {
			return nil, text(http.StatusBadRequest, "Header value too long: X-Container-%s", name)
		}
	}
	if _, ok := h["X-Container-Rfc-Compliant-Etags"]; ok {
		change[sysRFCEtags] = ""
		if isTrue(h.Get("X-Container-Rfc-Compliant-Etags")) {
			change[sysRFCEtags] = "true"
		}
	}
	return change, nil
}

func (q *request) putContainer() error {
	if err := q.authorize(q.account, q.container, toOwn); err != nil {
		return err
	}
	change, err := q.containerChange()
	if err != nil {
		return err
	}
	policy, err := q.policy()
	if err != nil {
		return err
	}
	if len(change) > 0 { // what is there already counts against the limits, too
		info, err := q.h.Core.Container(q.r.Context(), q.account, q.container, false)
		if err == nil {
			err = checkMerged(info.Meta, change, "container")
		}
		if err != nil && q.toFault(err).code != http.StatusNotFound {
			return err
		}
	}
	made, err := q.h.Core.PutContainer(q.r.Context(), q.account, q.container, core.PutContainer{Policy: policy, Meta: change})
	if err != nil {
		return err
	}
	if made {
		return q.answerHTML(http.StatusCreated)
	}
	return q.answerHTML(http.StatusAccepted)
}

// policy reads X-Storage-Policy.
func (q *request) policy() (string, error) {
	name := q.r.Header.Get("X-Storage-Policy")
	if name == "" {
		return "", nil
	}
	policies := q.h.Core.Policies()
	i := slices.IndexFunc(policies, func(p core.Policy) bool { return p.Named(name) })
	switch {
	case i < 0:
		return "", text(http.StatusBadRequest, "Invalid X-Storage-Policy '%s'", name)
	case policies[i].Deprecated:
		return "", text(http.StatusBadRequest, "Storage Policy '%s' is deprecated", name)
	}
	return policies[i].Name, nil
}

func (q *request) postContainer() error {
	if err := q.authorize(q.account, q.container, toOwn); err != nil {
		return err
	}
	change, err := q.containerChange()
	if err != nil {
		return err
	}
	info, err := q.h.Core.Container(q.r.Context(), q.account, q.container, false)
	if err != nil {
		return err
	}
	if err := checkMerged(info.Meta, change, "container"); err != nil {
		return err
	}
	if err := q.h.Core.UpdateContainer(q.r.Context(), q.account, q.container, change); err != nil {
		return err
	}
	return q.answerHTML(http.StatusNoContent)
}

func (q *request) deleteContainer() error {
	if err := q.authorize(q.account, q.container, toOwn); err != nil {
		return err
	}
	if err := q.h.Core.DeleteContainer(q.r.Context(), q.account, q.container); err != nil {
		return err
	}
	return q.answerHTML(http.StatusNoContent)
}
