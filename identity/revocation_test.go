package identity

import (
	"context"
	"flag"
	"fmt"
	"strconv"
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

// TestToken_WithoutWatch: as long as nobody watches, nothing is remembered.
func TestToken_WithoutWatch(t *testing.T) {
	c := newCloud(t)
	peer := newIdentity(t, c.store, clock.System{})
	if _, err := peer.Tokens().Token(t.Context(), c.admin); err != nil {
		t.Fatal(err)
	}
	err := c.store.Update(t.Context(), func(w state.Writer) error {
		for key := range w.Scan("identity.assignments/") {
			w.Delete(key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Tokens().Token(t.Context(), c.admin); !errs.Is(err, errs.Unauthenticated) {
		t.Fatalf("a token without roles: %v", err)
	}
}
