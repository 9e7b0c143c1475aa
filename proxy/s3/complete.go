package s3

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"maps"
	"net/url"
	"strconv"
	"strings"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/checksum"
	"henge/proxy/s3/fault"
)

// completeRequest is the body of CompleteMultipartUpload.
type completeRequest struct {
	XMLName xml.Name       `xml:"CompleteMultipartUpload"`
	Parts   []completePart `xml:"Part"`
}

type completePart struct {
	PartNumber        int    `xml:"PartNumber"`
	ETag              string `xml:"ETag"`
	ChecksumCRC32     string `xml:"ChecksumCRC32"`
	ChecksumCRC32C    string `xml:"ChecksumCRC32C"`
	ChecksumCRC64NVME string `xml:"ChecksumCRC64NVME"`
	ChecksumSHA1      string `xml:"ChecksumSHA1"`
	ChecksumSHA256    string `xml:"ChecksumSHA256"`
}

func (p completePart) checksum(a checksum.Algorithm) string {
	return [...]string{"", p.ChecksumCRC32, p.ChecksumCRC32C, p.ChecksumCRC64NVME, p.ChecksumSHA1, p.ChecksumSHA256}[a]
}

// etagOf makes a multipart object's ETag of its parts'. ok is false when one is no MD5.
func etagOf(parts []completePart) (etag string, ok bool) {
	h := md5.New()
	for _, p := range parts {
		sum, err := hex.DecodeString(strings.Trim(p.ETag, `" `))
		if err != nil || len(sum) != md5.Size {
			return "", false
		}
		h.Write(sum)
	}
	return hex.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts)), true
}

func (c *call) completeUpload() error {
	check, err := writeCondition(c.r.Header)
	if err != nil {
		return err
	}
	parts, err := c.readParts()
	if err != nil {
		return err
	}
	etag, ok := etagOf(parts)
	if !ok {
		return fault.New(fault.InvalidPart)
	}
	u, err := c.upload()
	if isCode(err, fault.NoSuchUpload) {
		return c.completedBefore(etag, err)
	}
	if err != nil {
		return err
	}
	have, err := c.findParts(u, parts)
	if err != nil {
		return err
	}
	sum, err := c.wholeChecksum(u, have)
	if err != nil {
		return err
	}
	m := u.Metadata
	m.System = maps.Clone(m.System)
	delete(m.System, systemAlgorithm)
	delete(m.System, systemType)
	m.ETag = etag
	keepChecksum(&m, sum)
	info, err := c.cfg.Core.CompleteUpload(c.ctx(), c.ref(), u.ID, core.CompleteUpload{Parts: have, Metadata: m, Check: check})
	if err != nil {
		return c.completeError(err, check != nil)
	}
	return c.sendCompleted(info)
}

func isCode(err error, code fault.Code) bool {
	f, ok := err.(*fault.Error)
	return ok && f.Code == code
}

// completeError is writeError, but that an errs.NotFound is the upload's.
func (c *call) completeError(err error, conditional bool) error {
	if errs.Is(err, errs.NotFound) && !isFault(err) {
		return c.absent(err, fault.NoSuchUpload)
	}
	return c.writeError(err, conditional)
}

// readParts reads the list of parts that the object is to be made of.
func (c *call) readParts() ([]completePart, error) {
	body, err := c.readCompleteBody()
	if err != nil {
		return nil, err
	}
	var req completeRequest
	if err := parse(body, &req); err != nil {
		return nil, err
	}
	if len(req.Parts) == 0 || len(req.Parts) > limits.ManifestSegmentsMax {
		return nil, fault.New(fault.MalformedXML)
	}
	for i, p := range req.Parts {
		if p.PartNumber < 1 || p.PartNumber > limits.ManifestSegmentsMax {
			return nil, fault.Newf(fault.InvalidArgument, "PartNumber must be between 1 and %d", limits.ManifestSegmentsMax)
		}
		if i > 0 && p.PartNumber <= req.Parts[i-1].PartNumber {
			return nil, fault.New(fault.InvalidPartOrder)
		}
	}
	return req.Parts, nil
}

// readCompleteBody reads the body of CompleteMultipartUpload, whose x-amz-checksum-* headers are about the object and not about the body.
func (c *call) readCompleteBody() ([]byte, error) {
	bare := *c
	r := *c.r
	r.Header = c.r.Header.Clone()
	for _, a := range checksum.Algorithms() {
		r.Header.Del(a.Header())
	}
	r.Header.Del("X-Amz-Sdk-Checksum-Algorithm")
	bare.r = &r
	return bare.readDocument(limits.ManifestBytesMax, false)
}

