package s3

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"henge/internal/clock"
	"henge/internal/httpapi"
	"henge/proxy/core"
	"henge/ring"
	"henge/storaged/peerapi"
	"henge/storaged/server/servertest"
)

// ringOf places by the cluster's own rule, for accounts, containers and objects alike.
type ringOf struct{ cluster *servertest.Cluster }

func (r ringOf) Account() core.Ring     { return r }
func (r ringOf) Container() core.Ring   { return r }
func (r ringOf) Object(uint8) core.Ring { return r }
func (r ringOf) Secret() ring.Secret    { return ring.Secret{7} }
func (r ringOf) Policies() []core.Policy {
	return []core.Policy{{Name: "standard", Default: true, Replicas: 3}}
}

func (r ringOf) Partition(h ring.Hash) ring.Partition {
	return ring.Partition(h[0])<<8 | ring.Partition(h[1])
}

func hashOf(p ring.Partition) ring.Hash { return ring.Hash{byte(p >> 8), byte(p)} }

func (r ringOf) Primaries(p ring.Partition, dst []peerapi.Target) []peerapi.Target {
	primaries, _ := r.cluster.Replicas(hashOf(p))
	return append(dst, primaries...)
}

func (r ringOf) Handoffs(p ring.Partition) iter.Seq[peerapi.Target] {
	_, handoffs := r.cluster.Replicas(hashOf(p))
	return slices.Values(handoffs)
}

// newClusterWorld is a world whose store is the real one, over storage peers in this process.
func newClusterWorld(t testing.TB) (*world, *servertest.Cluster, core.Service) {
	t.Helper()
	peers := servertest.NewCluster(t, 4, 1)
	service, err := core.New(core.Config{Rings: ringOf{peers}, Devices: peers, Clock: clock.NewHybrid(clock.System{}, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := service.Close(); err != nil {
			t.Error(err)
		}
	})
	handler := New(Config{Core: service, Keys: testKeys{}})
	w := &world{t: t}
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(rw, r.WithContext(httpapi.WithRequestID(r.Context(), testRequestID)))
	}))
	t.Cleanup(w.server.Close)
	w.client = w.clientOf("member")
	return w, peers, service
}

// What Swift makes of segments reads as one object here: its size is that of the segments, and so are its bytes.
func TestCluster_DynamicLargeObjects(t *testing.T) {
	w, _, service := newClusterWorld(t)
	ctx := t.Context()
	for _, b := range []string{"bucket", "the segments"} {
		if _, err := service.PutContainer(ctx, testAccount, b, core.PutContainer{}); err != nil {
			t.Fatal(err)
		}
	}
	put := func(bucket, key, body string, m core.Metadata) {
		t.Helper()
		if _, err := service.Put(ctx, core.Ref{Account: testAccount, Container: bucket, Object: key}, core.PutRequest{Body: strings.NewReader(body), Size: int64(len(body)), Metadata: m}); err != nil {
			t.Fatal(err)
		}
	}
	put("the segments", "ö/1", "hello ", core.Metadata{})
	put("the segments", "ö/2", "world", core.Metadata{})
	put("bucket", "dlo", "", core.Metadata{Kind: peerapi.KindDLO, Meta: map[string]string{"x-object-manifest": "the%20segments/%C3%B6/"}})
	for method, want := range map[string]string{"GET": "hello world", "HEAD": ""} {
		a := w.call(method, "/bucket/dlo", "")
		if a.status != 200 || a.body != want || a.header.Get("Content-Length") != "11" || a.header.Get("ETag") == `"d41d8cd98f00b204e9800998ecf8427e"` {
			t.Errorf("%s: %d %q %v", method, a.status, a.body, a.header)
		}
	}
	if a := w.call("GET", "/bucket/dlo", "", "Range", "bytes=4-7"); a.body != "o wo" {
		t.Errorf("range over two segments: %q", a.body)
	}
}

