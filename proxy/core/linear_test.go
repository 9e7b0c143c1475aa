package core_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"henge/internal/errs"
	"henge/proxy/core"
)

// operation is one thing that a client does to the key under test.
type operation struct {
	verb  string // get, put, delete, create (if absent), replace (if it is from), remove (if it is from)
	from  string
	value string
}

// result is what came of it.
type result struct {
	value   string // of get; "" is nothing
	refused bool   // the condition did not hold; of delete: nothing was there
	unknown bool   // no answer: it may have happened or not, now or later
}

// registerModel is one object: its value, or "" for none. A delete that succeeds says that nothing is left, not that something was there: two may race.
func registerModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			s, op, r := state.(string), input.(operation), output.(result)
			holds, next := true, op.value
			switch op.verb {
			case "get":
				return r.unknown || s == r.value, s
			case "delete":
				if r.refused {
					return s == "", s
				}
			case "create":
				holds = s == ""
			case "replace", "remove":
				holds = s == op.from
			}
			switch {
			case r.unknown && holds:
				return true, next
			case r.unknown:
				return true, s
			case r.refused:
				return !holds, s
			}
			return holds, next
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
		DescribeState:     func(s any) string { return fmt.Sprintf("%q", s) },
	}
}

func do(ctx context.Context, s core.Service, r core.Ref, op operation) result {
	is := func(want string) core.Check {
		return func(now *core.Info) error {
			have := ""
			if now != nil {
				have = now.Meta["x-object-meta-value"]
			}
			if have != want {
				return errs.New(errs.Precondition, "it is %q", have)
			}
			return nil
		}
	}
	var err error
	var out result
	request := core.PutRequest{Body: strings.NewReader(op.value), Size: int64(len(op.value)),
		Metadata: core.Metadata{Meta: map[string]string{"x-object-meta-value": op.value}}}
	switch op.verb {
	case "get":
		var body []byte
		body, err = read(ctx, s, r)
		if errs.Is(err, errs.NotFound) {
			return result{}
		}
		out.value = string(body)
	case "put":
		_, err = s.Put(ctx, r, request)
	case "create", "replace":
		request.Check = is(op.from)
		_, err = s.Put(ctx, r, request)
	case "delete":
		err = s.Delete(ctx, r, nil)
		out.refused = errs.Is(err, errs.NotFound)
	case "remove":
		err = s.Delete(ctx, r, is(op.from))
	}
	switch {
	case err == nil || out.refused:
	case errs.Is(err, errs.Precondition):
		out.refused = true
	default:
		out.unknown = true
	}
	return out
}

// history records what clients did, with a logical clock: an event's number is its time.
type history struct {
	ticks atomic.Int64

	mu  sync.Mutex // guards ops
	ops []porcupine.Operation
}

func (h *history) run(client int, op operation, fn func() result) result {
	begin := h.ticks.Add(1)
	r := fn()
	end := h.ticks.Add(1)
	if r.unknown {
		end = 1 << 60
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: op, Output: r, Call: begin, Return: end})
	return r
}

func (h *history) check(t *testing.T) {
	t.Helper()
	unknown := 0
	for _, op := range h.ops {
		if op.Output.(result).unknown {
			unknown++
		}
	}
	t.Logf("%d operations, %d of them with no answer", len(h.ops), unknown)
	if got := porcupine.CheckOperationsTimeout(registerModel(), h.ops, 20*time.Second); got != porcupine.Ok {
		for _, op := range h.ops {
			t.Logf("%d..%d client %d %+v -> %+v", op.Call, op.Return, op.ClientId, op.Input, op.Output)
		}
		t.Fatalf("not linearizable: %v", got)
	}
}

// storm is what goes wrong while the clients work.
type storm struct {
	name           string
	kill           bool
	lost, failed   int // in 1000 calls
	delay          time.Duration
	verbs          []string
	clients, works int
}

func TestLinearizable(t *testing.T) {
	all := []string{"get", "get", "get", "put", "put", "delete", "create", "create", "replace", "replace", "remove"}
	for _, s := range []storm{
		{name: "calm", verbs: all, clients: 5, works: 60},
		{name: "plain only", verbs: []string{"get", "get", "put", "delete"}, clients: 5, works: 60, delay: time.Millisecond},
		{name: "slow wires", verbs: all, clients: 5, works: 40, delay: 2 * time.Millisecond},
		{name: "kills", verbs: all, clients: 4, works: 40, kill: true, delay: time.Millisecond},
		{name: "lost answers", verbs: all, clients: 4, works: 30, lost: 30, failed: 30, delay: time.Millisecond},
		{name: "plain kills", verbs: []string{"get", "get", "put", "put", "delete"}, clients: 4, works: 40, kill: true, lost: 10, delay: time.Millisecond},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for range 3 {
				weather(t, s)
			}
		})
	}
}

// lastSeen is what a client believes to be there.
type lastSeen struct{ value string }

// next chooses what to do.
func (l *lastSeen) next(verbs []string, client, i int) operation {
	op := operation{verb: verbs[rand.IntN(len(verbs))]}
	if op.verb == "remove" && l.value == "" {
		op.verb = "get"
	}
	switch op.verb {
	case "put", "create", "replace":
		op.value = fmt.Sprintf("%d.%d", client, i)
	}
	if op.verb == "replace" || op.verb == "remove" {
		op.from = l.value
	}
	return op
}

func (l *lastSeen) learn(op operation, r result) {
	switch {
	case r.unknown || r.refused:
	case op.verb == "get":
		l.value = r.value
	case op.value != "":
		l.value = op.value
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func weather(t *testing.T, s storm) {
	m := newMemory(4)
	proxies := []*core.Core{m.proxy(t, 1, skewed(-40*time.Millisecond)), m.proxy(t, 2, skewed(0)), m.proxy(t, 3, skewed(70*time.Millisecond))}
	mustMake(t, proxies[0], "c")
	m.faults(func(c call) error {
		if s.delay > 0 && c.key.Object != "" {
			wait(t.Context(), rand.N(s.delay))
		}
		if c.key.Object != "" && rand.N(1000) < s.failed {
			return errs.New(errs.Unavailable, "lost on the way there")
		}
		return nil
	}, func(c call) error {
		if c.key.Object != "" && rand.N(1000) < s.lost {
			return errs.New(errs.Timeout, "lost on the way back")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var h history
	var clients, killer sync.WaitGroup
	done := make(chan struct{})
	if s.kill {
		killer.Go(func() { m.killer(done) })
	}
	for id := range s.clients {
		clients.Go(func() {
			seen := &lastSeen{}
			for i := range s.works {
				op := seen.next(s.verbs, id, i)
				seen.learn(op, h.run(id, op, func() result { return do(ctx, proxies[(id+i)%len(proxies)], ref("key"), op) }))
			}
		})
	}
	clients.Wait()
	close(done)
	killer.Wait()
	h.check(t)
}

// killer takes one peer after the other away for a while.
func (m *memory) killer(done <-chan struct{}) {
	for i := 0; ; i++ {
		peer := string(rune('a' + i%4))
		m.set(peer, true)
		m.mu.Lock()
		m.hidden = i%2 == 0
		m.mu.Unlock()
		select {
		case <-time.After(rand.N(30 * time.Millisecond)):
		case <-done:
		}
		m.set(peer, false)
		select {
		case <-time.After(rand.N(10 * time.Millisecond)):
		case <-done:
			return
		}
	}
}
