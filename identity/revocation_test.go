package identity

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/clock"
	"henge/internal/errs"
)

// revocationModel says which tokens ought to stand, while random things happen to the user, the project and the domain that they are about.
// All is done at one peer and looked at on two, both of which remember what they once checked.
type revocationModel struct {
	t      *rapid.T
	a, b   *Identity
	admin  string
	user   string // its id
	role   string
	ids    map[string]string // of the domain and the project
	name   string            // the user's and the project's
	alive  map[string]bool   // false: gone for ever
	scoped map[string]bool

	password                 int
	enabled                  map[string]bool
	granted                  bool
	unscopedBody, scopedBody func() string
}

func (m *revocationModel) call(status int, method, path, body string, headers ...string) answer {
	m.t.Helper()
	a := send(m.t, m.a, m.admin, method, path, body, headers...)
	if a.status != status {
		m.t.Fatalf("%s %s %s: %d %s", method, path, body, a.status, a.body)
	}
	return a
}

// standing is what the model says of a token.
func (m *revocationModel) standing(token string) bool {
	return m.alive[token] && m.enabled["user"] && m.enabled["domain"] && (!m.scoped[token] || m.enabled["project"] && m.granted)
}

func (m *revocationModel) kill(which func(token string) bool) {
	for token := range m.alive {
		if which(token) {
			m.alive[token] = false
		}
	}
}

func (m *revocationModel) all(string) bool { return true }

// Issue asks for a token, with a scope or without.
func (m *revocationModel) Issue(t *rapid.T) {
	scoped := rapid.Bool().Draw(t, "scoped")
	body := m.unscopedBody()
	if scoped {
		body = m.scopedBody()
	}
	a := send(t, m.a, "", "POST", "/v3/auth/tokens", body)
	want := m.enabled["user"] && m.enabled["domain"] && (!scoped || m.enabled["project"] && m.granted)
	if want != (a.status == 201) {
		t.Fatalf("asked for a token (scoped %v): %d %s", scoped, a.status, a.body)
	}
	if want {
		token := a.header.Get("X-Subject-Token")
		m.alive[token], m.scoped[token] = true, scoped
	}
}

// Revoke ends one token.
func (m *revocationModel) Revoke(t *rapid.T) {
	for token := range m.alive {
		if m.standing(token) {
			m.call(204, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", token)
			m.alive[token] = false
			return
		}
	}
	t.Skip("no token stands")
}

// Switch enables or disables the user, the project or the domain.
func (m *revocationModel) Switch(t *rapid.T) {
	what := rapid.SampledFrom([]string{"user", "project", "domain"}).Draw(t, "what")
	m.enabled[what] = !m.enabled[what]
	m.call(200, "PATCH", "/v3/"+what+"s/"+m.ids[what], fmt.Sprintf(`{%q:{"enabled":%v}}`, what, m.enabled[what]))
	if !m.enabled[what] {
		m.kill(func(token string) bool { return what != "project" || m.scoped[token] })
	}
}

// ChangePassword sets another one.
func (m *revocationModel) ChangePassword(*rapid.T) {
	m.password++
	m.call(200, "PATCH", "/v3/users/"+m.user, fmt.Sprintf(`{"user":{"password":"password %d"}}`, m.password))
	m.kill(m.all)
}

// Grant gives or takes the role. A token whose role comes back stands again: it says who and where, not which roles.
func (m *revocationModel) Grant(*rapid.T) {
	m.granted = !m.granted
	method := map[bool]string{true: "PUT", false: "DELETE"}[m.granted]
	m.call(204, method, "/v3/projects/"+m.ids["project"]+"/users/"+m.user+"/roles/"+m.role, "")
}

// Check compares both peers with the model, once what was under way has settled.
func (m *revocationModel) Check(t *rapid.T) {
	look := func(name string, id *Identity) {
		for token := range m.alive {
			_, err := id.Tokens().Token(context.Background(), token)
			if err != nil && !errs.Is(err, errs.Unauthenticated) {
				t.Fatal(err)
			}
			if want := m.standing(token); want != (err == nil) {
				t.Fatalf("peer %s: a token (scoped %v) should stand: %v; it says %v", name, m.scoped[token], want, err)
			}
		}
	}
	look("a", m.a) // at once: it was done here
	synctest.Wait()
	look("b", m.b)
}

func newRevocationModel(t *rapid.T, a, b *Identity, admin string) *revocationModel {
	m := &revocationModel{t: t, a: a, b: b, admin: admin, alive: map[string]bool{}, scoped: map[string]bool{}, ids: map[string]string{},
		enabled: map[string]bool{"user": true, "project": true, "domain": true}, name: "x"}
	domain := m.call(201, "POST", "/v3/domains", `{"domain":{"name":"`+model.NewID()+`"}}`)
	m.ids["domain"] = domain.text("domain", "id")
	inDomain := `"name":"x","domain_id":"` + m.ids["domain"] + `"`
	m.ids["project"] = m.call(201, "POST", "/v3/projects", `{"project":{`+inDomain+`}}`).text("project", "id")
	m.ids["user"] = m.call(201, "POST", "/v3/users", `{"user":{"password":"password 0",`+inDomain+`}}`).text("user", "id")
	m.user = m.ids["user"]
	roles := m.call(200, "GET", "/v3/roles?name=member", "")
	list, _ := roles.json["roles"].([]any)
	role, _ := list[0].(map[string]any)
	m.role, _ = role["id"].(string)
	body := func(scope string) string {
		return fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":%q,"password":"password %d"}}},"scope":%s}}`, m.user, m.password, scope)
	}
	m.unscopedBody = func() string { return body(`"unscoped"`) }
	m.scopedBody = func() string { return body(`{"project":{"id":"` + m.ids["project"] + `"}}`) }
	return m
}

// fewerChecks makes rapid run fewer histories than by default: passwords take their time, under the race detector above all. Those who set the flag get
// what they asked for.
func fewerChecks(t *testing.T, n int) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Value.Set(f.DefValue); err != nil {
			t.Error(err)
		}
	})
}

