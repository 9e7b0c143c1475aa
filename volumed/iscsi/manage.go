package iscsi

import "slices"

// Task management functions and responses (RFC 7143, 11.5.1 and 11.6.1).
const (
	manageAbortTask = 1
	manageAbortSet  = 2
	manageClearACA  = 3
	manageClearSet  = 4
	manageResetLUN  = 5
	manageWarmReset = 6
	manageColdReset = 7
	manageReassign  = 8

	managedDone        = 0
	managedNoTask      = 1
	managedNoLUN       = 2
	managedNoReassign  = 4
	managedUnsupported = 5
	managedRejected    = 255

	managingMax = 16 // requests under way in a session
)

// manage acts on a task management request. Its answer comes when what it ended is really over: a write that is still in the store could otherwise
// land after the initiator was told that it will not.
func (s *session) manage(h *header) {
	itt, function := h.itt(), h[1]&0x7f
	if s.unit == nil {
		s.reject(h, rejectNotSupported)
		return
	}
	if answer, ok := s.refuseManage(function, h.lun()); ok {
		s.managed(itt, answer, nil)
		return
	}
	s.mu.Lock()
	full := s.managing >= managingMax
	if !full {
		s.managing++
	}
	s.mu.Unlock()
	if full {
		s.managed(itt, managedRejected, nil)
		return
	}
	answer, wait, afterward := s.carryOut(h, function)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		for _, over := range wait {
			<-over
		}
		s.mu.Lock()
		s.managing--
		s.mu.Unlock()
		s.managed(itt, answer, afterward)
	}()
}

// refuseManage answers what needs no work.
func (s *session) refuseManage(function byte, lun uint64) (answer byte, ok bool) {
	switch function {
	case manageClearACA:
		return managedUnsupported, true
	case manageReassign:
		return managedNoReassign, true
	case manageAbortTask, manageAbortSet, manageClearSet, manageResetLUN:
		return managedNoLUN, !s.unit.Has(lun)
	case manageWarmReset, manageColdReset:
		return 0, false
	}
	return managedUnsupported, true
}

// carryOut ends tasks, and answers what must be waited for.
func (s *session) carryOut(h *header, function byte) (answer byte, wait []chan struct{}, afterward func()) {
	switch function {
	case manageAbortTask:
		answer, wait = s.abortTask(h.word(20), h.word(32))
	case manageAbortSet:
		wait = s.abandonAll()
	case manageClearSet:
		wait = s.clearSet()
	case manageResetLUN, manageWarmReset, manageColdReset:
		wait = s.clearSet()
		s.unit.Reset()
	}
	if function == manageColdReset {
		afterward = s.closeAll
	}
	return answer, wait, afterward
}

func (s *session) managed(itt uint32, answer byte, afterward func()) {
	f := &frame{status: true, afterward: afterward}
	f.bhs[0], f.bhs[1], f.bhs[2] = opTaskDone, finalBit, answer
	f.bhs.setWord(16, itt)
	s.out.post(f)
}

// abortTask ends one command. One that is not there but whose number may still come is taken as aborted too (RFC 7143, 11.6.1): it is parked, or
// was lost.
func (s *session) abortTask(itt, number uint32) (answer byte, wait []chan struct{}) {
	if r := s.parked[number]; r != nil && r.h.itt() == itt && r.h.opcode() == opCommand {
		// Its number must still be counted, so a ping takes its place.
		r.h = header{opNopOut}
		r.h.setWord(16, noTag)
		return managedDone, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[itt]
	if t == nil {
		return managedNoTask, nil
	}
	if over := s.abort(t); over != nil {
		wait = append(wait, over)
	}
	return managedDone, wait
}

// abandonAll aborts this initiator's commands.
func (s *session) abandonAll() (wait []chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if over := s.abort(t); over != nil {
			wait = append(wait, over)
		}
	}
	return wait
}

// clearSet aborts the commands of all initiators.
func (s *session) clearSet() (wait []chan struct{}) {
	for _, one := range s.server.sessionsOf(s.export) {
		over := one.abandonAll()
		if len(over) > 0 && one != s {
			s.unit.Cleared(one.nexus)
		}
		wait = append(wait, over...)
	}
	return wait
}

// closeAll ends all sessions of the target: a cold reset.
func (s *session) closeAll() {
	for _, one := range s.server.sessionsOf(s.export) {
		one.end(errColdReset)
	}
}

// abort ends a command; the initiator gets no answer to it. It answers what is closed when a command in the unit is over, nil if it is over
// already. s.mu is held.
func (s *session) abort(t *task) chan struct{} {
	if !t.aborted {
		t.aborted = true
		t.stop()
		if !t.started {
			s.strike(t)
			return nil
		}
	}
	if t.over == nil {
		t.over = make(chan struct{})
	}
	return t.over
}

// strike takes a command off the books that never began. s.mu is held.
func (s *session) strike(t *task) {
	s.breakOff(t)
	if i := slices.Index(s.short, t); i >= 0 {
		s.short = slices.Delete(s.short, i, i+1)
	}
	s.forget(t)
	if t.admitted {
		for _, next := range s.freeLocked(t.size) {
			// The reader may hold s.mu's caller up: asking is another goroutine's.
			go s.ask(next)
		}
	}
}
