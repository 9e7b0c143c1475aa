package chunked

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/s3/fault"
)

// Chain checks signatures, each with the one before it; see sigv4.Chain.
type Chain interface {
	Chunk(signature string, sum [sha256.Size]byte) bool
	Trailer(signature string, sum [sha256.Size]byte) bool
}

// Config is what a Reader needs.
type Config struct {
	Body     io.Reader
	Size     int64    // x-amz-decoded-content-length: the bytes in all chunks
	Chain    Chain    // nil when chunks are not signed
	Trailer  bool     // trailers follow the last chunk
	Announce []string // their names (x-amz-trailer), in lower case
}

const bufferBytes = 16 << 10

// chunksMax bounds how many chunks a body may come in: tiny ones cost much more to check than to send.
func chunksMax(size int64) int64 { return 10_000 + size/512 }

// Reader gives the bytes inside the chunks. io.EOF comes only when all was there, and every signature right. Not safe for concurrent use.
type Reader struct {
	cfg       Config
	in        *bufio.Reader
	left      int64 // in the chunk
	total     int64 // given out
	chunks    int64
	inChunk   bool
	signature string
	sum       hash.Hash
	trailers  map[string]string
	err       error // what Read gives from now on
}

// New starts reading.
func New(cfg Config) *Reader {
	r := &Reader{cfg: cfg, in: bufio.NewReaderSize(cfg.Body, bufferBytes)}
	if cfg.Chain != nil {
		r.sum = sha256.New()
	}
	return r
}

// Trailers are the trailers by lower-case name, once Read gave io.EOF.
func (r *Reader) Trailers() map[string]string { return r.trailers }

// Read implements io.Reader. Errors are errs.Incomplete (truncated) or of package fault, and stay.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, r.err
	}
	for r.err == nil && r.left == 0 {
		r.err = r.advance()
	}
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.in.Read(p[:min(int64(len(p)), r.left)])
	if r.sum != nil {
		r.sum.Write(p[:n])
	}
	r.left -= int64(n)
	r.total += int64(n)
	if err != nil {
		r.err = truncated(err)
		return n, r.err
	}
	return n, nil
}

// advance ends the chunk that was read and begins the next; io.EOF after the last.
func (r *Reader) advance() error {
	if r.inChunk {
		if err := r.endChunk(); err != nil {
			return err
		}
	}
	size, err := r.header()
	if err != nil {
		return err
	}
	if r.chunks++; r.chunks > chunksMax(r.cfg.Size) {
		return fault.Newf(fault.InvalidChunkSize, "The body comes in too many chunks; use chunks of at least 8192 bytes.")
	}
	if size > r.cfg.Size-r.total {
		return fault.Newf(fault.IncompleteBody, "The chunks hold more bytes than x-amz-decoded-content-length says (%d).", r.cfg.Size)
	}
	if size > 0 {
		r.left, r.inChunk = size, true
		return nil
	}
	return r.end()
}

// endChunk reads what follows a chunk's bytes, and checks its signature.
func (r *Reader) endChunk() error {
	r.inChunk = false
	var crlf [2]byte
	if _, err := io.ReadFull(r.in, crlf[:]); err != nil {
		return truncated(err)
	}
	if crlf != [2]byte{'\r', '\n'} {
		return fault.Newf(fault.IncompleteBody, "A chunk does not end where its size says.")
	}
	return r.checkChunk()
}

func (r *Reader) checkChunk() error {
	if r.cfg.Chain == nil {
		return nil
	}
	var sum [sha256.Size]byte
	r.sum.Sum(sum[:0])
	r.sum.Reset()
	if !r.cfg.Chain.Chunk(r.signature, sum) {
		return fault.Newf(fault.SignatureDoesNotMatch, "The signature of chunk %d does not match its bytes.", r.chunks)
	}
	return nil
}

// header reads "SIZE;chunk-signature=HEX".
func (r *Reader) header() (int64, error) {
	line, err := r.line(limits.ChunkHeaderBytesMax)
	if err != nil {
		return 0, err
	}
	digits, extension, _ := strings.Cut(line, ";")
	size, err := strconv.ParseInt(digits, 16, 64)
	if err != nil || size < 0 || len(digits) > 15 || digits[0] == '+' {
		return 0, fault.Newf(fault.InvalidChunkSize, "A chunk's size must be a number in hex.")
	}
	if r.cfg.Chain == nil {
		return size, nil
	}
	signature, ok := strings.CutPrefix(extension, "chunk-signature=")
	if !ok {
		return 0, fault.Newf(fault.SignatureDoesNotMatch, "Chunk %d is not signed.", r.chunks+1)
	}
	r.signature = signature
	return size, nil
}

// line reads up to CR LF, which it takes off. limit bounds the line with its end.
func (r *Reader) line(limit int) (string, error) {
	var long []byte
	for {
		piece, err := r.in.ReadSlice('\n')
		if len(long)+len(piece) > limit {
			return "", fault.Newf(fault.InvalidRequest, "A line between chunks is longer than %d bytes.", limit)
		}
		long = append(long, piece...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return "", truncated(err)
		case bytes.HasSuffix(long, []byte("\r\n")):
			return string(long[:len(long)-2]), nil
		}
	}
}

// end follows the chunk of no bytes: its signature, the trailers, and then nothing.
func (r *Reader) end() error {
	if err := r.checkChunk(); err != nil {
		return err
	}
	if r.total != r.cfg.Size {
		return errs.New(errs.Incomplete, "chunks hold %d bytes, not %d", r.total, r.cfg.Size)
	}
	if err := r.readTrailers(); err != nil {
		return err
	}
	switch _, err := r.in.ReadByte(); {
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return truncated(err)
	}
	return fault.Newf(fault.InvalidRequest, "There are bytes after the last chunk.")
}

func (r *Reader) readTrailers() error {
	r.trailers = make(map[string]string)
	var canonical bytes.Buffer
	signature := ""
	for room := limits.TrailerBytesMax; ; {
		line, err := r.line(room)
		if err != nil {
			return err
		}
		room -= len(line)
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		name, value = strings.ToLower(name), strings.TrimSpace(value)
		switch {
		case !ok:
			return fault.New(fault.MalformedTrailer)
		case name == "x-amz-trailer-signature" && r.cfg.Chain != nil:
			signature = value
			continue
		case !slices.Contains(r.cfg.Announce, name) || r.trailers[name] != "":
			return fault.Newf(fault.MalformedTrailer, "The trailer %s was not announced in x-amz-trailer, or comes twice.", name)
		}
		r.trailers[name] = value
		canonical.WriteString(name + ":" + value + "\n")
	}
	if r.cfg.Chain != nil && r.cfg.Trailer && !r.cfg.Chain.Trailer(signature, sha256.Sum256(canonical.Bytes())) {
		return fault.Newf(fault.SignatureDoesNotMatch, "The signature of the trailers does not match them.")
	}
	for _, name := range r.cfg.Announce {
		if _, ok := r.trailers[name]; !ok {
			return fault.Newf(fault.MalformedTrailer, "The trailer %s, which x-amz-trailer announces, did not come.", name)
		}
	}
	return nil
}

// truncated gives the end of the input its kind.
func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errs.New(errs.Incomplete, "aws-chunked body ends too early: %w", io.ErrUnexpectedEOF)
	}
	return err
}
