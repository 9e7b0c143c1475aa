package enginetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/engine"
	"henge/storaged/peerapi"
)

// Disk is something that an engine can be opened on, and, when that was closed, again.
type Disk interface {
	Open() (engine.Engine, error)
}

// Run proves that an implementation keeps the contract. disk makes a new, empty disk for each test.
func Run(t *testing.T, disk func(t *testing.T) Disk) {
	tests := map[string]func(*harness){
		"Head_Nothing":        headNothing,
		"Commit_ThenRead":     commitThenRead,
		"Commit_Order":        commitOrder,
		"Commit_Retry":        commitRetry,
		"Commit_Bad":          commitBad,
		"Commit_Policies":     commitPolicies,
		"Tombstone":           tombstone,
		"Open_Versions":       openVersions,
		"Open_Ranges":         openRanges,
		"Writer_Sizes":        writerSizes,
		"Writer_GivenUp":      writerGivenUp,
		"Writer_CommitAgain":  writerCommitAgain,
		"Writer_Replaces":     writerReplaces,
		"Restamp":             restamp,
		"Restamp_Large":       restampLarge,
		"Restamp_Tombstone":   restampTombstone,
		"Prepare_Accept":      prepareAccept,
		"Prepare_Refused":     prepareRefused,
		"Prepare_Survives":    prepareSurvives,
		"Replaced_Multipart":  replacedMultipart,
		"Walk":                walk,
		"Marks":               marks,
		"Drop":                drop,
		"Journal":             journal,
		"Journal_Interleaved": journalInterleaved,
		"Intent":              intent,
		"Usage":               usage,
		"Closed":              closed,
		"Concurrent_OneKey":   concurrentOneKey,
		"Concurrent_Many":     concurrentMany,
		"Model":               model,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := &harness{T: t, disk: disk(t)}
			h.open()
			defer h.close()
			test(h)
		})
	}
}

// harness is one disk and the engine open on it.
type harness struct {
	*testing.T
	disk Disk
	engine.Engine
}

func (h *harness) open() {
	h.Helper()
	e, err := h.disk.Open()
	if err != nil {
		h.Fatalf("open: %v", err)
	}
	h.Engine = e
}

func (h *harness) close() {
	if h.Engine == nil {
		return
	}
	if err := h.Engine.Close(); err != nil {
		h.Errorf("close: %v", err)
	}
	h.Engine = nil
}

// reopen runs check now, and again after the engine was closed and opened.
func (h *harness) reopen(check func()) {
	h.Helper()
	check()
	h.close()
	h.open()
	check()
}

// Key names an object as the ring would.
func Key(object string) peerapi.Key {
	sum := sha256.Sum256([]byte(object))
	hash := ring.Hash(sum[:16])
	return peerapi.Key{Account: "AUTH_test", Container: "box", Object: object, Hash: hash, Partition: ring.Partition(hash[0])}
}

// Record is a version of an object with some metadata.
func Record(object string, at clock.Timestamp) peerapi.Record {
	return peerapi.Record{Key: Key(object), Timestamp: at, ETag: fmt.Sprintf("etag-%d", at), ContentType: "text/plain",
		Meta: map[string]string{"x-object-meta-color": "blue", "x-object-meta-latin-1": "gr\xfcn", "content-encoding": "gzip"}, System: map[string]string{"crc": "x"}}
}

// Data is size bytes that depend on the seed and on their place.
func Data(seed, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + seed*31)
	}
	return b
}

func (h *harness) commit(r peerapi.Record, data []byte) peerapi.Outcome {
	h.Helper()
	out, err := h.Commit(h.Context(), engine.Write{Record: r}, data)
	if err != nil {
		h.Fatalf("commit %s at %d: %v", r.Key.Object, r.Timestamp, err)
	}
	return out
}

func (h *harness) put(object string, at clock.Timestamp, data []byte) {
	h.Helper()
	if out := h.commit(Record(object, at), data); !out.Accepted {
		h.Fatalf("commit %s at %d: refused: %+v", object, at, out)
	}
}

// want checks that the newest version of object is the one at, with these bytes.
func (h *harness) want(object string, at clock.Timestamp, data []byte) {
	h.Helper()
	s, rc, err := h.Open(Key(object), 0, peerapi.Whole)
	if err != nil {
		h.Fatalf("open %s: %v", object, err)
	}
	got, err := io.ReadAll(rc)
	if err := errors.Join(err, rc.Close()); err != nil {
		h.Fatalf("read %s: %v", object, err)
	}
	if s.Timestamp() != at {
		h.Fatalf("open %s: version %d, want %d", object, s.Timestamp(), at)
	}
	if !bytes.Equal(got, data) {
		h.Fatalf("open %s: %d bytes differ from the %d written", object, len(got), len(data))
	}
	if s.Record.StoredSize != int64(len(data)) {
		h.Fatalf("open %s: StoredSize %d, want %d", object, s.Record.StoredSize, len(data))
	}
	if s.Record.Key != Key(object) || s.Record.Meta["x-object-meta-color"] != "blue" {
		h.Fatalf("open %s: record %+v", object, s.Record)
	}
	if head := h.head(object); head.Timestamp() != at {
		h.Fatalf("head %s: version %d, want %d", object, head.Timestamp(), at)
	}
}

func (h *harness) head(object string) peerapi.State {
	h.Helper()
	s, err := h.Head(Key(object))
	if err != nil {
		h.Fatalf("head %s: %v", object, err)
	}
	return s
}

// wantGone checks that there is nothing to read, and that the newest record is a tombstone at (or nothing, for 0).
func (h *harness) wantGone(object string, at clock.Timestamp) {
	h.Helper()
	s, rc, err := h.Open(Key(object), 0, peerapi.Whole)
	if err == nil {
		rc.Close()
	}
	if !errs.Is(err, errs.NotFound) {
		h.Fatalf("open %s: %v, want not found", object, err)
	}
	if s.Timestamp() != at || s.Exists() {
		h.Fatalf("open %s: state %+v, want a tombstone at %d", object, s, at)
	}
}

func (h *harness) refused(out peerapi.Outcome, newest clock.Timestamp) {
	h.Helper()
	if out.Accepted || out.Newest != newest {
		h.Fatalf("outcome %+v, want refused by %d", out, newest)
	}
}

func (h *harness) accepted(out peerapi.Outcome, err error) {
	h.Helper()
	if err != nil || !out.Accepted {
		h.Fatalf("outcome %+v, %v, want accepted", out, err)
	}
}
