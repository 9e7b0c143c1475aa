package iscsi

import (
	"slices"
	"strings"
)

// textExchange is a text request, or its answer, that takes several PDUs. The reader's alone.
type textExchange struct {
	asked []byte // continued requests so far
	rest  []byte // of an answer that is longer than one PDU
	tag   uint32 // what the initiator must show to get the rest
}

// textRequest answers text in full feature phase: SendTargets. What a login settles stays as it is.
func (s *session) textRequest(r *request) {
	x := &s.text
	if tag := r.h.word(20); tag != noTag && (tag != x.tag || x.tag == 0) {
		*x = textExchange{}
		s.reject(&r.h, rejectInvalidField)
		return
	}
	if len(x.rest) > 0 && r.n == 0 {
		s.textAnswer(&r.h)
		return
	}
	if len(x.asked)+r.n > textBytesMax {
		*x = textExchange{}
		s.reject(&r.h, rejectProtocol)
		return
	}
	x.asked = append(x.asked, r.data()...)
	if r.h[1]&continueBit != 0 {
		s.textMore(&r.h)
		return
	}
	pairs, err := parseText(x.asked)
	*x = textExchange{}
	if err != nil {
		s.reject(&r.h, rejectProtocol)
		return
	}
	x.rest = s.textValues(pairs)
	s.textAnswer(&r.h)
}

// textMore asks for the continuation.
func (s *session) textMore(h *header) {
	s.text.tag = s.nextTag()
	f := s.textFrame(h)
	f.bhs.setWord(20, s.text.tag)
	s.out.post(f)
}

func (s *session) textFrame(h *header) *frame {
	f := &frame{status: true}
	f.bhs[0] = opTextDone
	copy(f.bhs[8:20], h[8:20])
	f.bhs.setWord(20, noTag)
	return f
}

// textAnswer sends as much of the answer as one PDU takes.
func (s *session) textAnswer(h *header) {
	x := &s.text
	f := s.textFrame(h)
	n := min(len(x.rest), s.params.sendMax)
	f.data, x.rest = x.rest[:n], x.rest[n:]
	if len(x.rest) > 0 {
		x.tag = s.nextTag()
		f.bhs[1] |= continueBit
		f.bhs.setWord(20, x.tag)
	} else {
		x.tag = 0
		f.bhs[1] |= finalBit
	}
	s.out.post(f)
}

func (s *session) textValues(pairs []pair) (reply []byte) {
	for _, p := range pairs {
		switch p.key {
		case "SendTargets":
			reply = s.sendTargets(p.value, reply)
		case "InitiatorAlias":
		default:
			reply = appendText(reply, p.key, unknownOrRejected(p.key))
		}
	}
	return reply
}

// unknownOrRejected answers keys: those of the login are refused now, others not known.
func unknownOrRejected(key string) string {
	p := defaults()
	if value, _ := p.answer(key, ""); value == notUnderstood && !loginKeys[key] {
		return notUnderstood
	}
	return reject
}

// sendTargets lists what the initiator has proven to have access to: in a discovery session all of that, else the session's own target.
func (s *session) sendTargets(which string, reply []byte) []byte {
	all := s.reachable
	if s.export != nil {
		all = []*export{s.export}
	}
	if which == "All" && s.export != nil {
		return appendText(reply, "SendTargets", reject)
	}
	names := []string{}
	for _, e := range all {
		if !e.dead.Load() && e.allows(s.initiator) && (which == "" || which == "All" || strings.ToLower(which) == e.iqn) {
			names = append(names, e.iqn)
		}
	}
	slices.Sort(names)
	portals := s.server.cfg.Portals
	if len(portals) == 0 {
		portals = []string{s.conn.LocalAddr().String()}
	}
	for _, name := range names {
		reply = appendText(reply, "TargetName", name)
		for _, portal := range portals {
			reply = appendText(reply, "TargetAddress", portal+",1")
		}
	}
	return reply
}
