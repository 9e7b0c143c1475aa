package iscsi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"henge/volumed/iscsi/lun"
	"henge/volumed/iscsi/pool"
)

// readBufferBytes lets one system call bring many commands.
const readBufferBytes = 128 << 10

// session is one initiator's login: one connection, error recovery level 0.
type session struct {
	server    *Server
	export    *export // nil: discovery
	unit      *lun.Unit
	nexus     *lun.Nexus
	initiator string
	isid      uint64
	tsih      uint16
	since     time.Time
	reachable []*export

	conn   net.Conn
	in     pduReader
	out    outbox
	params params
	text   textExchange
	head   header  // the PDU being read; the reader's alone, as is the next
	now    request // what it asks

	ctx    context.Context // ends with the session
	cancel context.CancelFunc
	done   chan struct{} // closed when no command runs any more and the session is forgotten

	heard    atomic.Uint64       // PDUs received
	expected atomic.Uint32       // ExpCmdSN; the reader alone changes it
	most     atomic.Uint32       // MaxCmdSN
	parked   map[uint32]*request // came before their turn, by CmdSN; the reader's alone

	running sync.WaitGroup // commands in the unit, and answers that wait for such

	mu       sync.Mutex // guards the fields below
	cause    error      // why it ended; nil while it goes on
	tasks    map[uint32]*task
	transfer map[uint32]*task // commands that wait for data, by target transfer tag
	discard  discardRing
	line     line
	memory   int
	short    []*task // commands that wait for memory
	tag      uint32
	managing int // task management under way
	draining bool
}

func newSession(l *login) *session {
	s := &session{server: l.server, export: l.export, initiator: l.initiator, conn: l.conn, params: l.params, since: time.Now(), reachable: l.auth.reachable,
		done: make(chan struct{}), tasks: map[uint32]*task{}, transfer: map[uint32]*task{}, parked: map[uint32]*request{}}
	for _, b := range l.first[8:14] {
		s.isid = s.isid<<8 | uint64(b)
	}
	s.ctx, s.cancel = context.WithCancel(l.server.ctx)
	s.out = outbox{session: s, conn: l.conn, timeout: l.server.cfg.WriteTimeout, headerDigest: l.params.headerDigest, dataDigest: l.params.dataDigest}
	s.out.room.L = &s.out.mu
	s.expected.Store(l.last.word(24))
	s.most.Store(l.last.word(24) + uint32(l.server.cfg.CommandsMax) - 1)
	return s
}

// begin takes over the connection from the login.
func (s *session) begin(l *login) {
	var from io.Reader = s.conn
	if n := l.in.in.Buffered(); n > 0 {
		early, _ := l.in.in.Peek(n)
		from = io.MultiReader(bytes.NewReader(bytes.Clone(early)), s.conn)
	}
	s.in = pduReader{in: bufio.NewReaderSize(from, readBufferBytes), headerDigest: s.params.headerDigest, dataDigest: s.params.dataDigest, dataMax: dataBytesMax}
	s.out.statSN = l.statSN
	if s.export != nil {
		s.unit = s.export.unit
		s.nexus = s.unit.Attach(fmt.Sprintf("%s,i,0x%012x", s.initiator, s.isid))
	}
}

// run serves the session until it ends. It returns when nothing of it is under way any more.
func (s *session) run() error {
	defer s.finish()
	stopPing := s.watch()
	defer stopPing()
	for {
		s.out.waitRoom()
		if err := s.in.header(&s.head); err != nil {
			return s.fault(&s.head, err)
		}
		s.heard.Add(1)
		if err := s.take(&s.head); err != nil {
			return s.fault(&s.head, err)
		}
	}
}

