package s3

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"henge/internal/clock"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/fault"
	"henge/proxy/s3/sigv4"
)

// bucketsMax is how many buckets one ListBuckets gives at most.
const bucketsMax = 10_000

func (c *call) headService() error {
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) listBuckets() error {
	limit, err := c.count("max-buckets", 1, bucketsMax)
	if err != nil {
		return err
	}
	if n, _ := strconv.Atoi(c.param("max-buckets")); n > bucketsMax {
		return fault.Newf(fault.InvalidArgument, "max-buckets must be between 1 and %d", bucketsMax).With("ArgumentName", "max-buckets")
	}
	marker, err := c.token()
	if err != nil {
		return err
	}
	var l core.Listing
	if region := c.param("bucket-region"); region == "" || region == c.cfg.Region {
		l, err = c.cfg.Core.ListContainers(c.ctx(), c.account(), core.ListOptions{Marker: marker, Prefix: c.param("prefix"), Limit: limit})
		if err != nil {
			return err
		}
	}
	d := newDocument("ListAllMyBucketsResult")
	c.ownerElement(d, "Owner")
	d.open("Buckets")
	for _, e := range l.Entries {
		d.open("Bucket")
		d.text("Name", e.Name)
		d.time("CreationDate", e.Timestamp.Time())
		d.text("BucketRegion", c.cfg.Region)
		d.close("Bucket")
	}
	d.close("Buckets")
	d.some("Prefix", c.param("prefix"))
	if l.More {
		d.text("ContinuationToken", makeToken(l.Next))
	}
	return d.send(c.w, "ListAllMyBucketsResult")
}

// count reads a parameter that bounds a page: most when it is not there or larger.
func (c *call) count(name string, least, most int) (int, error) {
	if !c.hasParam(name) {
		return most, nil
	}
	n, err := strconv.ParseInt(c.param(name), 10, 32)
	if err != nil || n < int64(least) {
		return 0, fault.Newf(fault.InvalidArgument, "Argument %s must be an integer between %d and %d", name, least, 1<<31-1).
			With("ArgumentName", name).With("ArgumentValue", c.param(name))
	}
	return min(int(n), most), nil
}

// makeToken makes a continuation token: opaque to clients, checked for its form when it comes back.
func makeToken(next string) string { return "1" + base64.RawURLEncoding.EncodeToString([]byte(next)) }

// token reads continuation-token; "" if there is none.
func (c *call) token() (string, error) {
	if !c.hasParam("continuation-token") {
		return "", nil
	}
	text, ok := strings.CutPrefix(c.param("continuation-token"), "1")
	next, err := base64.RawURLEncoding.DecodeString(text)
	if !ok || err != nil || len(next) == 0 || !utf8.Valid(next) {
		return "", fault.Newf(fault.InvalidArgument, "The continuation token provided is incorrect").With("ArgumentName", "continuation-token")
	}
	return string(next), nil
}

// page is what the three listings of objects have in common.
type page struct {
	c         *call
	prefix    string
	delimiter string
	limit     int
	url       bool // encoding-type=url
	listing   core.Listing
}

func (c *call) newPage() (*page, error) {
	p := &page{c: c, prefix: c.param("prefix"), delimiter: c.param("delimiter")}
	var err error
	if p.limit, err = c.count("max-keys", 0, limits.ListingS3Max); err != nil {
		return nil, err
	}
	if p.url, err = c.encodesURL(); err != nil {
		return nil, err
	}
	for _, name := range []string{"prefix", "delimiter", "marker", "start-after", "key-marker"} {
		if v := c.param(name); !utf8.ValidString(v) || strings.Contains(v, "\x00") {
			return nil, fault.Newf(fault.InvalidArgument, "%s must be UTF-8 without NUL", name).With("ArgumentName", name)
		}
	}
	return p, nil
}

func (c *call) encodesURL() (bool, error) {
	switch e := c.param("encoding-type"); {
	case e == "":
		return false, nil
	case strings.EqualFold(e, "url"):
		return true, nil
	default:
		return false, fault.Newf(fault.InvalidArgument, "Invalid Encoding Method specified in Request").With("ArgumentName", "encoding-type").With("ArgumentValue", e)
	}
}

// fetch reads the page after marker, which is one of core's.
func (p *page) fetch(marker string) error {
	if p.limit == 0 { // nothing, and no more of it
		_, err := p.c.needBucket()
		return err
	}
	var err error
	p.listing, err = p.c.cfg.Core.ListObjects(p.c.ctx(), p.c.account(), p.c.bucket,
		core.ListOptions{Marker: marker, Prefix: p.prefix, Delimiter: p.delimiter, Limit: p.limit})
	return p.c.absent(err, fault.NoSuchBucket)
}

// beyond turns a client's marker into core's. A marker that is a folder of this listing stands for all that is in it.
func (p *page) beyond(marker string) string {
	if p.delimiter == "" || len(marker) <= len(p.prefix) || !strings.HasPrefix(marker, p.prefix) {
		return marker
	}
	if i := strings.Index(marker[len(p.prefix):], p.delimiter); i >= 0 && len(p.prefix)+i+len(p.delimiter) == len(marker) {
		return marker + string(utf8.MaxRune)
	}
	return marker
}

