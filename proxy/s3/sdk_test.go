package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// These tests are Amazon's own client in its newest version, as people use it.

func apiCode(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestSDK_Buckets(t *testing.T) {
	w, ctx := newWorld(t, false), t.Context()
	for _, b := range []string{"beta", "alpha", "gamma"} {
		if _, err := w.client.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &b}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.client.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("alpha")})
	if apiCode(err) != "BucketAlreadyOwnedByYou" {
		t.Errorf("made again: %v", err)
	}
	var names []string
	pages := awss3.NewListBucketsPaginator(w.client, &awss3.ListBucketsInput{MaxBuckets: aws.Int32(2)})
	for pages.HasMorePages() {
		p, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range p.Buckets {
			names = append(names, *b.Name)
		}
	}
	if !slices.Equal(names, []string{"alpha", "beta", "gamma"}) {
		t.Errorf("buckets are %v", names)
	}
	head, err := w.client.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String("beta")})
	if err != nil || aws.ToString(head.BucketRegion) != testRegion {
		t.Errorf("head: %v %v", head, err)
	}
	w.put("beta", "x", "1")
	if _, err := w.client.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("beta")}); apiCode(err) != "BucketNotEmpty" {
		t.Errorf("delete of a bucket with objects: %v", err)
	}
	if _, err := w.client.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: aws.String("gamma"), Key: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("gamma")}); err != nil {
		t.Errorf("delete of a bucket with an upload only: %v", err)
	}
	var missing *types.NotFound
	if _, err := w.client.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String("gamma")}); !errors.As(err, &missing) {
		t.Errorf("head of a deleted bucket: %v", err)
	}
}

func TestSDK_ObjectsUnderAllChecksums(t *testing.T) {
	for _, tls := range []bool{false, true} { // over TLS the client sends trailers, otherwise headers
		w, ctx := newWorld(t, tls), t.Context()
		w.makeBucket("b")
		for _, a := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
			for _, size := range []int{0, 1, 100_000} {
				key := fmt.Sprintf("%s/%d", a, size)
				body := bytes.Repeat([]byte("x"), size)
				_, err := w.client.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("b"), Key: &key, Body: bytes.NewReader(body), ChecksumAlgorithm: a,
					ContentType: aws.String("text/x"), ContentEncoding: aws.String("gzip"), Metadata: map[string]string{"color": "blau"}})
				if err != nil {
					t.Fatalf("tls %v: put %s: %v", tls, key, err)
				}
				got, err := w.client.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("b"), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
				if err != nil {
					t.Fatalf("get %s: %v", key, err)
				}
				b, err := io.ReadAll(got.Body)
				if err != nil || !bytes.Equal(b, body) {
					t.Errorf("get %s: %d bytes, %v", key, len(b), err)
				}
				if aws.ToString(got.ContentEncoding) != "gzip" || aws.ToString(got.ContentType) != "text/x" || got.Metadata["color"] != "blau" {
					t.Errorf("get %s: metadata %v %v %v", key, aws.ToString(got.ContentEncoding), aws.ToString(got.ContentType), got.Metadata)
				}
				if got.ChecksumType != types.ChecksumTypeFullObject {
					t.Errorf("get %s: checksum type %q", key, got.ChecksumType)
				}
			}
		}
	}
}

// onlyReader hides everything but Read, so that the client cannot seek and must send trailers.
type onlyReader struct{ io.Reader }

func TestSDK_UnseekableBodyComesInChunks(t *testing.T) {
	w, ctx := newWorld(t, true), t.Context()
	w.makeBucket("b")
	body := strings.Repeat("0123456789", 50_000)
	_, err := w.client.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Body: onlyReader{strings.NewReader(body)},
		ContentLength: aws.Int64(int64(len(body)))})
	if err != nil {
		t.Fatal(err)
	}
	if info := w.info("b", "k"); info == nil || info.Size != int64(len(body)) || info.Meta["content-encoding"] != "" {
		t.Errorf("stored %+v", info)
	}
}

