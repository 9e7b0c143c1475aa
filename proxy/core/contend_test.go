package core_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"henge/internal/errs"
	"henge/proxy/core"
)

// Many clients count up in one object, each with the condition that nobody else did, through proxies that do not know of each other. Who is told that it
// was written was; who is told that it was not was not; and hardly anybody is told that nobody knows.
func TestConditional_ManyCountInOneObject(t *testing.T) {
	m := newMemory(3)
	proxies := []*core.Core{m.proxy(t, 1, skewed(-20*time.Millisecond)), m.proxy(t, 2, skewed(0)), m.proxy(t, 3, skewed(30*time.Millisecond))}
	mustMake(t, proxies[0], "c")
	if err := write(t.Context(), proxies[0], 0, nil); err != nil {
		t.Fatal(err)
	}
	m.faults(func(c call) error {
		if c.key.Object != "" {
			wait(t.Context(), rand.N(8*time.Millisecond))
		}
		return nil
	}, nil)
	const clients, works = 9, 40
	var mu sync.Mutex
	written, refused, unknown := 0, 0, 0
	var all sync.WaitGroup
	for id := range clients {
		all.Go(func() {
			for range works {
				err := countUp(t.Context(), proxies[id%len(proxies)])
				mu.Lock()
				switch {
				case err == nil:
					written++
				case errs.Is(err, errs.Precondition) || errs.Is(err, errs.Conflict):
					refused++
				case errs.Is(err, errs.Unavailable):
					unknown++
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	m.faults(nil, nil)
	body, err := read(t.Context(), proxies[0], ref("o"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(string(body))
	if err != nil || n < written || n > written+unknown || written+refused+unknown != clients*works {
		t.Fatalf("counted to %d: %d written, %d refused, %d unknown, %v", n, written, refused, unknown, err)
	}
	if unknown > clients*works/100 {
		t.Fatalf("%d of %d clients are told that nobody knows", unknown, clients*works)
	}
}

var errNobody = errs.New(errs.Precondition, "somebody else did")

// countUp reads the number and writes the next one.
func countUp(ctx context.Context, s *core.Core) error {
	body, err := read(ctx, s, ref("o"))
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(body))
	if err != nil {
		return err
	}
	return write(ctx, s, n+1, func(now *core.Info) error {
		if now == nil || now.Meta["n"] != string(body) {
			return errNobody
		}
		return nil
	})
}

func write(ctx context.Context, s *core.Core, n int, check core.Check) error {
	text := strconv.Itoa(n)
	_, err := s.Put(ctx, ref("o"), core.PutRequest{Body: strings.NewReader(text), Size: int64(len(text)), Metadata: core.Metadata{Meta: map[string]string{"n": text}}, Check: check})
	return err
}
