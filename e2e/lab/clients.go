package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"henge/e2e/history"
)

// callWait bounds one call of a client.
const callWait = 12 * time.Second

// owned is a key that one client alone writes: what must be there is known.
type owned struct {
	bucket, key string
	value       string   // what the last acknowledged write left; "" after a delete
	touched     bool     // a write of it was acknowledged
	may         []string // values that a write of unknown outcome may have left, or may leave yet; the key is not written any more
}

// holds tells whether the key may hold a value.
func (k *owned) holds(value string) bool { return value == k.value || slices.Contains(k.may, value) }

// client is one of the clients of a run.
type client struct {
	l      *ledger
	number int
	random *rand.Rand
	prefix string
	mine   []*owned
	shun   map[int]time.Time // peers that did not answer, and until when to leave them alone
}

// run makes calls until ctx ends.
func (c *client) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		dialect := c.l.dialects[c.random.IntN(len(c.l.dialects))]
		peer := c.choosePeer()
		shapes := dialect.shapes()
		value := shapes[c.random.IntN(len(shapes))] + fmt.Sprintf("%s%d", c.prefix, n)
		begun := time.Now()
		var failed bool
		if c.random.IntN(3) == 0 {
			failed = c.contend(dialect.at(peer, c.l.contended), value)
		} else {
			failed = c.own(dialect.at(peer, c.l.owned), value)
		}
		if failed && time.Since(begun) > time.Second/2 {
			c.shun[peer] = time.Now().Add(2 * time.Second)
		}
		if failed {
			pause(ctx, 50*time.Millisecond)
		}
	}
}

func (c *client) choosePeer() int {
	for range 10 {
		if peer := 1 + c.random.IntN(c.l.cloud.Peers()); time.Now().After(c.shun[peer]) {
			return peer
		}
	}
	return 1 + c.random.IntN(c.l.cloud.Peers())
}

// contend is one step on a key that all clients write; the history judges it.
func (c *client) contend(b doer, value string) (failed bool) {
	ctx, cancel := context.WithTimeout(context.Background(), callWait)
	defer cancel()
	place := c.random.IntN(contendedKeys)
	key := c.l.contendedKey(place)
	s := history.Step{Kind: []string{history.Get, history.Put, history.Put, history.Put, history.Delete}[c.random.IntN(5)], Value: value}
	if s.Kind != history.Get {
		switch c.random.IntN(3) {
		case 0:
			s.Match = history.Nothing
		case 1:
			s.Match, _ = b.Read(ctx, key) // an operation of its own, that need not be recorded
		}
		if !b.can(&s) || s.Kind == history.Delete && s.Match == history.Nothing {
			s.Match = ""
		}
	}
	call := c.l.history.Now()
	answer := b.Do(ctx, key, s)
	if answer.Absent {
		// It found nothing, and changed nothing: what a read would have said.
		s = history.Step{Kind: history.Get}
	}
	c.l.history.Record(c.number, key, call, s, answer.Step)
	if answer.Unknown {
		c.l.wearOut(place)
	}
	c.l.note("client %d by %s at %s: %s", c.number, b, key, history.Register.DescribeOperation(s, answer.Step))
	return answer.Unknown
}

// own is one step on a key of this client's own.
func (c *client) own(b doer, value string) (failed bool) {
	ctx, cancel := context.WithTimeout(context.Background(), callWait)
	defer cancel()
	switch dice := c.random.IntN(20); {
	case dice < 9 || len(c.mine) == 0:
		return c.write(ctx, b, value)
	case dice < 11:
		return c.delete(ctx, b)
	case dice < 12:
		return c.list(ctx, b)
	}
	k := c.mine[c.random.IntN(len(c.mine))]
	found, err := b.Read(ctx, k.key)
	c.l.look(k, found, err, "a read")
	return err != nil
}

