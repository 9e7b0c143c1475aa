package imaged_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"henge/imaged/library"
	"henge/internal/errs"
)

func TestCreate_BadInput(t *testing.T) {
	c := newCloud(t)
	for name, r := range map[string]struct {
		body   any
		status int
		says   string
	}{
		"not JSON":              {"{", 400, "JSON"},
		"a list":                {"[]", 400, "object"},
		"null":                  {"null", 400, "object"},
		"a wrong disk format":   {map[string]any{"disk_format": "floppy"}, 400, "disk_format"},
		"a wrong container":     {map[string]any{"container_format": "box"}, 400, "container_format"},
		"a name of numbers":     {map[string]any{"name": 7}, 400, "name"},
		"a long name":           {map[string]any{"name": strings.Repeat("é", 256)}, 400, "255"},
		"a negative min_disk":   {map[string]any{"min_disk": -1}, 400, "min_disk"},
		"a huge min_ram":        {map[string]any{"min_ram": int64(1) << 40}, 400, "min_ram"},
		"a broken min_ram":      {map[string]any{"min_ram": 1.5}, 400, "min_ram"},
		"a word for protected":  {map[string]any{"protected": "yes"}, 400, "protected"},
		"an unknown visibility": {map[string]any{"visibility": "secret"}, 400, "visibility"},
		"public":                {map[string]any{"visibility": "public"}, 403, "publicize"},
		"somebody's":            {map[string]any{"owner": "p2"}, 403, "owned by"},
		"a number":              {map[string]any{"os_distro": 3}, 400, "os_distro"},
		"null for a property":   {map[string]any{"os_distro": nil}, 400, "os_distro"},
		"a kernel by name":      {map[string]any{"kernel_id": "vmlinuz"}, 400, "kernel_id"},
		"an id by name":         {map[string]any{"id": "my-image"}, 400, "UUID"},
		"a status":              {map[string]any{"status": "active"}, 403, "read-only"},
		"a reserved one":        {map[string]any{"os_glance_foo": "x"}, 403, "reserved"},
		"deleted":               {map[string]any{"deleted": "x"}, 403, "reserved"},
		"locations":             {map[string]any{"locations": []any{}}, 403, "locations"},
		"many tags":             {map[string]any{"tags": numbered(129)}, 413, "tags"},
		"tags of numbers":       {map[string]any{"tags": []int{1}}, 400, "tags"},
		"a long tag":            {map[string]any{"tags": []string{strings.Repeat("x", 256)}}, 400, "tag"},
		"many properties":       {properties(129), 413, "properties"},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.do("ann", "POST", "/v2/images", r.body).want(r.status, r.says)
			if kind := a.header.Get("Content-Type"); !strings.HasPrefix(kind, "text/html") {
				t.Errorf("the fault is %s", kind)
			}
			fault := c.do("ann", "POST", "/v2/images", r.body, "Accept", "application/json").want(r.status).json()
			if message, _ := fault["message"].(string); !strings.Contains(message, r.says) || fault["code"] == nil {
				t.Errorf("as JSON: %v", fault)
			}
		})
	}
	c.do("reader", "POST", "/v2/images", map[string]any{}).want(403, "add_image")
	c.do("nobody", "POST", "/v2/images", map[string]any{}).want(401, `"code":401`)
	id := c.create("ann", "id", "11111111-2222-3333-4444-555555555555", "kernel_id", nil)
	c.do("bob", "POST", "/v2/images", map[string]any{"id": id}).want(409, "already exists")
}

func numbered(n int) []string {
	all := []string{}
	for i := range n {
		all = append(all, fmt.Sprintf("t%03d", i))
	}
	return all
}

func properties(n int) map[string]any {
	all := map[string]any{}
	for _, name := range numbered(n) {
		all[name] = "x"
	}
	return all
}

