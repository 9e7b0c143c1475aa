package coretest

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"henge/internal/errs"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

// Run holds a core.Service against its contract, as far as one process and one client can see it. make gives an empty one for each part; the real core passes it, and
// Memory does, so that what is tested over Memory holds over the real one.
func Run(t *testing.T, make func(t *testing.T) core.Service) {
	for name, test := range map[string]func(*contract){
		"accounts": accounts, "containers": containers, "objects": objects, "conditions": conditions, "bodies": bodies, "listings": listings,
		"manifests": manifests, "uploads": uploads,
	} {
		t.Run(name, func(t *testing.T) { test(&contract{T: t, s: make(t), ctx: t.Context()}) })
	}
}

const testAccount = "AUTH_test"

type contract struct {
	*testing.T
	s   core.Service
	ctx context.Context
}

func (c *contract) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *contract) kind(err error, want errs.Kind) {
	c.Helper()
	if !errs.Is(err, want) {
		c.Fatalf("got %v, want an error of the kind %q", err, want)
	}
}

func (c *contract) container(name string) {
	c.Helper()
	made, err := c.s.PutContainer(c.ctx, testAccount, name, core.PutContainer{})
	c.must(err)
	if !made {
		c.Fatalf("container %s was there", name)
	}
}

func ref(container, object string) core.Ref {
	return core.Ref{Account: testAccount, Container: container, Object: object}
}

func (c *contract) put(r core.Ref, body string, m core.Metadata) core.Info {
	c.Helper()
	info, err := c.s.Put(c.ctx, r, core.PutRequest{Body: strings.NewReader(body), Size: int64(len(body)), Metadata: m})
	c.must(err)
	return info
}

// get opens an object and reads it whole.
func (c *contract) get(r core.Ref) (core.Info, string) {
	c.Helper()
	o, err := c.s.Open(c.ctx, r, core.OpenOptions{})
	c.must(err)
	body, err := o.Read(c.ctx, 0, o.Info.Size)
	c.must(err)
	b, err := io.ReadAll(body)
	c.must(errors.Join(err, body.Close(), o.Close()))
	return o.Info, string(b)
}

func (c *contract) wants(what string, got, want any) {
	c.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		c.Errorf("%s is %v, want %v", what, got, want)
	}
}

func sum(s string) string {
	h := md5.Sum([]byte(s))
	return hex.EncodeToString(h[:])
}

func accounts(c *contract) {
	info, err := c.s.Account(c.ctx, testAccount)
	c.must(err)
	c.wants("Exists of an account that nobody wrote to", info.Exists, false)
	c.must(c.s.UpdateAccount(c.ctx, testAccount, map[string]string{"x-account-meta-a": "1", "x-account-meta-b": "2"}))
	c.must(c.s.UpdateAccount(c.ctx, testAccount, map[string]string{"x-account-meta-a": "", "x-account-meta-c": "3"}))
	c.container("c")
	c.put(ref("c", "o"), "hello", core.Metadata{})
	info, err = c.s.Account(c.ctx, testAccount)
	c.must(err)
	c.wants("account", []any{info.Exists, info.Containers, info.Meta}, []any{true, 1, "map[x-account-meta-b:2 x-account-meta-c:3]"})
	c.kind(c.s.DeleteAccount(c.ctx, "AUTH_none"), errs.NotFound)
	c.must(c.s.DeleteAccount(c.ctx, testAccount))
	info, err = c.s.Account(c.ctx, testAccount)
	c.must(err)
	c.wants("a deleted account says when", info.Deleted.IsZero(), false)
	_, err = c.s.Open(c.ctx, ref("c", "o"), core.OpenOptions{})
	c.kind(err, errs.NotFound)
	_, err = c.s.Container(c.ctx, testAccount, "c", true)
	c.kind(err, errs.NotFound)
	_, err = c.s.PutContainer(c.ctx, testAccount, "d", core.PutContainer{})
	c.kind(err, errs.NotFound)
	c.kind(c.s.UpdateAccount(c.ctx, testAccount, map[string]string{"x-account-meta-a": "1"}), errs.NotFound)
	page, err := c.s.ListContainers(c.ctx, testAccount, core.ListOptions{Limit: 10})
	c.must(err)
	c.wants("containers of a deleted account", len(page.Entries), 0)
	c.kind(c.s.DeleteAccount(c.ctx, testAccount), errs.NotFound)
}

func containers(c *contract) {
	_, err := c.s.Container(c.ctx, testAccount, "c", true)
	c.kind(err, errs.NotFound)
	c.kind(c.s.UpdateContainer(c.ctx, testAccount, "c", map[string]string{"a": "b"}), errs.NotFound)
	c.kind(c.s.DeleteContainer(c.ctx, testAccount, "c"), errs.NotFound)
	_, err = c.s.ListObjects(c.ctx, testAccount, "c", core.ListOptions{Limit: 1})
	c.kind(err, errs.NotFound)
	made, err := c.s.PutContainer(c.ctx, testAccount, "c", core.PutContainer{Meta: map[string]string{"x-container-meta-a": "1", "sys-x": "y"}})
	c.must(err)
	c.wants("made", made, true)
	made, err = c.s.PutContainer(c.ctx, testAccount, "c", core.PutContainer{Meta: map[string]string{"x-container-meta-b": "2"}})
	c.must(err)
	c.wants("made again", made, false)
	_, err = c.s.PutContainer(c.ctx, testAccount, "c", core.PutContainer{MustMake: true})
	c.kind(err, errs.Exists)
	c.must(c.s.UpdateContainer(c.ctx, testAccount, "c", map[string]string{"x-container-meta-a": ""}))
	info, err := c.s.Container(c.ctx, testAccount, "c", true)
	c.must(err)
	c.wants("metadata", info.Meta, "map[sys-x:y x-container-meta-b:2]")
	c.wants("policy", info.Policy.Name, c.s.Policies()[0].Name)
	c.put(ref("c", "o"), "hello", core.Metadata{})
	info, err = c.s.Container(c.ctx, testAccount, "c", true)
	c.must(err)
	c.wants("counts", []int64{info.Objects, info.Bytes}, "[1 5]")
	c.kind(c.s.DeleteContainer(c.ctx, testAccount, "c"), errs.Conflict)
	c.must(c.s.Delete(c.ctx, ref("c", "o"), nil))
	c.must(c.s.DeleteContainer(c.ctx, testAccount, "c"))
	_, err = c.s.Container(c.ctx, testAccount, "c", true)
	c.kind(err, errs.NotFound)
}

func objects(c *contract) {
	_, err := c.s.Put(c.ctx, ref("none", "o"), core.PutRequest{Body: strings.NewReader("x"), Size: 1})
	c.kind(err, errs.NotFound)
	c.container("c")
	_, err = c.s.Open(c.ctx, ref("c", "o"), core.OpenOptions{})
	c.kind(err, errs.NotFound)
	c.kind(c.s.Delete(c.ctx, ref("c", "o"), nil), errs.NotFound)
	m := core.Metadata{ContentType: "a/b", Meta: map[string]string{"x-object-meta-a": "1"}, System: map[string]string{"s": "t"}}
	first := c.put(ref("c", "o"), "hello", m)
	info, body := c.get(ref("c", "o"))
	c.wants("body", body, "hello")
	c.wants("info", []any{info.Size, info.ETag, info.ContentType, info.Meta, info.System, info.Kind, info.Timestamp},
		[]any{5, sum("hello"), "a/b", m.Meta, m.System, peerapi.KindPlain, first.Timestamp})
	updated, err := c.s.UpdateMeta(c.ctx, ref("c", "o"), func(now core.Info) (core.Metadata, error) {
		return core.Metadata{ContentType: now.ContentType, Meta: map[string]string{"x-object-meta-b": "2"}, ETag: now.ETag, Kind: now.Kind}, nil
	})
	c.must(err)
	info, body = c.get(ref("c", "o"))
	c.wants("body after a change of metadata", body, "hello")
	c.wants("metadata", info.Meta, "map[x-object-meta-b:2]")
	c.wants("a later timestamp", updated.Timestamp > first.Timestamp && info.Timestamp == updated.Timestamp, true)
	_, err = c.s.UpdateMeta(c.ctx, ref("c", "none"), func(core.Info) (core.Metadata, error) { return core.Metadata{}, nil })
	c.kind(err, errs.NotFound)
	c.put(ref("c", "o"), "other", core.Metadata{})
	if _, body = c.get(ref("c", "o")); body != "other" {
		c.Errorf("body after another PUT is %q", body)
	}
	c.put(ref("c", "gone"), "x", core.Metadata{DeleteAt: 1})
	_, err = c.s.Open(c.ctx, ref("c", "gone"), core.OpenOptions{})
	c.kind(err, errs.NotFound)
	c.kind(c.s.DeleteExpiring(c.ctx, ref("c", "gone"), 2), errs.Precondition)
	c.must(c.s.DeleteExpiring(c.ctx, ref("c", "gone"), 1))
	c.kind(c.s.DeleteExpiring(c.ctx, ref("c", "gone"), 1), errs.NotFound)
	c.kind(c.s.DeleteExpiring(c.ctx, ref("c", "o"), 1), errs.Precondition)
	c.must(c.s.Delete(c.ctx, ref("c", "o"), nil))
	_, err = c.s.Open(c.ctx, ref("c", "o"), core.OpenOptions{HeadOnly: true})
	c.kind(err, errs.NotFound)
}

func conditions(c *contract) {
	c.container("c")
	refuse := errs.New(errs.Precondition, "refused")
	var seen *core.Info
	check := func(now *core.Info) error {
		seen = now
		if now != nil {
			return refuse
		}
		return nil
	}
	p := core.PutRequest{Body: strings.NewReader("one"), Size: 3, Check: check}
	_, err := c.s.Put(c.ctx, ref("c", "o"), p)
	c.must(err)
	p.Body = strings.NewReader("two")
	if _, err = c.s.Put(c.ctx, ref("c", "o"), p); !errors.Is(err, refuse) {
		c.Errorf("a refused PUT ends with %v", err)
	}
	if seen == nil || seen.ETag != sum("one") {
		c.Errorf("the check saw %+v", seen)
	}
	if err = c.s.Delete(c.ctx, ref("c", "o"), check); !errors.Is(err, refuse) {
		c.Errorf("a refused DELETE ends with %v", err)
	}
	_, body := c.get(ref("c", "o"))
	c.wants("body", body, "one")
	c.must(c.s.Delete(c.ctx, ref("c", "o"), func(*core.Info) error { return nil }))
	p.Body = strings.NewReader("two")
	_, err = c.s.Put(c.ctx, ref("c", "o"), p)
	c.must(err)
}

// bodies that are not what was announced leave nothing.
func bodies(c *contract) {
	c.container("c")
	broken := errs.New(errs.BadDigest, "broken")
	for name, p := range map[string]core.PutRequest{
		"short": {Body: strings.NewReader("abc"), Size: 5}, "long": {Body: strings.NewReader("abcdef"), Size: 5},
		"failing": {Body: io.MultiReader(strings.NewReader("abc"), failing{broken}), Size: -1},
		"refused": {Body: strings.NewReader("abc"), Size: 3, Finish: func(string, int64, *core.Metadata) error { return broken }},
	} {
		_, err := c.s.Put(c.ctx, ref("c", name), p)
		want := errs.Incomplete
		if name == "failing" || name == "refused" {
			want = errs.BadDigest
		}
		c.kind(err, want)
		_, err = c.s.Open(c.ctx, ref("c", name), core.OpenOptions{})
		c.kind(err, errs.NotFound)
	}
	info, err := c.s.Put(c.ctx, ref("c", "finish"), core.PutRequest{Body: strings.NewReader("abc"), Size: -1, Finish: func(hash string, size int64, m *core.Metadata) error {
		c.wants("hash and size", []any{hash, size}, []any{sum("abc"), 3})
		m.ETag, m.ContentType = "mine", "a/b"
		return nil
	}})
	c.must(err)
	c.wants("what Finish changed", []string{info.ETag, info.ContentType}, "[mine a/b]")
	page, err := c.s.ListObjects(c.ctx, testAccount, "c", core.ListOptions{Limit: 10})
	c.must(err)
	c.wants("entries", len(page.Entries), 1)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
