package fetch_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"henge/imaged/fetch"
	"henge/internal/errs"
)

func fetcher(t *testing.T, allow ...string) *fetch.Fetcher {
	t.Helper()
	f, err := fetch.New(allow)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCheck(t *testing.T) {
	f := fetcher(t, "Mirror.example:8080", "10.1.2.3", "[fd00::1]:80")
	for _, good := range []string{"http://example.org/a", "https://example.org", "https://example.org:443/", "http://8.8.8.8/x", "http://mirror.EXAMPLE:8080/", "https://10.1.2.3/", "http://[fd00::1]/"} {
		if err := f.Check(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "nothing", "file:///etc/passwd", "ftp://example.org/", "http:///x", "http://user:pw@example.org/", "http://example.org:22/", "http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest",
		"http://10.0.0.1/", "http://192.168.0.1", "http://[fe80::1]/", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/", "http://100.64.0.1/", "http://[64:ff9b::7f00:1]/", "http://10.1.2.3:81/",
		"http://mirror.example:8081/", "http://224.0.0.1/", "%zz", "http://" + strings.Repeat("x", 3000),
	} {
		if err := f.Check(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, wrong := range []string{"", "a/b", "http://x"} {
		if _, err := fetch.New([]string{wrong}); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

func TestFetch(t *testing.T) {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") }))
	defer secret.Close()
	mux.HandleFunc("/image", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "bytes") })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, secret.URL, http.StatusFound) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/image", http.StatusFound) })
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	f := fetcher(t, strings.TrimPrefix(server.URL, "http://"))
	for _, path := range []string{"/image", "/moved"} {
		body, size, err := f.Fetch(t.Context(), server.URL+path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(body); err != nil || string(got) != "bytes" || size != 5 {
			t.Fatalf("%q of %d, %v", got, size, err)
		}
		if err := body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/away", "/round", "/nothing"} {
		if _, _, err := f.Fetch(t.Context(), server.URL+path); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// A name that means this machine is found out when it is resolved.
	if _, _, err := f.Fetch(t.Context(), "http://localhost/"); err == nil || !strings.Contains(err.Error(), "public addresses") {
		t.Errorf("localhost: %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("http://example.org/")
	f.Add("http://[::1%25lo]:80/")
	f.Fuzz(func(t *testing.T, text string) {
		if err := fetcher(t).Check(text); err == nil && !strings.HasPrefix(strings.ToLower(text), "http") {
			t.Fatalf("%q was taken", text)
		}
	})
}