func (c *client) write(ctx context.Context, b doer, value string) bool {
	var k *owned
	if c.random.IntN(3) == 0 && len(c.mine) > 0 {
		k = c.mine[c.random.IntN(len(c.mine))]
	}
	if k == nil || len(k.may) > 0 {
		k = &owned{bucket: c.l.owned, key: fmt.Sprintf("%s%05d", c.prefix, len(c.mine))}
		c.mine = append(c.mine, k)
	}
	answer := b.Do(ctx, k.key, history.Step{Kind: history.Put, Value: value})
	switch {
	case answer.Unknown:
		k.may = append(k.may, value)
	case !answer.Conflict:
		k.value, k.touched = value, true
		c.l.acknowledge()
	}
	return answer.Unknown
}

func (c *client) delete(ctx context.Context, b doer) bool {
	k := c.mine[c.random.IntN(len(c.mine))]
	if len(k.may) > 0 || !k.touched {
		return false
	}
	answer := b.Do(ctx, k.key, history.Step{Kind: history.Delete})
	switch {
	case answer.Absent && k.value != "":
		c.l.miss(k, "a delete found nothing")
	case answer.Unknown:
		k.may = append(k.may, "")
	case !answer.Conflict:
		k.value = ""
		c.l.acknowledge()
	}
	return answer.Unknown
}

// list lists this client's keys, which nobody else changes meanwhile.
func (c *client) list(ctx context.Context, b doer) bool {
	names, err := b.List(ctx, c.prefix)
	if err == nil {
		c.l.acknowledge()
		c.l.compare(c.mine, names, "a listing")
	}
	return err != nil
}

// ledger is what was acknowledged, and what was wrong.
type ledger struct {
	labState
	contended, owned string // buckets
	round            string // a prefix of the contended keys of this seed
	history          *history.History
	dialects         []dialect

	mu           sync.Mutex // guards the fields below
	acknowledged int
	lost         map[string]bool
	unknown      [contendedKeys]int // calls of unknown outcome, by place
	violations   []string
	keys         []*owned
}

const (
	// contendedKeys is how many keys all clients write at a time.
	contendedKeys = 6
	// unknownMax is how many calls of unknown outcome a key gets before another takes its place: orders to be tried grow with them beyond all bounds.
	unknownMax = 5
)

// contendedKey is the key that stands at a place now.
func (l *ledger) contendedKey(place int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%skey-%d-%d", l.round, place, l.unknown[place]/unknownMax)
}

// wearOut notes a call of unknown outcome on the key at a place.
func (l *ledger) wearOut(place int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unknown[place]++
}

func (l *ledger) acknowledge() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged++
}

func (l *ledger) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.say("VIOLATION: %s", text)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violations = append(l.violations, text)
}

// miss notes that what was acknowledged is not there.
func (l *ledger) miss(k *owned, how string) {
	l.say("LOST: %s/%s, written as %.40q: %s", k.bucket, k.key, k.value, how)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost[k.bucket+"/"+k.key] = true
}

// look compares what a read found with what may be there.
func (l *ledger) look(k *owned, found string, err error, how string) {
	switch {
	case errors.Is(err, history.ErrTorn):
		l.violate("%s of %s/%s gave bytes that nobody wrote: %v", how, k.bucket, k.key, err)
	case err != nil:
		return // no answer
	case k.holds(found):
		l.acknowledge()
	case found == "":
		l.miss(k, how+" found nothing")
	case k.value == "" && k.touched:
		l.violate("%s of %s/%s gave %.40q, which was deleted", how, k.bucket, k.key, found)
	default:
		l.miss(k, fmt.Sprintf("%s gave %.40q instead, and it may hold %q", how, found, k.may))
	}
}

// compare looks whether a listing of keys holds what it must and nothing that was deleted.
func (l *ledger) compare(keys []*owned, names []string, how string) {
	listed := map[string]bool{}
	for _, name := range names {
		if listed[name] {
			l.violate("%s has %s twice", how, name)
		}
		listed[name] = true
	}
	for _, k := range keys {
		switch {
		case len(k.may) > 0: // its row may come and go
		case k.value != "" && !listed[k.key]:
			l.violate("%s lacks %s, which holds %.40q", how, k.key, k.value)
		case k.value == "" && listed[k.key]:
			l.violate("%s has %s, which was deleted or never written", how, k.key)
		}
	}
}

// prefixOf is what a client's own keys begin with.
func prefixOf(seed uint64, number int) string { return fmt.Sprintf("s%d-c%d/", seed, number) }
