package s3

import (
	"net/http"
	"strings"

	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/checksum"
	"henge/proxy/s3/fault"
	"henge/proxy/s3/sigv4"
)

// What a multipart upload remembers of how it was begun, in its metadata's System.
const (
	systemAlgorithm = "s3-upload-checksum" // "" when the client named none
	systemType      = "s3-upload-checksum-type"
)

// upload is a multipart upload under way, with what this dialect knows of it.
type upload struct {
	core.Upload
}

// checksum is the algorithm and type of the object's checksum: CRC64NVME of the whole unless the client named another.
func (u upload) checksum() (a checksum.Algorithm, kind string) {
	a, ok := checksum.ParseAlgorithm(u.Metadata.System[systemAlgorithm])
	if !ok {
		return checksum.CRC64NVME, checksum.FullObject
	}
	return a, u.Metadata.System[systemType]
}

// shows tells whether the client named an algorithm, so that answers about parts say checksums.
func (u upload) shows() bool { return u.Metadata.System[systemAlgorithm] != "" }

// checksumType holds a pair of algorithm and type to what there is: SHA only COMPOSITE, CRC64NVME only FULL_OBJECT.
func checksumType(a checksum.Algorithm, kind string) (string, error) {
	usual := checksum.Composite
	if a == checksum.CRC64NVME {
		usual = checksum.FullObject
	}
	switch {
	case kind == "":
		return usual, nil
	case kind != checksum.FullObject && kind != checksum.Composite:
		return "", fault.Newf(fault.InvalidRequest, "Value for x-amz-checksum-type header is invalid.")
	case kind == checksum.FullObject && !a.Linear(), kind == checksum.Composite && a == checksum.CRC64NVME:
		return "", fault.Newf(fault.InvalidRequest, "The %s checksum type cannot be used with the %s checksum algorithm.", kind, strings.ToLower(a.String()))
	}
	return kind, nil
}