func TestRevocation_Model(t *testing.T) {
	fewerChecks(t, 20)
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		b := newIdentity(t, c.store, c.clock)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		for _, id := range []*Identity{c.id, b} {
			go func() { done <- id.Run(ctx) }()
		}
		synctest.Wait()
		// A bubble's test has no deadline to ask for, which rapid would do.
		rapid.Check(struct{ rapid.TB }{t}, func(r *rapid.T) {
			m := newRevocationModel(r, c.id, b, c.admin)
			r.Repeat(map[string]func(*rapid.T){"issue": m.Issue, "issue again": m.Issue, "revoke": m.Revoke, "switch": m.Switch,
				"password": m.ChangePassword, "grant": m.Grant, "": m.Check})
		})
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestKeys_FollowTheirUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		peer := newIdentity(t, c.store, c.clock)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- peer.Run(ctx) }()
		defer func() { cancel(); <-done }()
		look := func(want bool) {
			t.Helper()
			synctest.Wait()
			secret, id, err := peer.Keys().Key(t.Context(), c.boot.AccessKey)
			if want && (err != nil || secret != c.boot.SecretKey || id.UserID != c.boot.AdminUserID) || !want && !errs.Is(err, errs.Unauthenticated) {
				t.Fatalf("key good %v expected: %+v, %v", want, id, err)
			}
		}
		look(true)
		c.want(200, c.admin, "PATCH", "/v3/projects/"+c.boot.DemoProjectID, `{"project":{"enabled":false}}`)
		look(true)
		other := c.login("admin", adminPassword, "admin")
		c.want(200, other, "PATCH", "/v3/projects/"+c.boot.AdminProjectID, `{"project":{"enabled":false}}`)
		look(false)
	})
}