// fault ends the session after an error on the connection; where a Reject can tell the initiator more, it gets one.
func (s *session) fault(h *header, err error) error {
	switch {
	case errors.Is(err, errDataDigest):
		s.rejectLast(h, rejectDigest)
	case errors.Is(err, errDataTooLong):
		s.rejectLast(h, rejectProtocol)
	}
	s.end(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// finish waits for the commands under way, and forgets the session. Only then may a newer epoch begin.
func (s *session) finish() {
	s.end(errClosed)
	s.running.Wait()
	if s.unit != nil {
		s.unit.Detach(s.nexus)
	}
	s.server.mu.Lock()
	delete(s.server.sessions, s.tsih)
	s.server.mu.Unlock()
	close(s.done)
}

// end stops the session from outside: its commands are cancelled, its connection is closed. It does not wait; the first cause stays.
func (s *session) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return
	}
	s.cause = cause
	s.cancel()
	s.conn.Close()
	for _, t := range s.tasks {
		t.stop()
	}
}

func (s *session) pool() *pool.Pool { return &s.server.pool }

func (s *session) describe() Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := Session{Initiator: s.initiator, ISID: s.isid, TSIH: s.tsih, Remote: s.conn.RemoteAddr().String(), Since: s.since, InFlight: len(s.tasks)}
	if s.export != nil {
		d.Target = s.export.iqn
	}
	return d
}

// window is ExpCmdSN and MaxCmdSN of now.
func (s *session) window() (expected, most uint32) { return s.expected.Load(), s.most.Load() }

// watch pings a silent initiator, and ends the session if it stays silent.
func (s *session) watch() (stop func()) {
	quit := make(chan struct{})
	go func() {
		tick := time.NewTicker(s.server.cfg.PingInterval)
		defer tick.Stop()
		last, pinged := uint64(0), false
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			heard := s.heard.Load()
			switch {
			case heard != last:
				last, pinged = heard, false
			case pinged:
				s.end(fmt.Errorf("no answer to a ping for %v", s.server.cfg.PingInterval))
				return
			default:
				pinged = true
				s.ping()
			}
		}
	}()
	return func() { close(quit) }
}

// ping asks the initiator for a sign of life.
func (s *session) ping() {
	f := &frame{nextSN: true}
	f.bhs[0], f.bhs[1] = opNopIn, finalBit
	f.bhs.setWord(16, noTag)
	f.bhs.setWord(20, s.nextTag())
	s.out.post(f)
}

func (s *session) nextTag() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nextTagLocked()
}

func (s *session) nextTagLocked() uint32 {
	for s.tag++; s.tag == noTag || s.tag == 0; s.tag++ {
	}
	return s.tag
}

// Events of an Async Message (RFC 7143, 11.9.1).
const (
	eventLogout = 1
	eventDrop   = 3
)

// askLogout tells the initiator to log out within grace.
func (s *session) askLogout(grace time.Duration) {
	f := &frame{status: true}
	f.bhs[0], f.bhs[1] = opAsync, finalBit
	f.bhs.setWord(16, noTag)
	f.bhs[36] = eventLogout
	seconds := max(int(grace/time.Second), 1)
	f.bhs[42], f.bhs[43] = byte(seconds>>8), byte(seconds)
	s.out.post(f)
}

// drain lets the commands under way end, and closes the session.
func (s *session) drain(ctx context.Context) {
	s.askLogout(s.server.cfg.LogoutGrace)
	grace := time.NewTimer(s.server.cfg.LogoutGrace)
	defer grace.Stop()
	select {
	case <-s.done:
		return
	case <-ctx.Done():
		return
	case <-grace.C:
	}
	s.mu.Lock()
	s.draining = true
	idle := len(s.tasks) == 0
	s.mu.Unlock()
	if idle {
		s.drop()
	}
}

// drop ends a drained session when all that was answered has been written.
func (s *session) drop() {
	f := &frame{status: true, afterward: func() { s.end(errDrained) }}
	f.bhs[0], f.bhs[1] = opAsync, finalBit
	f.bhs.setWord(16, noTag)
	f.bhs[36] = eventDrop
	s.out.post(f)
}
