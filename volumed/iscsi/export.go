package iscsi

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"henge/internal/errs"
	"henge/volumed/iscsi/lun"
)

// export is one target on offer.
type export struct {
	iqn    string
	volume string
	epoch  uint64
	unit   *lun.Unit

	access atomic.Pointer[Target] // who may come in; replaced whole
	dead   atomic.Bool            // fenced or removed: no I/O any more
}

// allows says whether the initiator is on the access list.
func (e *export) allows(initiator string) bool {
	return slices.Contains(e.access.Load().Initiators, initiator)
}

// Export offers a target. Its epoch orders the exports of one volume:
//   - an epoch smaller than one that was ever exported here is refused (errs.Conflict);
//   - the same epoch and IQN again changes CHAP, Mutual, Open and Initiators, and keeps the rest, the first Store included. Sessions go on, but for
//     those of initiators no longer listed;
//   - a greater one ends all exports of the volume with a smaller epoch: first they refuse I/O, then their sessions are cut, and when no call to
//     their Stores is under way any more the new target is there. If ctx ends before that, the answer is errs.Timeout, the old ones stay
//     refused, and the new one is not offered: call again.
//
// A name in use by another volume is errs.Exists. Safe to repeat.
func (s *Server) Export(ctx context.Context, target Target) error {
	t, err := target.checked()
	if err != nil {
		return err
	}
	again, older, err := s.supersede(t)
	if err != nil || again {
		return err
	}
	for _, e := range older {
		if err := s.finish(ctx, e, errFenced); err != nil {
			return err
		}
	}
	return s.offer(t)
}

// supersede decides what an Export means. It answers the older exports that must have ended before the new one may begin.
func (s *Server) supersede(t Target) (again bool, older []*export, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.draining {
		return false, nil, errs.New(errs.Unavailable, "export %s: the target is closed", t.IQN)
	}
	if newest := s.fences[t.Volume]; t.Epoch < newest {
		return false, nil, errs.New(errs.Conflict, "export %s: epoch %d is older than %d", t.IQN, t.Epoch, newest)
	}
	if e := s.exports[t.IQN]; e != nil && e.volume != t.Volume {
		return false, nil, errs.New(errs.Exists, "export %s: the name belongs to volume %s", t.IQN, e.volume)
	} else if e != nil && e.epoch == t.Epoch {
		s.changeAccess(e, t)
		return true, nil, nil
	}
	s.fences[t.Volume] = t.Epoch
	for iqn, e := range s.exports {
		if e.volume == t.Volume && e.epoch < t.Epoch {
			s.retire(iqn, e)
		}
	}
	for e := range s.ending {
		if e.volume == t.Volume || e.iqn == t.IQN {
			older = append(older, e)
		}
	}
	return false, older, nil
}

// retire takes an export off the list and stops its I/O. s.mu is held.
func (s *Server) retire(iqn string, e *export) {
	e.dead.Store(true)
	delete(s.exports, iqn)
	s.ending[e] = true
}

// changeAccess is called with s.mu held.
func (s *Server) changeAccess(e *export, t Target) {
	e.access.Store(&t)
	for _, one := range s.sessions {
		if one.export == e && !e.allows(one.initiator) {
			one.end(errNoAccess)
		}
	}
}

func (s *Server) offer(t Target) error {
	e := &export{iqn: t.IQN, volume: t.Volume, epoch: t.Epoch}
	unit, err := lun.New(lun.Config{Abort: func(of []*lun.Nexus) { s.abortOthers(e, of) }, Store: t.Store, Name: t.IQN, Serial: t.Serial, BlockBytes: t.BlockBytes, ReadOnly: t.ReadOnly, Pool: &s.pool, Log: s.cfg.Log})
	if err != nil {
		return err
	}
	e.unit = unit
	e.access.Store(&t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if newest := s.fences[t.Volume]; t.Epoch < newest {
		return errs.New(errs.Conflict, "export %s: epoch %d is older than %d", t.IQN, t.Epoch, newest)
	}
	if old := s.exports[t.IQN]; old != nil {
		return errs.New(errs.Conflict, "export %s: it was exported at the same time by another call", t.IQN)
	}
	s.exports[t.IQN] = e
	return nil
}

// sessionsOf lists who is logged in to e.
func (s *Server) sessionsOf(e *export) []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	var open []*session
	for _, one := range s.sessions {
		if one.export == e {
			open = append(open, one)
		}
	}
	return open
}

// abortOthers ends the commands of nexuses that another one preempted.
func (s *Server) abortOthers(e *export, of []*lun.Nexus) {
	var wait []chan struct{}
	for _, one := range s.sessionsOf(e) {
		if slices.Contains(of, one.nexus) {
			wait = append(wait, one.abandonAll()...)
			e.unit.Cleared(one.nexus)
		}
	}
	for _, over := range wait {
		<-over
	}
}

// finish cuts the sessions of a retired export, and waits until its store is not called any more.
func (s *Server) finish(ctx context.Context, e *export, cause error) error {
	open := s.sessionsOf(e)
	for _, one := range open {
		one.end(cause)
	}
	if err := waitSessions(ctx, open, "end target "+e.iqn); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ending, e)
	return nil
}

// Resize makes the target's length that of its Store, and tells the initiators (unit attention: capacity data has changed). A store that
// shrank is errs.Invalid.
func (s *Server) Resize(iqn string) error {
	s.mu.Lock()
	e := s.exports[iqn]
	s.mu.Unlock()
	if e == nil {
		return errs.New(errs.NotFound, "resize target %s: not exported", iqn)
	}
	return e.unit.Resize()
}

// Unexport removes a target: no new logins; its initiators are asked to log out, and cut when LogoutGrace is over. It returns when the Store is not
// called any more, or with errs.Timeout when ctx ends first: call again. A target that is not there is no error.
func (s *Server) Unexport(ctx context.Context, iqn string) error {
	s.mu.Lock()
	if e := s.exports[iqn]; e != nil {
		delete(s.exports, iqn)
		s.ending[e] = true
	}
	var going []*export
	for e := range s.ending {
		if e.iqn == iqn {
			going = append(going, e)
		}
	}
	s.mu.Unlock()
	for _, e := range going {
		if err := s.bid(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// bid asks the initiators of e to log out, waits a little for those that do, and ends the rest.
func (s *Server) bid(ctx context.Context, e *export) error {
	open := s.sessionsOf(e)
	for _, one := range open {
		one.askLogout(s.cfg.LogoutGrace)
	}
	grace, cancel := context.WithTimeout(ctx, s.cfg.LogoutGrace+time.Millisecond)
	defer cancel()
	_ = waitSessions(grace, open, "log out")
	e.dead.Store(true)
	return s.finish(ctx, e, errUnexport)
}

// Exports tells the names and epochs that are on offer.
func (s *Server) Exports() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]uint64, len(s.exports))
	for iqn, e := range s.exports {
		all[iqn] = e.epoch
	}
	return all
}
