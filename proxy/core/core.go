package core

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/singleflight"

	"henge/internal/clock"
	"henge/internal/erasure"
	"henge/internal/errs"
	"henge/ring"
	"henge/storaged/peerapi"
)

// Rings gives the rings as they are now. They may change at any time; what is given is immutable. Safe for concurrent use.
type Rings interface {
	// Account places accounts.
	Account() Ring
	// Container places containers.
	Container() Ring
	// Object places the objects of a storage policy; nil when there is no such policy.
	Object(policy uint8) Ring
	// Policies are the storage policies, the default one first.
	Policies() []Policy
	// Secret is what the hashes of names are made with.
	Secret() ring.Secret
}

// Ring says which devices hold what.
type Ring interface {
	// Partition is where a hash belongs.
	Partition(h ring.Hash) ring.Partition
	// Primaries appends the devices that hold a partition's replicas to dst.
	Primaries(p ring.Partition, dst []peerapi.Target) []peerapi.Target
	// Handoffs yields the devices that stand in for the partition's primaries, the best first.
	Handoffs(p ring.Partition) iter.Seq[peerapi.Target]
}

// CodedRing is a Ring whose storage policy may be erasure-coded: Shape is nil when it is not. Such a ring has as many primaries as there are fragments.
type CodedRing interface {
	Ring
	Shape() *erasure.Shape
}

// Config is what a Core needs.
type Config struct {
	Rings   Rings
	Devices peerapi.Devices
	Clock   *clock.Hybrid // of this process alone
	Time    clock.Clock   // for ages and expiry; nil is the machine's
	// Distance says how far a device is: 0 is in this process, and is called directly; 1 and more are other peers, the nearest first. nil: all are equally far.
	Distance func(peerapi.Target) int
	Logger   *slog.Logger // nil: silent
	// CodedBytesMin is up to where objects of an erasure-coded policy are kept whole by all primaries: 0 is 4 KiB; below 0, only empty ones are.
	CodedBytesMin int
}

// Core is the Service over the devices of a cluster. It keeps nothing that cannot be lost: any number of them may work side by side.
type Core struct {
	rings    Rings
	devices  peerapi.Devices
	clock    *clock.Hybrid
	time     clock.Clock
	distance func(peerapi.Target) int
	logger   *slog.Logger
	codedMin int // bytes

	containers *containerCache
	accounts   *accountCache
	flights    singleflight.Group
	turns      turns
	contended  contended
	buffers    buffers
	hashes     hashes
	stragglers atomic.Int64   // writes that go on after their request was answered
	background sync.WaitGroup // their goroutines
	life       context.Context
	end        context.CancelFunc
	sweepNow   chan struct{}
}

var _ Service = (*Core)(nil)

// New makes a Core. Close ends it.
func New(cfg Config) (*Core, error) {
	if cfg.Rings == nil || cfg.Devices == nil || cfg.Clock == nil {
		return nil, errors.New("core: Rings, Devices and Clock are needed")
	}
	c := &Core{rings: cfg.Rings, devices: cfg.Devices, clock: cfg.Clock, time: cfg.Time, distance: cfg.Distance, logger: cfg.Logger}
	if c.time == nil {
		c.time = clock.System{}
	}
	if c.distance == nil {
		c.distance = func(peerapi.Target) int { return 1 }
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if c.codedMin = max(cfg.CodedBytesMin, 0); cfg.CodedBytesMin == 0 {
		c.codedMin = codedBytesMin
	}
	c.containers, c.accounts = newContainerCache(c.time), newAccountCache(c.time)
	c.life, c.end = context.WithCancel(context.Background())
	c.sweepNow = make(chan struct{}, 1)
	return c, nil
}

// Close ends what goes on in the background, and waits for it. It may be called twice.
func (c *Core) Close() error {
	c.end()
	c.background.Wait()
	c.hashes.close()
	return nil
}

// Policies are the storage policies, the default one first.
func (c *Core) Policies() []Policy { return c.rings.Policies() }

func (c *Core) policy(index uint8) (Policy, error) {
	for _, p := range c.rings.Policies() {
		if p.Index == index {
			return p, nil
		}
	}
	return Policy{}, errs.New(errs.Unavailable, "storage policy %d is not known here", index)
}

// replicasMax bounds the replicas of one ring: more than this many primaries are not asked.
const replicasMax = 32

// replicas is a key with the devices that hold it.
type replicas struct {
	key     peerapi.Key
	ring    Ring
	targets []peerapi.Target // the primaries
	shape   *erasure.Shape   // of an erasure-coded policy; nil: replicas
	// fragments: the key is that of a set of fragments. It is no register: handoffs are as good as primaries.
	fragments bool
}

// majority is how many primaries decide.
func (r *replicas) majority() int { return len(r.targets)/2 + 1 }

func (c *Core) place(r Ring, key peerapi.Key) (replicas, error) {
	if r == nil { // a peer that has just come into the cluster serves before the rings have reached it
		return replicas{}, errs.New(errs.Unavailable, "the ring of %s/%s/%s is not known here", key.Account, key.Container, key.Object)
	}
	key.Hash = ring.HashPath(c.rings.Secret(), key.Account, key.Container, key.Object)
	key.Partition = r.Partition(key.Hash)
	targets := r.Primaries(key.Partition, make([]peerapi.Target, 0, 4))
	if len(targets) == 0 {
		return replicas{}, errs.New(errs.Unavailable, "no device holds partition %d", key.Partition)
	}
	if len(targets) > replicasMax {
		targets = targets[:replicasMax]
	}
	return replicas{key: key, ring: r, targets: targets}, nil
}

func (c *Core) placeAccount(account string) (replicas, error) {
	return c.place(c.rings.Account(), peerapi.Key{Account: account})
}

func (c *Core) placeContainer(account, container string) (replicas, error) {
	return c.place(c.rings.Container(), peerapi.Key{Account: account, Container: container})
}

func (c *Core) placeObject(ref Ref, policy uint8) (replicas, error) {
	rg := c.rings.Object(policy)
	r, err := c.place(rg, peerapi.Key{Account: ref.Account, Container: ref.Container, Object: ref.Object, Policy: policy})
	if coded, ok := rg.(CodedRing); ok && err == nil {
		r.shape = coded.Shape()
	}
	return r, err
}

// observe takes note of another writer's timestamp, so that ours come after it.
func (c *Core) observe(t clock.Timestamp) error {
	if t != 0 && !c.clock.Observe(t) {
		return errs.New(errs.Unavailable, "a replica holds timestamp %s, too far ahead of this peer's clock", t.Time().Format("2006-01-02T15:04:05.000Z"))
	}
	return nil
}

// spawn runs fn in the background; Close waits for it.
func (c *Core) spawn(fn func()) {
	c.background.Add(1)
	go func() {
		defer c.background.Done()
		fn()
	}()
}
