package accesskey

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
)

// withKey is a store with one user, who has an access key for his project.
func withKey(t testing.TB) (state.Store, Blob) {
	t.Helper()
	store := state.NewMemory()
	row, blob, err := NewCredential("u", "p")
	if err != nil {
		t.Fatal(err)
	}
	err = store.Update(t.Context(), func(w state.Writer) error {
		for _, err := range []error{
			model.Domains.Put(w, "default", model.Domain{ID: "default", Name: "Default", Enabled: true}),
			model.Projects.Put(w, "p", model.Project{ID: "p", Name: "p", DomainID: "default", ParentID: "default", Enabled: true}),
			model.Users.Put(w, "u", model.User{ID: "u", Name: "u", DomainID: "default", Enabled: true}),
			model.Roles.Put(w, "member", model.Role{ID: "member", Name: "Member"}),
			model.Grant(w, model.Assignment{Actor: model.Actor{Kind: model.ActorUser, ID: "u"}, Target: model.Target{Kind: model.TargetProject, ID: "p"}, RoleID: "member"}),
			model.Credentials.Put(w, row.ID, row),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return store, blob
}

func TestKey_GoneWithWhatItStandsOn(t *testing.T) {
	for name, change := range map[string]func(w state.Writer) error{
		"user disabled": func(w state.Writer) error {
			return model.Users.Put(w, "u", model.User{ID: "u", Name: "u", DomainID: "default"})
		},
		"user gone":    func(w state.Writer) error { return model.DeleteUser(w, "u") },
		"project gone": func(w state.Writer) error { return model.DeleteProject(w, "p") },
		"role gone":    func(w state.Writer) error { return model.DeleteRole(w, "member") },
		"project disabled": func(w state.Writer) error {
			return model.Projects.Put(w, "p", model.Project{ID: "p", Name: "p", DomainID: "default"})
		},
		"domain disabled": func(w state.Writer) error {
			return model.Domains.Put(w, "default", model.Domain{ID: "default", Name: "Default"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, blob := withKey(t)
			keys := New(store)
			secret, id, err := keys.Key(t.Context(), blob.Access)
			if err != nil || secret != blob.Secret || id.UserID != "u" || id.ProjectID != "p" || !id.HasRole("member") {
				t.Fatalf("before: %+v, %v", id, err)
			}
			if err := store.Update(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			if _, _, err := keys.Key(t.Context(), blob.Access); !errs.Is(err, errs.Unauthenticated) {
				t.Fatalf("after: %v", err)
			}
		})
	}
	store, _ := withKey(t)
	for _, access := range []string{"", "nobody", "a\x00b", strings.Repeat("x", 10_000)} {
		if _, _, err := New(store).Key(t.Context(), access); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%.20q: %v", access, err)
		}
	}
}

// FuzzSigned: no description of a request but the right one gets through, and none breaks us.
func FuzzSigned(f *testing.F) {
	f.Add(`{"access":"a","signature":"x","params":{"SignatureVersion":"2","Timestamp":"2026-01-01T00:00:00Z"}}`, "QVdTNA==")
	f.Add(`{"access":"a","signature":"x","headers":{"Authorization":"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=;;"}}`, "")
	f.Add(`{"params":{"X-Amz-Algorithm":"AWS4-HMAC-SHA256","X-Amz-Date":"20260101T000000Z","X-Amz-Credential":"a/20260101/r/s/aws4_request"}}`, "%%")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, raw, text string) {
		var s Signed
		if json.Unmarshal([]byte(raw), &s) != nil {
			return
		}
		s.Token = base64.URLEncoding.EncodeToString([]byte(text))
		for _, err := range []error{s.VerifyRequest("unguessable", now), s.VerifyString("unguessable", now)} {
			if !errs.Is(err, errs.Unauthenticated) {
				t.Fatalf("%q %q: %v", raw, text, err)
			}
		}
	})
}

func BenchmarkKey(b *testing.B) {
	store, blob := withKey(b)
	keys := New(store)
	for name, before := range map[string]func(){"remembered": func() {}, "from the state": func() { keys.entries.Drop(blob.Access) }} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				before()
				if _, _, err := keys.Key(b.Context(), blob.Access); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