func (c *call) createUpload() error {
	m, err := metadata(c.r.Header)
	if err != nil {
		return err
	}
	algorithm, err := c.wantedAlgorithm()
	if err != nil {
		return err
	}
	kind := c.r.Header.Get("X-Amz-Checksum-Type")
	if algorithm == checksum.None && kind != "" {
		return fault.Newf(fault.InvalidRequest, "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	}
	if algorithm != checksum.None {
		if kind, err = checksumType(algorithm, kind); err != nil {
			return err
		}
		m.System = map[string]string{systemAlgorithm: algorithm.String(), systemType: kind}
	}
	u, err := c.cfg.Core.CreateUpload(c.ctx(), c.ref(), m)
	if err != nil {
		return c.absent(err, fault.NoSuchBucket)
	}
	if algorithm != checksum.None {
		c.w.Header().Set("X-Amz-Checksum-Algorithm", algorithm.String())
		c.w.Header().Set("X-Amz-Checksum-Type", kind)
	}
	d := newDocument("InitiateMultipartUploadResult")
	d.text("Bucket", c.bucket)
	d.text("Key", c.key)
	d.text("UploadId", u.ID)
	return d.send(c.w, "InitiateMultipartUploadResult")
}

// upload finds the upload that the request names.
func (c *call) upload() (upload, error) {
	id := c.param("uploadId")
	if id == "" || len(id) > limits.MetaValueBytesMax {
		return upload{}, fault.New(fault.NoSuchUpload).With("UploadId", id)
	}
	u, err := c.cfg.Core.FindUpload(c.ctx(), c.ref(), id)
	if err != nil {
		return upload{}, c.absent(err, fault.NoSuchUpload)
	}
	return upload{u}, nil
}

func (c *call) uploadPart() error {
	n, err := partNumber(c.param("partNumber"))
	if err != nil {
		return err
	}
	u, err := c.upload()
	if err != nil {
		return err
	}
	algorithm, _ := u.checksum()
	p, err := c.openPayload(algorithm)
	if err != nil {
		return err
	}
	if sent := p.sent(); sent != checksum.None && sent != algorithm && u.shows() {
		return fault.Newf(fault.InvalidRequest, "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
			strings.ToLower(algorithm.String()), strings.ToLower(sent.String()))
	}
	part, err := c.cfg.Core.PutPart(c.ctx(), c.ref(), u.ID, n, core.PutRequest{Body: p, Size: p.size, Finish: p.finish(algorithm, keepPartChecksum)})
	if err != nil {
		return c.absent(p.failed(err), fault.NoSuchUpload)
	}
	h := c.w.Header()
	h.Set("Etag", `"`+part.ETag+`"`)
	switch sent := p.sent(); {
	case sent != checksum.None:
		h.Set(sent.Header(), p.sum(sent).Text())
	case u.shows():
		h.Set(algorithm.Header(), p.sum(algorithm).Text())
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) abortUpload() error {
	u, err := c.upload()
	if err != nil {
		return err
	}
	if err := c.cfg.Core.AbortUpload(c.ctx(), c.ref(), u.ID); err != nil {
		return c.absent(err, fault.NoSuchUpload)
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) listParts() error {
	u, err := c.upload()
	if err != nil {
		return err
	}
	limit, err := c.count("max-parts", 0, limits.ListingS3Max)
	if err != nil {
		return err
	}
	after := 0
	if c.hasParam("part-number-marker") {
		if after, err = c.count("part-number-marker", 0, limits.ManifestSegmentsMax); err != nil {
			return err
		}
	}
	var parts []core.Part
	more := false
	if limit > 0 {
		if parts, more, err = c.cfg.Core.ListParts(c.ctx(), c.ref(), u.ID, after, limit); err != nil {
			return c.absent(err, fault.NoSuchUpload)
		}
	}
	d := newDocument("ListPartsResult")
	d.text("Bucket", c.bucket)
	d.text("Key", c.key)
	d.text("UploadId", u.ID)
	c.ownerElement(d, "Initiator")
	c.ownerElement(d, "Owner")
	d.text("StorageClass", "STANDARD")
	if u.shows() {
		algorithm, kind := u.checksum()
		d.text("ChecksumAlgorithm", algorithm.String())
		d.text("ChecksumType", kind)
	}
	d.number("PartNumberMarker", int64(after))
	next := after
	if len(parts) > 0 {
		next = parts[len(parts)-1].Number
	}
	d.number("NextPartNumberMarker", int64(next))
	d.number("MaxParts", int64(limit))
	d.flag("IsTruncated", more)
	for _, p := range parts {
		d.open("Part")
		d.number("PartNumber", int64(p.Number))
		d.time("LastModified", p.Modified)
		d.etag(p.ETag)
		d.number("Size", p.Size)
		if v := storedChecksum(p.System); u.shows() && !v.IsZero() {
			d.text(v.Algorithm.Element(), v.Text())
		}
		d.close("Part")
	}
	return d.send(c.w, "ListPartsResult")
}

func (c *call) listUploads() error {
	limit, err := c.count("max-uploads", 0, limits.ListingS3Max)
	if err != nil {
		return err
	}
	asURL, err := c.encodesURL()
	if err != nil {
		return err
	}
	name := func(s string) string {
		if asURL {
			return sigv4.Encode(s, true)
		}
		return s
	}
	o := core.ListUploadsOptions{KeyMarker: c.param("key-marker"), UploadMarker: c.param("upload-id-marker"), Prefix: c.param("prefix"),
		Delimiter: c.param("delimiter"), Limit: limit}
	if o.KeyMarker == "" {
		o.UploadMarker = "" // S3: without a key it counts for nothing
	}
	var l core.UploadListing
	if limit == 0 {
		err = c.checkBucket()
	} else {
		l, err = c.cfg.Core.ListUploads(c.ctx(), c.account(), c.bucket, o)
	}
	if err != nil {
		return c.absent(err, fault.NoSuchBucket)
	}
	d := newDocument("ListMultipartUploadsResult")
	d.text("Bucket", c.bucket)
	d.text("KeyMarker", name(o.KeyMarker))
	d.text("UploadIdMarker", o.UploadMarker)
	if l.More {
		d.text("NextKeyMarker", name(l.NextKey))
		d.text("NextUploadIdMarker", l.NextID)
	}
	d.some("Prefix", name(o.Prefix))
	d.some("Delimiter", name(o.Delimiter))
	if asURL {
		d.text("EncodingType", "url")
	}
	d.number("MaxUploads", int64(limit))
	d.flag("IsTruncated", l.More)
	for _, cu := range l.Uploads {
		u := upload{cu}
		d.open("Upload")
		d.text("Key", name(u.Ref.Object))
		d.text("UploadId", u.ID)
		c.ownerElement(d, "Initiator")
		c.ownerElement(d, "Owner")
		d.text("StorageClass", "STANDARD")
		d.time("Initiated", u.Initiated)
		if u.shows() {
			algorithm, kind := u.checksum()
			d.text("ChecksumAlgorithm", algorithm.String())
			d.text("ChecksumType", kind)
		}
		d.close("Upload")
	}
	for _, folder := range l.Folders {
		d.open("CommonPrefixes")
		d.text("Prefix", name(folder))
		d.close("CommonPrefixes")
	}
	return d.send(c.w, "ListMultipartUploadsResult")
}
