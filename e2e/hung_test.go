package e2e

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"bytes"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"henge/e2e/henged"
)

// TestHungPeer_NobodyWaitsForIt stops a peer without killing it, so that for seconds nobody can know that it is not merely slow. Clients of the other peers go on,
// and what they wrote meanwhile is there when it goes on. How long they waited at most is logged: make bench is for times.
func TestHungPeer_NobodyWaitsForIt(t *testing.T) {
	c := ownCloud(t, henged.Options{Peers: 4, Devices: 1})
	ctx := context.Background()
	if _, err := awsClient(c, 1).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("hung")}); err != nil {
		t.Fatal(err)
	}
	if err := c.PausePeer(4); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() {
		if err := c.ResumePeer(4); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(resume) // before the cloud is stopped
	var clients sync.WaitGroup
	times := &slowest{took: map[string]time.Duration{}}
	end := time.Now().Add(8 * time.Second) // gossip gives it up within it: before, while and after
	for i := range 6 {
		clients.Go(func() { hungClient(ctx, t, c, times, i, end) })
	}
	clients.Wait()
	t.Logf("the slowest while a peer hung: %v", times.took)
	resume()
	client(t, c, c.Dir, binary(t), "status", "--wait", "--data-dir", c.Dir)
	for i := range 6 {
		list, err := awsClient(c, 4).ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("hung"), Prefix: aws.String(fmt.Sprintf("%d/", i))})
		if err != nil || len(list.Contents) == 0 {
			t.Fatalf("client %d's objects: %v, %v", i, list, err)
		}
		for _, o := range list.Contents {
			if got, err := awsClient(c, 4).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("hung"), Key: o.Key}); err != nil {
				t.Fatalf("get %s: %v", *o.Key, err)
			} else if n, err := io.Copy(io.Discard, got.Body); err != nil || n != *o.Size {
				t.Fatalf("get %s: %d bytes of %d, %v", *o.Key, n, *o.Size, err)
			}
		}
	}
}

// slowest is how long the slowest operation of each kind took.
type slowest struct {
	mu   sync.Mutex // guards took
	took map[string]time.Duration
}

func (s *slowest) time(t *testing.T, kind string, do func() error) {
	begun := time.Now()
	if err := do(); err != nil {
		t.Errorf("%s: %v", kind, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took[kind] = max(s.took[kind], time.Since(begun).Round(time.Millisecond))
}

func hungClient(ctx context.Context, t *testing.T, c *henged.Cloud, times *slowest, number int, end time.Time) {
	api, bucket := awsClient(c, 1+number%3), aws.String("hung")
	small, large := pattern(4<<10), pattern(3<<20)
	put := func(key *string, body []byte) func() error {
		return func() error {
			_, err := api.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(body)})
			return err
		}
	}
	for n := 0; time.Now().Before(end) && !t.Failed(); n++ {
		key := aws.String(fmt.Sprintf("%d/%d", number, n))
		times.time(t, "PUT 4 KiB", put(key, small))
		times.time(t, "GET 4 KiB", func() error {
			got, err := api.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key})
			if err == nil {
				_, err = io.Copy(io.Discard, got.Body)
			}
			return err
		})
		times.time(t, "PUT 3 MiB", put(aws.String(*key+"-large"), large))
		times.time(t, "LIST", func() error {
			_, err := api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})
			return err
		})
		times.time(t, "DELETE", func() error {
			_, err := api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key})
			return err
		})
		times.time(t, "PUT bucket", func() error {
			_, err := api.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(fmt.Sprintf("hung-%d-%d", number, n))})
			return err
		})
	}
}