// findParts finds the parts named, and holds them to what is said of them.
func (c *call) findParts(u upload, parts []completePart) ([]core.Part, error) {
	algorithm, kind := u.checksum()
	have := make([]core.Part, 0, len(parts))
	var page []core.Part
	more, after := true, 0
	var size int64
	for i, p := range parts {
		for len(page) > 0 && page[0].Number < p.PartNumber {
			page = page[1:]
		}
		for len(page) == 0 && more {
			var err error
			if page, more, err = c.cfg.Core.ListParts(c.ctx(), c.ref(), u.ID, max(after, p.PartNumber-1), limits.ListingS3Max); err != nil {
				return nil, c.absent(err, fault.NoSuchUpload)
			}
			if len(page) > 0 {
				after = page[len(page)-1].Number
			}
		}
		if len(page) == 0 || page[0].Number != p.PartNumber || page[0].ETag != strings.Trim(p.ETag, `" `) {
			return nil, fault.New(fault.InvalidPart).With("UploadId", u.ID).With("PartNumber", itoa(p.PartNumber)).With("ETag", p.ETag)
		}
		if i < len(parts)-1 && page[0].Size < limits.MultipartPartBytesMin {
			return nil, fault.New(fault.EntityTooSmall).With("ProposedSize", strconv.FormatInt(page[0].Size, 10)).
				With("MinSizeAllowed", itoa(limits.MultipartPartBytesMin)).With("PartNumber", itoa(p.PartNumber)).With("ETag", page[0].ETag)
		}
		stored, given := storedChecksum(page[0].System), p.checksum(algorithm)
		if given == "" && kind == checksum.Composite {
			return nil, fault.Newf(fault.InvalidRequest, "The upload was created using a %s checksum. The complete request must include the checksum for each part. It was missing for part %d in the request.",
				strings.ToLower(algorithm.String()), p.PartNumber)
		}
		if given != "" && given != stored.Text() {
			return nil, fault.New(fault.InvalidPart).With("UploadId", u.ID).With("PartNumber", itoa(p.PartNumber))
		}
		size += page[0].Size
		have = append(have, page[0])
	}
	return have, c.checkSize(size)
}

// checkSize holds x-amz-mp-object-size to the sum of the parts.
func (c *call) checkSize(size int64) error {
	text := c.r.Header.Get("X-Amz-Mp-Object-Size")
	if text == "" {
		return nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err != nil || n != size {
		return fault.Newf(fault.InvalidRequest, "The provided 'x-amz-mp-object-size' header value %s does not match what was computed: %d", text, size)
	}
	return nil
}

// wholeChecksum makes the object's checksum of its parts', and holds it to what the request says of it.
func (c *call) wholeChecksum(u upload, parts []core.Part) (checksum.Value, error) {
	algorithm, kind := u.checksum()
	given, err := checksumHeader(c.r.Header)
	if err != nil {
		return given, err
	}
	if t := c.r.Header.Get("X-Amz-Checksum-Type"); t != "" && t != kind {
		return given, fault.Newf(fault.InvalidRequest, "The upload was created using the %s checksum mode. The complete request must use the same checksum mode.", kind)
	}
	sums := make([]checksum.Part, len(parts))
	for i, p := range parts {
		sums[i] = checksum.Part{Value: storedChecksum(p.System), Size: p.Size}
		if sums[i].Value.Algorithm != algorithm {
			return checksum.Value{}, nil // not all of it was written through this dialect
		}
	}
	var whole checksum.Value
	if kind == checksum.FullObject {
		whole = checksum.Combine(algorithm, sums)
	} else {
		whole = checksum.Compose(algorithm, sums)
	}
	if given.IsZero() {
		return whole, nil
	}
	if given.Algorithm != algorithm {
		return given, fault.Newf(fault.InvalidRequest, "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
			strings.ToLower(algorithm.String()), strings.ToLower(given.Algorithm.String()))
	}
	given.Parts = whole.Parts // "-N" may be left out
	if given != whole {
		return given, fault.Newf(fault.BadDigest, "The %s you specified did not match the calculated checksum.", algorithm)
	}
	return whole, nil
}

// completedBefore answers a completion that is asked for again, as clients do when the first answer was lost: if the object is what that upload made of
// the same parts, it is a success. Otherwise the error is missing.
func (c *call) completedBefore(etag string, missing error) error {
	o, err := c.cfg.Core.Open(c.ctx(), c.ref(), core.OpenOptions{HeadOnly: true})
	if err != nil {
		if errs.Is(err, errs.NotFound) {
			return missing
		}
		return err
	}
	defer o.Close()
	if o.Info.Upload != c.param("uploadId") || o.Info.ETag != etag {
		return missing
	}
	return c.sendCompleted(o.Info)
}

func (c *call) sendCompleted(info core.Info) error {
	d := newDocument("CompleteMultipartUploadResult")
	d.text("Location", c.location())
	d.text("Bucket", c.bucket)
	d.text("Key", c.key)
	d.etag(info.ETag)
	checksumElements(d, storedChecksum(info.System))
	return d.send(c.w, "CompleteMultipartUploadResult")
}

// location is the object's address, in the style that the request used.
func (c *call) location() string {
	u := url.URL{Scheme: "http", Host: c.r.Host, Path: "/" + c.bucket + "/" + c.key}
	if c.r.TLS != nil {
		u.Scheme = "https"
	}
	if c.hosted {
		u.Path = "/" + c.key
	}
	return u.String()
}
