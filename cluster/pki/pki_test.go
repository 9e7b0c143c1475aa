package pki

import (
	"bytes"
	"crypto/x509"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestToken_RoundTrip(t *testing.T) {
	token, err := NewToken([]byte("a certificate"), []string{"10.0.0.1:7480", "[fd00::1]:7480"})
	must(t, err)
	s := token.String()
	back, err := ParseToken(" " + s + "\n")
	if err != nil || !reflect.DeepEqual(back, token) {
		t.Fatalf("got %+v, %v", back, err)
	}
	for i := range s {
		damaged := s[:i] + string(s[i]^1) + s[i+1:]
		if _, err := ParseToken(damaged); !errs.Is(err, errs.Invalid) {
			t.Fatalf("character %d was damaged: %v", i, err)
		}
		if _, err := ParseToken(s[:i]); !errs.Is(err, errs.Invalid) {
			t.Fatalf("cut after %d characters: %v", i, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	token, err := NewToken([]byte("x"), []string{"a:1"})
	must(f, err)
	f.Add(token.String())
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if back, err := ParseToken(token.String()); err != nil || !reflect.DeepEqual(back, token) {
			t.Fatalf("%q became %+v, %v", s, back, err)
		}
	})
}

func TestIdentity_PEM(t *testing.T) {
	ca, err := NewAuthority("c", start)
	must(t, err)
	text, err := ca.PEM()
	must(t, err)
	ca, err = ParseAuthority(text)
	must(t, err)
	ip := net.ParseIP("127.0.0.7")
	id, err := ca.Peer("p7", ip, start)
	must(t, err)
	text, err = id.PEM()
	must(t, err)
	back, err := ParseIdentity(text)
	must(t, err)
	if back.ID() != "p7" || !bytes.Equal(back.CA(), ca.Certificate()) || !back.key.Equal(id.key) {
		t.Fatalf("read back %q", back.ID())
	}
	if back.RenewalDue(ip, start) || !back.RenewalDue(ip, start.Add(PeerLifetime-RenewBefore+time.Second)) || !back.RenewalDue(net.ParseIP("127.0.0.8"), start) {
		t.Fatal("renewal is due at the wrong time")
	}
	for _, damaged := range []string{"", "rubbish", strings.ReplaceAll(string(text), "PRIVATE", "OTHER")[:len(text)/2]} {
		if _, err := ParseIdentity([]byte(damaged)); err == nil {
			t.Fatalf("read %q", damaged)
		}
	}
	other, err := ca.Admin(start)
	must(t, err)
	if _, err := NewIdentity(other.key, id.cert.Raw, ca.Certificate()); !errs.Is(err, errs.Invalid) {
		t.Fatalf("a certificate for another key: %v", err)
	}
}

func TestCheck(t *testing.T) {
	ca, err := NewAuthority("c", start)
	must(t, err)
	foreign, err := NewAuthority("c", start)
	must(t, err)
	identity := func(a *Authority, id string) *Identity {
		i, err := a.Peer(id, nil, start)
		must(t, err)
		return i
	}
	admin, err := ca.Admin(start)
	must(t, err)
	now := clock.NewManual(start)
	creds := NewCredentials(identity(ca, "self"), now, func(id, protocol string) bool { return id == "gone" && protocol != "still" })
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for _, c := range []struct {
		name  string
		shown *Identity
		want  string
		usage x509.ExtKeyUsage
		ok    bool
	}{
		{"a peer", identity(ca, "p"), "", client, true},
		{"the peer wanted", identity(ca, "p"), "p", server, true},
		{"another peer", identity(ca, "q"), "p", server, false},
		{"removed", identity(ca, "gone"), "", client, false},
		{"another CA", identity(foreign, "p"), "", client, false},
		{"a tool calls", admin, "", client, true},
		{"a tool serves", admin, "", server, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := creds.check([]*x509.Certificate{c.shown.cert}, c.want, "x", c.usage)
			if (err == nil) != c.ok || err != nil && !errs.Is(err, errs.Unauthenticated) {
				t.Fatal(err)
			}
		})
	}
	if err := creds.check(nil, "", "x", client); !errs.Is(err, errs.Unauthenticated) {
		t.Fatalf("no certificate: %v", err)
	}
	if err := creds.check([]*x509.Certificate{identity(ca, "gone").cert}, "", "still", client); err != nil {
		t.Fatalf("removed, but not for this protocol: %v", err)
	}
	now.Advance(PeerLifetime + time.Hour)
	if err := creds.check([]*x509.Certificate{identity(ca, "p").cert}, "", "x", client); !errs.Is(err, errs.Unauthenticated) {
		t.Fatalf("an expired one: %v", err)
	}
}

func TestSignPeer_Refuses(t *testing.T) {
	ca, err := NewAuthority("c", start)
	must(t, err)
	key, err := NewKey()
	must(t, err)
	request, err := Request(key)
	must(t, err)
	for _, id := range []string{"", "admin", "Upper", "a/b", "-a", strings.Repeat("a", 64)} {
		if _, err := ca.SignPeer(request, id, nil, start); !errs.Is(err, errs.Invalid) {
			t.Errorf("id %q: %v", id, err)
		}
	}
	request[len(request)-1] ^= 1
	if _, err := ca.SignPeer(request, "p", nil, start); !errs.Is(err, errs.Invalid) {
		t.Errorf("a request whose signature does not hold: %v", err)
	}
}
