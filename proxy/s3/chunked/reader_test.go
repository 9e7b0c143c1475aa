package chunked

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/s3/fault"
)

// chain takes the hash itself for the signature.
type chain struct{}

func (chain) Chunk(signature string, sum [sha256.Size]byte) bool {
	return signature == hex.EncodeToString(sum[:])
}
func (chain) Trailer(signature string, sum [sha256.Size]byte) bool {
	return signature == hex.EncodeToString(sum[:])
}

func sumOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func chunk(data string) string {
	return hex.EncodeToString([]byte{byte(len(data))}) + ";chunk-signature=" + sumOf(data) + "\r\n" + data + "\r\n"
}

const crc = "x-amz-checksum-crc32c"

func kind(err error) string {
	var f *fault.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &f):
		return string(f.Code)
	}
	return errs.KindOf(err).String()
}

func TestReader_Bodies(t *testing.T) {
	last := "0;chunk-signature=" + sumOf("") + "\r\n"
	trailer := crc + ":AAAA\r\nx-amz-trailer-signature:" + sumOf(crc+":AAAA\n") + "\r\n\r\n"
	announce := []string{crc}
	for name, c := range map[string]struct {
		body string
		cfg  Config
		want string // the bytes
		fail string
	}{
		"signed":                    {chunk("hello ") + chunk("world") + last + "\r\n", Config{Size: 11, Chain: chain{}}, "hello world", ""},
		"signed, empty":             {last + "\r\n", Config{Chain: chain{}}, "", ""},
		"signed with trailer":       {chunk("hello") + last + trailer, Config{Size: 5, Chain: chain{}, Trailer: true, Announce: announce}, "hello", ""},
		"trailer as documented":     {chunk("hello") + last + strings.Replace(trailer, "AAAA\r\n", "AAAA\n\r\n", 1), Config{Size: 5, Chain: chain{}, Trailer: true, Announce: announce}, "hello", ""},
		"unsigned with trailer":     {"5\r\nhello\r\n0\r\n" + crc + ":AAAA\r\n\r\n", Config{Size: 5, Trailer: true, Announce: announce}, "hello", ""},
		"unsigned, none announced":  {"5\r\nhello\r\n0\r\n\r\n", Config{Size: 5, Trailer: true}, "hello", ""},
		"a wrong chunk":             {strings.Replace(chunk("hello"), "hello", "jello", 1) + last + "\r\n", Config{Size: 5, Chain: chain{}}, "jello", "SignatureDoesNotMatch"},
		"a wrong last chunk":        {chunk("hello") + strings.Replace(last, "e3", "e4", 1) + "\r\n", Config{Size: 5, Chain: chain{}}, "hello", "SignatureDoesNotMatch"},
		"an unsigned chunk":         {"5\r\nhello\r\n0\r\n\r\n", Config{Size: 5, Chain: chain{}}, "", "SignatureDoesNotMatch"},
		"a wrong trailer signature": {chunk("hello") + last + strings.Replace(trailer, "AAAA", "AAAB", 1), Config{Size: 5, Chain: chain{}, Trailer: true, Announce: announce}, "hello", "SignatureDoesNotMatch"},
		"an unsigned trailer":       {chunk("hello") + last + crc + ":AAAA\r\n\r\n", Config{Size: 5, Chain: chain{}, Trailer: true, Announce: announce}, "hello", "SignatureDoesNotMatch"},
		"a trailer missing":         {"5\r\nhello\r\n0\r\n\r\n", Config{Size: 5, Trailer: true, Announce: announce}, "hello", "MalformedTrailerError"},
		"another trailer":           {"5\r\nhello\r\n0\r\nx-amz-meta-a:b\r\n\r\n", Config{Size: 5, Trailer: true, Announce: announce}, "hello", "MalformedTrailerError"},
		"a trailer twice":           {"5\r\nhello\r\n0\r\n" + crc + ":A\r\n" + crc + ":B\r\n\r\n", Config{Size: 5, Trailer: true, Announce: announce}, "hello", "MalformedTrailerError"},
		"no size":                   {"\r\nhello", Config{Size: 5}, "", "InvalidChunkSizeError"},
		"a negative size":           {"-5\r\nhello", Config{Size: 5}, "", "InvalidChunkSizeError"},
		"a size too large":          {"fffffffffffffff\r\nhello", Config{Size: 5}, "", "IncompleteBody"},
		"more than declared":        {"6\r\nhello!\r\n0\r\n\r\n", Config{Size: 5}, "", "IncompleteBody"},
		"less than declared":        {"5\r\nhello\r\n0\r\n\r\n", Config{Size: 6}, "hello", "incomplete"},
		"no end of the chunk":       {"5\r\nhelloxx0\r\n\r\n", Config{Size: 5}, "hello", "IncompleteBody"},
		"bytes after the end":       {"5\r\nhello\r\n0\r\n\r\nmore", Config{Size: 5}, "hello", "InvalidRequest"},
		"a header without end":      {strings.Repeat("0", 2*limits.ChunkHeaderBytesMax), Config{Size: 5}, "", "InvalidRequest"},
		"trailers without end":      {"0\r\n" + strings.Repeat(crc+":A\n", limits.TrailerBytesMax), Config{Trailer: true, Announce: announce}, "", "InvalidRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, slow := range []bool{false, true} {
				cfg := c.cfg
				cfg.Body = strings.NewReader(c.body)
				if slow {
					cfg.Body = iotest.OneByteReader(cfg.Body)
				}
				got, err := io.ReadAll(New(cfg))
				if string(got) != c.want || kind(err) != c.fail {
					t.Errorf("slow %v: got %q and %v, want %q and %q", slow, got, err, c.want, c.fail)
				}
			}
		})
	}
}

