package api

import (
	"encoding/json"
	"net/http"
	"time"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/identity/token"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// timeFormat is how Keystone writes a moment.
const timeFormat = "2006-01-02T15:04:05.000000Z"

func stamp(t time.Time) string { return t.UTC().Format(timeFormat) }

type idName struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type inDomain struct {
	Domain idName `json:"domain"`
	ID     string `json:"id"`
	Name   string `json:"name"`
}

// noCatalog is the client's wish not to be sent the catalog: ?nocatalog, with or without a value.
func (c *call) noCatalog() bool {
	query := c.r.URL.Query()
	return query.Has("nocatalog") && query.Get("nocatalog") != "false"
}

// tokenDocument is how the API shows a session in a snapshot.
func tokenDocument(r state.Reader, s *token.Session, catalog bool) (map[string]any, error) {
	body := map[string]any{
		"methods":    s.Methods,
		"audit_ids":  s.Claims.AuditIDs(),
		"issued_at":  stamp(s.Issued),
		"expires_at": stamp(s.Expires),
		"user": map[string]any{"id": s.UserID, "name": s.UserName, "domain": idName{s.UserDomainID, s.UserDomainName},
			"password_expires_at": nil},
	}
	switch {
	case s.ProjectID != "":
		body["project"] = inDomain{ID: s.ProjectID, Name: s.ProjectName, Domain: idName{s.ProjectDomainID, s.ProjectDomainName}}
		body["is_domain"] = false
	case s.DomainID != "":
		body["domain"] = idName{s.DomainID, s.DomainName}
	case s.System:
		body["system"] = map[string]bool{"all": true}
	default:
		return map[string]any{"token": body}, nil
	}
	roles := make([]idName, 0, len(s.Roles))
	for _, role := range s.Roles {
		roles = append(roles, idName{role.ID, role.Name})
	}
	body["roles"] = roles
	if err := addDelegation(r, body, s.Claims); err != nil || !catalog {
		return map[string]any{"token": body}, err
	}
	services, err := model.Catalog(r, s.ProjectID, s.UserID)
	body["catalog"] = services
	return map[string]any{"token": body}, err
}

// addDelegation tells of the application credential or the trust that a token was made from.
func addDelegation(r state.Reader, body map[string]any, claims token.Claims) error {
	if id := claims.ApplicationCredentialID; id != "" {
		credential, err := model.ApplicationCredentials.Get(r, id)
		if err != nil {
			return err
		}
		body["application_credential"] = map[string]any{"id": id, "name": credential.Name, "restricted": !credential.Unrestricted}
	}
	if id := claims.TrustID; id != "" {
		trust, err := model.Trusts.Get(r, id)
		if err != nil {
			return err
		}
		body["OS-TRUST:trust"] = map[string]any{"id": id, "impersonation": trust.Impersonation,
			"trustor_user": map[string]any{"id": trust.TrustorID}, "trustee_user": map[string]any{"id": trust.TrusteeID}}
	}
	return nil
}

// tokenJSON is the document of a token that was shown, encoded. It is remembered until something that it tells of changes.
func (c *call) tokenJSON(shown string, catalog bool) (document []byte, err error) {
	key := "+"
	if !catalog {
		key = "-"
	}
	err = c.view(func(r state.Reader) (err error) {
		document, err = c.documents.Get(r, key+shown, func(r state.Reader) ([]byte, error) {
			s, err := c.Sessions.In(r, shown)
			if err != nil {
				return nil, err
			}
			document, err := tokenDocument(r, s, catalog)
			if err != nil {
				return nil, err
			}
			return json.Marshal(document)
		})
		return err
	})
	return document, noToken(err)
}

// freshDocument shows a token that was made just now.
func (c *call) freshDocument(s *token.Session, catalog bool) (document map[string]any, err error) {
	err = c.view(func(r state.Reader) (err error) {
		document, err = tokenDocument(r, s, catalog)
		return err
	})
	return document, err
}

// subject opens the token that a request is about. Who may: an administrator, a reader of the system, a service, and whoever holds that very token.
func (c *call) subject(readers bool) (*token.Session, error) {
	shown := c.r.Header.Get("X-Subject-Token")
	if shown == "" {
		return nil, errs.New(errs.Invalid, "The request has no X-Subject-Token header.")
	}
	s, err := c.Sessions.Session(c.r.Context(), shown)
	may := c.admin() || readers && (c.readsAll() || c.who.HasRole("service"))
	switch {
	case err != nil:
		return nil, noToken(err)
	case !may && !c.isUser(s.UserID):
		return nil, c.denied()
	}
	c.w.Header().Set("X-Subject-Token", shown)
	return s, nil
}

// noToken says of a token that does not stand that there is none.
func noToken(err error) error {
	if errs.Is(err, errs.Unauthenticated) {
		return errs.New(errs.NotFound, "Could not find token: it is malformed, expired or revoked.")
	}
	return err
}

// showToken is GET and HEAD /v3/auth/tokens.
func showToken(c *call) error {
	if _, err := c.subject(true); err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	document, err := c.tokenJSON(c.r.Header.Get("X-Subject-Token"), !c.noCatalog())
	if err != nil {
		return err
	}
	openstack.WriteEncoded(c.w, http.StatusOK, document)
	return nil
}

// revokeToken is DELETE /v3/auth/tokens.
func revokeToken(c *call) error {
	s, err := c.subject(false)
	if err != nil {
		return err
	}
	if err := c.Sessions.Revoke(c.r.Context(), s.Claims); err != nil {
		return err
	}
	c.w.Header().Del("X-Subject-Token")
	return c.none()
}

// authCatalog is GET /v3/auth/catalog.
func authCatalog(c *call) error {
	if c.who.Claims.Scope.Kind == "" {
		return errs.New(errs.Denied, "You are not authorized to perform the requested action: an unscoped token has no catalog.")
	}
	var services []model.CatalogService
	err := c.view(func(r state.Reader) (err error) {
		services, err = model.Catalog(r, c.who.ProjectID, c.who.UserID)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, map[string]any{"catalog": services, "links": c.self("auth", "catalog")})
}

// authSystem is GET /v3/auth/system.
func authSystem(c *call) error {
	system := []map[string]bool{}
	err := c.view(func(r state.Reader) error {
		roles, err := model.RolesOn(r, c.who.UserID, model.SystemTarget())
		if len(roles) > 0 {
			system = append(system, map[string]bool{"all": true})
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, map[string]any{"system": system, "links": c.self("auth", "system")})
}
