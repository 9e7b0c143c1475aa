package iscsi

import (
	"henge/volumed/iscsi/lun"
)

// ask sends a Ready To Transfer for the next part of a command's data.
func (s *session) ask(t *task) {
	s.mu.Lock()
	if t.aborted || s.cause != nil {
		s.mu.Unlock()
		return
	}
	if t.buf == nil || cap(t.buf.B) < t.need {
		whole := s.pool().Get(t.need)
		if t.buf != nil {
			copy(whole.B, t.buf.B[:t.got])
			s.pool().Put(t.buf)
		}
		t.buf = whole
	}
	t.buf.B = t.buf.B[:t.need]
	t.tag = s.nextTagLocked()
	t.end, t.dataSN = min(t.got+s.params.burstMax, t.need), 0
	s.transfer[t.tag] = t
	f := &frame{nextSN: true}
	f.bhs[0], f.bhs[1] = opR2T, finalBit
	copy(f.bhs[8:20], t.header[8:20])
	f.bhs.setWord(20, t.tag)
	f.bhs.setWord(36, t.count)
	f.bhs.setWord(40, uint32(t.got))
	f.bhs.setWord(44, uint32(t.end-t.got))
	t.count++
	s.mu.Unlock()
	s.out.post(f)
}

// discardRing remembers the tags of the last transfers that were broken off: what still arrives for them is no mistake.
type discardRing struct {
	tags [64]uint32
	at   int
}

func (r *discardRing) add(tag uint32) {
	r.tags[r.at%len(r.tags)] = tag
	r.at++
}

func (r *discardRing) has(tag uint32) bool {
	for _, t := range r.tags {
		if t == tag {
			return tag != 0
		}
	}
	return false
}

// dataOut puts a data PDU where it belongs.
func (s *session) dataOut(h *header) error {
	t, into, known := s.place(h)
	if t == nil {
		if err := s.in.discard(h); err != nil {
			return err
		}
		if !known {
			s.reject(h, rejectInvalidField)
		}
		return nil
	}
	if into == nil {
		if err := s.in.discard(h); err != nil {
			return err
		}
		s.finishEarly(t, lun.KeyAborted, lun.DataPhaseError)
		return nil
	}
	if err := s.in.data(into); err != nil {
		return err
	}
	s.placed(t, len(into), h[1]&finalBit != 0)
	return nil
}

// place finds the command that h's data is for, and where the data goes. A command without a place has broken the rules: its transfer is over.
func (s *session) place(h *header) (t *task, into []byte, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tag, n := h.word(20), h.dataBytes()
	t = s.transfer[tag]
	if t == nil || t.header.itt() != h.itt() {
		return nil, nil, s.discard.has(tag)
	}
	final := h[1]&finalBit != 0
	offset, sequence := h.word(40), h.word(36)
	fits := int64(offset) == int64(t.got) && sequence == t.dataSN && t.got+n <= t.end && final == (t.got+n == t.end) && (n > 0 || final)
	if !fits {
		s.breakOff(t)
		return t, nil, true
	}
	// An abort meanwhile leaves the buffer to the collector: these bytes may still be on their way into it.
	return t, t.buf.B[t.got : t.got+n : t.got+n], true
}

// breakOff ends a transfer. s.mu is held.
func (s *session) breakOff(t *task) {
	if s.transfer[t.tag] == t {
		delete(s.transfer, t.tag)
		s.discard.add(t.tag)
	}
	t.buf = nil
}

// placed counts data that arrived, and goes on with the command when it was the last of a burst.
func (s *session) placed(t *task, n int, final bool) {
	s.mu.Lock()
	if t.aborted {
		s.mu.Unlock()
		return
	}
	t.got += n
	t.dataSN++
	if !final {
		s.mu.Unlock()
		return
	}
	delete(s.transfer, t.tag)
	t.ready = t.got == t.need
	s.maybeStart(t)
	ready := t.ready
	s.mu.Unlock()
	if !ready {
		s.ask(t)
	}
}