// Truncated at any byte, a body ends with an error, at once: it neither loops nor passes for whole (CVE-2026-49017).
func TestReader_TruncatedEverywhere(t *testing.T) {
	whole := chunk("hello ") + chunk("world") + "0;chunk-signature=" + sumOf("") + "\r\n" + crc + ":AAAA\r\nx-amz-trailer-signature:" + sumOf(crc+":AAAA\n") + "\r\n\r\n"
	for n := range len(whole) {
		r := New(Config{Body: strings.NewReader(whole[:n]), Size: 11, Chain: chain{}, Trailer: true, Announce: []string{crc}})
		_, err := io.ReadAll(r)
		if !errs.Is(err, errs.Incomplete) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(whole), err)
		}
		if n, again := r.Read(make([]byte, 1)); n != 0 || !errors.Is(again, err) {
			t.Fatalf("read again: %d bytes and %v", n, again)
		}
	}
}

func TestReader_BoundsChunks(t *testing.T) {
	body := strings.Repeat("1\r\na\r\n", int(chunksMax(20_000))+1)
	if _, err := io.ReadAll(New(Config{Body: strings.NewReader(body), Size: 20_000})); kind(err) != "InvalidChunkSizeError" {
		t.Errorf("chunks of one byte without end: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add("5\r\nhello\r\n0\r\n\r\n", int64(5), false)
	f.Add(chunk("hello")+"0;chunk-signature="+sumOf("")+"\r\n\r\n", int64(5), true)
	f.Fuzz(func(t *testing.T, body string, size int64, signed bool) {
		cfg := Config{Body: strings.NewReader(body), Size: size, Trailer: true, Announce: []string{crc}}
		if signed {
			cfg.Chain = chain{}
		}
		got, err := io.ReadAll(New(cfg))
		if err == nil && int64(len(got)) != size {
			t.Fatalf("%d bytes pass for %d", len(got), size)
		}
		if len(got) > len(body) {
			t.Fatalf("%d bytes came out of %d", len(got), len(body))
		}
	})
}
