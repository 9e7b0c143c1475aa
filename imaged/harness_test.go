package imaged_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/imaged/api"
	"henge/imaged/library"
	"henge/imaged/vault"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/proxy/core"
	"henge/proxy/core/coretest"
)

// people are the tokens that the tests' cloud knows.
type people map[string]*authn.Identity

func (p people) Token(_ context.Context, token string) (*authn.Identity, error) {
	if id := p[token]; id != nil {
		return id, nil
	}
	return nil, errs.New(errs.Unauthenticated, "nobody's token")
}

func person(name, project, role string) *authn.Identity {
	roles := []string{"reader"}
	for _, r := range []string{"member", "admin"} {
		if role == r || role == "admin" {
			roles = append(roles, r)
		}
	}
	return &authn.Identity{UserID: name, UserName: name, ProjectID: project, ProjectName: project, Roles: roles}
}

// cloud is an image service over stores in memory.
type cloud struct {
	t       *testing.T
	clock   *clock.Manual
	store   *state.Memory
	objects *coretest.Memory
	library *library.Library
	url     string
}

const segment = 64 << 10 // small, so that images have several

func newCloud(t *testing.T, change ...func(*library.Config)) *cloud {
	t.Helper()
	c := &cloud{t: t, clock: clock.NewManual(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), store: state.NewMemory()}
	c.objects = coretest.New(c.clock)
	cfg := library.Config{Store: c.store, Objects: c.objects, Clock: c.clock, Logger: slog.New(slog.DiscardHandler), Peer: "peer-1", SegmentBytes: segment}
	for _, fn := range change {
		fn(&cfg)
	}
	c.library = library.New(cfg)
	c.serve(c.library)
	return c
}

func (c *cloud) serve(l *library.Library) {
	tokens := people{"ann": person("ann", "p1", "member"), "bob": person("bob", "p2", "member"), "reader": person("reader", "p1", "reader"), "admin": person("admin", "p0", "admin")}
	handler := api.New(api.Config{Store: c.store, Library: l, Tokens: tokens, Clock: c.clock, Logger: slog.New(slog.DiscardHandler), IdentityURL: "http://id/v3"})
	server := httptest.NewUnstartedServer(nil)
	own := httpapi.NewServer(httpapi.Config{Name: "image", Handler: handler, Logger: slog.New(slog.DiscardHandler)})
	go func() {
		if err := own.Serve(server.Listener); err != nil {
			panic(err)
		}
	}()
	c.url = "http://" + server.Listener.Addr().String()
	c.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = own.Shutdown(ctx)
	})
}

// answer is what came back.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	raw    []byte
}

// do sends a request; body is a string, a reader or something for JSON; headers come in pairs.
func (c *cloud) do(who, method, path string, body any, headers ...string) answer {
	c.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	case io.Reader:
		in = b
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, in)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", who)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	return answer{c.t, who + ": " + method + " " + path, resp.StatusCode, resp.Header, raw}
}

// want fails the test at another status.
func (a answer) want(status int, says ...string) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d, want %d: %.600s", a.what, a.status, status, a.raw)
	}
	for _, s := range says {
		if !strings.Contains(string(a.raw), s) {
			a.t.Fatalf("%s: no %q in %.600s", a.what, s, a.raw)
		}
	}
	return a
}

func (a answer) json() map[string]any {
	a.t.Helper()
	var d map[string]any
	if err := json.Unmarshal(a.raw, &d); err != nil {
		a.t.Fatalf("%s: %v in %.300s", a.what, err, a.raw)
	}
	return d
}

func (a answer) text(name string) string {
	a.t.Helper()
	s, _ := a.json()[name].(string)
	return s
}

// create makes an image and gives its id. Fields come in pairs.
func (c *cloud) create(who string, fields ...any) string {
	c.t.Helper()
	body := map[string]any{"disk_format": "raw", "container_format": "bare"}
	for i := 0; i < len(fields); i += 2 {
		body[fields[i].(string)] = fields[i+1]
	}
	return c.do(who, "POST", "/v2/images", body).want(201).text("id")
}

func (c *cloud) upload(who, id string, data []byte) answer {
	c.t.Helper()
	return c.do(who, "PUT", "/v2/images/"+id+"/file", bytes.NewReader(data), "Content-Type", "application/octet-stream")
}

func (c *cloud) status(id string) string {
	c.t.Helper()
	return c.do("admin", "GET", "/v2/images/"+id, nil).want(200).text("status")
}

func (c *cloud) patch(who, id string, steps ...any) answer {
	c.t.Helper()
	return c.do(who, "PATCH", "/v2/images/"+id, steps, "Content-Type", "application/openstack-images-v2.1-json-patch")
}

func replace(name string, value any) map[string]any {
	return map[string]any{"op": "replace", "path": "/" + name, "value": value}
}

// segments are the names of all objects that hold image data.
func (c *cloud) segments() []string {
	c.t.Helper()
	page, err := c.objects.ListObjects(c.t.Context(), vault.Account, vault.Container, core.ListOptions{Limit: 10_000})
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		c.t.Fatal(err)
	}
	var names []string
	for _, e := range page.Entries {
		names = append(names, e.Name)
	}
	return names
}

// pattern is size bytes that differ everywhere.
func pattern(size int) []byte {
	data := make([]byte, size)
	x := uint32(size)*2654435761 + 1
	for i := range data {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		data[i] = byte(x)
	}
	return data
}

func sum(data []byte) string {
	s := md5.Sum(data)
	return hex.EncodeToString(s[:])
}

// ids are the images of a list, in order.
func (c *cloud) ids(who, query string) []string {
	c.t.Helper()
	var page struct{ Images []struct{ ID string } }
	a := c.do(who, "GET", "/v2/images"+query, nil).want(200)
	if err := json.Unmarshal(a.raw, &page); err != nil {
		c.t.Fatal(err)
	}
	all := []string{}
	for _, i := range page.Images {
		all = append(all, i.ID)
	}
	return all
}

func same(a, b []string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }
