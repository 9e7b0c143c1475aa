package core_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

func TestParseObjectManifest(t *testing.T) {
	for v, want := range map[string]string{"c/p": "c p", "c%2Fa%20b": "c a b", "c/p/q": "c p/q", "%zz/p": "%zz p", "": "", "c": "", "c/": "", "/p": "", "c//p": "", "c/p?q": "",
		"c/p&q": "", "c/%00": ""} {
		container, prefix, ok := core.ParseObjectManifest(v)
		if got := container + " " + prefix; ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v", v, got, ok)
		}
	}
}

// listed is a service that only lists: page by page, rows objects of one byte, and an empty one between.
type listed struct {
	core.Service
	rows int
}

func (l listed) ListObjects(_ context.Context, account, container string, o core.ListOptions) (core.Listing, error) {
	if account != "a" || container != "segments" || o.Prefix != "p/" {
		return core.Listing{}, errs.New(errs.NotFound, "%s/%s", account, container)
	}
	from := 0
	if o.Marker != "" {
		if _, err := fmt.Sscanf(o.Marker, "p/%d", &from); err != nil {
			return core.Listing{}, err
		}
	}
	var page core.Listing
	for i := from; i < l.rows && i < from+o.Limit; i++ {
		page.Next = fmt.Sprintf("p/%09d", i+1)
		page.Entries = append(page.Entries, core.Entry{Row: peerapi.Row{Name: page.Next, Size: int64(min(i, 1)), ETag: "e"}})
	}
	page.More = from+o.Limit < l.rows
	return page, nil
}

func TestDynamic(t *testing.T) {
	info := core.Info{Ref: core.Ref{Account: "a", Container: "c", Object: "o"}, Meta: map[string]string{core.ObjectManifest: "segments/p%2F"}}
	for _, c := range []struct {
		rows     int
		size     int64
		segments int
	}{{0, 0, 0}, {1, 0, 0}, {3, 2, 2}, {limits.ListingMax + 5, limits.ListingMax + 4, limits.ListingMax + 4}} {
		whole, m, err := core.Dynamic(t.Context(), listed{rows: c.rows}, info)
		if err != nil || whole.Size != c.size || len(m.Segments) != c.segments || whole.ETag != md5Hex(strings.Repeat("e", c.rows)) || whole.Ref != info.Ref {
			t.Errorf("%d rows: %+v, %d segments, %v", c.rows, whole, len(m.Segments), err)
		}
	}
	if _, _, err := core.Dynamic(t.Context(), listed{rows: core.DynamicSegmentsMax + 2}, info); !errs.Is(err, errs.Conflict) {
		t.Errorf("too many segments: %v", err)
	}
	info.Meta = map[string]string{core.ObjectManifest: "elsewhere/p/"}
	if _, _, err := core.Dynamic(t.Context(), listed{}, info); !errs.Is(err, errs.NotFound) {
		t.Errorf("no such container: %v", err)
	}
	info.Meta = map[string]string{core.ObjectManifest: "nonsense"}
	if _, _, err := core.Dynamic(t.Context(), listed{}, info); !errs.Is(err, errs.Corrupt) {
		t.Errorf("no manifest: %v", err)
	}
}

func TestPutContainer_PolicyByAlias(t *testing.T) {
	_, c := one(t, 4)
	if _, err := c.PutContainer(t.Context(), "a", "other", core.PutContainer{Policy: "ARGENT"}); err != nil {
		t.Fatal(err)
	}
	if info, err := c.Container(t.Context(), "a", "other", true); err != nil || info.Policy.Name != "silver" {
		t.Fatalf("the policy is %q, %v", info.Policy.Name, err)
	}
}

func md5Hex(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}
