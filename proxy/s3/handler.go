package s3

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/proxy/core"
	"henge/proxy/s3/checksum"
	"henge/proxy/s3/fault"
	"henge/proxy/s3/sigv4"
)

// Config is what the dialect needs.
type Config struct {
	Core   core.Service
	Keys   authn.Keys
	Clock  clock.Clock
	Logger *slog.Logger
	// Region is what requests must be signed for, and where buckets are said to be; "" is us-east-1, which clients take when they are told nothing.
	Region string
	// Domains are base names for virtual-host style requests: with "s3.example.org", the host b.s3.example.org is bucket b.
	Domains []string
}

// Handler serves S3 on every path that it is given. Make it with New. Safe for concurrent use.
type Handler struct {
	cfg        Config
	verifier   *sigv4.Verifier
	operations []operation
}

// New makes the dialect.
func New(cfg Config) http.Handler {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{cfg: cfg, verifier: sigv4.New(cfg.Keys, cfg.Clock, cfg.Region), operations: operations()}
}

// call is one request.
type call struct {
	*Handler
	w           http.ResponseWriter
	r           *http.Request
	query       []sigv4.Parameter
	op          *operation
	auth        *sigv4.Auth
	bucket, key string
	hosted      bool // the bucket is in the host name
}

func (c *call) ctx() context.Context { return c.r.Context() }
func (c *call) account() string      { return "AUTH_" + c.auth.Identity.ProjectID }
func (c *call) owner() string        { return c.auth.Identity.ProjectID }
func (c *call) ref() core.Ref {
	return core.Ref{Account: c.account(), Container: c.bucket, Object: c.key}
}

