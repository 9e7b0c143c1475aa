package s3

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// fetch is an unsigned request of a whole URL.
func (w *world) fetch(method, target, body string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.send(r)
}

func unescape(t testing.TB, s string) string {
	t.Helper()
	u, err := url.PathUnescape(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