func TestSDK_Multipart(t *testing.T) {
	w, ctx := newWorld(t, false), t.Context()
	w.makeBucket("b")
	body := bytes.Repeat([]byte("0123456789abcdef"), (5<<20+1600)/16)
	for _, a := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha256} {
		key := "large " + string(a)
		//lint:ignore SA1019 it is what most programs still use
		up := manager.NewUploader(w.client, func(u *manager.Uploader) { u.PartSize, u.Concurrency = 5<<20, 2 })
		//lint:ignore SA1019 as above
		out, err := up.Upload(ctx, &awss3.PutObjectInput{Bucket: aws.String("b"), Key: &key, Body: bytes.NewReader(body), ChecksumAlgorithm: a})
		if err != nil {
			t.Fatal(err)
		}
		var sums []byte
		for i := 0; i < len(body); i += 5 << 20 {
			s := md5.Sum(body[i:min(i+5<<20, len(body))])
			sums = append(sums, s[:]...)
		}
		s := md5.Sum(sums)
		if want := `"` + hex.EncodeToString(s[:]) + `-2"`; aws.ToString(out.ETag) != want {
			t.Errorf("%s: ETag %s, want %s", a, aws.ToString(out.ETag), want)
		}
		var back bytes.Buffer
		got, err := w.client.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("b"), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := back.ReadFrom(got.Body); err != nil || !bytes.Equal(back.Bytes(), body) {
			t.Errorf("%s: %d bytes back, %v", a, back.Len(), err)
		}
		part, err := w.client.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("b"), Key: &key, PartNumber: aws.Int32(2), ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		back.Reset()
		if _, err := back.ReadFrom(part.Body); err != nil || !bytes.Equal(back.Bytes(), body[5<<20:]) || aws.ToInt32(part.PartsCount) != 2 {
			t.Errorf("%s: part 2 has %d bytes of %d parts, %v", a, back.Len(), aws.ToInt32(part.PartsCount), err)
		}
		at, err := w.client.GetObjectAttributes(ctx, &awss3.GetObjectAttributesInput{Bucket: aws.String("b"), Key: &key,
			ObjectAttributes: []types.ObjectAttributes{"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToInt64(at.ObjectSize) != int64(len(body)) || len(at.ObjectParts.Parts) != 2 || aws.ToInt32(at.ObjectParts.TotalPartsCount) != 2 || at.Checksum == nil {
			t.Errorf("%s: attributes %+v", a, at)
		}
	}
}

func TestSDK_ListsAndDeletes(t *testing.T) {
	w, ctx := newWorld(t, false), t.Context()
	w.makeBucket("b")
	names := []string{"a b+c%&.txt", "a/", "a/1", "a/b/2", "a//3", "ä/ö ü", "z\u0001\n<>\"'", "../up", "./here", "%41"}
	for _, n := range names {
		if _, err := w.client.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String(n), Body: strings.NewReader(n)}); err != nil {
			t.Fatalf("put %q: %v", n, err)
		}
		got, err := w.client.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String(n)})
		if err != nil {
			t.Fatalf("get %q: %v", n, err)
		}
		if b, _ := io.ReadAll(got.Body); string(b) != n {
			t.Errorf("get %q: %q", n, b)
		}
	}
	slices.Sort(names)
	var listed []string
	pages := awss3.NewListObjectsV2Paginator(w.client, &awss3.ListObjectsV2Input{Bucket: aws.String("b"), MaxKeys: aws.Int32(3), EncodingType: types.EncodingTypeUrl})
	for pages.HasMorePages() {
		p, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range p.Contents {
			listed = append(listed, unescape(t, *o.Key))
		}
	}
	if !slices.Equal(listed, names) {
		t.Errorf("listed %q, want %q", listed, names)
	}
	ids := make([]types.ObjectIdentifier, len(names))
	for i := range names {
		ids[i].Key = &names[i]
	}
	out, err := w.client.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: aws.String("b"), Delete: &types.Delete{Objects: append(ids, types.ObjectIdentifier{Key: aws.String("never was")})}})
	if err != nil || len(out.Errors) != 0 || len(out.Deleted) != len(names)+1 {
		t.Errorf("deleted %+v, %v", out, err)
	}
	// XML cannot say U+0001, so that this one is left.
	if _, err := w.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: aws.String("b"), Key: aws.String("z\u0001\n<>\"'")}); err != nil {
		t.Error(err)
	}
	if _, err := w.client.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("b")}); err != nil {
		t.Error(err)
	}
}

