package s3

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/checksum"
	"henge/proxy/s3/chunked"
	"henge/proxy/s3/fault"
	"henge/proxy/s3/sigv4"
)

// payload is a request's body, decoded and held to all that the request says of it: its length, its SHA-256 or the signatures of its chunks, its
// checksum. Read gives io.EOF only when all of that is right; Content-MD5 is checked by finish. Not safe for concurrent use.
type payload struct {
	in     io.Reader
	size   int64           // bytes to come, or -1
	chunks *chunked.Reader // when aws-chunked
	md5    string          // what Content-MD5 says, in hex; "" for nothing

	sha     hash.Hash // of a payload signed as a whole
	shaWant string

	given   checksum.Value     // in a header
	trailer checksum.Algorithm // announced in a trailer
	sums    []running          // the checksums to be made
	read    int64
	err     error // sticky
}

type running struct {
	algorithm checksum.Algorithm
	hash      hash.Hash
}

// openPayload gets the body ready. own is the algorithm whose value is wanted whether or not the client sends one; None for whatever it sends.
func (c *call) openPayload(own checksum.Algorithm) (*payload, error) {
	p := &payload{in: c.r.Body, size: c.r.ContentLength}
	if err := p.openStream(c); err != nil {
		return nil, err
	}
	if p.size > limits.ObjectBytesMax {
		return nil, fault.New(fault.EntityTooLarge).With("ProposedSize", strconv.FormatInt(p.size, 10)).
			With("MaxSizeAllowed", strconv.FormatInt(limits.ObjectBytesMax, 10))
	}
	if err := p.openDigests(c.r.Header); err != nil {
		return nil, err
	}
	for _, a := range []checksum.Algorithm{p.given.Algorithm, p.trailer, own} {
		if a != checksum.None && !slices.ContainsFunc(p.sums, func(r running) bool { return r.algorithm == a }) {
			p.sums = append(p.sums, running{a, a.New()})
		}
	}
	return p, nil
}

// openStream chooses how the body is decoded and what its signature covers.
func (p *payload) openStream(c *call) error {
	switch c.auth.Payload {
	case sigv4.UnsignedPayload:
	case sigv4.StreamingSigned, sigv4.StreamingSignedTrailer, sigv4.StreamingUnsignedTrailer:
		return p.openChunks(c)
	default:
		p.sha, p.shaWant = sha256.New(), c.auth.Payload
	}
	if c.r.Header.Get("X-Amz-Trailer") != "" {
		return fault.Newf(fault.InvalidRequest, "x-amz-trailer needs an x-amz-content-sha256 that ends in -TRAILER.")
	}
	if p.size < 0 {
		return fault.New(fault.MissingContentLength)
	}
	return nil
}

func (p *payload) openChunks(c *call) error {
	text := c.r.Header.Get("X-Amz-Decoded-Content-Length")
	if text == "" {
		return fault.Newf(fault.MissingContentLength, "You must provide the x-amz-decoded-content-length HTTP header.")
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return fault.Newf(fault.InvalidArgument, "x-amz-decoded-content-length must be a number of bytes, not %q", text)
	}
	cfg := chunked.Config{Body: c.r.Body, Size: n, Trailer: c.auth.Payload != sigv4.StreamingSigned}
	if c.auth.Chain != nil {
		cfg.Chain = c.auth.Chain
	}
	if announced := c.r.Header.Get("X-Amz-Trailer"); announced != "" {
		if !cfg.Trailer {
			return fault.Newf(fault.InvalidRequest, "x-amz-trailer needs an x-amz-content-sha256 that ends in -TRAILER.")
		}
		name := strings.ToLower(strings.TrimSpace(announced))
		a, ok := checksum.ByHeader(name)
		if !ok {
			return fault.Newf(fault.InvalidRequest, "The value specified in the x-amz-trailer header is not supported")
		}
		p.trailer, cfg.Announce = a, []string{name}
	}
	p.chunks = chunked.New(cfg)
	p.in, p.size = p.chunks, n
	return nil
}

