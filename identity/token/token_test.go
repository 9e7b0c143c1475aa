package token

import (
	"context"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/clock"
	"henge/internal/errs"
)

// small is a store with one user who may reach everything.
func small(t testing.TB) (state.Store, model.Target) {
	t.Helper()
	store := state.NewMemory()
	project := model.Target{Kind: model.TargetProject, ID: strings.Repeat("ab", 16)}
	err := store.Update(t.Context(), func(w state.Writer) error {
		for _, err := range []error{
			model.Domains.Put(w, "default", model.Domain{ID: "default", Name: "Default", Enabled: true}),
			model.Projects.Put(w, project.ID, model.Project{ID: project.ID, Name: "p", DomainID: "default", ParentID: "default", Enabled: true}),
			model.Users.Put(w, userID, model.User{ID: userID, Name: "u", DomainID: "default", Enabled: true}),
			model.Roles.Put(w, "member", model.Role{ID: "member", Name: "Member"}),
			model.Roles.Put(w, "reader", model.Role{ID: "reader", Name: "reader"}),
			model.Implications.Put(w, "i", model.Implication{PriorID: "member", ImpliedID: "reader"}),
			model.Grant(w, model.Assignment{Actor: model.Actor{Kind: model.ActorUser, ID: userID}, Target: project, RoleID: "member"}),
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
	return store, project
}

const userID = "0123456789abcdef0123456789abcdef"

func issue(t testing.TB, s *Sessions, scope model.Target) string {
	t.Helper()
	token, _, err := s.Issue(t.Context(), Request{UserID: userID, Scope: scope, Methods: Password})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// opened is what a ring makes of a token.
func opened(t testing.TB, k *Keyring, token string) (c Claims, err error) {
	t.Helper()
	err = k.store.View(t.Context(), func(r state.Reader) (err error) {
		c, err = k.Open(r, token)
		return err
	})
	return c, err
}

func TestClaims_RoundTrip(t *testing.T) {
	store, _ := small(t)
	ring := NewKeyring(store, clock.System{}, Lifetimes{})
	rapid.Check(t, func(r *rapid.T) {
		id := rapid.OneOf(rapid.StringMatching(`[0-9a-f]{32}`), rapid.StringMatching(`[0-9A-F]{32}`), rapid.StringN(0, 16, 60), rapid.Just("default"))
		issued := time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(r, "issued")).UTC()
		c := Claims{
			UserID:  id.Draw(r, "user"),
			Scope:   model.Target{Kind: rapid.SampledFrom(scopeKinds[:]).Draw(r, "kind"), ID: id.Draw(r, "scope")},
			Methods: Methods(rapid.IntRange(0, 15).Draw(r, "methods")), AuditID: NewAuditID(), Issued: issued,
			Expires: issued.Add(time.Duration(rapid.Int64Range(0, 1<<40).Draw(r, "lifetime")) * time.Microsecond),
			Epoch:   rapid.Uint64().Draw(r, "epoch"), ApplicationCredentialID: id.Draw(r, "credential"), TrustID: id.Draw(r, "trust"),
		}
		if rapid.Bool().Draw(r, "child") {
			c.ParentAuditID = NewAuditID()
		}
		token, err := ring.Seal(t.Context(), c)
		if err != nil {
			r.Fatal(err)
		}
		back, err := opened(t, ring, token)
		if err != nil || back != c {
			r.Fatalf("%+v came back as %+v, %v", c, back, err)
		}
	})
}

func TestOpen_NothingButOurs(t *testing.T) {
	store, project := small(t)
	ring := NewKeyring(store, clock.System{}, Lifetimes{})
	token := issue(t, NewSessions(store, clock.System{}, ring), project)
	for i := range token {
		for _, c := range []byte{'A', 'b', '-'} {
			if token[i] == c {
				continue
			}
			forged := token[:i] + string(c) + token[i+1:]
			if _, err := opened(t, ring, forged); !errs.Is(err, errs.Unauthenticated) {
				t.Fatalf("changed at %d: %v", i, err)
			}
		}
		if _, err := opened(t, ring, token[:i]); !errs.Is(err, errs.Unauthenticated) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	other, _ := small(t)
	if _, err := opened(t, NewKeyring(other, clock.System{}, Lifetimes{}), token); !errs.Is(err, errs.Unauthenticated) {
		t.Fatalf("another cloud's token: %v", err)
	}
}

func TestRenew_OldTokensStayGood(t *testing.T) {
	store, project := small(t)
	now := clock.NewManual(time.Unix(1_800_000_000, 0))
	lifetimes := Lifetimes{Token: time.Hour, Key: 10 * time.Hour}
	ring := NewKeyring(store, now, lifetimes)
	sessions := NewSessions(store, now, ring)
	// Another peer that only reads, and sees new keys as they come.
	peer := NewSessions(store, now, NewKeyring(store, now, lifetimes))
	type live struct {
		token   string
		expires time.Time
	}
	var tokens []live
	keys := map[string]bool{}
	for range 100 {
		if err := ring.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		set, err := ring.current(t.Context())
		if err != nil || len(set.keys) > 3 {
			t.Fatalf("%d keys, %v", len(set.keys), err)
		}
		tokens = append(tokens, live{issue(t, sessions, project), now.Now().Add(lifetimes.Token).Truncate(time.Second)})
		keys[set.sealer(now.Now())] = true
		for _, l := range tokens {
			_, err := peer.Token(t.Context(), l.token)
			if alive := now.Now().Before(l.expires); alive != (err == nil) || !alive && !errs.Is(err, errs.Unauthenticated) {
				t.Fatalf("at %s a token until %s: %v", now.Now(), l.expires, err)
			}
		}
		now.Advance(29 * time.Minute)
	}
	if len(keys) < 4 {
		t.Fatalf("only %d keys sealed in 48 hours", len(keys))
	}
}

func TestRenew_AfterALongSleep(t *testing.T) {
	store, project := small(t)
	now := clock.NewManual(time.Unix(1_800_000_000, 0))
	ring := NewKeyring(store, now, Lifetimes{})
	sessions := NewSessions(store, now, ring)
	first := issue(t, sessions, project)
	now.Advance(90 * 24 * time.Hour)
	second := issue(t, sessions, project) // before any upkeep
	if err := ring.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := sessions.Token(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if _, err := sessions.Token(t.Context(), first); !errs.Is(err, errs.Unauthenticated) {
		t.Fatalf("a token of last quarter: %v", err)
	}
}

func TestRenew_PeersAtOnceMakeOneKey(t *testing.T) {
	store, _ := small(t)
	now := clock.NewManual(time.Unix(1_800_000_000, 0))
	done := make(chan error)
	for range 8 {
		go func() { done <- NewKeyring(store, now, Lifetimes{}).Renew(context.WithoutCancel(t.Context())) }()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	set, err := NewKeyring(store, now, Lifetimes{}).current(t.Context())
	if err != nil || len(set.keys) != 1 {
		t.Fatalf("%d keys, %v", len(set.keys), err)
	}
}

func TestSweep(t *testing.T) {
	store, project := small(t)
	now := clock.NewManual(time.Unix(1_800_000_000, 0))
	sessions := NewSessions(store, now, NewKeyring(store, now, Lifetimes{}))
	_, session, err := sessions.Issue(t.Context(), Request{UserID: userID, Scope: project, Methods: Password})
	if err != nil {
		t.Fatal(err)
	}
	if err := sessions.Revoke(t.Context(), session.Claims); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		if err := sessions.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := store.View(t.Context(), func(r state.Reader) error {
			for range model.Revocations.All(r) {
				n++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if now.Advance(59 * time.Minute); count() != 1 {
		t.Fatal("a revocation went while its token was alive")
	}
	if now.Advance(time.Hour); count() != 0 {
		t.Fatal("a revocation outlives its token")
	}
}

func FuzzOpen(f *testing.F) {
	store, project := small(f)
	ring := NewKeyring(store, clock.System{}, Lifetimes{})
	f.Add(issue(f, NewSessions(store, clock.System{}, ring), project))
	f.Add("")
	f.Add(strings.Repeat("A", 600))
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := opened(t, ring, token); err != nil && !errs.Is(err, errs.Unauthenticated) {
			t.Fatalf("%q: %v", token, err)
		}
	})
}

// FuzzClaims feeds the decoder what a stolen key could seal.
func FuzzClaims(f *testing.F) {
	raw, err := Claims{UserID: userID, AuditID: NewAuditID(), Issued: time.Unix(1, 0), Expires: time.Unix(2, 0)}.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := unmarshal(raw)
		if err != nil {
			return
		}
		if _, err := c.marshal(); err != nil {
			t.Fatalf("%x was read as %+v and cannot be written: %v", raw, c, err)
		}
	})
}

// TestToken_RemovedKey: a key that is taken out of the state opens nothing from that moment on, remembered or not.
func TestToken_RemovedKey(t *testing.T) {
	store, project := small(t)
	sessions := NewSessions(store, clock.System{}, NewKeyring(store, clock.System{}, Lifetimes{}))
	token := issue(t, sessions, project)
	if _, err := sessions.Token(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	err := store.Update(t.Context(), func(w state.Writer) error {
		for key := range w.Scan(model.TokenKeys.Prefix()) {
			w.Delete(key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sessions.Token(t.Context(), token); !errs.Is(err, errs.Unauthenticated) {
		t.Fatalf("a token whose key is gone: %v", err)
	}
}

func BenchmarkToken(b *testing.B) {
	store, project := small(b)
	sessions := NewSessions(store, clock.System{}, NewKeyring(store, clock.System{}, Lifetimes{}))
	token := issue(b, sessions, project)
	touch := func(key string) {
		if err := store.Update(b.Context(), func(w state.Writer) error { w.Put(key, []byte("x")); return nil }); err != nil {
			b.Fatal(err)
		}
	}
	for name, before := range map[string]func(){
		"state as before":             func() {},
		"something else has changed":  func() { touch("compute.servers/x") },
		"its own user's row is newer": func() { sessions.entries.Drop(token) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				before()
				if _, err := sessions.Token(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
