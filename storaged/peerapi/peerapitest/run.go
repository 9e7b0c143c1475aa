// Package peerapitest is the contract of peerapi.Device, as a suite of tests that every implementation passes.
package peerapitest

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"io"
	"testing"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/peerapi"
)

// Bed is an empty device under test.
type Bed struct {
	Device peerapi.Device
	// Self is where the device's own peers reach it; Lost is a device that nobody reaches.
	Self, Lost peerapi.Target
}

// Run tests the devices that make gives, one for each part of the contract.
func Run(t *testing.T, make func(t *testing.T) Bed) {
	for name, test := range map[string]func(*testing.T, *suite){
		"Register":            testRegister,
		"Ballots":             testBallots,
		"RefusedWriteTries":   testRefusedWrite,
		"Tombstone":           testTombstone,
		"Restamp":             testRestamp,
		"Replaced":            testReplaced,
		"Ranges":              testRanges,
		"OpenExactly":         testOpenExactly,
		"Stream":              testStream,
		"StreamAbandoned":     testStreamAbandoned,
		"StreamLargeInOne":    testLargeInOne,
		"ReaderOutlivesWrite": testReaderOutlivesWrite,
		"Listing":             testListing,
		"ListingGone":         testListingGone,
		"Index":               testIndex,
		"IndexRace":           testIndexRace,
		"Pages":               testPages,
		"LargePage":           testLargePage,
		"Cancel":              testCancel,
		"Concurrency":         testConcurrency,
		"Usage":               testUsage,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, &suite{T: t, Bed: make(t), ctx: t.Context()})
		})
	}
}

type suite struct {
	*testing.T
	Bed
	ctx context.Context
}

func key(object string) peerapi.Key {
	return peerapi.Key{Account: "a", Container: "c", Object: object, Hash: ring.HashPath(ring.Secret{1}, "a", "c", object), Partition: 5}
}

func containerKey(name string) peerapi.Key {
	return peerapi.Key{Account: "a", Container: name, Hash: ring.HashPath(ring.Secret{1}, "a", name, ""), Partition: 6}
}

var accountKey = peerapi.Key{Account: "a", Hash: ring.HashPath(ring.Secret{1}, "a", "", ""), Partition: 7}

// base keeps the suite's timestamps in a time that no implementation reclaims.
const base clock.Timestamp = 4_000_000_000 * 1e9

func at(n int) clock.Timestamp { return base + clock.Timestamp(n) }

func record(object string, n int, data []byte) peerapi.Record {
	sum := md5.Sum(data)
	return peerapi.Record{Key: key(object), Timestamp: at(n), Size: int64(len(data)), StoredSize: int64(len(data)), ETag: hex.EncodeToString(sum[:]),
		ContentType: "text/plain", Meta: map[string]string{"x-object-meta-color": "blue"}, System: map[string]string{"s": "t"}}
}

func (s *suite) commit(c peerapi.Commit, data []byte) peerapi.Outcome {
	s.Helper()
	out, err := s.Device.Commit(s.ctx, c, data)
	if err != nil {
		s.Fatalf("commit at %s: %v", c.Record.Timestamp, err)
	}
	return out
}

func (s *suite) put(object string, n int, text string) peerapi.Outcome {
	s.Helper()
	return s.commit(peerapi.Commit{Record: record(object, n, []byte(text))}, []byte(text))
}

func (s *suite) accepted(out peerapi.Outcome) {
	s.Helper()
	if !out.Accepted {
		s.Fatalf("not accepted: %+v", out)
	}
}

func (s *suite) refused(out peerapi.Outcome, newest clock.Timestamp) {
	s.Helper()
	if out.Accepted || out.Newest != newest {
		s.Fatalf("want a refusal that names %s, got %+v", newest, out)
	}
}

func (s *suite) kind(err error, want errs.Kind) {
	s.Helper()
	if !errs.Is(err, want) {
		s.Fatalf("got error %v, want kind %v", err, want)
	}
}

func (s *suite) read(object string, r peerapi.Range) (peerapi.State, []byte) {
	s.Helper()
	state, body, err := s.Device.Open(s.ctx, key(object), 0, r)
	if err != nil {
		s.Fatalf("open %s: %v", object, err)
	}
	data, err := io.ReadAll(body)
	if err != nil {
		s.Fatalf("read %s: %v", object, err)
	}
	if err := body.Close(); err != nil {
		s.Fatalf("close %s: %v", object, err)
	}
	return state, data
}

func (s *suite) holds(object, text string) {
	s.Helper()
	if _, data := s.read(object, peerapi.Whole); string(data) != text {
		s.Fatalf("%s holds %q, want %q", object, data, text)
	}
}

func (s *suite) head(object string) peerapi.State {
	s.Helper()
	state, err := s.Device.Head(s.ctx, key(object))
	if err != nil {
		s.Fatalf("head %s: %v", object, err)
	}
	return state
}

func (s *suite) prepare(object string, n int) (peerapi.Outcome, peerapi.State) {
	s.Helper()
	out, state, err := s.Device.Prepare(s.ctx, key(object), at(n))
	if err != nil {
		s.Fatalf("prepare %d: %v", n, err)
	}
	return out, state
}

func (s *suite) change(c peerapi.IndexChange) peerapi.IndexOutcome {
	s.Helper()
	out, err := s.Device.ChangeIndex(s.ctx, c)
	if err != nil {
		s.Fatalf("change %+v: %v", c, err)
	}
	return out
}

func (s *suite) index(k peerapi.Key) peerapi.IndexInfo {
	s.Helper()
	i, err := s.Device.Index(s.ctx, k)
	if err != nil {
		s.Fatalf("index: %v", err)
	}
	return i
}

func (s *suite) list(q peerapi.ListQuery) peerapi.ListPage {
	s.Helper()
	p, err := s.Device.List(s.ctx, q)
	if err != nil {
		s.Fatalf("list: %v", err)
	}
	return p
}

// pattern is n bytes that differ from place to place.
func pattern(n int) []byte {
	b := bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz\n"), n/37+1)[:n]
	for i := 0; i < n; i += 4096 {
		b[i] = byte(i >> 12)
	}
	return b
}