// openDigests reads Content-MD5 and the checksum headers: at most one checksum, header and trailer together.
func (p *payload) openDigests(h http.Header) error {
	if values, ok := h["Content-Md5"]; ok {
		b, err := base64.StdEncoding.DecodeString(values[0])
		if err != nil || len(b) != md5.Size {
			return fault.New(fault.InvalidDigest)
		}
		p.md5 = hex.EncodeToString(b)
	}
	var err error
	if p.given, err = checksumHeader(h); err != nil {
		return err
	}
	if p.given.Parts > 0 {
		return fault.Newf(fault.InvalidRequest, "Value for %s header is invalid.", p.given.Algorithm.Header())
	}
	if !p.given.IsZero() && p.trailer != checksum.None {
		return fault.Newf(fault.InvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	}
	named := h.Get("X-Amz-Sdk-Checksum-Algorithm")
	if named == "" {
		return nil
	}
	a, ok := checksum.ParseAlgorithm(named)
	switch used := p.given.Algorithm + p.trailer; { // one of them is None
	case !ok:
		return fault.Newf(fault.InvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	case used == checksum.None && p.md5 == "":
		return fault.Newf(fault.InvalidRequest, "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	case used != checksum.None && used != a:
		return fault.Newf(fault.InvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	return nil
}

// checksumHeader finds the one checksum that headers give.
func checksumHeader(h http.Header) (found checksum.Value, err error) {
	for name, values := range h {
		rest, ok := strings.CutPrefix(name, "X-Amz-Checksum-")
		if !ok || rest == "Algorithm" || rest == "Type" || rest == "Mode" {
			continue
		}
		a, ok := checksum.ByHeader(name)
		if !ok {
			return found, fault.Newf(fault.NotImplemented, "The checksum of %s is not supported; use one of crc32, crc32c, crc64nvme, sha1, sha256.", strings.ToLower(name))
		}
		if !found.IsZero() || len(values) > 1 {
			return found, fault.Newf(fault.InvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		if found, ok = checksum.ParseText(a, values[0]); !ok {
			return found, fault.Newf(fault.InvalidRequest, "Value for %s header is invalid.", a.Header())
		}
	}
	return found, nil
}

// digested tells whether the client gave anything to check the bytes by, besides the signature.
func (p *payload) digested() bool {
	return p.md5 != "" || !p.given.IsZero() || p.trailer != checksum.None
}

// Read implements io.Reader.
func (p *payload) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.in.Read(b)
	p.read += int64(n)
	for _, r := range p.sums {
		r.hash.Write(b[:n])
	}
	if p.sha != nil {
		p.sha.Write(b[:n])
	}
	switch {
	case errors.Is(err, io.EOF):
		p.err = p.end()
	case err != nil:
		p.err = bodyError(err)
	}
	return n, p.err
}

// bodyError gives errors of the connection a kind: a client that stops is no fault of ours.
func bodyError(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return errs.With(errs.TooLarge, err)
	case errs.KindOf(err) == errs.Timeout:
		return fault.Wrap(fault.RequestTimeout, err)
	case errs.KindOf(err) == errs.Internal:
		var f *fault.Error
		if !errors.As(err, &f) {
			return errs.With(errs.Incomplete, err)
		}
	}
	return err
}

// end checks everything that can be checked when the last byte was read.
func (p *payload) end() error {
	if p.size >= 0 && p.read != p.size {
		return errs.New(errs.Incomplete, "body has %d bytes, not %d", p.read, p.size)
	}
	if p.sha != nil && hex.EncodeToString(p.sha.Sum(nil)) != p.shaWant {
		return fault.New(fault.XAmzContentSHA256Mismatch).With("ClientComputedContentSHA256", p.shaWant).
			With("S3ComputedContentSHA256", hex.EncodeToString(p.sha.Sum(nil)))
	}
	want := p.given
	if p.trailer != checksum.None {
		var ok bool
		if want, ok = checksum.ParseText(p.trailer, p.chunks.Trailers()[p.trailer.Header()]); !ok || want.Parts > 0 {
			return fault.Newf(fault.InvalidRequest, "Value for %s trailing header is invalid.", p.trailer.Header())
		}
	}
	if !want.IsZero() && p.sum(want.Algorithm) != want {
		return fault.Newf(fault.BadDigest, "The %s you specified did not match the calculated checksum.", want.Algorithm)
	}
	return io.EOF
}

// sum is the checksum of what was read.
func (p *payload) sum(a checksum.Algorithm) checksum.Value {
	for _, r := range p.sums {
		if r.algorithm == a {
			return checksum.Value{Algorithm: a, Sum: string(r.hash.Sum(nil))}
		}
	}
	return checksum.Value{}
}

// sent is the algorithm that the client used, or None.
func (p *payload) sent() checksum.Algorithm { return max(p.given.Algorithm, p.trailer) }

// finish is core.PutRequest's: it makes sure that the body was checked to its end, checks Content-MD5 and lets keep keep the checksum of algorithm a.
func (p *payload) finish(a checksum.Algorithm, keep func(*core.Metadata, checksum.Value)) func(string, int64, *core.Metadata) error {
	return func(md5Hex string, size int64, m *core.Metadata) error {
		if p.err == nil {
			var one [1]byte
			if n, err := p.Read(one[:]); n > 0 || err == nil {
				return errs.New(errs.Incomplete, "body goes on after %d bytes", size)
			}
		}
		if !errors.Is(p.err, io.EOF) {
			return p.err
		}
		if p.md5 != "" && p.md5 != md5Hex {
			return fault.Newf(fault.BadDigest, "The Content-MD5 you specified did not match what we received.")
		}
		keep(m, p.sum(a))
		return nil
	}
}

// checkMD5 checks Content-MD5 against a body that was read whole.
func (p *payload) checkMD5(body []byte) error {
	sum := md5.Sum(body)
	if p.md5 != "" && p.md5 != hex.EncodeToString(sum[:]) {
		return fault.Newf(fault.BadDigest, "The Content-MD5 you specified did not match what we received.")
	}
	return nil
}

// failed gives the error that the body itself ended with, if it did: what core makes of it may be wrapped beyond recognition.
func (p *payload) failed(err error) error {
	if err != nil && p.err != nil && !errors.Is(p.err, io.EOF) {
		return p.err
	}
	return err
}

// What is kept with an object or part, in System.
const (
	systemChecksum = "s3-checksum"      // checksum.Value.String
	systemListing  = "listing-checksum" // algorithm and type, which the storage peers put into listings
)

func keepChecksum(m *core.Metadata, v checksum.Value) {
	if v.IsZero() {
		return
	}
	if m.System == nil {
		m.System = make(map[string]string, 2)
	}
	m.System[systemChecksum] = v.String()
	m.System[systemListing] = v.Algorithm.String() + ":" + v.Type()
}

// keepPartChecksum is keepChecksum for a part, which no listing shows.
func keepPartChecksum(m *core.Metadata, v checksum.Value) {
	keepChecksum(m, v)
	delete(m.System, systemListing)
}

// segmentChecksum is the checksum of a part that an object was made of: core keeps a part's System as JSON.
func segmentChecksum(s core.Segment) checksum.Value {
	var system map[string]string
	if json.Unmarshal([]byte(s.Checksum), &system) != nil {
		return checksum.Value{} // no checksum is better than a wrong one
	}
	return storedChecksum(system)
}

// storedChecksum is the checksum of an object or part, if it has one (what Swift wrote has none).
func storedChecksum(system map[string]string) checksum.Value {
	return checksum.Parse(system[systemChecksum])
}
