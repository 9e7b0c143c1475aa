package agent

import (
	"context"
	"sync"

	"henge/volumed/model"
)

type kind string

const (
	volumeKey   kind = "volume"
	snapshotKey kind = "snapshot"
	exportKey   kind = "export"
)

type key struct {
	kind kind
	id   string
}

// queue holds the keys to be looked at, each once, and gives none to two workers at a time.
type queue struct {
	mu      sync.Mutex // guards the fields below
	ready   *sync.Cond
	waiting []key
	queued  map[key]bool
	running map[key]*running
	closed  bool
}

type running struct {
	task   model.Task
	cancel context.CancelFunc
	again  bool
}

func newQueue() *queue {
	q := &queue{queued: map[key]bool{}, running: map[key]*running{}}
	q.ready = sync.NewCond(&q.mu)
	return q
}

// add has a key looked at. When it is being worked on as something else than task, that is cut short: a volume that is to be removed need not be filled first.
func (q *queue) add(k key, task model.Task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r := q.running[k]; r != nil {
		r.again = true
		if task == model.Remove && r.task != model.Remove {
			r.cancel()
		}
		return
	}
	q.push(k)
}

// push is called with mu held.
func (q *queue) push(k key) {
	if q.closed || q.queued[k] {
		return
	}
	q.queued[k] = true
	q.waiting = append(q.waiting, k)
	q.ready.Signal()
}

func (q *queue) addAll(kind kind, ids []string) {
	for _, id := range ids {
		q.add(key{kind, id}, "")
	}
}

// take waits for a key; the context ends when the work on it is cut short. false when the queue is closed.
func (q *queue) take(ctx context.Context) (k key, during context.Context, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.ready.Wait()
	}
	if q.closed {
		return key{}, nil, false
	}
	k = q.waiting[0]
	q.waiting = q.waiting[1:]
	delete(q.queued, k)
	during, cancel := context.WithCancel(ctx)
	q.running[k] = &running{cancel: cancel}
	return k, during, true
}

// doing notes what a key is worked on for.
func (q *queue) doing(k key, task model.Task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r := q.running[k]; r != nil {
		r.task = task
	}
}

// done ends the work on a key.
func (q *queue) done(k key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.running[k]
	r.cancel()
	delete(q.running, k)
	if r.again {
		q.push(k)
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.ready.Broadcast()
}
