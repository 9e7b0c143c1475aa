package iscsi

import (
	"context"
	"errors"
	"sync"
	"time"

	"henge/volumed/iscsi/lun"
	"henge/volumed/iscsi/pool"
)

var errLoginAgain = errors.New("a login request in full feature phase")

const (
	readBit  = 0x40
	writeBit = 0x20

	attrOrdered     = 2
	attrHeadOfQueue = 3
)

// task is one SCSI command from its PDU to its answer. It is the context that the Store sees.
type task struct {
	session   *session
	cmd       lun.Command
	header    header
	immediate bool
	expects   int // expected data transfer length

	buf  *pool.Buffer // data from the initiator
	got  int          // of it, so far; the reader's alone
	need int
	burst
	size int // of the session's memory

	// The session's mutex guards the next ones.
	admitted bool // memory is granted
	ready    bool // all data is there
	turn     bool // no ordered command is before it
	started  bool
	aborted  bool
	over     chan struct{} // closed when it is over; made when somebody waits

	frame frame

	mu   sync.Mutex // guards the context
	quit chan struct{}
	err  error
}

// burst is the data that was asked for last.
type burst struct {
	tag    uint32 // target transfer tag
	count  uint32 // R2TSN of the next
	end    int
	dataSN uint32
}

// Deadline is part of context.Context.
func (t *task) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value is part of context.Context.
func (t *task) Value(any) any { return nil }

// Done is part of context.Context. The channel is made when somebody asks: most stores do not.
func (t *task) Done() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.quit == nil {
		t.quit = make(chan struct{})
		if t.err != nil {
			close(t.quit)
		}
	}
	return t.quit
}

// Err is part of context.Context.
func (t *task) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// stop ends the context.
func (t *task) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return
	}
	t.err = context.Canceled
	if t.quit != nil {
		close(t.quit)
	}
}

func (t *task) reads() bool      { return t.header[1]&readBit != 0 }
func (t *task) writes() bool     { return t.header[1]&writeBit != 0 }
func (t *task) attribute() byte  { return t.header[1] & 7 }
func (t *task) ordered() bool    { return t.attribute() == attrOrdered }
func (t *task) overtaking() bool { return t.attribute() == attrHeadOfQueue }

// outBytes is how much data the command in h takes from the initiator: no more than it declared, and none if it is more than we take.
func (s *session) outBytes(h *header) int {
	if h[1]&writeBit == 0 || s.unit == nil {
		return 0
	}
	n := s.unit.OutBytes((*[16]byte)(h[32:48]))
	if n > lun.TransferBytesMax {
		return 0
	}
	return int(min(uint32(n), h.word(20)))
}

// command begins a SCSI command.
func (s *session) command(r *request) {
	t := &task{session: s, header: r.h, immediate: r.h.immediate(), buf: r.buf, got: r.n, need: s.outBytes(&r.h)}
	t.expects = int(r.h.word(20))
	t.cmd = lun.Command{Ctx: t, Nexus: s.nexus, CDB: [16]byte(r.h[32:48]), LUN: r.h.lun()}
	if t.writes() {
		t.cmd.Declared = t.expects
	}
	if t.reads() {
		t.cmd.InMax = min(t.expects, lun.TransferBytesMax)
	}
	t.size = max(t.need, t.cmd.InMax)
	if t.size == t.cmd.InMax && t.size > 4096 && s.unit != nil {
		t.size = min(t.size, s.unit.InBytes(&t.cmd.CDB))
	}
	if reason := s.accept(t); reason != 0 {
		if !t.immediate {
			s.most.Add(1)
		}
		s.pool().Put(r.buf)
		s.reject(&r.h, reason)
	}
}

