package core_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/core"
)

func one(t testing.TB, peers int) (*memory, *core.Core) {
	m := newMemory(peers)
	return m, m.proxy(t, 1, clock.System{})
}

func mustMake(t testing.TB, s core.Service, container string) {
	t.Helper()
	if _, err := s.PutContainer(t.Context(), "acc", container, core.PutContainer{}); err != nil {
		t.Fatal(err)
	}
}

func ref(object string) core.Ref { return core.Ref{Account: "acc", Container: "c", Object: object} }

func put(t testing.TB, s core.Service, name, body string) core.Info {
	t.Helper()
	info, err := s.Put(t.Context(), ref(name), core.PutRequest{Body: strings.NewReader(body), Size: int64(len(body))})
	if err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
	return info
}

func read(ctx context.Context, s core.Service, r core.Ref) ([]byte, error) {
	o, err := s.Open(ctx, r, core.OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer o.Close()
	body, err := o.Read(ctx, 0, o.Info.Size)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func wantBody(t testing.TB, s core.Service, name, want string) {
	t.Helper()
	got, err := read(t.Context(), s, ref(name))
	if err != nil || string(got) != want {
		t.Fatalf("%s: got %.40q, %v; want %.40q", name, got, err, want)
	}
}

func wantKind(t testing.TB, err error, kind errs.Kind) {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
}

func names(l core.Listing) string {
	var out []string
	for _, e := range l.Entries {
		out = append(out, e.Folder+e.Name)
	}
	return strings.Join(out, " ")
}

func wantList(t testing.TB, s core.Service, o core.ListOptions, want string) {
	t.Helper()
	if o.Limit == 0 {
		o.Limit = 1000
	}
	l, err := s.ListObjects(t.Context(), "acc", "c", o)
	if err != nil || names(l) != want {
		t.Fatalf("list %+v: got %q, %v; want %q", o, names(l), err, want)
	}
}

func TestObject_LifeOfOne(t *testing.T) {
	for _, peers := range []int{3, 5} {
		t.Run(fmt.Sprint(peers), func(t *testing.T) {
			_, c := one(t, peers)
			mustMake(t, c, "c")
			info := put(t, c, "o", "hello")
			sum := md5.Sum([]byte("hello"))
			if info.ETag != hex.EncodeToString(sum[:]) || info.Size != 5 {
				t.Fatalf("%+v", info)
			}
			wantBody(t, c, "o", "hello")
			put(t, c, "o", "hello again")
			wantBody(t, c, "o", "hello again")
			put(t, c, "empty", "")
			wantBody(t, c, "empty", "")
			wantList(t, c, core.ListOptions{}, "empty o")
			if err := c.Delete(t.Context(), ref("o"), nil); err != nil {
				t.Fatal(err)
			}
			wantKind(t, c.Delete(t.Context(), ref("o"), nil), errs.NotFound)
			_, err := c.Open(t.Context(), ref("o"), core.OpenOptions{})
			wantKind(t, err, errs.NotFound)
			if core.IsNoContainer(err) {
				t.Fatal("the container is there")
			}
			wantList(t, c, core.ListOptions{}, "empty")
			wantKind(t, c.DeleteContainer(t.Context(), "acc", "c"), errs.Conflict)
			if err := c.Delete(t.Context(), ref("empty"), nil); err != nil {
				t.Fatal(err)
			}
			if err := c.DeleteContainer(t.Context(), "acc", "c"); err != nil {
				t.Fatal(err)
			}
			_, err = c.Put(t.Context(), ref("o"), core.PutRequest{Body: strings.NewReader("x"), Size: 1})
			if !core.IsNoContainer(err) {
				t.Fatalf("put without a container: %v", err)
			}
		})
	}
}

func TestPut_LargeBodiesAreStreamed(t *testing.T) {
	_, c := one(t, 4)
	mustMake(t, c, "c")
	body := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	for _, size := range []int64{int64(len(body)), -1} {
		info, err := c.Put(t.Context(), ref("large"), core.PutRequest{Body: bytes.NewReader(body), Size: size})
		if err != nil || info.Size != int64(len(body)) {
			t.Fatalf("%+v, %v", info, err)
		}
		got, err := read(t.Context(), c, ref("large"))
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	o, err := c.Open(t.Context(), ref("large"), core.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	r, err := o.Read(t.Context(), 1_000_001, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); string(got) != "12345" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestPut_BadBodiesLeaveNothing(t *testing.T) {
	_, c := one(t, 3)
	mustMake(t, c, "c")
	long := strings.Repeat("x", 200_000)
	for name, p := range map[string]struct {
		request core.PutRequest
		kind    errs.Kind
	}{
		"short":        {core.PutRequest{Body: strings.NewReader("abc"), Size: 4}, errs.Incomplete},
		"too long":     {core.PutRequest{Body: strings.NewReader("abcde"), Size: 4}, errs.Incomplete},
		"long, short":  {core.PutRequest{Body: strings.NewReader(long), Size: 300_000}, errs.Incomplete},
		"long, longer": {core.PutRequest{Body: strings.NewReader(long), Size: 150_000}, errs.Incomplete},
		"digest":       {core.PutRequest{Body: io.MultiReader(strings.NewReader("abcd"), errReader{errs.New(errs.BadDigest, "x")}), Size: 4}, errs.BadDigest},
		"long digest":  {core.PutRequest{Body: io.MultiReader(strings.NewReader(long), errReader{errs.New(errs.BadDigest, "x")}), Size: 200_000}, errs.BadDigest},
		"cut off":      {core.PutRequest{Body: io.MultiReader(strings.NewReader(long), errReader{io.ErrUnexpectedEOF}), Size: -1}, errs.Incomplete},
		"refused": {core.PutRequest{Body: strings.NewReader("abcd"), Size: 4, Finish: func(string, int64, *core.Metadata) error {
			return errs.New(errs.Invalid, "no")
		}}, errs.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Put(t.Context(), ref("o"), p.request)
			wantKind(t, err, p.kind)
			_, err = c.Open(t.Context(), ref("o"), core.OpenOptions{HeadOnly: true})
			wantKind(t, err, errs.NotFound)
			wantList(t, c, core.ListOptions{}, "")
		})
	}
}

func TestQuorum_AnyOnePeerDown(t *testing.T) {
	for _, peers := range []int{3, 4} {
		for _, hidden := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d peers, hidden %v", peers, hidden), func(t *testing.T) {
				m, c := one(t, peers)
				m.hidden = hidden
				mustMake(t, c, "c")
				for i := range peers {
					peer := string(rune('a' + i))
					m.set(peer, true)
					name := "o" + peer
					put(t, c, name, "while "+peer+" is down")
					put(t, c, "large", strings.Repeat(peer, 100_000))
					wantBody(t, c, name, "while "+peer+" is down")
					wantBody(t, c, "large", strings.Repeat(peer, 100_000))
					put(t, c, "gone", "x")
					if err := c.Delete(t.Context(), ref("gone"), nil); err != nil {
						t.Fatal(err)
					}
					m.set(peer, false)
				}
				for i := range peers {
					m.set(string(rune('a'+i)), true)
					for j := range peers {
						wantBody(t, c, "o"+string(rune('a'+j)), "while "+string(rune('a'+j))+" is down")
					}
					_, err := c.Open(t.Context(), ref("gone"), core.OpenOptions{HeadOnly: true})
					wantKind(t, err, errs.NotFound)
					wantList(t, c, core.ListOptions{}, strings.Join([]string{"large", "oa", "ob", "oc", "od"}[:peers+1], " "))
					m.set(string(rune('a'+i)), false)
				}
			})
		}
	}
}

func TestQuorum_TwoPeersDownIsUnavailable(t *testing.T) {
	m, c := one(t, 3)
	mustMake(t, c, "c")
	put(t, c, "o", "x")
	m.set("a", true)
	m.set("b", true)
	_, err := c.Put(t.Context(), ref("o"), core.PutRequest{Body: strings.NewReader("y"), Size: 1})
	wantKind(t, err, errs.Unavailable)
	_, err = c.Open(t.Context(), ref("o"), core.OpenOptions{})
	wantKind(t, err, errs.Unavailable)
	wantKind(t, c.Delete(t.Context(), ref("o"), nil), errs.Unavailable)
	_, err = c.ListObjects(t.Context(), "acc", "c", core.ListOptions{Limit: 10})
	wantKind(t, err, errs.Unavailable)
}

// noRings is a peer's placement before the first rings have reached it.
type noRings struct{ core.Rings }

func (noRings) Account() core.Ring      { return nil }
func (noRings) Container() core.Ring    { return nil }
func (noRings) Object(uint8) core.Ring  { return nil }
func (noRings) Policies() []core.Policy { return nil }

func TestNoRings_AreUnavailableNotAPanic(t *testing.T) {
	m := newMemory(3)
	c, err := core.New(core.Config{Rings: noRings{m.rings(3)}, Devices: m, Clock: clock.NewHybrid(clock.System{}, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Account(t.Context(), "acc")
	wantKind(t, err, errs.Unavailable)
	_, err = c.PutContainer(t.Context(), "acc", "c", core.PutContainer{})
	wantKind(t, err, errs.Unavailable)
	_, err = c.ListObjects(t.Context(), "acc", "c", core.ListOptions{Limit: 10})
	wantKind(t, err, errs.Unavailable)
	_, err = c.Put(t.Context(), ref("o"), core.PutRequest{Body: strings.NewReader("y"), Size: 1})
	wantKind(t, err, errs.Unavailable)
	_, err = c.Open(t.Context(), ref("o"), core.OpenOptions{})
	wantKind(t, err, errs.Unavailable)
}
