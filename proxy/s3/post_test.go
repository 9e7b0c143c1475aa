package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
)

func (w *world) minio() *minio.Client {
	w.t.Helper()
	c, err := minio.New(w.server.Listener.Addr().String(), &minio.Options{Creds: credentials.NewStaticV4("member", "secret-member", ""), Secure: w.tls, Transport: w.server.Client().Transport})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// upload sends a form: its fields, and then a file.
func (w *world) upload(fields map[string]string, file string) answer {
	w.t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for name, value := range fields {
		if err := m.WriteField(name, value); err != nil {
			w.t.Fatal(err)
		}
	}
	part, err := m.CreateFormFile("file", `C:\photos\me.jpg`)
	if err != nil {
		w.t.Fatal(err)
	}
	_, _ = part.Write([]byte(file))
	_ = m.Close()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.server.URL+"/bucket", &b)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", m.FormDataContentType())
	return w.send(r)
}

func TestPost_FormsUnderAPolicy(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("bucket")
	w.makeBucket("another")
	form := func(change func(*minio.PostPolicy)) map[string]string {
		p := minio.NewPostPolicy()
		_ = p.SetExpires(time.Now().Add(time.Minute))
		_ = p.SetBucket("bucket")
		_ = p.SetKeyStartsWith("user/")
		_ = p.SetContentLengthRange(2, 10)
		_ = p.SetContentType("image/jpeg")
		_ = p.SetUserMetadata("color", "blue")
		if change != nil {
			change(p)
		}
		_, fields, err := w.minio().PresignedPostPolicy(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		fields["key"] = "user/${filename}"
		return fields
	}
	a := w.upload(form(nil), "hello")
	w.want(a, 204, "")
	info := w.info("bucket", "user/me.jpg")
	if info == nil || info.Size != 5 || info.ContentType != "image/jpeg" || info.Meta["x-object-meta-color"] != "blue" || a.header.Get("ETag") != `"`+info.ETag+`"` {
		t.Errorf("stored %+v", info)
	}
	created := form(func(p *minio.PostPolicy) { _ = p.SetSuccessStatusAction("201") })
	if a := w.upload(created, "hello"); a.status != 201 || a.element("Key") != "user/me.jpg" {
		t.Errorf("201: %d %s", a.status, a.body)
	}
	spoil := func(name, value string) map[string]string {
		f := form(nil)
		f[name] = value
		return f
	}
	for name, c := range map[string]struct {
		fields map[string]string
		file   string
		code   string
	}{
		"another key":       {spoil("key", "other/x"), "hello", "AccessDenied"},
		"another type":      {spoil("Content-Type", "text/html"), "hello", "AccessDenied"},
		"another field":     {spoil("x-amz-meta-extra", "x"), "hello", "AccessDenied"},
		"an acl":            {spoil("acl", "public-read"), "hello", "AccessDenied"},
		"an ignored field":  {spoil("x-ignore-me", "x"), "hello", ""},
		"another policy":    {spoil("policy", base64.StdEncoding.EncodeToString([]byte(`{"expiration":"2099-01-01T00:00:00Z","conditions":[]}`))), "hello", "SignatureDoesNotMatch"},
		"another signature": {spoil("x-amz-signature", strings.Repeat("0", 64)), "hello", "SignatureDoesNotMatch"},
		"no policy":         {spoil("policy", ""), "hello", "AccessDenied"},
		"too long":          {form(nil), "hello, world", "EntityTooLarge"},
		"too short":         {form(nil), "h", "EntityTooSmall"},
		"huge fields":       {spoil("x-ignore-me", strings.Repeat("x", formBytesMax)), "hello", "MaxPostPreDataLengthExceededError"},
		"encrypted, which the policy does not name": {form(func(p *minio.PostPolicy) { p.SetEncryption(encrypt.NewSSE()) }), "hello", "AccessDenied"},
		"a wrong checksum": {form(func(p *minio.PostPolicy) {
			_ = p.SetChecksum(minio.NewChecksum(minio.ChecksumCRC32, []byte{1, 2, 3, 4}))
		}), "hello", "BadDigest"},
		"expired":             {form(func(p *minio.PostPolicy) { _ = p.SetExpires(time.Now().Add(-time.Minute)) }), "hello", "AccessDenied"},
		"of another bucket":   {form(func(p *minio.PostPolicy) { _ = p.SetBucket("another") }), "hello", "AccessDenied"},
		"for an unknown user": {spoil("x-amz-credential", "unknown/20130524/us-east-1/s3/aws4_request"), "hello", "InvalidAccessKeyId"},
	} {
		if a := w.upload(c.fields, c.file); a.code() != c.code {
			t.Errorf("%s: %d %s, want %q", name, a.status, a.body, c.code)
		}
	}
	if w.info("bucket", "other/x") != nil {
		t.Error("stored outside of the policy")
	}
}

func TestPolicy_Documents(t *testing.T) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for text, ok := range map[string]bool{
		`{"expiration":"2099-01-01T00:00:00.000Z","conditions":[{"bucket":"b"},["eq","$key","k"],["starts-with","$Content-Type",""],["content-length-range","0","10"]]}`: true,
		`{"expiration":"tomorrow","conditions":[]}`:                                          false,
		`{"conditions":[]}`:                                                                  false,
		`{"expiration":"2099-01-01T00:00:00Z","conditions":[["eq","key","k"]]}`:              false,
		`{"expiration":"2099-01-01T00:00:00Z","conditions":[["like","$key","k"]]}`:           false,
		`{"expiration":"2099-01-01T00:00:00Z","conditions":[["content-length-range",10,1]]}`: false,
		`{"expiration":"2099-01-01T00:00:00Z","conditions":[["content-length-range",-1,1]]}`: false,
		`{"expiration":"2099-01-01T00:00:00Z","conditions":[7]}`:                             false,
		`{"expiration":"2099-01-01T00:00:00Z","conditions":[]} more`:                         false,
		`{"expiration":"2099-01-01T00:00:00Z","conditions":[],"unknown":1}`:                  false,
		`[]`: false,
	} {
		if _, err := parsePolicy(encode(text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"expiration":"2099-01-01T00:00:00Z","conditions":[["eq","$key","k"],["content-length-range",0,1]]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := parsePolicy(base64.StdEncoding.EncodeToString(raw))
		if err == nil && (p.least < 0 || p.most < p.least && p.least <= anySize || p.most > anySize) {
			t.Fatalf("%s is read as %+v", raw, p)
		}
	})
}

// The other widespread client, which signs chunks when the connection is not encrypted and sends trailers when it is.
func TestMinio_Client(t *testing.T) {
	for _, tls := range []bool{false, true} {
		w, ctx := newWorld(t, tls), t.Context()
		c := w.minio()
		if err := c.MakeBucket(ctx, "bucket", minio.MakeBucketOptions{}); err != nil {
			t.Fatal(err)
		}
		whole := strings.Repeat("0123456789abcdef", 5<<20/16+1)
		for name, o := range map[string]minio.PutObjectOptions{
			"plain":    {ContentType: "text/x", UserMetadata: map[string]string{"Color": "blue"}, DisableMultipart: true},
			"md5":      {SendContentMd5: true, DisableMultipart: true},
			"crc":      {AutoChecksum: minio.ChecksumCRC32C, DisableMultipart: true},
			"parts":    {PartSize: 5 << 20, AutoChecksum: minio.ChecksumFullObjectCRC32C},
			"parallel": {PartSize: 5 << 20, NumThreads: 2, ConcurrentStreamParts: true},
		} {
			body := whole
			if o.DisableMultipart {
				body = whole[:100_000]
			}
			if _, err := c.PutObject(ctx, "bucket", "dir/"+name, strings.NewReader(body), int64(len(body)), o); err != nil {
				t.Fatalf("tls %v: %s: %v", tls, name, err)
			}
			got, err := c.GetObject(ctx, "bucket", "dir/"+name, minio.GetObjectOptions{Checksum: true})
			if err != nil {
				t.Fatal(err)
			}
			var back bytes.Buffer
			if _, err := back.ReadFrom(got); err != nil || back.String() != body {
				t.Errorf("tls %v: %s: %d bytes back, %v", tls, name, back.Len(), err)
			}
		}
		if _, err := c.PutObject(ctx, "bucket", "dir/unknown", strings.NewReader(whole), -1, minio.PutObjectOptions{PartSize: 5 << 20}); err != nil {
			t.Errorf("of unknown length: %v", err)
		}
		if _, err := c.ComposeObject(ctx, minio.CopyDestOptions{Bucket: "bucket", Object: "dir/composed"}, minio.CopySrcOptions{Bucket: "bucket", Object: "dir/parts"}, minio.CopySrcOptions{Bucket: "bucket", Object: "dir/md5"}); err != nil {
			t.Errorf("compose: %v", err)
		}
		n := 0
		for o := range c.ListObjects(ctx, "bucket", minio.ListObjectsOptions{Recursive: true, WithVersions: n%2 == 0}) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			if err := c.RemoveObject(ctx, "bucket", o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}); err != nil {
				t.Error(err)
			}
			n++
		}
		if n != 7 {
			t.Errorf("%d objects listed", n)
		}
		if err := c.RemoveBucket(ctx, "bucket"); err != nil {
			t.Error(err)
		}
	}
}