// A day in the life of a bucket on real storage peers, one of which dies in the midst.
func TestCluster_Story(t *testing.T) {
	w, peers, _ := newClusterWorld(t)
	ctx, b := t.Context(), aws.String("bucket")
	if _, err := w.client.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: b}); err != nil {
		t.Fatal(err)
	}
	for i := range 25 {
		if i == 10 {
			peers.Kill("p2")
		}
		if _, err := w.client.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: aws.String(fmt.Sprintf("dir/%02d", i)), Body: strings.NewReader(fmt.Sprint("body ", i))}); err != nil {
			t.Fatalf("put %d: %v", i, err)
		}
	}
	list, err := w.client.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: b})
	if err != nil || len(list.Contents) != 25 || list.Contents[0].ChecksumAlgorithm[0] != types.ChecksumAlgorithmCrc32 {
		t.Fatalf("listed %d, %v", len(list.Contents), err)
	}
	folders, err := w.client.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: b, Delimiter: aws.String("/")})
	if err != nil || len(folders.CommonPrefixes) != 1 || len(folders.Contents) != 0 {
		t.Errorf("folders %+v, %v", folders, err)
	}
	for i := range 25 {
		got, err := w.client.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: aws.String(fmt.Sprintf("dir/%02d", i))})
		if err != nil {
			t.Fatalf("get %d: %v", i, err)
		}
		if body, err := io.ReadAll(got.Body); err != nil || string(body) != fmt.Sprint("body ", i) {
			t.Errorf("get %d: %q, %v", i, body, err)
		}
	}
	if _, err := w.client.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: aws.String("dir/00"), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")}); apiCode(err) != "PreconditionFailed" {
		t.Errorf("If-None-Match on what is there: %v", err)
	}
	if _, err := w.client.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: aws.String("lock"), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")}); err != nil {
		t.Errorf("If-None-Match on what is not: %v", err)
	}
	w.uploadStory(t, "large")
	for i := range 25 {
		if _, err := w.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: b, Key: aws.String(fmt.Sprintf("dir/%02d", i))}); err != nil {
			t.Errorf("delete %d: %v", i, err)
		}
	}
	left, err := w.client.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: b})
	if err != nil || len(left.Contents) != 2 {
		t.Errorf("left %+v, %v", left, err)
	}
}

// uploadStory sends an object in parts, reads it back whole, by part and by range, and copies it.
func (w *world) uploadStory(t *testing.T, key string) {
	ctx, b := t.Context(), aws.String("bucket")
	up, err := w.client.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: b, Key: &key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c, ChecksumType: types.ChecksumTypeFullObject,
		Metadata: map[string]string{"color": "blue"}})
	if err != nil {
		t.Fatal(err)
	}
	whole := []byte(large + "the end")
	var parts []types.CompletedPart
	for i, body := range [][]byte{whole[:5<<20], whole[5<<20:]} {
		n := aws.Int32(int32(i + 1))
		out, err := w.client.UploadPart(ctx, &awss3.UploadPartInput{Bucket: b, Key: &key, UploadId: up.UploadId, PartNumber: n, Body: bytes.NewReader(body), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: n, ETag: out.ETag, ChecksumCRC32C: out.ChecksumCRC32C})
	}
	complete := &awss3.CompleteMultipartUploadInput{Bucket: b, Key: &key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}, IfNoneMatch: aws.String("*")}
	for range 2 { // the second time as a client does whose answer was lost
		out, err := w.client.CompleteMultipartUpload(ctx, complete)
		if err != nil {
			t.Fatal(err)
		}
		if out.ChecksumType != types.ChecksumTypeFullObject || aws.ToString(out.ChecksumCRC32C) != sumText(2, string(whole)) {
			t.Errorf("completed with the checksum %s of type %s", aws.ToString(out.ChecksumCRC32C), out.ChecksumType)
		}
	}
	for _, get := range []*awss3.GetObjectInput{{ChecksumMode: types.ChecksumModeEnabled}, {PartNumber: aws.Int32(2), ChecksumMode: types.ChecksumModeEnabled}, {Range: aws.String("bytes=5242870-5242885")}} {
		want := whole
		if get.PartNumber != nil {
			want = whole[5<<20:]
		} else if get.Range != nil {
			want = whole[5242870:5242886]
		}
		get.Bucket, get.Key = b, &key
		got, err := w.client.GetObject(ctx, get)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(got.Body); err != nil || !bytes.Equal(body, want) || got.Metadata["color"] != "blue" {
			t.Errorf("read %d bytes, want %d, %v", len(body), len(want), err)
		}
	}
	at, err := w.client.GetObjectAttributes(ctx, &awss3.GetObjectAttributesInput{Bucket: b, Key: &key, ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesObjectParts}})
	if err != nil || at.ObjectParts == nil || len(at.ObjectParts.Parts) != 2 || aws.ToString(at.ObjectParts.Parts[1].ChecksumCRC32C) != sumText(2, "the end") {
		t.Errorf("attributes %+v, %v", at.ObjectParts, err)
	}
	if _, err := w.client.CopyObject(ctx, &awss3.CopyObjectInput{Bucket: b, Key: &key, CopySource: aws.String("bucket/" + key), MetadataDirective: types.MetadataDirectiveReplace}); err != nil {
		t.Errorf("copy onto itself: %v", err)
	}
}