func TestWhoSeesWhat(t *testing.T) {
	c := newCloud(t)
	private, shared, community := c.create("ann", "visibility", "private"), c.create("ann"), c.create("ann", "visibility", "community")
	public := c.create("admin", "visibility", "public")
	for _, id := range []string{private, shared} {
		c.do("bob", "GET", "/v2/images/"+id, nil).want(404)
		c.do("bob", "DELETE", "/v2/images/"+id, nil).want(404)
		c.patch("bob", id, replace("name", "mine")).want(404)
		c.upload("bob", id, []byte("x")).want(404)
	}
	for _, id := range []string{community, public} {
		c.do("bob", "GET", "/v2/images/"+id, nil).want(200)
		c.do("bob", "DELETE", "/v2/images/"+id, nil).want(403)
		c.patch("bob", id, replace("name", "mine")).want(403)
		c.upload("bob", id, []byte("x")).want(403)
		c.do("bob", "PUT", "/v2/images/"+id+"/tags/x", nil).want(403)
		c.do("bob", "POST", "/v2/images/"+id+"/actions/deactivate", nil).want(403)
	}
	c.do("reader", "GET", "/v2/images/"+private, nil).want(200)
	c.patch("reader", private, replace("name", "mine")).want(403)
	c.do("reader", "DELETE", "/v2/images/"+private, nil).want(403)
	for query, want := range map[string][]string{"": {public}, "?visibility=community": {community}, "?visibility=public": {public}, "?visibility=private": {}} {
		if got := c.ids("bob", query); !same(got, want) {
			t.Errorf("bob lists %q: %v, want %v", query, got, want)
		}
	}
	if got := c.ids("bob", "?visibility=all"); len(got) != 2 {
		t.Errorf("bob lists all: %v", got)
	}
	if got := c.ids("admin", "?limit=100"); len(got) != 3 {
		t.Errorf("admin lists %v", got)
	}
}

func TestMembers(t *testing.T) {
	c := newCloud(t)
	id := c.create("ann", "name", "shared")
	path := "/v2/images/" + id + "/members"
	m := c.do("ann", "POST", path, map[string]any{"member": "p2"}).want(200).json()
	if m["status"] != "pending" || m["member_id"] != "p2" || m["image_id"] != id || m["schema"] != "/v2/schemas/member" {
		t.Fatalf("member %v", m)
	}
	c.do("ann", "POST", path, map[string]any{"member": "p2"}).want(409)
	c.do("ann", "POST", path, map[string]any{"member": 7}).want(400)
	c.do("ann", "POST", path, "{}").want(400)
	c.do("bob", "GET", "/v2/images/"+id, nil).want(200)
	if got := c.ids("bob", ""); len(got) != 0 {
		t.Errorf("a pending image is in the list: %v", got)
	}
	if got := c.ids("bob", "?visibility=shared&member_status=pending"); !same(got, []string{id}) {
		t.Errorf("pending: %v", got)
	}
	c.do("ann", "PUT", path+"/p2", map[string]any{"status": "accepted"}).want(403)
	c.do("bob", "PUT", path+"/p2", map[string]any{"status": "maybe"}).want(400)
	c.do("bob", "PUT", path+"/p2", map[string]any{"status": "accepted"}).want(200)
	if got := c.ids("bob", ""); !same(got, []string{id}) {
		t.Errorf("accepted: %v", got)
	}
	c.do("ann", "POST", path, map[string]any{"member": "p3"}).want(200)
	if list := c.do("bob", "GET", path, nil).want(200).json()["members"].([]any); len(list) != 1 {
		t.Errorf("bob sees %v", list)
	}
	if list := c.do("ann", "GET", path, nil).want(200).json()["members"].([]any); len(list) != 2 {
		t.Errorf("ann sees %v", list)
	}
	c.do("bob", "GET", path+"/p3", nil).want(404)
	c.do("bob", "POST", path, map[string]any{"member": "p4"}).want(403)
	c.do("bob", "DELETE", path+"/p2", nil).want(403)
	c.do("ann", "DELETE", path+"/p2", nil).want(204)
	c.do("ann", "DELETE", path+"/p2", nil).want(404)
	c.do("bob", "GET", "/v2/images/"+id, nil).want(404)
	c.patch("ann", id, replace("visibility", "private")).want(200)
	c.do("ann", "GET", path, nil).want(403, "Only shared images")
	c.do("ann", "POST", path, map[string]any{"member": "p2"}).want(403)
}

