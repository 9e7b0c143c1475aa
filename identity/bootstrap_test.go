package identity

import (
	"strings"
	"testing"

	"henge/cluster/state"
	"henge/internal/errs"
)

// dump is everything in the store, as text.
func dump(t *testing.T, store state.Store) string {
	t.Helper()
	var b strings.Builder
	err := store.View(t.Context(), func(r state.Reader) error {
		for key, value := range r.Scan("") {
			b.WriteString(key + "=" + string(value) + "\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestBootstrap_NoWellKnownPassword(t *testing.T) {
	for _, password := range []string{"", "short"} {
		store := state.NewMemory()
		if _, err := Bootstrap(t.Context(), store, BootstrapConfig{AdminPassword: password}); !errs.Is(err, errs.Invalid) {
			t.Errorf("password %q: %v", password, err)
		}
		if dump(t, store) != "" {
			t.Errorf("password %q left something behind", password)
		}
	}
}