func TestSDK_ConditionalWrites(t *testing.T) {
	w, ctx := newWorld(t, false), t.Context()
	w.makeBucket("b")
	put := func(body string, c func(*awss3.PutObjectInput)) (string, string) {
		in := &awss3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("lock"), Body: strings.NewReader(body)}
		c(in)
		out, err := w.client.PutObject(ctx, in)
		if err != nil {
			return "", apiCode(err)
		}
		return *out.ETag, ""
	}
	none := func(in *awss3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }
	match := func(tag string) func(*awss3.PutObjectInput) {
		return func(in *awss3.PutObjectInput) { in.IfMatch = &tag }
	}
	if _, code := put("0", match(`"d41d8cd98f00b204e9800998ecf8427e"`)); code != "NoSuchKey" {
		t.Errorf("If-Match of what is missing: %q", code)
	}
	first, code := put("1", none)
	if code != "" {
		t.Fatalf("the first lock: %s", code)
	}
	if _, code := put("2", none); code != "PreconditionFailed" {
		t.Errorf("the second lock: %q", code)
	}
	second, code := put("3", match(first))
	if code != "" {
		t.Errorf("If-Match of what is there: %q", code)
	}
	if _, code := put("4", match(first)); code != "PreconditionFailed" {
		t.Errorf("If-Match of what was there: %q", code)
	}
	_, err := w.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: aws.String("b"), Key: aws.String("lock"), IfMatch: &first})
	if apiCode(err) != "PreconditionFailed" {
		t.Errorf("delete of what was there: %v", err)
	}
	if _, err := w.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: aws.String("b"), Key: aws.String("lock"), IfMatch: &second}); err != nil {
		t.Errorf("delete of what is there: %v", err)
	}
}

func TestSDK_CopiesAndPresigned(t *testing.T) {
	w, ctx := newWorld(t, false), t.Context()
	w.makeBucket("b")
	w.put("b", "a b+ü", "hello")
	out, err := w.client.CopyObject(ctx, &awss3.CopyObjectInput{Bucket: aws.String("b"), Key: aws.String("copy"), CopySource: aws.String("b/a%20b%2B%C3%BC")})
	if err != nil || aws.ToString(out.CopyObjectResult.ETag) != `"5d41402abc4b2a76b9719d911017c592"` {
		t.Fatalf("copied %+v, %v", out, err)
	}
	ps := awss3.NewPresignClient(w.client)
	get, err := ps.PresignGetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("copy"), ResponseContentType: aws.String("text/override")}, awss3.WithPresignExpires(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	a := w.fetch(http.MethodGet, get.URL, "")
	if a.status != 200 || a.body != "hello" || a.header.Get("Content-Type") != "text/override" {
		t.Errorf("presigned get: %+v", a)
	}
	put, err := ps.PresignPutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("put"), Metadata: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPut, put.URL, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range put.SignedHeader {
		if name != "Content-Length" && name != "Host" {
			r.Header[name] = v
		}
	}
	if a := w.send(r); a.status != 200 {
		t.Errorf("presigned put: %+v", a)
	}
	if info := w.info("b", "put"); info == nil || info.Meta["x-object-meta-a"] != "b" {
		t.Errorf("presigned put stored %+v", info)
	}
}
