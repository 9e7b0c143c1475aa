package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/identity/token"
	"henge/internal/errs"
)

// V1Auth is Swift's old authentication: GET /auth/v1.0 with X-Auth-User (project:user, both of the domain Default) and X-Auth-Key, or
// X-Storage-User and X-Storage-Pass, answers a token and the address of the project's account.
func (s *Server) V1Auth() http.Handler { return s.open(v1Auth) }

func v1Auth(c *call) error {
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		c.w.Header().Set("Allow", "GET, HEAD")
		return c.v1Fault(http.StatusMethodNotAllowed)
	}
	user, key, ok := v1Credentials(c.r.Header)
	if !ok {
		return c.v1Fault(http.StatusUnauthorized)
	}
	issued, session, err := c.v1Issue(user, key)
	switch {
	case errs.Is(err, errs.Unauthenticated), errs.Is(err, errs.NotFound), errs.Is(err, errs.Invalid):
		return c.v1Fault(http.StatusUnauthorized)
	case err != nil:
		return err
	}
	storage, err := c.storageURL(session)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("X-Auth-Token", issued)
	h.Set("X-Storage-Token", issued)
	h.Set("X-Storage-Url", storage)
	h.Set("X-Auth-Token-Expires", strconv.Itoa(max(0, int(session.Expires.Sub(c.Clock.Now())/time.Second))))
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// v1Fault answers in plain text, as Swift does.
func (c *call) v1Fault(status int) error {
	if status == http.StatusUnauthorized {
		c.w.Header().Set("WWW-Authenticate", `Swift realm="unknown"`)
	}
	http.Error(c.w, http.StatusText(status), status)
	return nil
}

// v1Name is a user of a project, as v1 names it. Without a project it is the user's default one.
type v1Name struct{ project, user string }

func v1Credentials(h http.Header) (v1Name, string, bool) {
	name, key := h.Get("X-Auth-User"), h.Get("X-Auth-Key")
	if name == "" {
		name = h.Get("X-Storage-User")
	}
	if key == "" {
		key = h.Get("X-Storage-Pass")
	}
	project, user, found := strings.Cut(name, ":")
	if !found {
		project, user = "", name
	}
	return v1Name{project, user}, key, user != "" && key != "" && len(name) <= 512
}

func (c *call) v1Issue(name v1Name, key string) (string, *token.Session, error) {
	domain := &reference{ID: model.DefaultDomainID}
	user, err := c.checkPassword(&reference{Name: name.user, Domain: domain}, key)
	if err != nil {
		return "", nil, err
	}
	want := wantedScope{}
	if name.project != "" {
		want = wantedScope{given: true, project: &reference{Name: name.project, Domain: domain}}
	}
	issued, session, err := c.issue(token.Request{UserID: user.ID, UserEpoch: user.Epoch, Methods: token.Password}, want)
	if err == nil && session.ProjectID == "" {
		err = errs.New(errs.Unauthenticated, "user %s has no default project", user.ID)
	}
	return issued, session, err
}

// storageURL is where the object store keeps a project's account.
func (c *call) storageURL(s *token.Session) (string, error) {
	if c.StorageURL != nil {
		return c.StorageURL(c.r, s.ProjectID), nil
	}
	var services []model.CatalogService
	err := c.view(func(r state.Reader) (err error) {
		services, err = model.Catalog(r, s.ProjectID, s.UserID)
		return err
	})
	for _, service := range services {
		for _, e := range service.Endpoints {
			if service.Type == "object-store" && e.Interface == "public" {
				return e.URL, nil
			}
		}
	}
	if err == nil {
		err = errs.New(errs.Unavailable, "The catalog has no public endpoint of the object store.")
	}
	return "", err
}