// TestToken_SeenAtOnce: what another peer's writer changed is in the very next answer, though nothing here has been told of it.
func TestToken_SeenAtOnce(t *testing.T) {
	for name, change := range map[string]func(c *cloud, w state.Writer) error{
		"role taken away": func(c *cloud, w state.Writer) error {
			return model.Revoke(w, model.Assignment{Actor: model.Actor{Kind: model.ActorUser, ID: c.boot.AdminUserID},
				Target: model.Target{Kind: model.TargetProject, ID: c.boot.AdminProjectID}, RoleID: roleID(c.t, w, "admin")})
		},
		"user disabled": func(c *cloud, w state.Writer) error {
			u, err := model.Users.Get(w, c.boot.AdminUserID)
			u.Enabled = false
			return errors.Join(err, model.Users.Put(w, u.ID, u))
		},
		"password changed": func(c *cloud, w state.Writer) error {
			u, err := model.Users.Get(w, c.boot.AdminUserID)
			u.Epoch++
			return errors.Join(err, model.Users.Put(w, u.ID, u))
		},
		"project gone": func(c *cloud, w state.Writer) error { return model.Projects.Delete(w, c.boot.AdminProjectID) },
		"revoked": func(c *cloud, w state.Writer) error {
			id, err := c.id.Tokens().Token(c.t.Context(), c.admin)
			if err != nil {
				return err
			}
			return model.Revocations.Put(w, id.AuditID, model.Revocation{AuditID: id.AuditID, Expires: id.Expires})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			peer := newIdentity(t, c.store, clock.System{})
			reader := c.login("admin", adminPassword, "demo")
			for _, id := range []*Identity{c.id, peer} { // both remember it now
				if a := send(t, id, reader, "GET", "/v3/auth/tokens", "", "X-Subject-Token", c.admin); a.status != 200 {
					t.Fatalf("before: %d %s", a.status, a.body)
				}
			}
			if err := c.store.Update(t.Context(), func(w state.Writer) error { return change(c, w) }); err != nil {
				t.Fatal(err)
			}
			for _, id := range []*Identity{c.id, peer} {
				if _, err := id.Tokens().Token(t.Context(), c.admin); !errs.Is(err, errs.Unauthenticated) {
					t.Errorf("the token: %v", err)
				}
				if a := send(t, id, c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", c.admin); a.status != 401 {
					t.Errorf("shown: %d %s", a.status, a.body)
				}
			}
		})
	}
}

func roleID(t *testing.T, r state.Reader, name string) string {
	t.Helper()
	role, err := model.Roles.First(r, "name", model.Sep+name)
	if err != nil {
		t.Fatal(err)
	}
	return role.ID
}

// TestToken_ShowsWhatIsThereNow: the remembered document of a token follows the roles, names and the catalog that it shows.
func TestToken_ShowsWhatIsThereNow(t *testing.T) {
	c := newCloud(t)
	peer := newIdentity(t, c.store, clock.System{})
	show := func(query string) answer {
		t.Helper()
		a := send(t, peer, c.admin, "GET", "/v3/auth/tokens"+query, "", "X-Subject-Token", c.admin)
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return a
	}
	if first, again := show(""), show(""); first.body != again.body || strings.Contains(first.body, "henge-test") {
		t.Fatalf("%s\n%s", first.body, again.body)
	}
	if show("?nocatalog").at("token", "catalog") != nil {
		t.Error("a catalog though none was wanted")
	}
	for _, change := range []func(w state.Writer) error{
		func(w state.Writer) error {
			return model.Services.Put(w, "x", model.Service{ID: "x", Type: "x", Name: "henge-test-service", Enabled: true})
		},
		func(w state.Writer) error {
			return model.Endpoints.Put(w, "x", model.Endpoint{ID: "x", ServiceID: "x", Interface: "public", URL: "http://henge-test/$(project_id)s", Enabled: true})
		},
		func(w state.Writer) error {
			p, err := model.Projects.Get(w, c.boot.AdminProjectID)
			p.Name = "henge-test-project"
			return errors.Join(err, model.Projects.Put(w, p.ID, p))
		},
		func(w state.Writer) error {
			role := model.Role{ID: "x", Name: "henge-test-role"}
			return errors.Join(model.Roles.Put(w, role.ID, role), model.Grant(w, model.Assignment{
				Actor: model.Actor{Kind: model.ActorUser, ID: c.boot.AdminUserID}, Target: model.Target{Kind: model.TargetProject, ID: c.boot.AdminProjectID}, RoleID: "x"}))
		},
	} {
		before := strings.Count(show("").body, "henge-test")
		if err := c.store.Update(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		if after := show("").body; strings.Count(after, "henge-test") != before+1 {
			t.Errorf("the change is not there: %s", after)
		}
	}
}
