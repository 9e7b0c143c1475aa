package cluster

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"henge/cluster/state"
	"henge/internal/errs"
)

// A register's operations, all made as Updates: read, write n, add n to what is there, or set to n if it is m.
type (
	registerInput struct {
		key, op string
		n, m    int
	}
	registerOutput struct {
		value   int
		unknown bool // whether it happened
	}
)

var register = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(registerInput).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{0} },
	Step: func(was, input, output any) []any {
		in, out, now := input.(registerInput), output.(registerOutput), was.(int)
		next := in.apply(now)
		switch {
		case out.unknown:
			return []any{now, next}
		case out.value == next:
			return []any{next}
		}
		return nil
	},
}

// apply gives the value afterwards, which is also what the operation answers.
func (in registerInput) apply(value int) int {
	switch in.op {
	case "write":
		return in.n
	case "add":
		return value + in.n
	case "swap":
		if value == in.m {
			return in.n
		}
	}
	return value
}

func (in registerInput) run(t *testing.T, s state.Store) (out registerOutput, err error) {
	err = s.Update(t.Context(), func(w state.Writer) error {
		raw, _ := w.Get(in.key)
		before, _ := strconv.Atoi(string(raw))
		out.value = in.apply(before)
		if out.value != before || in.op == "write" {
			w.Put(in.key, []byte(strconv.Itoa(out.value)))
		}
		return nil
	})
	return out, err
}

// Clients on three peers work on a few registers while the leader is killed: every answer must fit into one order that keeps real time.
func TestUpdate_IsLinearizable(t *testing.T) {
	c := newCircle(t)
	c.grow(3)
	c.voters(3)
	leader := 1
	for i, n := range c.nodes {
		if n.Leader() == n.ID() {
			leader = i
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	var history []porcupine.Operation
	var killed sync.Once
	var clients sync.WaitGroup
	victim := c.nodes[leader]
	start := time.Now()
	for client := range 9 {
		node := c.nodes[client%3+1]
		random := rand.New(rand.NewPCG(seed, uint64(client)))
		clients.Go(func() {
			for range 25 {
				in := registerInput{key: "r" + strconv.Itoa(random.IntN(3)), op: []string{"read", "write", "add", "swap"}[random.IntN(4)],
					n: random.IntN(10), m: random.IntN(10)}
				op := porcupine.Operation{ClientId: client, Input: in, Call: int64(time.Since(start))}
				out, err := in.run(t, node.State())
				op.Return = int64(time.Since(start))
				if err != nil {
					if node != victim || !errs.Is(err, errs.Unavailable) {
						t.Errorf("client %d: %v", client, err)
					}
					out.unknown, op.Return = true, int64(time.Hour)
				}
				op.Output = out
				mu.Lock()
				history = append(history, op)
				enough := len(history) == 90
				mu.Unlock()
				if enough {
					killed.Do(func() { clients.Go(func() { must(t, victim.Kill()) }) })
				}
				if err != nil {
					return
				}
			}
		})
	}
	clients.Wait()
	if result := porcupine.CheckOperationsTimeout(register.ToModel(), history, 20*time.Second); result != porcupine.Ok {
		t.Fatalf("%d operations: %v", len(history), result)
	}
}
