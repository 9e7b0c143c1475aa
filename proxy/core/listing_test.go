package core_test

import (
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"henge/internal/clock"
	"henge/proxy/core"
	"henge/ring"
	"henge/storaged/peerapi"
)

// listModel is what a listing gives, from the names that are there.
func listModel(live []string, o core.ListOptions) []string {
	names := slices.Clone(live)
	sort.Strings(names)
	if o.Reverse {
		slices.Reverse(names)
	}
	var out []string
	for _, n := range names {
		if !strings.HasPrefix(n, o.Prefix) || o.Marker != "" && !(n != o.Marker && (o.Marker < n) != o.Reverse) ||
			o.EndMarker != "" && !(n != o.EndMarker && (n < o.EndMarker) != o.Reverse) {
			continue
		}
		if o.Delimiter != "" {
			if i := strings.Index(n[len(o.Prefix):], o.Delimiter); i >= 0 {
				n = n[:len(o.Prefix)+i+len(o.Delimiter)]
				if len(out) > 0 && out[len(out)-1] == n || n == o.Marker && !o.Reverse {
					continue
				}
			}
		}
		out = append(out, n)
	}
	return out
}

// Replicas that missed some changes each, but none that the same two missed, give together what is there.
func TestListing_MergesReplicasLikeAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMemory(3)
		c := m.proxy(t, 1, clock.System{})
		mustMake(t, c, "c")
		key := peerapi.Key{Account: "acc", Container: "c", Hash: ring.HashPath(ring.Secret{1, 2, 3}, "acc", "c", "")}
		name := rapid.StringOfN(rapid.SampledFrom([]rune("ab/-\U0010ffff")), 1, 5, -1)
		live := map[string]bool{}
		stamp := clock.FromTime(clock.System{}.Now())
		for range rapid.IntRange(0, 60).Draw(rt, "changes") {
			stamp += 1 << 12
			row := peerapi.Row{Name: name.Draw(rt, "name"), Timestamp: stamp, Deleted: rapid.IntRange(0, 2).Draw(rt, "deleted") > 0}
			live[row.Name] = !row.Deleted
			missed := rapid.IntRange(0, 3).Draw(rt, "missed")
			for i, peer := range []string{"a", "b", "c"} {
				if i == missed {
					continue
				}
				if err := m.Device(peerapi.Target{Peer: peer, Device: "d"}).Merge(t.Context(), peerapi.Merge{Key: key, Rows: []peerapi.Row{row}}); err != nil {
					rt.Fatal(err)
				}
			}
		}
		var there []string
		for n, l := range live {
			if l {
				there = append(there, n)
			}
		}
		for range 4 {
			o := core.ListOptions{
				Prefix:    rapid.SampledFrom([]string{"", "", "a", "a/", "b"}).Draw(rt, "prefix"),
				Delimiter: rapid.SampledFrom([]string{"", "/", "/", "a", "/a", "\U0010ffff"}).Draw(rt, "delimiter"),
				Reverse:   rapid.Bool().Draw(rt, "reverse"),
				Limit:     rapid.IntRange(1, 9).Draw(rt, "limit"),
			}
			if rapid.Bool().Draw(rt, "marked") {
				o.Marker = name.Draw(rt, "marker")
			}
			if rapid.Bool().Draw(rt, "ended") {
				o.EndMarker = name.Draw(rt, "end marker")
			}
			down := rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(rt, "down")
			m.set(down, true)
			want := listModel(there, o)
			first := o
			var got []string
			for more := true; more; {
				l, err := c.ListObjects(t.Context(), "acc", "c", o)
				if err != nil {
					rt.Fatal(err)
				}
				if len(l.Entries) > o.Limit || l.More && len(l.Entries) == 0 {
					rt.Fatalf("%d entries, more %v, with limit %d", len(l.Entries), l.More, o.Limit)
				}
				for _, e := range l.Entries {
					got = append(got, e.Folder+e.Name)
				}
				more, o.Marker = l.More, l.Next
			}
			m.set(down, false)
			if !slices.Equal(got, want) {
				rt.Fatalf("list %+v: got %q, want %q", first, got, want)
			}
		}
	})
}
