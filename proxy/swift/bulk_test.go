package swift_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"testing"
	"time"

	"henge/internal/errs"
)

func TestBulkDelete(t *testing.T) {
	w := newWorld(t)
	w.fill("c", "a%20b", "c%0Ad", "e")
	w.fill("full", "x")
	body := "/c/a%20b\nc/c%0Ad\n\n/c/none\n/c/e\r\nc\nfull\n/nocontainer\n/c/%ff\n"
	w.ok("POST", account+"?bulk-delete", body, 200, "Content-Type", "text/plain", "Accept", "application/json").wantsBody(t,
		`{"Errors":[["full","409 Conflict"],["c/%FF","412 Precondition Failed"]],"Number Deleted":4,"Number Not Found":2,`+
			`"Response Body":"","Response Status":"400 Bad Request"}`)
	w.ok("GET", account, "", 200).wantsBody(t, "full\n")
	w.ok("DELETE", account+"?bulk-delete=1", "full/x\nfull", 200, "Accept", "application/xml").wantsBody(t,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<delete>\n<number_deleted>2</number_deleted>\n<number_not_found>0</number_not_found>\n"+
			"<response_body></response_body>\n<response_status>200 OK</response_status>\n<errors>\n</errors>\n</delete>\n")
	w.ok("POST", account+"?bulk-delete", "\n\n", 200).wantsBody(t,
		"Number Deleted: 0\nNumber Not Found: 0\nResponse Body: Invalid bulk delete.\nResponse Status: 400 Bad Request\nErrors:\n")
	w.ok("POST", account+"?bulk-delete", "x", 406, "Accept", "image/png")
	for name, c := range map[string]struct{ body, ctype, want string }{
		"too many":  {strings.Repeat("c/o\n", 10001), "text/plain", "413 Request Entity Too Large"},
		"too long":  {strings.Repeat("x", 5000), "text/plain", "400 Bad Request"},
		"not plain": {"c/o", "application/json", "406 Not Acceptable"},
	} {
		if a := w.ok("POST", account+"?bulk-delete", c.body, 200, "Content-Type", c.ctype); !strings.Contains(a.body, "Response Status: "+c.want) {
			t.Errorf("%s: %q", name, a.body)
		}
	}
}

func TestBulkDelete_Access(t *testing.T) {
	w := newWorld(t)
	w.fill("c", "a", "b")
	w.fill("d", "a")
	w.ok("POST", account+"/c", "", 204, "X-Container-Write", "p2:*")
	w.as("", "POST", account+"?bulk-delete", "c/a", 401)
	w.as("stranger", "POST", account+"?bulk-delete", "c/a\nd/a\nc", 200).wantsBody(t,
		"Number Deleted: 1\nNumber Not Found: 0\nResponse Body: \nResponse Status: 400 Bad Request\nErrors:\nd/a, 403 Forbidden\nc, 403 Forbidden\n")
	w.core.FailWith(func(op string) error {
		if op == "Delete" {
			return errs.New(errs.Unavailable, "no quorum")
		}
		return nil
	})
	w.ok("POST", account+"?bulk-delete", "c/b", 200).wantsBody(t,
		"Number Deleted: 0\nNumber Not Found: 0\nResponse Body: \nResponse Status: 502 Bad Gateway\nErrors:\nc/b, 503 Service Unavailable\n")
}

