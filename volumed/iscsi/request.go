package iscsi

import (
	"henge/volumed/iscsi/pool"
)

// request is a PDU of the initiator that has its place in the order of command numbers.
type request struct {
	h   header
	n   int // length of the data segment
	buf *pool.Buffer
}

func (r *request) data() []byte {
	if r.buf == nil {
		return nil
	}
	return r.buf.B[:r.n]
}

// take reads the rest of a PDU, and acts on it.
func (s *session) take(h *header) error {
	switch h.opcode() {
	case opDataOut:
		return s.dataOut(h)
	case opNopOut, opCommand, opTask, opText, opLogout:
	case opLogin:
		// A login in full feature phase is the initiator's mistake, and no state is left that would be safe to go on from.
		s.rejectLast(h, rejectProtocol)
		return errLoginAgain
	default:
		if err := s.in.discard(h); err != nil {
			return err
		}
		s.reject(h, rejectNotSupported)
		return nil
	}
	r := &s.now
	*r = request{h: *h, n: h.dataBytes()}
	if r.n > 0 {
		r.buf = s.pool().Get(s.roomFor(r))
		if err := s.in.data(r.buf.B[:r.n]); err != nil {
			return err
		}
	}
	return s.inOrder(r)
}

// roomFor is how large the buffer of the data that came along must be: a small write gets room for all of it at once.
func (s *session) roomFor(r *request) int {
	if r.h.opcode() != opCommand || s.unit == nil {
		return r.n
	}
	if whole := s.outBytes(&r.h); whole <= 64<<10 {
		return max(r.n, whole)
	}
	return r.n
}

// inOrder acts on requests by their command numbers: immediate ones at once, those within the window in order, others not at all
// (RFC 7143, 4.2.2.1: silently).
func (s *session) inOrder(r *request) error {
	if r.h.immediate() {
		return s.handle(r)
	}
	number, expected := r.h.word(24), s.expected.Load()
	ahead := int32(number - expected)
	if ahead < 0 || int32(number-s.most.Load()) > 0 || s.parked[number] != nil {
		s.pool().Put(r.buf)
		return nil
	}
	if ahead > 0 {
		later := *r
		s.parked[number] = &later
		return nil
	}
	for r != nil {
		expected++
		s.expected.Store(expected)
		if err := s.handle(r); err != nil {
			return err
		}
		if len(s.parked) == 0 {
			return nil
		}
		r = s.parked[expected]
		delete(s.parked, expected)
	}
	return nil
}

// handle acts on one request whose turn it is.
func (s *session) handle(r *request) error {
	if r.h.opcode() == opCommand {
		s.command(r)
		return nil
	}
	if !r.h.immediate() {
		s.most.Add(1)
	}
	var err error
	switch r.h.opcode() {
	case opNopOut:
		s.nopOut(r)
	case opTask:
		s.manage(&r.h)
	case opText:
		s.textRequest(r)
	case opLogout:
		err = s.logout(&r.h)
	}
	s.pool().Put(r.buf)
	return err
}

// nopOut answers an initiator's ping with its own bytes. An answer to our ping has no task tag, and is not answered.
func (s *session) nopOut(r *request) {
	if r.h.itt() == noTag {
		return
	}
	f := &frame{status: true}
	f.bhs[0], f.bhs[1] = opNopIn, finalBit
	copy(f.bhs[8:16], r.h[8:16])
	f.bhs.setWord(16, r.h.itt())
	f.bhs.setWord(20, noTag)
	f.data = append(f.data, r.data()[:min(r.n, s.params.sendMax)]...)
	s.out.post(f)
}

// Reasons of a Reject (RFC 7143, 11.17.1).
const (
	rejectDigest         = 0x02
	rejectProtocol       = 0x04
	rejectNotSupported   = 0x05
	rejectImmediate      = 0x06
	rejectTaskInProgress = 0x07
	rejectInvalidField   = 0x09
)

func rejection(h *header, reason byte) *frame {
	f := &frame{status: true, data: append([]byte(nil), h[:]...)}
	f.bhs[0], f.bhs[1], f.bhs[2] = opReject, finalBit, reason
	f.bhs.setWord(16, noTag)
	return f
}

// reject tells the initiator that a PDU was not acted on.
func (s *session) reject(h *header, reason byte) { s.out.post(rejection(h, reason)) }

// rejectLast is a Reject before the connection is closed: it waits until it is written.
func (s *session) rejectLast(h *header, reason byte) {
	f := rejection(h, reason)
	written := make(chan struct{})
	f.afterward = func() { close(written) }
	s.out.post(f)
	<-written
}

// Reasons and answers of a logout (RFC 7143, 11.14.1 and 11.15.1).
const (
	logoutRecovery   = 2
	loggedOut        = 0
	logoutNoRecovery = 2
)

// logout answers when the commands under way have been answered, and ends the session.
func (s *session) logout(h *header) error {
	answer, ends := byte(loggedOut), true
	if reason := h[1] & 0x7f; reason == logoutRecovery {
		answer, ends = logoutNoRecovery, false
	} else if reason > logoutRecovery {
		s.reject(h, rejectInvalidField)
		return nil
	}
	f := &frame{status: true}
	f.bhs[0], f.bhs[1], f.bhs[2] = opLogoutEnd, finalBit, answer
	f.bhs.setWord(16, h.itt())
	if !ends {
		s.out.post(f)
		return nil
	}
	s.abandonAll()
	s.running.Wait()
	if s.unit != nil {
		s.unit.Detach(s.nexus) // before the answer: who hears it may count on the reservation being free
	}
	written := make(chan struct{})
	f.afterward = func() { close(written) }
	s.out.post(f)
	<-written
	return errLoggedOut
}
