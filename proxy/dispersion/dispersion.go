package dispersion

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"

	"henge/internal/errs"
	"henge/proxy/core"
	"henge/ring"
	"henge/storaged/peerapi"
)

const (
	account         = ".dispersion"
	containerPrefix = "dispersion_"
	objectPrefix    = "object_"
	objectsPrefix   = "objects-" // of the containers that hold objects; the policy's index follows
	workers         = 8
	pageNames       = 1000
	// objectBytes is more than what an erasure-coded policy keeps whole.
	objectBytes = 8 << 10
)

// Ring is one ring that is looked at.
type Ring struct {
	Name       string       // as clients see it: "container", "object", "object-1"
	Policy     *core.Policy // nil: the ring of containers
	Ring       core.Ring
	Partitions int
}

// Config is what a Dispersion needs.
type Config struct {
	Core    core.Service
	Devices peerapi.Devices
	Rings   func() []Ring // of containers and of each policy's objects
	Secret  ring.Secret
}

// Dispersion fills and looks.
type Dispersion struct{ cfg Config }

// New makes one.
func New(cfg Config) *Dispersion { return &Dispersion{cfg} }

// Populated is what was put into one ring's partitions.
type Populated struct {
	Ring       string `json:"ring"`
	Partitions int    `json:"partitions"` // of the ring
	Covered    int    `json:"covered"`    // have something in them now
}

// Populate puts something into coverage percent of the partitions of each ring, at least one. Names are always tried in the same order, so that what is there is used again.
func (d *Dispersion) Populate(ctx context.Context, coverage float64) ([]Populated, error) {
	if !(coverage > 0 && coverage <= 100) {
		return nil, errs.New(errs.Invalid, "a coverage of %g %%: it is more than 0 and at most 100", coverage)
	}
	var all []Populated
	for _, r := range d.cfg.Rings() {
		want := max(1, int(math.Ceil(coverage/100*float64(r.Partitions))))
		if err := d.fill(ctx, r, d.choose(r, want)); err != nil {
			return all, fmt.Errorf("populate the %s ring: %w", r.Name, err)
		}
		all = append(all, Populated{r.Name, r.Partitions, want})
	}
	return all, nil
}

// container is where a ring's objects lie; "" for the ring of containers.
func (r Ring) container() string {
	if r.Policy == nil {
		return ""
	}
	return fmt.Sprint(objectsPrefix, r.Policy.Index)
}

// key places the n-th name of a ring.
func (d *Dispersion) key(r Ring, n int) peerapi.Key {
	if r.Policy == nil {
		return d.place(r, fmt.Sprint(containerPrefix, n))
	}
	return d.place(r, fmt.Sprint(objectPrefix, n))
}

func (d *Dispersion) place(r Ring, name string) peerapi.Key {
	k := peerapi.Key{Account: account, Container: name}
	if r.Policy != nil {
		k = peerapi.Key{Account: account, Container: r.container(), Object: name, Policy: r.Policy.Index}
	}
	k.Hash = ring.HashPath(d.cfg.Secret, k.Account, k.Container, k.Object)
	k.Partition = r.Ring.Partition(k.Hash)
	return k
}

// choose gives the first names that lie in so many partitions, one in each.
func (d *Dispersion) choose(r Ring, want int) []peerapi.Key {
	taken := make(map[ring.Partition]bool, want)
	var keys []peerapi.Key
	for n := 0; len(keys) < want; n++ {
		if k := d.key(r, n); !taken[k.Partition] {
			taken[k.Partition] = true
			keys = append(keys, k)
		}
	}
	return keys
}

func (d *Dispersion) fill(ctx context.Context, r Ring, keys []peerapi.Key) error {
	if r.Policy != nil {
		if _, err := d.cfg.Core.PutContainer(ctx, account, r.container(), core.PutContainer{Policy: r.Policy.Name}); err != nil {
			return err
		}
	}
	return each(ctx, keys, func(k peerapi.Key) error {
		if r.Policy == nil {
			_, err := d.cfg.Core.PutContainer(ctx, account, k.Container, core.PutContainer{})
			return err
		}
		ref := core.Ref{Account: k.Account, Container: k.Container, Object: k.Object}
		o, err := d.cfg.Core.Open(ctx, ref, core.OpenOptions{HeadOnly: true})
		if err == nil {
			return o.Close()
		}
		if !errs.Is(err, errs.NotFound) {
			return err
		}
		_, err = d.cfg.Core.Put(ctx, ref, core.PutRequest{Body: strings.NewReader(strings.Repeat("x", objectBytes)), Size: objectBytes})
		return err
	})
}

// each calls fn on all, several at a time, until one fails.
func each[T any](ctx context.Context, all []T, fn func(T) error) error {
	var mu sync.Mutex // guards first
	var first error
	failed := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return first != nil
	}
	var working sync.WaitGroup
	slots := make(chan struct{}, workers)
	for _, one := range all {
		if ctx.Err() != nil || failed() {
			break
		}
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			if err := fn(one); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
				}
			}
		})
	}
	working.Wait()
	if first == nil {
		return ctx.Err()
	}
	return first
}
