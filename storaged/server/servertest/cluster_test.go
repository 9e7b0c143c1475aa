package servertest

import (
	"testing"
	"time"

	"henge/internal/clock"
	"henge/storaged/peerapi"
)

// TestCluster_QueuedListingIsDelivered: put with a container replica down, revive it, and find the row there.
func TestCluster_QueuedListingIsDelivered(t *testing.T) {
	c := NewCluster(t, 4, 2)
	ctx := t.Context()
	ts := clock.NewHybrid(clock.System{}, 1)
	account, container := c.Key("a", "", ""), c.Key("a", "c", "")
	replicas, _ := c.Replicas(container.Hash)
	accounts, _ := c.Replicas(account.Hash)
	made := ts.Next()
	for _, r := range replicas {
		if _, err := c.Device(r).ChangeIndex(ctx, peerapi.IndexChange{Key: container, Timestamp: made, Create: true, Listing: accounts[:1], AccountKey: account}); err != nil {
			t.Fatal(err)
		}
	}
	down := replicas[2]
	var writer peerapi.Target
	for _, target := range c.Targets() {
		if target.Peer != down.Peer {
			writer = target
		}
	}
	c.Kill(down.Peer)
	object := c.Key("a", "c", "o")
	out, err := c.Device(writer).Commit(ctx, peerapi.Commit{
		Record:  peerapi.Record{Key: object, Timestamp: ts.Next(), Size: 5, StoredSize: 5, ETag: "e"},
		Listing: replicas, ContainerKey: container, ContainerCreated: made,
	}, []byte("hello"))
	if err != nil || !out.Accepted || out.Listed != 2 || out.Queued != 1 {
		t.Fatalf("commit: %+v %v", out, err)
	}
	c.Revive(down.Peer)
	eventually(t, "the row comes to the revived replica", func() bool {
		page, err := c.Device(down).List(ctx, peerapi.ListQuery{Key: container, Limit: 10})
		return err == nil && len(page.Rows) == 1 && page.Rows[0].Name == "o"
	})
	eventually(t, "the account knows the container's counts", func() bool {
		i, err := c.Device(accounts[0]).Index(ctx, account)
		return err == nil && i.Count == 1 && i.Objects == 1 && i.Bytes == 5
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("it does not come about that %s", what)
		}
	}
}