// param is the value of a query parameter, "" if it is not there.
func (c *call) param(name string) string {
	for _, p := range c.query {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

func (c *call) hasParam(name string) bool {
	for _, p := range c.query {
		if p.Name == name {
			return true
		}
	}
	return false
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := httpapi.RequestID(r.Context())
	w.Header().Set("Server", "henge")
	w.Header().Set("X-Amz-Request-Id", id)
	w.Header().Set("X-Amz-Id-2", base64.StdEncoding.EncodeToString([]byte(id)))
	c := &call{Handler: h, w: w, r: r}
	if err := c.serve(); err != nil {
		c.fail(err)
	}
}

// serve finds out who asks for what, and does it. Nothing of the body is read, and so no 100-continue sent, before the signature was checked.
func (c *call) serve() error {
	c.bucket, c.key, c.hosted = target(c.r, c.cfg.Domains)
	var ok bool
	if c.query, ok = sigv4.ParseQuery(c.r.URL.RawQuery); !ok {
		return fault.New(fault.InvalidURI)
	}
	if c.r.Method == http.MethodOptions {
		return fault.New(fault.AccessForbidden)
	}
	if c.isForm() {
		return c.postObject()
	}
	hostBucket := ""
	if c.hosted {
		hostBucket = c.bucket
	}
	var err error
	if c.auth, err = c.verifier.Verify(c.r, c.query, hostBucket); err != nil {
		return err
	}
	c.hoist()
	if c.op, err = c.route(); err != nil {
		return err
	}
	if err := c.authorize(c.op.write); err != nil {
		return err
	}
	if err := c.checkNames(); err != nil {
		return err
	}
	if err := c.checkHeaders(); err != nil {
		return err
	}
	return c.op.serve(c)
}

// hoist makes headers of the x-amz-* parameters of a presigned request, which clients put there so that whoever uses it need not send them. Checksums
// stay out, as on Amazon: clients make them of the empty body that they have when they presign.
func (c *call) hoist() {
	if !c.auth.Presigned || c.auth.Version != 4 {
		return
	}
	for _, p := range c.query {
		lower := strings.ToLower(p.Name)
		if !strings.HasPrefix(lower, "x-amz-") || signsQuery(lower) || strings.HasPrefix(lower, "x-amz-checksum-") && lower != "x-amz-checksum-mode" ||
			lower == "x-amz-sdk-checksum-algorithm" {
			continue
		}
		if c.r.Header.Get(p.Name) == "" {
			c.r.Header.Set(p.Name, p.Value)
		}
	}
}

// signsQuery tells whether a parameter is part of a presigned request's signature itself.
func signsQuery(lower string) bool {
	switch lower {
	case "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders", "x-amz-signature", "x-amz-security-token", "x-amz-content-sha256":
		return true
	}
	return false
}

// authorize lets project members in, readers for reading only. A key without a project has no account.
func (c *call) authorize(write bool) error {
	id := c.auth.Identity
	if id.ProjectID == "" || strings.ContainsAny(id.ProjectID, "/\x00") {
		return fault.Newf(fault.AccessDenied, "The key speaks for no project, so that it has no buckets.")
	}
	if id.HasRole("member", "admin", "manager", "_member_", "swiftoperator", "reselleradmin") || !write && id.HasRole("reader") {
		return nil
	}
	return fault.New(fault.AccessDenied)
}

func (c *call) checkNames() error {
	if c.op.level == service {
		return nil
	}
	if err := checkBucketName(c.bucket); err != nil {
		return err
	}
	return checkKey(c.key)
}

// absent finds out what an errs.NotFound was about: the bucket, or what the code says.
func (c *call) absent(err error, code fault.Code) error {
	if !errs.Is(err, errs.NotFound) || isFault(err) {
		return err
	}
	if code == fault.NoSuchBucket || c.bucketGone() {
		return fault.Wrap(fault.NoSuchBucket, err).With("BucketName", c.bucket)
	}
	return fault.Wrap(code, err)
}

// bucketGone tells whether there is no such bucket (at the worst as it was some seconds ago, which costs nothing).
func (c *call) bucketGone() bool {
	_, err := c.cfg.Core.Container(c.ctx(), c.account(), c.bucket, false)
	return errs.Is(err, errs.NotFound)
}

func isFault(err error) bool {
	var f *fault.Error
	return errors.As(err, &f)
}

// needBucket answers NoSuchBucket when the bucket is not there.
func (c *call) needBucket() (core.ContainerInfo, error) {
	info, err := c.cfg.Core.Container(c.ctx(), c.account(), c.bucket, false)
	return info, c.absent(err, fault.NoSuchBucket)
}

// fail renders an error. What is our own fault is logged here, once; the client sees the request's id only.
func (c *call) fail(err error) {
	f := fault.From(err, fault.NoSuchKey, fault.OperationAborted)
	status := f.Status()
	id := httpapi.RequestID(c.ctx())
	if status >= http.StatusInternalServerError && f.Code != fault.NotImplemented {
		name := ""
		if c.op != nil {
			name = c.op.name
		}
		c.cfg.Logger.ErrorContext(c.ctx(), "s3 request failed", "request", id, "operation", name, "bucket", c.bucket, "key", c.key, "error", err)
	}
	h := c.w.Header()
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Range", "Content-Disposition"} {
		h.Del(name)
	}
	if status == http.StatusNotModified {
		h.Del("Content-Type")
		c.w.WriteHeader(status)
		return
	}
	h.Set("Content-Type", "application/xml")
	if f.Code == fault.MethodNotAllowed {
		h.Set("Allow", "GET, HEAD, PUT, POST, DELETE")
	}
	if c.r.Method == http.MethodHead {
		c.w.WriteHeader(status)
		return
	}
	body := c.render(f, id)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // the client that left does not read an error either
}

func (c *call) render(f *fault.Error, id string) []byte {
	d := &document{b: []byte(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")}
	d.open("Error")
	d.text("Code", string(f.Code))
	d.text("Message", f.Message)
	for _, field := range f.Fields {
		d.text(field.Name, field.Value)
	}
	if f.Code == fault.NoSuchKey {
		d.text("Key", c.key)
	}
	resource := c.r.URL.Path
	if c.hosted {
		resource = "/" + c.bucket + resource
	}
	d.text("Resource", resource)
	d.text("RequestId", id)
	d.text("HostId", base64.StdEncoding.EncodeToString([]byte(id)))
	d.close("Error")
	return d.b
}

// checksumHeaders writes a checksum into an answer.
func checksumHeaders(h http.Header, v checksum.Value) {
	if v.IsZero() {
		return
	}
	h.Set(v.Algorithm.Header(), v.Text())
	h.Set("X-Amz-Checksum-Type", v.Type())
}

func itoa(n int) string { return strconv.Itoa(n) }