func archiveOf(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range files {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(name)), Mode: 0o600,
			PAXRecords: map[string]string{"SCHILY.xattr.user.meta.Color": "blue"}}
		if strings.HasSuffix(name, "/") {
			h = &tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o700}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestExtractArchive(t *testing.T) {
	w := newWorld(t)
	plain := string(archiveOf(t, "c/", "c/a.txt", "./d/e/f", "alone"))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(plain))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	want := `{"Errors":[],"Number Files Created":2,"Response Body":"","Response Status":"201 Created"}`
	w.ok("PUT", account+"?extract-archive=tar", plain, 200, "Accept", "application/json").wantsBody(t, want)
	w.ok("GET", account+"/c/a.txt", "", 200).wants(t, "Content-Type", "text/plain", "X-Object-Meta-Color", "blue")
	w.ok("GET", account+"/d/e/f", "", 200).wantsBody(t, "./d/e/f")
	w.ok("PUT", account+"/into/pre/fix?extract-archive=tar.gz", zipped.String(), 200, "Accept", "application/json").wantsBody(t,
		strings.Replace(want, ":2,", ":3,", 1))
	w.ok("GET", account+"/into", "", 200).wantsBody(t, "pre/fix/alone\npre/fix/c/a.txt\npre/fix/d/e/f\n")
	w.ok("PUT", account+"?extract-archive=zip", "x", 400).wantsBody(t, "Unsupported archive format")
	a := w.ok("PUT", account+"?extract-archive=tar", strings.Repeat("x", 1024), 200)
	if !strings.Contains(a.body, "Response Status: 400 Bad Request") || !strings.Contains(a.body, "Invalid Tar File") {
		t.Errorf("answered %q", a.body)
	}
	// A writer of one container reaches no other.
	w.ok("POST", account+"/c", "", 204, "X-Container-Write", "p2:*")
	w.as("stranger", "PUT", account+"/d?extract-archive=tar", plain, 403)
	w.as("stranger", "PUT", account+"?extract-archive=tar", plain, 403)
	w.as("stranger", "PUT", account+"/c/../d/?extract-archive=tar", string(archiveOf(t, "../../d/evil")), 200)
	w.ok("GET", account+"/d", "", 200).wantsBody(t, "e/f\n")
}

func sign(new func() hash.Hash, key, message string) []byte {
	mac := hmac.New(new, []byte(key))
	_, _ = mac.Write([]byte(message))
	return mac.Sum(nil)
}

