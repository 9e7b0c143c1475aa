package identity

import (
	"strings"
	"testing"

	"henge/cluster/state"
	"henge/identity/model"
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

// The roles that the dialects of the object store ask for are there to be given.
func TestBootstrap_Roles(t *testing.T) {
	c := newCloud(t)
	err := c.store.View(t.Context(), func(r state.Reader) error {
		for _, name := range []string{"admin", "manager", "member", "reader", "_member_", "ResellerAdmin", "swiftoperator"} {
			if _, err := model.Roles.First(r, "name", model.Sep+name); err != nil {
				t.Errorf("role %s: %v", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
