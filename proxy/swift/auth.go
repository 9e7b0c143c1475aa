package swift

import (
	"net/http"
	"strings"

	"henge/internal/errs"
	"henge/proxy/core"
)

// accountPrefix begins every account's name; a project's id follows. Others (".henge-..." and the like) belong to no client.
const accountPrefix = "AUTH_"

// The roles that own their project's account, and those that only read it.
var (
	operatorRoles = []string{"admin", "manager", "member", "_member_", "swiftoperator"}
	readerRoles   = []string{"reader"}
)

const (
	resellerRole = "reselleradmin" // every account's owner
	adminRole    = "admin"
	adminProject = "admin" // of the default domain: who is admin there owns the cloud
)

// identify finds out who asks. A token that does not hold is nobody's: what is public stays so, and all else is 401.
func (q *request) identify() error {
	if q.query.Has("temp_url_sig") || q.query.Has("temp_url_expires") {
		return q.identifyTempURL()
	}
	token := q.r.Header.Get("X-Auth-Token")
	if token == "" {
		token = q.r.Header.Get("X-Storage-Token")
	}
	if token == "" {
		return nil
	}
	id, err := q.h.Tokens.Token(q.r.Context(), token)
	if errs.Is(err, errs.Unauthenticated) || errs.Is(err, errs.Invalid) || errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	q.id = id
	return nil
}

// access is what a request wants to do with a container.
type access int

const (
	toOwn  access = iota // change the container or the account itself
	toRead               // read objects
	toList               // list the container, or see its metadata
	toWrite
)

// denied is 401 for those whom we do not know and 403 for the others.
func (q *request) denied() error {
	if q.id == nil {
		return status(http.StatusUnauthorized)
	}
	return status(http.StatusForbidden)
}

// cloudAdmin tells whether the identity owns every account.
func (q *request) cloudAdmin() bool {
	if q.id.HasRole(resellerRole) {
		return true
	}
	return q.id.HasRole(adminRole) && q.id.ProjectName == adminProject && q.id.ProjectDomainID == defaultDomain
}

// authorize tells whether the request may do what it wants, with the container of the account. container is "" for the account itself. q.owner is set when the
// identity owns the account.
func (q *request) authorize(account, container string, want access) error {
	if !strings.HasPrefix(account, accountPrefix) || len(account) == len(accountPrefix) {
		return q.denied()
	}
	if q.grant != nil {
		return q.grant.allows(q, account, container)
	}
	home := q.id != nil && q.id.ProjectID != "" && account == accountPrefix+q.id.ProjectID
	switch {
	case q.cloudAdmin(), home && q.id.HasRole(operatorRoles...):
		q.owner = true
		return nil
	case home && q.id.HasRole(readerRoles...) && (want == toRead || want == toList || container == "" && q.reads()):
		return nil
	case want == toOwn || container == "":
		return q.denied()
	}
	info, err := q.h.Core.Container(q.r.Context(), account, container, false)
	if errs.Is(err, errs.NotFound) {
		return q.denied() // whether it is there is no stranger's business
	}
	if err != nil {
		return err
	}
	if !q.listed(info, want, home) {
		return q.denied()
	}
	return nil
}

// reads tells whether the method changes nothing.
func (q *request) reads() bool {
	return q.r.Method == http.MethodGet || q.r.Method == http.MethodHead
}

// listed asks the container's access lists.
func (q *request) listed(info core.ContainerInfo, want access, home bool) bool {
	header := "x-container-read"
	if want == toWrite {
		header = "x-container-write"
	}
	list := parseACL(info.Meta[header])
	switch {
	case list.names(q.id), home && list.hasRole(q.id):
		return true
	case want == toWrite:
		return false
	}
	return list.refers(q.r.Referer()) && (want == toRead || list.listings())
}