func TestTempURL(t *testing.T) {
	w := newWorld(t)
	w.fill("c")
	w.ok("PUT", account+"/c/dir/a%20b.txt", "hello", 201, "X-Object-Meta-Secret", "s", "X-Object-Meta-Public-Note", "n")
	w.ok("POST", account, "", 204, "X-Account-Meta-Temp-Url-Key", "k1", "X-Account-Meta-Temp-Url-Key-2", "k2")
	w.ok("POST", account+"/c", "", 204, "X-Container-Meta-Temp-Url-Key", "kc")
	exp := epoch.Add(time.Minute).Unix()
	message := func(method, path string) string { return fmt.Sprintf("%s\n%d\n%s", method, exp, path) }
	url := func(path, sig string, more ...string) string {
		return account + "/c/" + path + fmt.Sprintf("?temp_url_sig=%s&temp_url_expires=%d", sig, exp) + strings.Join(more, "")
	}
	object := account + "/c/dir/a b.txt"
	hexed := func(b []byte) string { return hex.EncodeToString(b) }
	get := hexed(sign(sha256.New, "k1", message("GET", object)))
	a := w.as("", "GET", url("dir/a%20b.txt", get), "", 200)
	a.wantsBody(t, "hello")
	a.wants(t, "Content-Disposition", `attachment; filename="a b.txt"; filename*=UTF-8''a%20b.txt`, "X-Object-Meta-Secret", "-",
		"X-Object-Meta-Public-Note", "n", "Expires", "Wed, 04 Mar 2026 05:07:07 GMT")
	w.as("", "GET", url("dir/a%20b.txt", get, "&inline"), "", 200).wants(t, "Content-Disposition", "inline")
	w.as("", "GET", url("dir/a%20b.txt", get, "&filename=x%22y"), "", 200).wants(t, "Content-Disposition",
		`attachment; filename="x%22y"; filename*=UTF-8''x%22y`)
	w.as("", "HEAD", url("dir/a%20b.txt", get), "", 200)
	w.as("", "PUT", url("dir/a%20b.txt", get), "evil", 401)
	w.as("", "DELETE", url("dir/a%20b.txt", get), "", 401)
	w.as("", "GET", url("dir/other", get), "", 401).wantsBody(t, "Temp URL invalid\n")
	for name, sig := range map[string]string{
		"sha1":       hexed(sign(sha1.New, "k2", message("GET", object))),
		"sha512":     "sha512:" + base64.URLEncoding.EncodeToString(sign(sha512.New, "kc", message("GET", object))),
		"sha512 hex": hexed(sign(sha512.New, "kc", message("GET", object))),
	} {
		if a := w.do("GET", url("dir/a%20b.txt", sig), "", nil); a.StatusCode != 200 {
			t.Errorf("%s: %s", name, a.Status)
		}
	}
	for name, target := range map[string]string{
		"wrong key": url("dir/a%20b.txt", hexed(sign(sha256.New, "kx", message("GET", object)))), "empty": url("dir/a%20b.txt", ""),
		"short": url("dir/a%20b.txt", get[:20]), "no hex": url("dir/a%20b.txt", strings.Repeat("z", 64)), "md5": url("dir/a%20b.txt", "md5:aaaa"),
		"ip range": url("dir/a%20b.txt", get, "&temp_url_ip_range=0.0.0.0/0"), "later": strings.Replace(url("dir/a%20b.txt", get), "expires=1", "expires=2", 1),
		"no expiry": account + "/c/dir/a%20b.txt?temp_url_sig=" + get, "on a container": account + "/c?temp_url_sig=" + get + "&temp_url_expires=1",
	} {
		if a := w.do("GET", target, "", nil); a.StatusCode != 401 {
			t.Errorf("%s: %s, want 401", name, a.Status)
		}
	}
	prefix := hexed(sign(sha256.New, "k1", message("GET", "prefix:"+account+"/c/dir/")))
	w.as("", "GET", url("dir/a%20b.txt", prefix, "&temp_url_prefix=dir/"), "", 200)
	w.as("", "GET", url("elsewhere", prefix, "&temp_url_prefix=dir/"), "", 401)
	put := hexed(sign(sha256.New, "kc", message("PUT", account+"/c/new")))
	w.as("", "PUT", url("new", put), "made", 201)
	w.as("", "PUT", url("new", put), "", 400, "X-Object-Manifest", "c/dir")
	// The container's key reaches no other container, the account's none of another account.
	w.fill("d", "secret")
	w.as("", "PUT", url("new", put), "", 401, "X-Copy-From", "/d/secret")
	w.as("", "PUT", url("new", put), "", 201, "X-Copy-From", "/c/dir/a%20b.txt")
	w.clock.Advance(time.Minute)
	w.as("", "GET", url("dir/a%20b.txt", get), "", 401)
}

// Errors of the peers become Swift's statuses, and are logged once.
func TestErrors_FromCore(t *testing.T) {
	w := newWorld(t)
	w.fill("c", "o")
	for kind, code := range map[errs.Kind]int{errs.Unavailable: 503, errs.Timeout: 503, errs.NoSpace: 507, errs.Corrupt: 503, errs.Internal: 500,
		errs.Conflict: 409, errs.TooLarge: 413} {
		w.core.FailWith(func(op string) error {
			if op == "Put" {
				return errs.New(kind, "secret cause")
			}
			return nil
		})
		w.logs.Reset()
		a := w.ok("PUT", account+"/c/o", "hello", code)
		if strings.Contains(a.body, "secret") {
			t.Errorf("%v: the cause is shown: %q", kind, a.body)
		}
		if got := strings.Count(w.logs.String(), "secret cause"); got != map[bool]int{true: 1}[code >= 500] {
			t.Errorf("%v: logged %d times", kind, got)
		}
	}
}
