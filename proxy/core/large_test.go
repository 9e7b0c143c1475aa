package core_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

func readRange(t testing.TB, s core.Service, name string, offset, length int64) (string, error) {
	t.Helper()
	o, err := s.Open(t.Context(), ref(name), core.OpenOptions{})
	if err != nil {
		return "", err
	}
	defer o.Close()
	r, err := o.Read(t.Context(), offset, length)
	if err != nil {
		return "", err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	return string(got), err
}

func segment(info core.Info) core.Segment {
	return core.Segment{Account: "acc", Container: "c", Object: info.Ref.Object, ETag: info.ETag, Size: info.Size, Length: info.Size}
}

func TestSLO_RangesTouchOnlyTheirSegments(t *testing.T) {
	m, c := one(t, 3)
	mustMake(t, c, "c")
	var manifest core.Manifest
	whole := ""
	for i := range 5 {
		body := strings.Repeat(fmt.Sprint(i), 10+i)
		manifest.Segments = append(manifest.Segments, segment(put(t, c, fmt.Sprintf("s%d", i), body)))
		whole += body
	}
	manifest.Segments[1].Offset, manifest.Segments[1].Length = 2, 3
	whole = whole[:10] + "111" + whole[21:]
	manifest.Segments = append(manifest.Segments, core.Segment{Data: []byte("in place"), Size: 8, Length: 8})
	whole += "in place"
	info, err := c.PutManifest(t.Context(), ref("slo"), core.PutRequest{Metadata: core.Metadata{ETag: "an-etag"}}, manifest)
	if err != nil || info.Size != int64(len(whole)) || info.ETag != "an-etag" || info.Kind != peerapi.KindSLO {
		t.Fatalf("%+v, %v", info, err)
	}
	wantBody(t, c, "slo", whole)
	for from := range len(whole) {
		for to := from; to <= len(whole); to += 7 {
			if got, err := readRange(t, c, "slo", int64(from), int64(to-from)); err != nil || got != whole[from:to] {
				t.Fatalf("%d-%d: %q, %v; want %q", from, to, got, err, whole[from:to])
			}
		}
	}
	opened := map[string]bool{}
	m.faults(func(k call) error {
		if k.method == "Open" {
			m.mu.Lock()
			defer m.mu.Unlock()
			opened[k.key.Object] = true
		}
		return nil
	}, nil)
	if _, err := readRange(t, c, "slo", 14, 3); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	if !opened["s2"] || opened["s0"] || opened["s1"] || opened["s3"] {
		t.Errorf("opened %v", opened)
	}
	m.mu.Unlock()
	raw, err := c.Open(t.Context(), ref("slo"), core.OpenOptions{Raw: true})
	if err != nil || raw.Manifest != nil || raw.Info.Size == info.Size {
		t.Fatalf("raw: %+v, %v", raw, err)
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSLO_ChangedOrMissingSegmentEndsTheStream(t *testing.T) {
	_, c := one(t, 3)
	mustMake(t, c, "c")
	m := core.Manifest{Segments: []core.Segment{segment(put(t, c, "s0", "first")), segment(put(t, c, "s1", "second"))}}
	if _, err := c.PutManifest(t.Context(), ref("slo"), core.PutRequest{}, m); err != nil {
		t.Fatal(err)
	}
	put(t, c, "s1", "other!")
	got, err := readRange(t, c, "slo", 0, 11)
	if !errs.Is(err, errs.Conflict) || got != "first" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := c.Delete(t.Context(), ref("s1"), nil); err != nil {
		t.Fatal(err)
	}
	got, err = readRange(t, c, "slo", 0, 11)
	if !errs.Is(err, errs.Conflict) || got != "first" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestSLO_NestedTenDeepAndNoDeeper(t *testing.T) {
	_, c := one(t, 3)
	mustMake(t, c, "c")
	inner := segment(put(t, c, "bottom", "bytes"))
	for depth := 1; depth <= 12; depth++ {
		name := fmt.Sprintf("level%d", depth)
		info, err := c.PutManifest(t.Context(), ref(name), core.PutRequest{}, core.Manifest{Segments: []core.Segment{inner}})
		if err != nil {
			t.Fatal(err)
		}
		inner = segment(info)
		inner.SLO = true
		got, err := readRange(t, c, name, 0, 5)
		switch {
		case depth <= 10 && (err != nil || got != "bytes"):
			t.Fatalf("depth %d: %q, %v", depth, got, err)
		case depth > 10 && !errs.Is(err, errs.Conflict):
			t.Fatalf("depth %d: %q, %v", depth, got, err)
		}
	}
}

func TestDLO_OpenManifest(t *testing.T) {
	_, c := one(t, 3)
	mustMake(t, c, "c")
	m := core.Manifest{Segments: []core.Segment{segment(put(t, c, "a", "hello ")), segment(put(t, c, "b", "world"))}}
	o, err := c.OpenManifest(t.Context(), core.Info{Size: 11}, m)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	r, err := o.Read(t.Context(), 4, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); string(got) != "o wor" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestManifest_LargerThanOneMessage(t *testing.T) {
	_, c := one(t, 3)
	mustMake(t, c, "c")
	seg := segment(put(t, c, strings.Repeat("long name ", 50), "x"))
	var m core.Manifest
	for range 1000 {
		m.Segments = append(m.Segments, seg)
	}
	if _, err := c.PutManifest(t.Context(), ref("slo"), core.PutRequest{}, m); err != nil {
		t.Fatal(err)
	}
	wantBody(t, c, "slo", strings.Repeat("x", 1000))
}

func upload(t testing.TB, c *core.Core, name string, parts ...string) (string, []core.Part) {
	t.Helper()
	up, err := c.CreateUpload(t.Context(), ref(name), core.Metadata{ContentType: "text/x", Meta: map[string]string{"x-object-meta-a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	var out []core.Part
	for i, body := range parts {
		p, err := c.PutPart(t.Context(), ref(name), up.ID, i+1, core.PutRequest{Body: strings.NewReader(body), Size: int64(len(body)),
			Metadata: core.Metadata{System: map[string]string{"sum": fmt.Sprint("sum of ", i)}}})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return up.ID, out
}

func complete(t testing.TB, c *core.Core, name, id string, parts []core.Part) core.Info {
	t.Helper()
	info, err := c.CompleteUpload(t.Context(), ref(name), id, core.CompleteUpload{Parts: parts, Metadata: core.Metadata{ETag: "etag-" + fmt.Sprint(len(parts))}})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestUpload_FromCreateToComplete(t *testing.T) {
	_, c := one(t, 4)
	mustMake(t, c, "c")
	id, parts := upload(t, c, "o", "one ", "two ", "three")
	up, err := c.FindUpload(t.Context(), ref("o"), id)
	if err != nil || up.Metadata.ContentType != "text/x" || up.Metadata.Meta["x-object-meta-a"] != "b" {
		t.Fatalf("%+v, %v", up, err)
	}
	// A part uploaded again counts, and the old one is still there for who names it.
	again, err := c.PutPart(t.Context(), ref("o"), id, 2, core.PutRequest{Body: strings.NewReader("2 "), Size: 2})
	if err != nil {
		t.Fatal(err)
	}
	got, more, err := c.ListParts(t.Context(), ref("o"), id, 1, 1)
	if err != nil || !more || len(got) != 1 || got[0].Number != 2 || got[0].ETag != again.ETag {
		t.Fatalf("%+v, %v, %v", got, more, err)
	}
	got, more, err = c.ListParts(t.Context(), ref("o"), id, 2, 10)
	if err != nil || more || len(got) != 1 || got[0].System["sum"] != "sum of 2" || got[0].Size != 5 {
		t.Fatalf("%+v, %v, %v", got, more, err)
	}
	_, err = c.CompleteUpload(t.Context(), ref("o"), id, core.CompleteUpload{Parts: []core.Part{{Number: 1, ETag: "other"}}})
	wantKind(t, err, errs.Invalid)
	parts[1] = again
	info := complete(t, c, "o", id, parts)
	if info.Size != 11 || info.Upload != id || info.ETag != "etag-3" {
		t.Fatalf("%+v", info)
	}
	wantBody(t, c, "o", "one 2 three")
	wantList(t, c, core.ListOptions{}, "o")
	if same := complete(t, c, "o", id, parts); same.Timestamp != info.Timestamp || same.ETag != info.ETag {
		t.Fatalf("completed again: %+v, first %+v", same, info)
	}
	_, err = c.FindUpload(t.Context(), ref("o"), id)
	wantKind(t, err, errs.NotFound)
	wantKind(t, c.AbortUpload(t.Context(), ref("o"), id), errs.NotFound)
	_, err = c.PutPart(t.Context(), ref("o"), id, 4, core.PutRequest{Body: strings.NewReader("x"), Size: 1})
	wantKind(t, err, errs.NotFound)
}

func TestUpload_ListsByNameAndBeginning(t *testing.T) {
	_, c := one(t, 3)
	mustMake(t, c, "c")
	var want []string
	for _, name := range []string{"a", "a", "a/1", "a/2", "b", "b/x/1", "b/x/2", "c"} {
		id, _ := upload(t, c, name)
		want = append(want, name+" "+id)
	}
	for limit := 1; limit < 10; limit++ {
		var got []string
		o := core.ListUploadsOptions{Limit: limit}
		for more := true; more; {
			l, err := c.ListUploads(t.Context(), "acc", "c", o)
			if err != nil || len(l.Uploads) > limit {
				t.Fatalf("%+v, %v", l, err)
			}
			for _, u := range l.Uploads {
				got = append(got, u.Ref.Object+" "+u.ID)
			}
			more, o.KeyMarker, o.UploadMarker = l.More, l.NextKey, l.NextID
		}
		if strings.Join(got, ",") != strings.Join(want, ",") {
			t.Fatalf("limit %d: got %v, want %v", limit, got, want)
		}
	}
	l, err := c.ListUploads(t.Context(), "acc", "c", core.ListUploadsOptions{Limit: 10, Delimiter: "/", Prefix: "b"})
	if err != nil || len(l.Uploads) != 1 || strings.Join(l.Folders, " ") != "b/" {
		t.Fatalf("%+v, %v", l, err)
	}
	if err := c.DeleteContainer(t.Context(), "acc", "c"); err != nil {
		t.Fatal(err)
	}
	mustMake(t, c, "c")
	l, err = c.ListUploads(t.Context(), "acc", "c", core.ListUploadsOptions{Limit: 10})
	if err != nil || len(l.Uploads) != 0 {
		t.Fatalf("uploads outlived their container: %+v, %v", l, err)
	}
}

// live counts the objects with bytes in the cluster that belong to uploads.
func (m *memory) partsLeft() int {
	seen := map[string]bool{}
	for _, d := range m.devices {
		d.mu.Lock()
		for _, o := range d.objects {
			if o.record != nil && !o.record.Deleted && o.record.Key.Account == ".multipart" && strings.HasPrefix(o.record.Key.Object, "p") {
				seen[o.record.Key.Object] = true
			}
		}
		d.mu.Unlock()
	}
	return len(seen)
}

func TestReap_OnlyWhatBelongsToNoObject(t *testing.T) {
	m := newMemory(3)
	now := clock.NewManual(clock.System{}.Now())
	c := m.proxy(t, 1, now)
	mustMake(t, c, "c")
	kept, keptParts := upload(t, c, "kept", "1", "2", "unnamed")
	complete(t, c, "kept", kept, keptParts[:2])
	over, overParts := upload(t, c, "over", "1", "2")
	complete(t, c, "over", over, overParts)
	gone, goneParts := upload(t, c, "gone", "1")
	complete(t, c, "gone", gone, goneParts)
	aborted, _ := upload(t, c, "aborted", "1", "2", "3")
	open, _ := upload(t, c, "open", "1")
	put(t, c, "over", "a plain one")
	if err := c.Delete(t.Context(), ref("gone"), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.AbortUpload(t.Context(), ref("aborted"), aborted); err != nil {
		t.Fatal(err)
	}
	if n := m.partsLeft(); n != 10 {
		t.Fatalf("%d parts", n)
	}
	if n, err := c.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatalf("nothing is due: %d, %v", n, err)
	}
	for range 2 { // what was completed and replaced since is looked at twice
		now.Advance(2 * 3600 * 1e9)
		if _, err := c.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.partsLeft(); n != 3 {
		t.Fatalf("%d parts are left, want two of kept and one of open", n)
	}
	wantBody(t, c, "kept", "12")
	if _, err := c.FindUpload(t.Context(), ref("open"), open); err != nil {
		t.Fatal(err)
	}
	now.Advance(2 * 3600 * 1e9)
	if n, err := c.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatalf("entries are worked off: %d, %v", n, err)
	}
}

func TestReap_ScanFindsWhatTheQueueLost(t *testing.T) {
	m := newMemory(3)
	now := clock.NewManual(clock.System{}.Now())
	c := m.proxy(t, 1, now)
	mustMake(t, c, "c")
	id, parts := upload(t, c, "o", "1", "2")
	complete(t, c, "o", id, parts)
	now.Advance(3 * 3600 * 1e9)
	if _, err := c.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.faults(func(k call) error { // as if the proxy died between the two writes
		if k.key.Container == "reap" && k.method == "Commit" {
			return errs.New(errs.Unavailable, "crash")
		}
		return nil
	}, nil)
	put(t, c, "o", "plain")
	m.faults(nil, nil)
	for range 2 { // the scan queues it, and the sweep deletes it
		if err := c.Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		now.Advance(2 * 3600 * 1e9)
		if _, err := c.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.partsLeft(); n != 0 {
		t.Fatalf("%d parts are left", n)
	}
	wantBody(t, c, "o", "plain")
}

func TestUpload_PartsAreStreamed(t *testing.T) {
	_, c := one(t, 3)
	mustMake(t, c, "c")
	big := strings.Repeat("0123456789", 30_000)
	id, parts := upload(t, c, "o", big, big)
	complete(t, c, "o", id, parts)
	got, err := read(t.Context(), c, ref("o"))
	if err != nil || !bytes.Equal(got, []byte(big+big)) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if got, err := readRange(t, c, "o", 299_995, 10); err != nil || got != "5678901234" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestRun_DeletesWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(3)
		c := m.proxy(t, 1, clock.System{})
		mustMake(t, c, "c")
		id, parts := upload(t, c, "o", "1", "2")
		complete(t, c, "o", id, parts)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		put(t, c, "o", "plain")
		wait(ctx, 30*time.Minute)
		if n := m.partsLeft(); n != 2 {
			t.Errorf("%d parts are left while readers may still need them", n)
		}
		wait(ctx, 45*time.Minute)
		if n := m.partsLeft(); n != 0 {
			t.Errorf("%d parts are left", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
