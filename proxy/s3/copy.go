package s3

import (
	"io"
	"net/url"
	"strings"

	"henge/internal/errs"
	"henge/proxy/core"
	"henge/proxy/s3/checksum"
	"henge/proxy/s3/fault"
)

// parseCopySource reads x-amz-copy-source: "[/]BUCKET/KEY[?versionId=ID]", percent-encoded. A plus is a plus here.
func parseCopySource(text string) (bucket, key string, err error) {
	bad := fault.Newf(fault.InvalidArgument, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey").
		With("ArgumentName", "x-amz-copy-source").With("ArgumentValue", strings.ToValidUTF8(text, "\uFFFD"))
	path, query, versioned := strings.Cut(text, "?")
	path, err = url.PathUnescape(path)
	if err != nil {
		return "", "", bad
	}
	bucket, key, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || bucket == "" || key == "" || strings.HasPrefix(bucket, "arn:") {
		return "", "", bad
	}
	if versioned {
		version, ok := strings.CutPrefix(query, "versionId=")
		if !ok {
			return "", "", bad
		}
		if version != "null" {
			return "", "", fault.New(fault.NoSuchVersion).With("VersionId", version)
		}
	}
	if err := checkBucketName(bucket); err != nil {
		return "", "", err
	}
	return bucket, key, checkKey(key)
}

// openSource opens what x-amz-copy-source names, if the conditions for it hold.
func (c *call) openSource() (*core.Object, error) {
	bucket, key, err := parseCopySource(c.r.Header.Get("X-Amz-Copy-Source"))
	if err != nil {
		return nil, err
	}
	source := *c
	source.bucket, source.key = bucket, key
	o, err := source.open(source.ref(), false)
	if err != nil {
		return nil, err
	}
	if err := readConditions(c.r.Header, "X-Amz-Copy-Source-").checkSource(o.Info); err != nil {
		_ = o.Close()
		return nil, err
	}
	return o, nil
}

// copyMetadata is what the copy is to say: the source's, or with REPLACE the request's.
func (c *call) copyMetadata(source core.Info) (m core.Metadata, replace bool, err error) {
	switch d := c.r.Header.Get("X-Amz-Metadata-Directive"); d {
	case "", "COPY":
		return sameMetadata(source), false, nil
	case "REPLACE":
		m, err = metadata(c.r.Header)
		return m, true, err
	default:
		return m, false, fault.Newf(fault.InvalidArgument, "Unknown metadata directive.").With("ArgumentName", "x-amz-metadata-directive").With("ArgumentValue", d)
	}
}

// wantedAlgorithm reads x-amz-checksum-algorithm; None when it is not there.
func (c *call) wantedAlgorithm() (checksum.Algorithm, error) {
	name := c.r.Header.Get("X-Amz-Checksum-Algorithm")
	if name == "" {
		return checksum.None, nil
	}
	if a, ok := checksum.ParseAlgorithm(name); ok {
		return a, nil
	}
	switch strings.ToUpper(name) {
	case "SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128":
		return checksum.None, notImplemented("x-amz-checksum-algorithm " + name)
	}
	return checksum.None, fault.Newf(fault.InvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
}

func (c *call) copyObject() error {
	check, err := writeCondition(c.r.Header)
	if err != nil {
		return err
	}
	wanted, err := c.wantedAlgorithm()
	if err != nil {
		return err
	}
	if err := c.checkBucket(); err != nil {
		return err
	}
	source, err := c.openSource()
	if err != nil {
		return err
	}
	defer source.Close()
	m, replace, err := c.copyMetadata(source.Info)
	if err != nil {
		return err
	}
	if source.Info.Ref == c.ref() && !replace && wanted == checksum.None {
		return fault.Newf(fault.InvalidRequest, "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	if err := tooLargeToCopy(source.Info.Size); err != nil {
		return err
	}
	info, sum, err := c.copyBytes(source, core.PutRequest{Metadata: m, Check: check}, wanted)
	if err != nil {
		return c.writeError(err, check != nil)
	}
	d := newDocument("CopyObjectResult")
	d.time("LastModified", info.Modified)
	d.etag(info.ETag)
	checksumElements(d, sum)
	return d.send(c.w, "CopyObjectResult")
}

// checkBucket finds out early that the bucket written to is not there.
func (c *call) checkBucket() error {
	_, err := c.needBucket()
	return err
}

// copyBytes writes the source's bytes under c's name. A checksum of the whole that the source has must come out again.
func (c *call) copyBytes(source *core.Object, p core.PutRequest, wanted checksum.Algorithm) (info core.Info, sum checksum.Value, err error) {
	old := storedChecksum(source.Info.System)
	if wanted == checksum.None {
		wanted = old.Algorithm
	}
	if wanted == checksum.None {
		wanted = checksum.CRC64NVME
	}
	body, err := source.Read(c.ctx(), 0, source.Info.Size)
	if err != nil {
		return info, sum, err
	}
	defer body.Close()
	h := wanted.New()
	p.Body, p.Size = io.TeeReader(body, h), source.Info.Size
	p.Finish = func(_ string, _ int64, m *core.Metadata) error {
		sum = checksum.Value{Algorithm: wanted, Sum: string(h.Sum(nil))}
		if old.Algorithm == wanted && old.Parts == 0 && old != sum {
			return errs.New(errs.Corrupt, "copied bytes have the checksum %s, the source %s", sum, old)
		}
		keepChecksum(m, sum)
		return nil
	}
	info, err = c.cfg.Core.Put(c.ctx(), c.ref(), p)
	return info, sum, err
}

// checksumElements writes a checksum into an XML answer.
func checksumElements(d *document, v checksum.Value) {
	if v.IsZero() {
		return
	}
	d.text(v.Algorithm.Element(), v.Text())
	d.text("ChecksumType", v.Type())
}

// parseCopyRange reads x-amz-copy-source-range, which unlike Range must be exact: "bytes=FIRST-LAST", inside the source.
func parseCopyRange(text string, size int64) (offset, length int64, err error) {
	if text == "" {
		return 0, size, nil
	}
	first, last, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	if !ok || !strings.HasPrefix(text, "bytes=") || first == "" || last == "" || !digits(first) || !digits(last) || number(first) > number(last) {
		return 0, 0, fault.Newf(fault.InvalidArgument, "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy").
			With("ArgumentName", "x-amz-copy-source-range").With("ArgumentValue", text)
	}
	if number(last) >= size {
		return 0, 0, fault.Newf(fault.InvalidRange, "Range specified is not valid for source object of size: %d", size).With("RangeRequested", text)
	}
	return number(first), number(last) - number(first) + 1, nil
}

func (c *call) uploadPartCopy() error {
	n, err := partNumber(c.param("partNumber"))
	if err != nil {
		return err
	}
	u, err := c.upload()
	if err != nil {
		return err
	}
	source, err := c.openSource()
	if err != nil {
		return err
	}
	defer source.Close()
	offset, length, err := parseCopyRange(c.r.Header.Get("X-Amz-Copy-Source-Range"), source.Info.Size)
	if err != nil {
		return err
	}
	if err := tooLargeToCopy(length); err != nil {
		return err
	}
	body, err := source.Read(c.ctx(), offset, length)
	if err != nil {
		return err
	}
	defer body.Close()
	algorithm, _ := u.checksum()
	h := algorithm.New()
	var sum checksum.Value
	part, err := c.cfg.Core.PutPart(c.ctx(), c.ref(), u.ID, n, core.PutRequest{
		Body: io.TeeReader(body, h), Size: length,
		Finish: func(_ string, _ int64, m *core.Metadata) error {
			sum = checksum.Value{Algorithm: algorithm, Sum: string(h.Sum(nil))}
			keepPartChecksum(m, sum)
			return nil
		},
	})
	if err != nil {
		return c.absent(err, fault.NoSuchUpload)
	}
	d := newDocument("CopyPartResult")
	d.time("LastModified", part.Modified)
	d.etag(part.ETag)
	if u.shows() {
		d.text(sum.Algorithm.Element(), sum.Text())
	}
	return d.send(c.w, "CopyPartResult")
}
