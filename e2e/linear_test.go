package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"henge/e2e/henged"
	"henge/e2e/history"
)

// TestConditionalWrites_AreLinearizable runs plain and conditional writes (small, large, completions of uploads), deletes and reads of few keys through three peers
// while others are killed.
func TestConditionalWrites_AreLinearizable(t *testing.T) {
	c := ownCloud(t, henged.Options{Peers: 4, Devices: 1, Args: []string{"--restart"}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := awsClient(c, 1).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("linear")}); err != nil {
		t.Fatal(err)
	}
	const keys, clients, steps = 4, 6, 150
	h := history.New()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 7))
			for n := range steps {
				linearStep(h, linearBucket(c, 1+random.IntN(3)), i, fmt.Sprintf("key-%d", random.IntN(keys)), fmt.Sprintf("%d-%d", i, n), random)
			}
		})
	}
	go func() { // kills peer 4, again and again as it comes back
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = c.KillPeer(4) // it may be dead already
			}
		}
	}()
	wg.Wait()
	cancel()
	for _, fault := range h.Check(time.Minute) {
		t.Error(fault)
	}
	answered, refused, unknown := h.Counts()
	t.Logf("%d answered, %d of them refused, %d unknown", answered, refused, unknown)
	if answered < clients*steps/2 || refused == 0 {
		t.Error("too little happened for the check to mean anything")
	}
}

// linearBucket is the bucket through one peer.
func linearBucket(c *henged.Cloud, peer int) history.Bucket {
	// One try a call: a retry by the SDK would be a second operation.
	return history.Bucket{Client: s3.New(awsClient(c, peer).Options(), func(o *s3.Options) { o.RetryMaxAttempts = 1 }), Name: "linear"}
}

// linearStep performs one random step and records it.
func linearStep(h *history.History, b history.Bucket, client int, key, value string, random *rand.Rand) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s := history.Step{Kind: []string{history.Get, history.Put, history.Put, history.Put, history.Delete}[random.IntN(5)],
		Value: history.Shapes[random.IntN(len(history.Shapes))] + value}
	if s.Kind != history.Get {
		switch random.IntN(3) {
		case 0:
			s.Match = history.Nothing
		case 1:
			// What is there now is the likeliest to match; reading it is an operation of its own, but need not be recorded.
			s.Match, _ = b.Read(ctx, key)
		}
		if s.Kind == history.Delete && s.Match == history.Nothing {
			s.Match = ""
		}
	}
	call := h.Now()
	h.Record(client, key, call, s, b.Do(ctx, key, s))
}
