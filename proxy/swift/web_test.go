package swift_test

import (
	"strings"
	"testing"
)

func TestWebSite(t *testing.T) {
	w := newWorld(t)
	w.fill("c", "index.html", "dir/index.html", "dir/a%3Cb", "list/javascript:x", "list/sub/y")
	w.ok("PUT", account+"/c/404error.html", "nothing here", 201)
	w.ok("POST", account+"/c", "", 204, "X-Container-Read", ".r:*", "X-Container-Meta-Web-Index", "index.html")
	w.as("", "GET", account+"/c", "", 301).wants(t, "Location", account+"/c/")
	w.as("", "GET", account+"/c/", "", 200).wants(t, "Content-Type", "text/html", "Etag", md5Hex("x"))
	w.as("", "GET", account+"/c/dir", "", 301).wants(t, "Location", account+"/c/dir/")
	w.as("", "GET", account+"/c/dir/", "", 200).wantsBody(t, "x")
	w.as("", "GET", account+"/c/dir/a%3Cb", "", 200).wantsBody(t, "x")
	w.as("", "GET", account+"/c/list/", "", 404)
	w.ok("GET", account+"/c", "", 200, "Accept", "application/json").wants(t, "Content-Type", "application/json; charset=utf-8")
	w.as("", "PUT", account+"/c/new", "x", 401)

	w.ok("POST", account+"/c", "", 204, "X-Container-Meta-Web-Error", "error.html", "X-Container-Meta-Web-Listings", "true",
		"X-Container-Meta-Web-Listings-Css", "s.css")
	w.as("", "GET", account+"/c/none", "", 404).wantsBody(t, "nothing here")
	w.as("", "GET", account+"/c/list/", "", 401) // listing needs .rlistings
	w.ok("POST", account+"/c", "", 204, "X-Container-Read", ".r:*,.rlistings")
	page := w.as("", "GET", account+"/c/list/", "", 200).body
	for _, want := range []string{`<link rel="stylesheet" type="text/css" href="../s.css" />`, `href="./javascript:x"`, `<a href="./sub/">sub/</a>`, `<a href="../">`} {
		if !strings.Contains(page, want) {
			t.Errorf("the listing has no %s:\n%s", want, page)
		}
	}
	w.as("", "GET", account+"/c/nowhere/", "", 404).wantsBody(t, "nothing here")
	w.ok("GET", account+"/c/list/", "", 404).wantsBody(t, "<html><h1>Not Found</h1><p>The resource could not be found.</p></html>")
	w.ok("GET", account+"/c/list/", "", 200, "X-Web-Mode", "true")

	// A site that is not public stays so.
	w.ok("POST", account+"/c", "", 204, "X-Remove-Container-Read", "x")
	w.as("", "GET", account+"/c/", "", 401)
	w.as("", "GET", account+"/c/none", "", 401)
}
