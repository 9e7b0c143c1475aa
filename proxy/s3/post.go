package s3

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/checksum"
	"henge/proxy/s3/fault"
)

// The upload of an object by a browser's form, under a policy that somebody with a key has signed.
//
// Source: Amazon S3 API Reference, "Browser-Based Uploads Using POST" and "POST Policy".

// formBytesMax bounds what stands before the file.
const formBytesMax = 20 << 10

// isForm tells whether a request is a browser's form.
func (c *call) isForm() bool {
	if c.r.Method != http.MethodPost || c.bucket == "" || c.key != "" || len(c.query) > 0 {
		return false
	}
	kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	return err == nil && kind == "multipart/form-data"
}

// form is a form up to its file.
type form struct {
	fields map[string]string // by lower-case name
	file   *multipart.Part
}

func (f form) field(name string) string { return f.fields[name] }

// readForm reads the fields, up to the file, which must be the last that counts.
func readForm(r *http.Request) (form, error) {
	f := form{fields: make(map[string]string)}
	parts, err := r.MultipartReader()
	if err != nil {
		return f, fault.Wrap(fault.MalformedPOSTRequest, err)
	}
	for room := int64(formBytesMax); ; {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return f, fault.Newf(fault.InvalidArgument, "POST requires exactly one file upload per request.").With("ArgumentName", "file")
		}
		if err != nil {
			return f, fault.Wrap(fault.MalformedPOSTRequest, err)
		}
		name := strings.ToLower(part.FormName())
		if name == "file" {
			f.file = part
			return f, nil
		}
		value, err := io.ReadAll(io.LimitReader(part, room+1))
		if err != nil {
			return f, fault.Wrap(fault.MalformedPOSTRequest, err)
		}
		if room -= int64(len(name) + len(value)); room < 0 {
			return f, fault.Newf(fault.MaxPostPreDataLengthExceed, "Your POST request fields preceding the upload file were too large.")
		}
		if _, twice := f.fields[name]; twice || name == "" {
			return f, fault.Newf(fault.InvalidArgument, "The form field %q is there twice, or has no name.", name)
		}
		f.fields[name] = string(value)
	}
}

// postObject serves the form. Everything is checked before the first byte of the file is read, but for its length.
func (c *call) postObject() error {
	f, err := readForm(c.r)
	if err != nil {
		return err
	}
	if f.field("policy") == "" {
		return fault.New(fault.AccessDenied)
	}
	if c.auth, err = c.verifier.VerifyForm(c.r, f.field); err != nil {
		return err
	}
	c.op = &operation{name: "PostObject", level: object, write: true}
	if err := c.authorize(true); err != nil {
		return err
	}
	policy, err := parsePolicy(f.field("policy"))
	if err != nil {
		return err
	}
	if c.key, err = f.key(); err != nil {
		return err
	}
	f.fields["bucket"], f.fields["key"] = c.bucket, c.key // the policy is about what they come to
	if err := policy.check(f.fields, c.cfg.Clock.Now()); err != nil {
		return err
	}
	if err := c.checkNames(); err != nil {
		return err
	}
	c.r.Header = f.headers()
	if err := c.checkHeaders(); err != nil {
		return err
	}
	return c.storeForm(f, policy)
}

// key is the object's name; "${filename}" in it is the file's.
func (f form) key() (string, error) {
	key := f.field("key")
	if key == "" {
		return "", fault.Newf(fault.InvalidArgument, "Bucket POST must contain a field named 'key'.").With("ArgumentName", "key")
	}
	return strings.ReplaceAll(key, "${filename}", path.Base(strings.ReplaceAll(f.file.FileName(), `\`, "/"))), nil
}

// headers are the fields that a PUT would have as headers.
func (f form) headers() http.Header {
	h := make(http.Header)
	for name, value := range f.fields {
		switch name {
		case "content-type", "cache-control", "content-disposition", "content-encoding", "expires", "content-md5":
			h.Set(name, value)
		case "acl":
			h.Set("X-Amz-Acl", value)
		case "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature":
		default:
			if strings.HasPrefix(name, "x-amz-") {
				h.Set(name, value)
			}
		}
	}
	return h
}

func (c *call) storeForm(f form, policy policy) error {
	m, err := metadata(c.r.Header)
	if err != nil {
		return err
	}
	p := &payload{in: &bounded{in: f.file, least: policy.least, most: policy.most}, size: -1}
	if err := p.openDigests(c.r.Header); err != nil {
		return err
	}
	algorithm := p.given.Algorithm
	if algorithm == checksum.None {
		algorithm = checksum.CRC64NVME
	}
	p.sums = []running{{algorithm, algorithm.New()}}
	info, err := c.cfg.Core.Put(c.ctx(), c.ref(), core.PutRequest{Body: p, Size: -1, Metadata: m, Finish: p.finish(algorithm, keepChecksum)})
	if err != nil {
		return c.writeError(p.failed(err), false)
	}
	return c.answerForm(f, info)
}

// answerForm answers as the form wishes: a redirect, a document (201), or nothing.
func (c *call) answerForm(f form, info core.Info) error {
	h := c.w.Header()
	location := c.location()
	h.Set("Etag", `"`+info.ETag+`"`)
	h.Set("Location", location)
	redirect := f.field("success_action_redirect")
	if redirect == "" {
		redirect = f.field("redirect")
	}
	if u, err := url.Parse(redirect); err == nil && redirect != "" && (u.Scheme == "http" || u.Scheme == "https") {
		q := u.Query()
		q.Set("bucket", c.bucket)
		q.Set("key", c.key)
		q.Set("etag", `"`+info.ETag+`"`)
		u.RawQuery = q.Encode()
		h.Set("Location", u.String())
		c.w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	switch f.field("success_action_status") {
	case "200":
		c.w.WriteHeader(http.StatusOK)
	case "201":
		d := newDocument("PostResponse")
		d.text("Location", location)
		d.text("Bucket", c.bucket)
		d.text("Key", c.key)
		d.etag(info.ETag)
		d.close("PostResponse")
		h.Set("Content-Type", "application/xml")
		h.Set("Content-Length", strconv.Itoa(len(d.b)))
		c.w.WriteHeader(http.StatusCreated)
		_, _ = c.w.Write(d.b) // the client that left does not read an error either
	default:
		c.w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

// bounded holds the file to the policy's content-length-range, and to what one object may have.
type bounded struct {
	in          io.Reader
	least, most int64
	read        int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	b.read += int64(n)
	switch {
	case b.read > b.most:
		return n, fault.New(fault.EntityTooLarge).With("MaxSizeAllowed", strconv.FormatInt(b.most, 10))
	case errors.Is(err, io.EOF) && b.read < b.least:
		return n, fault.New(fault.EntityTooSmall).With("MinSizeAllowed", strconv.FormatInt(b.least, 10))
	case err != nil && !errors.Is(err, io.EOF):
		return n, errs.With(errs.Incomplete, fmt.Errorf("read file of form: %w", err))
	}
	return n, err
}

// anySize is the range of a policy that says none.
const anySize = limits.ObjectBytesMax
