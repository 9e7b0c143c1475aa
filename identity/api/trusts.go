package api

import (
	"net/http"
	"time"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// trustsMax bounds how many trusts a user may give.
const trustsMax = 1000

func (s *Server) trustRoutes(bind binder) {
	bind(http.MethodGet, "/OS-TRUST/trusts", listTrusts)
	bind(http.MethodPost, "/OS-TRUST/trusts", createTrust)
	bind(http.MethodGet, "/OS-TRUST/trusts/{trust}", showTrust)
	bind(http.MethodDelete, "/OS-TRUST/trusts/{trust}", deleteTrust)
	bind(http.MethodGet, "/OS-TRUST/trusts/{trust}/roles", listTrustRoles)
	bind(http.MethodGet, "/OS-TRUST/trusts/{trust}/roles/{role}", showTrustRole)
}

// undelegated keeps sessions of trusts from what is the trustor's own: they would give away or outlive what was lent.
func undelegated(bind binder) binder {
	return func(method, path string, h handler) {
		bind(method, path, func(c *call) error {
			if c.who.Claims.TrustID != "" {
				return c.denied()
			}
			return h(c)
		})
	}
}

// trustDocument is a trust as lists show it.
func (c *call) trustDocument(t model.Trust) document {
	d := document{"id": t.ID, "trustor_user_id": t.TrustorID, "trustee_user_id": t.TrusteeID, "project_id": t.ProjectID, "impersonation": t.Impersonation,
		"expires_at": nil, "deleted_at": nil, "remaining_uses": nil, "redelegation_count": 0, "links": c.self("OS-TRUST", "trusts", t.ID)}
	if !t.Expires.IsZero() {
		d["expires_at"] = stamp(t.Expires)
	}
	if t.UsesLeft != nil {
		d["remaining_uses"] = *t.UsesLeft
	}
	return d
}

// trustRoles are the roles of a trust that there still are.
func (c *call) trustRoles(r state.Reader, t model.Trust) ([]document, error) {
	roles := []document{}
	for _, id := range t.RoleIDs {
		role, there, err := model.Optional(model.Roles.Get(r, id))
		if err != nil {
			return nil, err
		}
		if there {
			roles = append(roles, c.roleDocument(role))
		}
	}
	return roles, nil
}

func (c *call) wholeTrust(r state.Reader, t model.Trust) (document, error) {
	d := c.trustDocument(t)
	roles, err := c.trustRoles(r, t)
	d["roles"] = roles
	d["roles_links"] = document{"self": c.link("OS-TRUST", "trusts", t.ID, "roles"), "next": nil, "previous": nil}
	return d, err
}

// seesTrust: whoever gave it, whoever got it, and who reads everything.
func (c *call) seesTrust(t model.Trust) bool {
	return !t.Expired(c.Clock.Now()) && (c.readsAll() || c.isUser(t.TrustorID) || c.isUser(t.TrusteeID))
}

// trustOf finds the one of a path.
func (c *call) trustOf(r state.Reader) (model.Trust, error) {
	t, err := model.Trusts.Get(r, c.path("trust"))
	if err == nil && t.Expired(c.Clock.Now()) || errs.Is(err, errs.NotFound) {
		return t, missing("trust", c.path("trust"))
	}
	if err == nil && !c.seesTrust(t) {
		err = c.denied()
	}
	return t, err
}

func listTrusts(c *call) error {
	query := c.r.URL.Query()
	trustor, trustee := query.Get("trustor_user_id"), query.Get("trustee_user_id")
	if !c.readsAll() && !c.isUser(trustor) && !c.isUser(trustee) {
		return c.denied()
	}
	var rows []document
	err := c.view(func(r state.Reader) (err error) {
		all := model.Trusts.All(r)
		switch {
		case trustor != "":
			all = model.Trusts.Where(r, "trustor", trustor)
		case trustee != "":
			all = model.Trusts.Where(r, "trustee", trustee)
		}
		rows, err = gather(all, c.seesTrust, c.trustDocument)
		return err
	})
	if err != nil {
		return err
	}
	sortByID(rows)
	return c.list("trusts", rows, "trustor_user_id", "trustee_user_id")
}

func showTrust(c *call) error {
	var shown document
	err := c.view(func(r state.Reader) error {
		t, err := c.trustOf(r)
		if err != nil {
			return err
		}
		shown, err = c.wholeTrust(r, t)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"trust": shown})
}

func listTrustRoles(c *call) error {
	var roles []document
	err := c.view(func(r state.Reader) error {
		t, err := c.trustOf(r)
		if err != nil {
			return err
		}
		roles, err = c.trustRoles(r, t)
		return err
	})
	if err != nil {
		return err
	}
	return c.list("roles", roles, "name")
}

func showTrustRole(c *call) error {
	var shown document
	err := c.view(func(r state.Reader) error {
		t, err := c.trustOf(r)
		if err != nil {
			return err
		}
		roles, err := c.trustRoles(r, t)
		for _, role := range roles {
			if role["id"] == c.path("role") {
				shown = role
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if shown == nil {
		return missing("role", c.path("role"))
	}
	return c.json(http.StatusOK, document{"role": shown})
}

func deleteTrust(c *call) error {
	err := c.update(func(w state.Writer) error {
		t, err := c.trustOf(w)
		if err != nil {
			return err
		}
		if !c.admin() && !c.isUser(t.TrustorID) {
			return c.denied()
		}
		return model.Trusts.Delete(w, t.ID)
	})
	if err != nil {
		return err
	}
	return c.none()
}

// fillTrust reads a body.
func fillTrust(f *openstack.Fields, t *model.Trust, now time.Time) []wantedRole {
	f.Require("trustor_user_id", "trustee_user_id", "impersonation", "project_id")
	for name, into := range map[string]*string{"trustor_user_id": &t.TrustorID, "trustee_user_id": &t.TrusteeID, "project_id": &t.ProjectID} {
		f.Text(name, into, openstack.Text{MinLength: 1, MaxLength: 64})
	}
	f.Bool("impersonation", &t.Impersonation)
	var expires string
	f.Text("expires_at", &expires, openstack.Text{Nullable: true})
	if expires != "" {
		at, err := parseTime(expires)
		if err != nil || !at.After(now) {
			f.Fail("expires_at", "'%s' is not a time to come", expires)
		}
		t.Expires = at
	}
	if uses, there := f.Value("remaining_uses"); there && uses != nil {
		n, whole := uses.(float64)
		if !whole || n < 1 || n != float64(int(n)) {
			f.Fail("remaining_uses", "it is a whole number of 1 or more, or null")
		}
		left := int(n)
		t.UsesLeft = &left
	}
	if f.True("allow_redelegation") {
		f.Fail("allow_redelegation", "a trustee cannot hand a trust on")
	}
	if count, there := f.Value("redelegation_count"); there && count != nil && count != float64(0) {
		f.Fail("redelegation_count", "a trustee cannot hand a trust on")
	}
	var roles []wantedRole
	for _, role := range f.Objects("roles", 100) {
		var w wantedRole
		role.Text("id", &w.id, openstack.Text{})
		role.Text("name", &w.name, openstack.Text{})
		roles = append(roles, w)
	}
	f.Drop("id", "links", "allow_redelegation", "redelegation_count", "remaining_uses", "roles_links", "deleted_at")
	f.None()
	return roles
}

// createTrust: a user lends some of the roles that he has on a project, and only those.
func createTrust(c *call) error {
	f, err := c.body("trust")
	if err != nil {
		return err
	}
	t := model.Trust{ID: model.NewID()}
	wanted := fillTrust(f, &t, c.Clock.Now())
	if err := f.Err(); err != nil {
		return err
	}
	switch {
	case !c.isUser(t.TrustorID):
		return errs.New(errs.Denied, "You are not authorized to perform the requested action: The authenticated user should match the trustor.")
	case len(wanted) == 0:
		return errs.New(errs.Denied, "You are not authorized to perform the requested action: At least one role should be specified.")
	}
	var shown document
	err = c.update(func(w state.Writer) error {
		if err := c.mayMake(w); err != nil {
			return err
		}
		if err := c.settleTrust(w, &t, wanted); err != nil {
			return err
		}
		if err := model.Trusts.Put(w, t.ID, t); err != nil {
			return err
		}
		shown, err = c.wholeTrust(w, t)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, document{"trust": shown})
}

// settleTrust looks up what a trust names.
func (c *call) settleTrust(w state.Writer, t *model.Trust, wanted []wantedRole) error {
	if _, err := model.Users.Get(w, t.TrusteeID); err != nil {
		return named(err, "user", t.TrusteeID)
	}
	if _, err := model.Projects.Get(w, t.ProjectID); err != nil {
		return named(err, "project", t.ProjectID)
	}
	given := 0
	for _, err := range model.Trusts.Where(w, "trustor", t.TrustorID) {
		if err != nil {
			return err
		}
		given++
	}
	if given >= trustsMax {
		return errs.New(errs.Denied, "You are not authorized to perform the requested action: there are %d trusts already.", given)
	}
	held, err := model.RolesOn(w, t.TrustorID, model.Target{Kind: model.TargetProject, ID: t.ProjectID})
	if err != nil {
		return err
	}
	t.RoleIDs = nil
	for _, want := range wanted {
		id := ""
		for _, role := range held {
			if want.id != "" && role.ID == want.id || want.id == "" && role.Name == want.name {
				id = role.ID
			}
		}
		if id == "" {
			return missing("role", want.id+want.name)
		}
		t.RoleIDs = append(t.RoleIDs, id)
	}
	return nil
}
