package swift_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"henge/internal/clock"
	"henge/proxy/core"
	"henge/proxy/core/coretest"
	"henge/proxy/swift"
)

// nowhere is a ResponseWriter that costs nothing.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// What the dialect itself costs, without a network and with a store in memory.
func BenchmarkDialect(b *testing.B) {
	store := coretest.New(clock.System{})
	h := swift.New(swift.Config{Core: store, Tokens: people, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler)})
	if _, err := store.PutContainer(b.Context(), "AUTH_p1", "c", core.PutContainer{}); err != nil {
		b.Fatal(err)
	}
	body := strings.Repeat("x", 4096)
	for _, method := range []string{"PUT", "GET", "HEAD", "POST"} {
		b.Run(method, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(method, account+"/c/o", strings.NewReader(body))
				r.Header.Set("X-Auth-Token", "member")
				r.Header.Set("X-Object-Meta-Color", "blue")
				h.ServeHTTP(nowhere{make(http.Header)}, r)
			}
		})
	}
}