// name encodes a name as the client asked for it.
func (p *page) name(s string) string {
	if p.url {
		return sigv4.Encode(s, true)
	}
	return s
}

// last is the name of the last entry.
func (p *page) last() string {
	n := len(p.listing.Entries)
	if n == 0 {
		return ""
	}
	if e := p.listing.Entries[n-1]; e.Folder == "" {
		return e.Name
	}
	return p.listing.Entries[n-1].Folder
}

// begin writes what stands before the entries; end what comes after.
func (p *page) begin(root string) *document {
	d := newDocument(root)
	if n := len(p.listing.Entries); n > 0 {
		b := make([]byte, len(d.b), len(d.b)+n*360)
		copy(b, d.b)
		d.b = b
	}
	d.text("Name", p.c.bucket)
	d.text("Prefix", p.name(p.prefix))
	if p.delimiter != "" {
		d.text("Delimiter", p.name(p.delimiter))
	}
	d.number("MaxKeys", int64(p.limit))
	if p.url {
		d.text("EncodingType", "url")
	}
	d.flag("IsTruncated", p.listing.More)
	return d
}

func (p *page) end(d *document, root string) error {
	for _, e := range p.listing.Entries {
		if e.Folder != "" {
			d.open("CommonPrefixes")
			d.text("Prefix", p.name(e.Folder))
			d.close("CommonPrefixes")
		}
	}
	return d.send(p.c.w, root)
}

// entries writes the objects as elements called name; version adds what ListObjectVersions has.
func (p *page) entries(d *document, name string, owner, version bool) {
	for _, e := range p.listing.Entries {
		if e.Folder != "" {
			continue
		}
		d.open(name)
		d.text("Key", p.name(e.Name))
		if version {
			d.text("VersionId", "null")
			d.flag("IsLatest", true)
		}
		d.time("LastModified", lastModified(e.Timestamp))
		d.etag(e.ETag)
		if algorithm, kind, ok := strings.Cut(e.Checksum, ":"); ok {
			d.text("ChecksumAlgorithm", algorithm)
			d.text("ChecksumType", kind)
		}
		d.number("Size", e.Size)
		if owner {
			p.c.ownerElement(d, "Owner")
		}
		d.text("StorageClass", "STANDARD")
		d.close(name)
	}
}

// lastModified rounds up to a second, as the Last-Modified header does: both must say the same.
func lastModified(t clock.Timestamp) time.Time {
	return t.Time().Add(time.Second - 1).Truncate(time.Second)
}

func (c *call) listObjectsV1() error {
	p, err := c.newPage()
	if err != nil {
		return err
	}
	if err := p.fetch(p.beyond(c.param("marker"))); err != nil {
		return err
	}
	d := p.begin("ListBucketResult")
	d.text("Marker", p.name(c.param("marker")))
	if p.listing.More && p.delimiter != "" {
		d.text("NextMarker", p.name(p.last()))
	}
	p.entries(d, "Contents", true, false)
	return p.end(d, "ListBucketResult")
}

func (c *call) listObjectsV2() error {
	if c.param("list-type") != "2" {
		return fault.Newf(fault.InvalidArgument, "Invalid List Type specified in Request").With("ArgumentName", "list-type").With("ArgumentValue", c.param("list-type"))
	}
	p, err := c.newPage()
	if err != nil {
		return err
	}
	marker, err := c.token()
	if err != nil {
		return err
	}
	if marker == "" {
		marker = p.beyond(c.param("start-after"))
	}
	if err := p.fetch(marker); err != nil {
		return err
	}
	d := p.begin("ListBucketResult")
	d.number("KeyCount", int64(len(p.listing.Entries)))
	d.some("ContinuationToken", c.param("continuation-token"))
	if p.listing.More {
		next := p.listing.Next
		if next == "" {
			next = p.beyond(p.last())
		}
		d.text("NextContinuationToken", makeToken(next))
	}
	d.some("StartAfter", p.name(c.param("start-after")))
	p.entries(d, "Contents", c.param("fetch-owner") == "true", false)
	return p.end(d, "ListBucketResult")
}

// listVersions lists each object as its only version, "null".
func (c *call) listVersions() error {
	p, err := c.newPage()
	if err != nil {
		return err
	}
	if v := c.param("version-id-marker"); v != "" && !c.hasParam("key-marker") {
		return fault.Newf(fault.InvalidArgument, "A version-id marker cannot be specified without a key marker.").With("ArgumentName", "version-id-marker")
	}
	if err := p.fetch(p.beyond(c.param("key-marker"))); err != nil {
		return err
	}
	d := p.begin("ListVersionsResult")
	d.text("KeyMarker", p.name(c.param("key-marker")))
	d.text("VersionIdMarker", c.param("version-id-marker"))
	if p.listing.More {
		d.text("NextKeyMarker", p.name(p.last()))
		d.text("NextVersionIdMarker", "null")
	}
	p.entries(d, "Version", true, true)
	return p.end(d, "ListVersionsResult")
}
