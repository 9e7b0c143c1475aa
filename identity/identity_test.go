package identity

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"henge/cluster/state"
	"henge/internal/clock"
)

const adminPassword = "correct horse battery"

// failer is a test of Go's or of rapid's.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// cloud is a bootstrapped identity service.
type cloud struct {
	t     *testing.T
	store state.Store
	clock *clock.Manual
	id    *Identity
	boot  Bootstrapped
	admin string // a token of admin on the project admin
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{t: t, store: state.NewMemory(), clock: clock.NewManual(time.Now())}
	c.id = newIdentity(t, c.store, c.clock)
	c.bootstrap("http://example.com")
	c.admin = c.login("admin", adminPassword, "admin")
	return c
}

func newIdentity(t *testing.T, store state.Store, c clock.Clock) *Identity {
	t.Helper()
	id, err := New(Config{Store: store, Clock: c, Logger: slog.New(slog.DiscardHandler), PasswordCost: bcrypt.MinCost})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (c *cloud) bootstrap(identityURL string) {
	c.t.Helper()
	var err error
	c.boot, err = Bootstrap(c.t.Context(), c.store, BootstrapConfig{AdminPassword: adminPassword, Clock: c.clock, PasswordCost: bcrypt.MinCost,
		Services: ObjectStoreServices(identityURL, "http://127.0.0.1:8080")})
	if err != nil {
		c.t.Fatal(err)
	}
}

// run starts watching, until the test ends.
func (c *cloud) run() {
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan error, 1)
	go func() { done <- c.id.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
}

// passwordBody asks for a token; scope is JSON, "" for none.
func passwordBody(user, password, scope string) string {
	identity := `"identity":{"methods":["password"],"password":{"user":{"name":` + quote(user) + `,"domain":{"id":"default"},"password":` + quote(password) + `}}}`
	if scope != "" {
		identity += `,"scope":` + scope
	}
	return `{"auth":{` + identity + `}}`
}

func projectScope(name string) string {
	return `{"project":{"name":` + quote(name) + `,"domain":{"name":"Default"}}}`
}

func quote(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// login gives a token of a user of the domain Default on a project of it.
func (c *cloud) login(user, password, project string) string {
	c.t.Helper()
	a := c.call("", "POST", "/v3/auth/tokens", passwordBody(user, password, projectScope(project)))
	if a.status != http.StatusCreated {
		c.t.Fatalf("log in as %s: %d %s", user, a.status, a.body)
	}
	return a.header.Get("X-Subject-Token")
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

// at walks into the JSON by keys; nil when the way ends.
func (a answer) at(keys ...string) any {
	var v any = a.json
	for _, key := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// text is at for strings; "" for anything else.
func (a answer) text(keys ...string) string {
	s, _ := a.at(keys...).(string)
	return s
}

// ids of a list in the answer.
func (a answer) names(list, field string) []string {
	rows, _ := a.json[list].([]any)
	names := []string{}
	for _, row := range rows {
		m, _ := row.(map[string]any)
		s, _ := m[field].(string)
		names = append(names, s)
	}
	return names
}

// call makes a request; headers are pairs.
func (c *cloud) call(token, method, path, body string, headers ...string) answer {
	c.t.Helper()
	return send(c.t, c.id, token, method, path, body, headers...)
}

// send is call to one peer.
func send(t failer, id *Identity, token, method, path, body string, headers ...string) answer {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp := httptest.NewRecorder()
	id.Handler().ServeHTTP(resp, req)
	raw := resp.Body.Bytes()
	a := answer{status: resp.Code, header: resp.Header(), body: string(raw)}
	if len(raw) > 0 && strings.HasPrefix(resp.Header().Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(raw, &a.json); err != nil {
			t.Fatalf("%s %s answered %q: %v", method, path, raw, err)
		}
	}
	return a
}

// want is call with an expected status.
func (c *cloud) want(status int, token, method, path, body string, headers ...string) answer {
	c.t.Helper()
	a := c.call(token, method, path, body, headers...)
	if a.status != status {
		c.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, a.status, a.body, status)
	}
	if status >= 400 && method != "HEAD" && !strings.HasPrefix(path, "/auth/") {
		if a.at("error", "code") != float64(status) || a.text("error", "title") == "" || a.text("error", "message") == "" {
			c.t.Fatalf("%s %s: the fault is not Keystone's: %s", method, path, a.body)
		}
	}
	return a
}