func TestPatch(t *testing.T) {
	c := newCloud(t)
	id := c.create("ann", "name", "old", "color", "red", "a/b~c", "x")
	got := c.patch("ann", id, replace("name", "new"), map[string]any{"op": "add", "path": "/size~1of~0it", "value": "big"}, map[string]any{"op": "remove", "path": "/color"},
		replace("a~1b~0c", "y"), replace("min_disk", 3), replace("tags", []string{"b", "a", "b"})).want(200).json()
	for name, want := range map[string]any{"name": "new", "size/of~it": "big", "a/b~c": "y", "min_disk": float64(3)} {
		if got[name] != want {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	if _, there := got["color"]; there || fmt.Sprint(got["tags"]) != "[a b]" {
		t.Errorf("after the patch %v", got)
	}
	for name, r := range map[string]struct {
		steps  any
		status int
	}{
		"not a list":          {map[string]any{}, 400},
		"not objects":         {[]any{1}, 400},
		"null":                {[]any{nil}, 400},
		"no op":               {[]any{map[string]any{"path": "/name", "value": "x"}}, 400},
		"another op":          {[]any{map[string]any{"op": "move", "path": "/name", "value": "x"}}, 400},
		"no path":             {[]any{map[string]any{"op": "add", "value": "x"}}, 400},
		"no slash":            {[]any{map[string]any{"op": "add", "path": "name", "value": "x"}}, 400},
		"too deep":            {[]any{map[string]any{"op": "add", "path": "/tags/0", "value": "x"}}, 400},
		"a broken escape":     {[]any{map[string]any{"op": "add", "path": "/a~2", "value": "x"}}, 400},
		"no value":            {[]any{map[string]any{"op": "replace", "path": "/name"}}, 400},
		"status":              {[]any{replace("status", "active")}, 403},
		"id":                  {[]any{replace("id", "11111111-2222-3333-4444-555555555555")}, 403},
		"locations":           {[]any{map[string]any{"op": "add", "path": "/locations/-", "value": map[string]any{}}}, 403},
		"owner":               {[]any{replace("owner", "p2")}, 403},
		"public":              {[]any{replace("visibility", "public")}, 403},
		"what is not there":   {[]any{replace("shape", "round")}, 409},
		"remove what is not":  {[]any{map[string]any{"op": "remove", "path": "/shape"}}, 409},
		"remove the name":     {[]any{map[string]any{"op": "remove", "path": "/name"}}, 403},
		"a value of no type":  {[]any{replace("protected", "x")}, 400},
		"half of it is wrong": {[]any{replace("name", "half"), replace("min_ram", "x")}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := json.Marshal(r.steps)
			if err != nil {
				t.Fatal(err)
			}
			c.do("ann", "PATCH", "/v2/images/"+id, string(raw), "Content-Type", "application/openstack-images-v2.1-json-patch").want(r.status)
		})
	}
	if name := c.do("ann", "GET", "/v2/images/"+id, nil).want(200).text("name"); name != "new" {
		t.Errorf("a patch that failed left the name %q", name)
	}
	c.do("ann", "PATCH", "/v2/images/"+id, "[]", "Content-Type", "application/json").want(415, "json-patch")
	old := func(body string) answer {
		return c.do("ann", "PATCH", "/v2/images/"+id, body, "Content-Type", "application/openstack-images-v2.0-json-patch")
	}
	old(`[{"replace": "/name", "value": "older"}, {"add": "/taste", "value": "sweet"}]`).want(200, "older", "sweet")
	old(`[{"add": "/taste", "value": "sour"}]`).want(409)
	old(`[{"remove": "/taste"}]`).want(200)
	old(`[{"op": "remove", "path": "/taste"}]`).want(400)
	c.upload("ann", id, []byte("x")).want(204)
	c.patch("ann", id, replace("disk_format", "iso")).want(403, "queued image")
	c.patch("admin", id, replace("owner", "p2")).want(200)
	c.do("ann", "GET", "/v2/images/"+id, nil).want(404)
}

func TestProtectedAndDeactivated(t *testing.T) {
	c := newCloud(t)
	id := c.create("ann", "protected", true)
	c.do("ann", "DELETE", "/v2/images/"+id, nil).want(403, "protected")
	c.do("ann", "POST", "/v2/images/"+id+"/actions/deactivate", nil).want(403, "queued")
	c.upload("ann", id, pattern(10)).want(204)
	c.do("ann", "POST", "/v2/images/"+id+"/actions/deactivate", nil).want(204)
	c.do("ann", "GET", "/v2/images/"+id+"/file", nil).want(403, "deactivated")
	c.do("admin", "GET", "/v2/images/"+id+"/file", nil).want(200)
	if got := c.status(id); got != "deactivated" {
		t.Errorf("it is %s", got)
	}
	c.do("ann", "POST", "/v2/images/"+id+"/actions/reactivate", nil).want(204)
	c.do("ann", "POST", "/v2/images/"+id+"/actions/reactivate", nil).want(204)
	c.do("ann", "GET", "/v2/images/"+id+"/file", nil).want(200)
	c.patch("ann", id, replace("protected", false)).want(200)
	c.do("ann", "DELETE", "/v2/images/"+id, nil).want(204)
	c.do("ann", "DELETE", "/v2/images/"+id, nil).want(404)
}

func TestTags(t *testing.T) {
	c := newCloud(t)
	id := c.create("ann")
	c.do("ann", "PUT", "/v2/images/"+id+"/tags/one", nil).want(204)
	c.do("ann", "PUT", "/v2/images/"+id+"/tags/two%2Fthree", nil).want(204)
	c.do("ann", "PUT", "/v2/images/"+id+"/tags/one", nil).want(204)
	if got := c.do("ann", "GET", "/v2/images/"+id, nil).json()["tags"]; fmt.Sprint(got) != "[one two/three]" {
		t.Errorf("tags %v", got)
	}
	c.do("ann", "DELETE", "/v2/images/"+id+"/tags/one", nil).want(204)
	c.do("ann", "DELETE", "/v2/images/"+id+"/tags/one", nil).want(404)
	c.do("ann", "PUT", "/v2/images/"+id+"/tags/"+strings.Repeat("x", 256), nil).want(400)
	c.do("ann", "PUT", "/v2/images/nothing/tags/x", nil).want(404)
}

func TestList(t *testing.T) {
	c := newCloud(t)
	var all []string
	for i := range 7 {
		id := c.create("ann", "name", fmt.Sprintf("image %d", i%3), "disk_format", []string{"raw", "aki"}[i%2], "min_ram", i, "color", []string{"red", "blue"}[i%2], "tags", numbered(i))
		if i < 4 {
			c.upload("ann", id, pattern(100*(i+1))).want(204)
		}
		all = append(all, id)
		c.clock.Advance(time.Minute)
	}
	of := func(n ...int) (ids []string) {
		for _, i := range n {
			ids = append(ids, all[i])
		}
		return ids
	}
	for query, want := range map[string][]string{
		"": of(6, 5, 4, 3, 2, 1, 0), "?sort=created_at:asc": of(0, 1, 2, 3, 4, 5, 6), "?limit=2": of(6, 5), "?limit=2&marker=" + all[5]: of(4, 3), "?limit=0": {},
		"?sort=name:asc,min_ram:desc": of(6, 3, 0, 4, 1, 5, 2), "?sort_key=name&sort_key=created_at&sort_dir=asc": of(0, 3, 6, 1, 4, 2, 5),
		"?sort_key=min_ram&sort_dir=asc": of(0, 1, 2, 3, 4, 5, 6), "?sort_key=size": of(3, 2, 1, 0, 6, 5, 4), "?name=image+1": of(4, 1), "?name=in:image+1,\"image+2\"": of(5, 4, 2, 1),
		"?disk_format=aki": of(5, 3, 1), "?status=queued": of(6, 5, 4), "?status=in:queued,active&limit=1": of(6), "?size_min=200&size_max=300": of(2, 1), "?size=100": of(0),
		"?color=blue": of(5, 3, 1), "?tag=t001&tag=t003": of(6, 5, 4), "?min_ram=3": of(3), "?owner=p1&limit=1": of(6), "?owner=p2": {}, "?protected=true": {}, "?os_hidden=true": {},
		"?created_at=gt:2026-01-02T03:08:05Z": of(6, 5), "?created_at=lte:2026-01-02T03:04:05Z": of(0), "?checksum=" + sum(pattern(200)): of(1), "?shape=round": {}, "?id=" + all[3]: of(3),
	} {
		if got := c.ids("ann", query); !same(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	page := c.do("ann", "GET", "/v2/images?limit=3", nil).want(200).json()
	next, _ := page["next"].(string)
	if page["first"] != "/v2/images?limit=3" || page["schema"] != "/v2/schemas/images" || !strings.Contains(next, "marker="+all[4]) {
		t.Errorf("page %v %v", page["first"], next)
	}
	if got := c.ids("ann", strings.TrimPrefix(next, "/v2/images")); !same(got, of(3, 2, 1)) {
		t.Errorf("next: %v", got)
	}
	for _, query := range []string{"?limit=x", "?limit=-1", "?marker=nothing", "?sort=shape", "?sort=name:up", "?sort_key=x", "?sort=name&sort_key=name", "?sort_key=name&sort_dir=asc&sort_dir=asc",
		"?visibility=secret", "?member_status=x", "?protected=x", "?size_min=x", "?size=-1", "?created_at=yesterday", "?name=in:\"open", "?os_hidden=2"} {
		c.do("ann", "GET", "/v2/images"+query, nil).want(400)
	}
}

func TestImport_GlanceDirect(t *testing.T) {
	c := newCloud(t)
	if got := fmt.Sprint(c.do("ann", "GET", "/v2/info/import", nil).want(200).json()["import-methods"].(map[string]any)["value"]); got != "[glance-direct]" {
		t.Errorf("methods %s", got)
	}
	c.do("ann", "GET", "/v2/info/stores", nil).want(404)
	id := c.create("ann")
	direct := map[string]any{"method": map[string]any{"name": "glance-direct"}}
	c.do("ann", "POST", "/v2/images/"+id+"/import", direct).want(409, "staged")
	stage := func(id string, data []byte) answer {
		return c.do("ann", "PUT", "/v2/images/"+id+"/stage", string(data), "Content-Type", "application/octet-stream")
	}
	data := pattern(segment + 5)
	stage(id, data).want(204)
	if got := c.status(id); got != "uploading" {
		t.Errorf("staged, it is %s", got)
	}
	c.do("ann", "GET", "/v2/images/"+id+"/file", nil).want(204)
	stage(id, data).want(409)
	c.do("ann", "POST", "/v2/images/"+id+"/import", map[string]any{"method": map[string]any{"name": "copy-image"}}).want(400, "glance-direct")
	c.do("ann", "POST", "/v2/images/"+id+"/import", map[string]any{"method": map[string]any{"name": "glance-direct"}, "stores": []string{"x"}}).want(400)
	c.do("ann", "POST", "/v2/images/"+id+"/import", "{").want(400)
	c.do("ann", "POST", "/v2/images/"+id+"/import", direct).want(202)
	if got := c.do("ann", "GET", "/v2/images/"+id+"/file", nil).want(200); string(got.raw) != string(data) {
		t.Error("other bytes")
	}
	c.do("ann", "GET", "/v2/images/"+id+"/tasks", nil).want(200, `"status":"success"`, `"name":"glance-direct"`)
	c.do("bob", "GET", "/v2/images/"+id+"/tasks", nil).want(404)
	// Content is judged by what the image says when it is imported.
	late := c.create("ann", "disk_format", nil)
	stage(late, data).want(204)
	c.do("ann", "POST", "/v2/images/"+late+"/import", direct).want(400, "disk_format")
	c.do("ann", "DELETE", "/v2/images/"+late, nil).want(204)
	bad := c.create("ann", "disk_format", "qcow2")
	stage(bad, data).want(400, "QCOW2")
	c.clock.Advance(72 * time.Hour)
	c.library.Sweep(t.Context())
	if tasks := c.do("ann", "GET", "/v2/images/"+id+"/tasks", nil).want(200).json()["tasks"].([]any); len(tasks) != 0 {
		t.Errorf("after three days there are %v", tasks)
	}
	if n := len(c.segments()); n != 2 {
		t.Errorf("%d segments are left", n)
	}
}

func TestDiscovery(t *testing.T) {
	c := newCloud(t)
	c.do("", "GET", "/", nil).want(300, `"id":"v2.13"`, "CURRENT", c.url+"/v2/")
	c.do("", "GET", "/versions", nil).want(200, `"id":"v2.0"`)
	c.do("", "GET", "/healthcheck", nil).want(200)
	for _, name := range []string{"image", "images", "member", "members", "task", "tasks"} {
		if got := c.do("ann", "GET", "/v2/schemas/"+name, nil).want(200).text("name"); got != name {
			t.Errorf("schema %s is called %s", name, got)
		}
	}
	c.do("ann", "GET", "/v2/schemas/nothing", nil).want(404)
	c.do("ann", "GET", "/v2/images/", nil).want(404)
	c.do("ann", "GET", "/v1/images", nil).want(404)
	if allow := c.do("ann", "PUT", "/v2/images", nil).want(405).header.Get("Allow"); !strings.Contains(allow, "POST") {
		t.Errorf("Allow: %s", allow)
	}
	c.do("", "GET", "/v2/images", nil).want(401)
}

// web is a Fetcher that knows one page.
type web struct{ data string }

func (w web) Check(url string) error {
	if !strings.HasPrefix(url, "http") {
		return errs.New(errs.Invalid, "not by this scheme")
	}
	return nil
}

func (w web) Fetch(_ context.Context, url string) (io.ReadCloser, int64, error) {
	if !strings.HasSuffix(url, "/good") {
		return nil, 0, errs.New(errs.Invalid, "nobody answers at %s", url)
	}
	return io.NopCloser(strings.NewReader(w.data)), int64(len(w.data)), nil
}

func TestImport_WebDownload(t *testing.T) {
	data := string(pattern(2*segment + 3))
	c := newCloud(t, func(cfg *library.Config) { cfg.Fetch = web{data} })
	load := func(id, uri string) answer {
		return c.do("ann", "POST", "/v2/images/"+id+"/import", map[string]any{"method": map[string]any{"name": "web-download", "uri": uri}, "all_stores": true})
	}
	c.do("ann", "GET", "/v2/info/import", nil).want(200, `["glance-direct","web-download"]`)
	id := c.create("ann")
	load(id, "").want(400)
	load(id, "file:///etc/passwd").want(400)
	load(id, "http://x/bad").want(202)
	eventually(t, "queued again", func() bool { return c.status(id) == "queued" })
	c.do("ann", "GET", "/v2/images/"+id, nil).want(200, "os_glance_failed_import", "nobody answers")
	load(id, "http://x/good").want(202)
	eventually(t, "active", func() bool { return c.status(id) == "active" })
	if got := c.do("ann", "GET", "/v2/images/"+id+"/file", nil).want(200); string(got.raw) != data {
		t.Error("other bytes")
	}
	c.do("ann", "GET", "/v2/images/"+id+"/tasks", nil).want(200, `"status":"failure"`, `"status":"success"`, "http://x/good")
	load(id, "http://x/good").want(409)
	load("nothing", "http://x/good").want(404)
	bad := c.create("ann", "disk_format", "qcow2")
	load(bad, "http://x/good").want(202)
	eventually(t, "killed", func() bool { return c.status(bad) == "killed" })
	eventually(t, "clean", func() bool { return len(c.segments()) == 3 && len(c.uploads()) == 0 })
}

func TestMetadefs(t *testing.T) {
	c := newCloud(t)
	const root = "/v2/metadefs/namespaces"
	body := map[string]any{"namespace": "ns", "visibility": "public", "protected": true, "resource_type_associations": []any{map[string]any{"name": "OS::Glance::Image", "prefix": "hw_"}},
		"properties": map[string]any{"cores": map[string]any{"title": "Cores", "type": "integer"}}, "tags": []any{map[string]any{"name": "t1"}}}
	c.do("ann", "POST", root, body).want(403)
	c.do("admin", "POST", root, body).want(201, `"namespace":"ns"`)
	c.do("admin", "POST", root, body).want(409)
	c.do("ann", "GET", root+"/ns", nil).want(200, `"cores"`, `"prefix":"hw_"`, `"t1"`)
	c.do("ann", "GET", root+"?resource_types=OS::Glance::Image", nil).want(200, `"ns"`)
	c.do("admin", "DELETE", root+"/ns", nil).want(403, "protected")
	c.do("admin", "PUT", root+"/ns", map[string]any{"namespace": "other", "visibility": "private"}).want(200, `"protected":false`)
	c.do("ann", "GET", root+"/other", nil).want(404)
	c.do("admin", "GET", root+"/ns", nil).want(404)
	for _, k := range []string{"objects", "tags", "properties"} {
		c.do("admin", "DELETE", root+"/other/"+k, nil).want(204)
	}
	c.do("admin", "POST", root+"/other/objects", map[string]any{"name": "cpu", "required": []string{"cores"}}).want(201)
	c.do("admin", "POST", root+"/other/objects", map[string]any{"name": "cpu"}).want(409)
	c.do("admin", "PUT", root+"/other/objects/cpu", map[string]any{"name": "processor"}).want(200)
	c.do("admin", "GET", root+"/other/objects/cpu", nil).want(404)
	c.do("admin", "GET", root+"/other/objects", nil).want(200, `"processor"`)
	c.do("admin", "DELETE", root+"/other/objects/processor", nil).want(204)
	c.do("admin", "POST", root+"/other/tags", map[string]any{"tags": []any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}}).want(201)
	c.do("admin", "POST", root+"/other/tags/c", nil).want(201)
	c.do("admin", "PUT", root+"/other/tags/c", map[string]any{"name": "d"}).want(200)
	c.do("admin", "DELETE", root+"/other/tags/c", nil).want(404)
	c.do("admin", "POST", root+"/other/properties", map[string]any{"name": "x", "title": "X", "type": "string"}).want(201)
	c.do("admin", "GET", root+"/other/properties", nil).want(200, `"x":{`)
	c.do("admin", "POST", root+"/other/resource_types", map[string]any{"name": "OS::My::Thing"}).want(201)
	c.do("ann", "GET", "/v2/metadefs/resource_types", nil).want(200, "OS::My::Thing", "OS::Nova::Flavor")
	c.do("admin", "DELETE", root+"/other/resource_types/OS::My::Thing", nil).want(204)
	c.do("admin", "DELETE", root+"/other/resource_types/OS::My::Thing", nil).want(404)
	for name, bad := range map[string]any{"no name": map[string]any{}, "a list": []any{}, "a slash": map[string]any{"namespace": "a/b"}, "a wrong visibility": map[string]any{"namespace": "x", "visibility": "shared"},
		"a property of no type": map[string]any{"namespace": "x", "properties": map[string]any{"p": map[string]any{"title": "P"}}}, "tags of strings": map[string]any{"namespace": "x", "tags": []any{"t"}}} {
		if got := c.do("admin", "POST", root, bad); got.status != 400 {
			t.Errorf("%s: %d %s", name, got.status, got.raw)
		}
	}
	c.do("admin", "DELETE", root+"/other", nil).want(204)
	for _, name := range []string{"namespace", "namespaces", "resource_type", "object", "objects", "property", "properties", "tag", "tags"} {
		c.do("ann", "GET", "/v2/schemas/metadefs/"+name, nil).want(200, `"name":"`)
	}
}
