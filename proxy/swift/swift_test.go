package swift_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/proxy/core/coretest"
	"henge/proxy/swift"
)

// tokens is authn.Tokens out of a table.
type tokens map[string]*authn.Identity

func (t tokens) Token(_ context.Context, token string) (*authn.Identity, error) {
	if token == "down" {
		return nil, errs.New(errs.Unavailable, "no keys yet")
	}
	if id := t[token]; id != nil {
		return id, nil
	}
	return nil, errs.New(errs.Unauthenticated, "token unknown")
}

func person(user, project string, roles ...string) *authn.Identity {
	return &authn.Identity{UserID: user + "-id", UserName: user, UserDomainID: "default", ProjectID: project, ProjectName: project + "-name",
		ProjectDomainID: "default", Roles: roles}
}

var people = tokens{
	"member":   person("alice", "p1", "member"),
	"reader":   person("rita", "p1", "reader"),
	"nobody":   person("nora", "p1", "auditor"),
	"stranger": person("bob", "p2", "member"),
	"reseller": person("rex", "p9", "reselleradmin"),
	"admin": {UserID: "admin-id", UserName: "admin", UserDomainID: "default", ProjectID: "p0", ProjectName: "admin", ProjectDomainID: "default",
		Roles: []string{"admin", "member", "reader"}},
	"otheradmin": {UserID: "oa-id", UserName: "admin", UserDomainID: "d2", ProjectID: "p8", ProjectName: "admin", ProjectDomainID: "d2", Roles: []string{"admin"}},
}

// world is a Swift server over a core in memory.
type world struct {
	t      *testing.T
	core   *coretest.Memory
	clock  *clock.Manual
	server *httpapi.Server
	url    string
	logs   *bytes.Buffer
}

const account = "/v1/AUTH_p1"

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)

func prepare(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewManual(epoch), logs: &bytes.Buffer{}}
	w.core = coretest.New(w.clock)
	h := swift.New(swift.Config{Core: w.core, Tokens: people, Clock: w.clock, Version: "test", Logger: slog.New(slog.NewTextHandler(w.logs, nil)),
		V1Auth: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })})
	w.server = httpapi.NewServer(httpapi.Config{Name: "object", Logger: slog.New(slog.DiscardHandler),
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(rw, r.WithContext(httpapi.WithRequestID(r.Context(), "tx0123456789abcdef01234-0000000001")))
		})})
	return w
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := prepare(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.serve(ln)
	w.url = "http://" + ln.Addr().String()
	return w
}

// serve answers on ln until the test ends.
func (w *world) serve(ln net.Listener) {
	done := make(chan error, 1)
	go func() { done <- w.server.Serve(ln) }()
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = w.server.Shutdown(ctx)
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

// answer is a response read whole.
type answer struct {
	*http.Response
	body string
}

// do sends a request as token's owner ("" is nobody); headers are pairs.
func (w *world) do(method, path, token string, body io.Reader, headers ...string) *answer {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: read: %v", method, path, err)
	}
	return &answer{resp, string(b)}
}

// as is do by the member of the account, with a check of the status.
func (w *world) as(token, method, path, body string, want int, headers ...string) *answer {
	w.t.Helper()
	var r io.Reader
	if body != "" || method == http.MethodPut {
		r = strings.NewReader(body)
	}
	a := w.do(method, path, token, r, headers...)
	if a.StatusCode != want {
		w.t.Fatalf("%s %s as %q: %s, want %d; body %q", method, path, token, a.Status, want, a.body)
	}
	return a
}

func (w *world) ok(method, path, body string, want int, headers ...string) *answer {
	w.t.Helper()
	return w.as("member", method, path, body, want, headers...)
}

// wants checks headers, given as pairs; the value "-" means absent.
func (a *answer) wants(t *testing.T, pairs ...string) {
	t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		got, ok := a.Header[http.CanonicalHeaderKey(pairs[i])]
		switch {
		case pairs[i+1] == "-" && ok:
			t.Errorf("%s is %q, want none", pairs[i], got)
		case pairs[i+1] != "-" && (!ok || got[0] != pairs[i+1]):
			t.Errorf("%s is %q, want %q", pairs[i], got, pairs[i+1])
		}
	}
}

func (a *answer) wantsBody(t *testing.T, want string) {
	t.Helper()
	if a.body != want {
		t.Errorf("body is\n%q, want\n%q", a.body, want)
	}
}
