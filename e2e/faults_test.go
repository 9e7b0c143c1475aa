package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"henge/e2e/henged"
)

// TestKill_NothingAcknowledgedIsLost writes, reads, lists and deletes through the peers that live while another one is killed, started again, and the next one killed.
func TestKill_NothingAcknowledgedIsLost(t *testing.T) {
	c := ownCloud(t, henged.Options{Peers: 4, Devices: 1, Args: []string{"--restart"}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := awsClient(c, 1).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("kill")}); err != nil {
		t.Fatal(err)
	}
	// Clients speak to peers 1 and 2, which live; 3 and 4 are killed in turn.
	w := &workload{cloud: c, live: map[string][]byte{}, dead: map[string]bool{}}
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() { w.run(ctx, t, i) })
	}
	for round := range 4 {
		victim := 3 + round%2
		w.waitFor(t, 60)
		before := c.PeerPIDs()[victim-1]
		if err := c.KillPeer(victim); err != nil {
			t.Fatal(err)
		}
		w.waitFor(t, 60)
		eventually(t, fmt.Sprintf("peer %d comes back", victim), func() bool {
			pid := c.PeerPIDs()[victim-1]
			return pid != 0 && pid != before
		})
		client(t, c, c.Dir, binary(t), "status", "--wait", "--data-dir", c.Dir)
	}
	cancel()
	clients.Wait()
	w.check(t)
}

// TestKill_SeveralPeersAtOnce kills three peers of four in the same moment, the only one left included later: what cannot be stored is refused meanwhile, and nothing
// acknowledged before or after is lost.
func TestKill_SeveralPeersAtOnce(t *testing.T) {
	c := ownCloud(t, henged.Options{Peers: 4, Devices: 1, Args: []string{"--restart"}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := awsClient(c, 1).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("kill")}); err != nil {
		t.Fatal(err)
	}
	w := &workload{cloud: c, live: map[string][]byte{}, dead: map[string]bool{}, tolerant: true}
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() { w.run(ctx, t, i) })
	}
	for _, victims := range [][]int{{2, 3, 4}, {1, 2, 3, 4}} {
		w.waitFor(t, 80)
		before := c.PeerPIDs()
		for _, v := range victims {
			if err := c.KillPeer(v); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, fmt.Sprintf("peers %v come back", victims), func() bool {
			now := c.PeerPIDs()
			return !slices.ContainsFunc(victims, func(v int) bool { return now[v-1] == 0 || now[v-1] == before[v-1] })
		})
		client(t, c, c.Dir, binary(t), "status", "--wait", "--data-dir", c.Dir)
	}
	w.waitFor(t, 80)
	cancel()
	clients.Wait()
	w.check(t)
}

// workload is a set of clients that remember what was acknowledged. Each key belongs to one client, so that what must be there is known.
type workload struct {
	cloud    *henged.Cloud
	tolerant bool         // operations may fail; their keys are not looked at any more
	done     atomic.Int64 // operations acknowledged

	mu   sync.Mutex // guards the fields below
	live map[string][]byte
	dead map[string]bool
}

// waitFor waits until n more operations were acknowledged.
func (w *workload) waitFor(t *testing.T, n int64) {
	t.Helper()
	goal := w.done.Load() + n
	eventually(t, fmt.Sprintf("%d operations more", n), func() bool { return w.done.Load() >= goal || t.Failed() })
}

func (w *workload) run(ctx context.Context, t *testing.T, number int) {
	random := rand.New(rand.NewPCG(uint64(number), 1))
	c := awsClient(w.cloud, 1+number%2)
	var mine []string
	for n := 0; ctx.Err() == nil; n++ {
		var err error
		switch dice := random.IntN(10); {
		case dice < 5 || len(mine) == 0:
			key := fmt.Sprintf("client-%d/%06d", number, n)
			mine = append(mine, key)
			err = w.put(ctx, c, key, pattern(1+random.IntN(200_000)))
		case dice < 8:
			err = w.get(ctx, c, mine[random.IntN(len(mine))])
		default:
			i := random.IntN(len(mine))
			err = w.delete(ctx, c, mine[i])
			mine = slices.Delete(mine, i, i+1)
		}
		var wrong wrongBytesError
		switch {
		case err == nil:
			w.done.Add(1)
		case ctx.Err() != nil:
			return
		case !w.tolerant || errors.As(err, &wrong):
			t.Errorf("client %d: %v", number, err)
			return
		default:
			mine = slices.DeleteFunc(mine, func(key string) bool { return !w.known(key) })
		}
	}
}

// known tells whether it is known what a key holds.
func (w *workload) known(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.live[key]
	return ok
}

// wrongBytesError: an object came back as nobody wrote it.
type wrongBytesError struct {
	key       string
	got, want int
}

func (e wrongBytesError) Error() string {
	return fmt.Sprintf("%s came back with %d bytes that are not the %d written", e.key, e.got, e.want)
}

func (w *workload) put(ctx context.Context, c *s3.Client, key string, body []byte) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("kill"), Key: &key, Body: bytes.NewReader(body)})
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.live[key] = body
	}
	return err
}

func (w *workload) get(ctx context.Context, c *s3.Client, key string) error {
	w.mu.Lock()
	want := w.live[key]
	w.mu.Unlock()
	got, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("kill"), Key: &key})
	if err != nil {
		return err
	}
	defer got.Body.Close()
	back, err := io.ReadAll(got.Body)
	if err == nil && !bytes.Equal(back, want) {
		return wrongBytesError{key, len(back), len(want)}
	}
	return err
}

func (w *workload) delete(ctx context.Context, c *s3.Client, key string) error {
	_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("kill"), Key: &key})
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.live, key)
	if err == nil {
		w.dead[key] = true
	}
	return err
}

// check reads everything back at every peer, and lists it.
func (w *workload) check(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	for peer := 1; peer <= 4; peer++ {
		c := awsClient(w.cloud, peer)
		listed := map[string]bool{}
		pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String("kill")})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page.Contents {
				listed[*o.Key] = true
			}
		}
		for key, body := range w.live {
			if !listed[key] {
				t.Errorf("peer %d does not list %s", peer, key)
			}
			checkObject(t, c, "kill", key, body)
		}
		for key := range w.dead {
			if listed[key] {
				t.Errorf("peer %d lists %s, which was deleted", peer, key)
			}
			_, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("kill"), Key: &key})
			var missing *types.NotFound
			if !errors.As(err, &missing) {
				t.Errorf("peer %d, %s was deleted: %v", peer, key, err)
			}
		}
	}
	t.Logf("%d operations; %d objects live, %d deleted", w.done.Load(), len(w.live), len(w.dead))
	if len(slices.Collect(maps.Keys(w.live))) == 0 {
		t.Error("nothing was written")
	}
}
