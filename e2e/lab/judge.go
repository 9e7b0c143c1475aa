package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"henge/e2e/history"
	"henge/e2e/lab/cloud"
)

// labState is what a run has beside its books.
type labState struct {
	cloud     *cloud.Cloud
	transport *http.Transport
	logMu     sync.Mutex // guards log
	log       *os.File   // what happened, with times
	began     time.Time
}

// note writes a line to the run's history.
func (s *labState) note(format string, args ...any) string {
	line := fmt.Sprintf("%7.2f s  ", time.Since(s.began).Seconds()) + fmt.Sprintf(format, args...)
	s.logMu.Lock()
	defer s.logMu.Unlock()
	fmt.Fprintln(s.log, line)
	return line
}

// say writes a line to the run's history and to the terminal.
func (s *labState) say(format string, args ...any) { fmt.Println(s.note(format, args...)) }

func newLedger(ctx context.Context, c *cloud.Cloud, o options) (*ledger, error) {
	log, err := os.Create(filepath.Join(o.dir, "history.txt"))
	if err != nil {
		return nil, err
	}
	l := &ledger{contended: "contended", owned: "owned", history: history.New(), lost: map[string]bool{}}
	l.cloud, l.transport, l.log, l.began = c, transport(), log, time.Now()
	swift, err := newSwiftDialect(ctx, c, l.transport)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	l.dialects = []dialect{newS3Dialect(c, l.transport), swift}
	for _, bucket := range []string{l.contended, l.owned} {
		if status, body, err := (swiftDoer{swift, 1, bucket}).call(ctx, http.MethodPut, "/"+bucket, ""); err != nil || status/100 != 2 {
			return nil, errors.Join(fmt.Errorf("make %s: %d %s, %w", bucket, status, body, err), log.Close())
		}
	}
	return l, nil
}

func (l *ledger) close() {
	l.transport.CloseIdleConnections()
	l.log.Close()
}

// trial lets clients work while the faults of one seed are made.
func (l *ledger) trial(ctx context.Context, c *cloud.Cloud, o options, seed uint64) (int, error) {
	l.say("seed %d", seed)
	l.round = prefixOf(seed, 0)
	working, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	clients := make([]*client, o.clients)
	for i := range clients {
		clients[i] = &client{l: l, number: i + 1, random: rand.New(rand.NewPCG(seed, uint64(i)+100)), prefix: prefixOf(seed, i+1), shun: map[int]time.Time{}}
		wg.Go(func() { clients[i].run(working) })
	}
	n, err := suffer(ctx, c, plan(seed, o), time.Now().Add(time.Duration(o.seconds)*time.Second), l.say)
	stop()
	wg.Wait()
	for _, c := range clients {
		l.keys = append(l.keys, c.mine...)
	}
	return n, err
}

// checkWait is how long the check of one key may take.
const checkWait = 20 * time.Second

// readers is how many reads run at a time in the end.
const readers = 6

// judge looks whether all is there, after everything was undone.
func (l *ledger) judge(ctx context.Context, c *cloud.Cloud, v *verdict) error {
	l.say("all is undone; waiting until all is well")
	if err := c.Well(ctx); err != nil {
		l.violate("all is not well again: %v", err)
	}
	l.finalReads(ctx)
	l.finalLists(ctx)
	for _, fault := range l.history.Check(checkWait) {
		l.violate("no order of the calls explains the answers: %v", fault)
	}
	answered, refused, unknown := l.history.Counts()
	l.mu.Lock()
	defer l.mu.Unlock()
	v.acknowledged, v.lost, v.violations = l.acknowledged+answered, len(l.lost), len(l.violations)
	live := 0
	for _, k := range l.keys {
		if k.value != "" {
			live++
		}
	}
	fmt.Printf("%d keys of one writer, %d of them live; on the contended keys %d calls answered (%d refused by their condition), %d without an answer\n", len(l.keys), live, answered, refused, unknown)
	return ctx.Err()
}

// finalReads reads every key at two peers; the contended ones for the history, at each.
func (l *ledger) finalReads(ctx context.Context) {
	work := make(chan func())
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for do := range work {
				do()
			}
		})
	}
	for i, k := range l.keys {
		for _, peer := range []int{i % l.cloud.Peers(), (i + 1) % l.cloud.Peers()} {
			work <- func() { l.finalRead(ctx, k, l.dialects[(i+peer)%len(l.dialects)].at(peer+1, k.bucket)) }
		}
	}
	close(work)
	wg.Wait()
	for peer := range l.cloud.Peers() {
		names, err := l.dialects[0].at(peer+1, l.contended).List(ctx, "")
		if err != nil {
			l.violate("peer %d does not list: %v", peer+1, err)
		}
		for _, key := range names {
			s := history.Step{Kind: history.Get}
			call := l.history.Now()
			l.history.Record(1000+peer, key, call, s, l.dialects[peer%2].at(peer+1, l.contended).Do(ctx, key, s).Step)
		}
	}
}

// finalTries is how often a read is tried that gets no answer.
const finalTries = 5

func (l *ledger) finalRead(ctx context.Context, k *owned, b doer) {
	var found string
	var err error
	for range finalTries {
		call, cancel := context.WithTimeout(ctx, callWait)
		found, err = b.Read(call, k.key)
		cancel()
		if err == nil || errors.Is(err, history.ErrTorn) {
			l.look(k, found, err, "the last read")
			return
		}
		if !pause(ctx, time.Second) {
			break
		}
	}
	l.violate("%s/%s cannot be read: %v", k.bucket, k.key, err)
}

// finalLists lists everything at each peer.
func (l *ledger) finalLists(ctx context.Context) {
	for peer := range l.cloud.Peers() {
		names, err := l.dialects[peer%2].at(peer+1, l.owned).List(ctx, "")
		if err != nil {
			l.violate("peer %d does not list: %v", peer+1, err)
			continue
		}
		if !slices.IsSortedFunc(names, strings.Compare) {
			l.violate("the listing of peer %d is not in order", peer+1)
		}
		l.compare(l.keys, names, fmt.Sprintf("the listing of peer %d", peer+1))
	}
}