// accept enters a command into the session's books, and starts it if it can start. A reason says why it is rejected.
func (s *session) accept(t *task) (reason byte) {
	if s.unit == nil {
		return rejectNotSupported
	}
	s.mu.Lock()
	switch {
	case s.cause != nil || s.draining:
		s.mu.Unlock() // the initiator will send it again, to whom comes after us
		return 0
	case s.tasks[t.header.itt()] != nil || t.header.itt() == noTag:
		s.mu.Unlock()
		return rejectTaskInProgress
	case len(s.tasks) >= 2*s.server.cfg.CommandsMax:
		s.mu.Unlock()
		return rejectImmediate
	}
	s.tasks[t.header.itt()] = t
	s.line.enter(t)
	if s.tooMuch(t) {
		t.got = min(t.got, t.need)
		s.mu.Unlock()
		s.finishEarly(t, lun.KeyAborted, lun.UnexpectedData)
		return 0
	}
	t.got = min(t.got, t.need)
	t.ready = t.got == t.need
	ask := s.admit(t)
	s.mu.Unlock()
	if ask {
		s.ask(t)
	}
	return 0
}

// tooMuch says whether more data came along than was agreed.
func (s *session) tooMuch(t *task) bool {
	return t.got > 0 && (!s.params.immediate || t.got > s.params.firstBurst || t.got > t.expects || !t.writes())
}

// admit grants memory, in the order of arrival; it says whether data is to be asked for. s.mu is held.
func (s *session) admit(t *task) (ask bool) {
	if len(s.short) > 0 || (s.memory > 0 && s.memory+t.size > s.server.cfg.SessionMemory) {
		s.short = append(s.short, t)
		return false
	}
	return s.grant(t)
}

func (s *session) grant(t *task) (ask bool) {
	s.memory += t.size
	t.admitted = true
	if t.ready {
		s.maybeStart(t)
		return false
	}
	return true
}

// maybeStart runs a command when nothing is missing any more. s.mu is held.
func (s *session) maybeStart(t *task) {
	if t.started || t.aborted || !t.ready || !t.turn || !t.admitted || s.cause != nil {
		return
	}
	t.started = true
	s.running.Add(1)
	go t.run()
}

// free gives memory back, and lets go on who waits for it.
func (s *session) free(n int) {
	s.mu.Lock()
	ask := s.freeLocked(n)
	s.mu.Unlock()
	for _, t := range ask {
		s.ask(t)
	}
}

func (s *session) freeLocked(n int) (ask []*task) {
	s.memory -= n
	for len(s.short) > 0 {
		t := s.short[0]
		if s.memory > 0 && s.memory+t.size > s.server.cfg.SessionMemory {
			break
		}
		s.short[0] = nil
		s.short = s.short[1:]
		if s.grant(t) {
			ask = append(ask, t)
		}
	}
	return ask
}

// run executes the command in the unit. It is a goroutine of its own, one a command: the window bounds them.
func (t *task) run() {
	s := t.session
	defer s.running.Done()
	if t.buf != nil {
		t.cmd.Out = t.buf.B[:t.got]
	}
	if s.export.dead.Load() {
		t.cmd.Fail(lun.KeyNotReady, lun.NotReadyCause)
	} else {
		s.unit.Execute(&t.cmd)
	}
	s.complete(t)
}

// complete takes a command off the books, and answers it unless it was aborted.
func (s *session) complete(t *task) {
	if t.buf != nil && t.started {
		t.cmd.Out = nil
		s.pool().Put(t.buf)
		t.buf = nil
	}
	in := t.cmd.InBuffer != nil // what it holds stays taken until it is written
	s.mu.Lock()
	aborted := t.aborted
	s.forget(t)
	var ask []*task
	if t.admitted && (aborted || !in) {
		ask = s.freeLocked(t.size)
	}
	last := s.draining && len(s.tasks) == 0
	s.mu.Unlock()
	if aborted {
		s.pool().Put(t.cmd.InBuffer)
	} else {
		t.answer()
	}
	for _, one := range ask {
		s.ask(one)
	}
	if last {
		s.drop()
	}
}

// forget is called with s.mu held.
func (s *session) forget(t *task) {
	delete(s.tasks, t.header.itt())
	for _, next := range s.line.leave(t) {
		s.maybeStart(next)
	}
	if !t.immediate {
		s.most.Add(1)
	}
	if t.over != nil {
		close(t.over)
		t.over = nil
	}
}

// finishEarly answers a command that never reaches the unit. The reader calls it, so another goroutine writes the answer.
func (s *session) finishEarly(t *task, key byte, code uint16) {
	t.cmd.Fail(key, code)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		s.complete(t)
	}()
}
