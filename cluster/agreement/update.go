package agreement

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"henge/cluster/rpc"
	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/limits"
)

// Methods that every peer of a group serves.
const (
	methodApply     = "state.apply"      // a command in pieces; answers an outcome
	methodReadIndex = "state.read-index" // nothing; answers an outcome
)

const pieceBytes = 512 << 10

// Update is Store.Update. It waits for a leader, and tries again after conflicts, until ctx ends or limits.StateUpdateTimeout is over.
// What fn answers is final only if what it read was up to date: also an error, and also when it wrote nothing.
func (g *Group) Update(ctx context.Context, fn func(state.Writer) error) error {
	ctx, cancel := context.WithTimeout(ctx, limits.StateUpdateTimeout)
	defer cancel()
	for {
		attempt := g.fsm.machine.Snapshot().Begin()
		verdict := fn(attempt)
		tx := attempt.Transaction()
		if verdict != nil || len(tx.Writes) == 0 {
			done, err := g.upToDate(ctx, tx)
			switch {
			case verdict != nil && (done || err != nil): // without a leader fn's own word is the best there is
				return verdict
			case done || err != nil:
				return err
			}
			continue
		}
		if err := tx.Check(); err != nil {
			return err
		}
		if done, err := g.commit(ctx, tx); done || err != nil {
			return err
		}
	}
}

// upToDate tells whether what tx read is still so after everything committed has arrived here.
func (g *Group) upToDate(ctx context.Context, tx *state.Transaction) (bool, error) {
	if len(tx.Reads)+len(tx.Ranges) == 0 {
		return true, nil
	}
	if err := g.Barrier(ctx); err != nil {
		return false, err
	}
	return g.fsm.machine.Snapshot().Valid(tx), nil
}

// commit gets tx into the log, once, whatever happens to leaders meanwhile. It answers false when fn must run again.
func (g *Group) commit(ctx context.Context, tx *state.Transaction) (done bool, err error) {
	command, err := newCommand(tx)
	if err != nil {
		return false, err
	}
	result, err := g.submit(ctx, command)
	return result.status == applied, err
}

// newCommand encodes tx under a new id.
func newCommand(tx *state.Transaction) ([]byte, error) {
	var id updateID
	if _, err := rand.Read(id[:]); err != nil {
		return nil, errs.New(errs.Internal, "make an update's id: %w", err)
	}
	return encodeCommand(id, tx)
}

// submit sends a command to leaders until one has applied or refused it, and waits until this peer's machine is as far. The same command may be
// sent many times: it is applied once.
func (g *Group) submit(ctx context.Context, command []byte) (outcome, error) {
	var sent error // why we do not know what became of an earlier try
	for {
		result, err := g.atLeader(ctx, func(ctx context.Context, leader string) (outcome, error) {
			if leader == g.cfg.Self {
				return g.apply(ctx, command)
			}
			return sendCommand(ctx, g.cfg.Caller, leader, methodApply, command)
		})
		switch {
		case err != nil:
			sent = err
		case result.status == applied:
			if err := g.fsm.machine.WaitFor(ctx, result.index); err != nil {
				return outcome{}, errs.New(errs.Unavailable, "update the state: outcome unknown: committed, but not seen on this peer: %w", err)
			}
			return result, nil
		case result.status == conflict, result.status == expired && sent == nil:
			return result, g.fsm.machine.WaitFor(ctx, result.index)
		}
		ended := ctx.Err() != nil || g.ctx.Err() != nil || result.status == expired
		if ended && sent != nil {
			return outcome{}, errs.New(errs.Unavailable, "update the state: outcome unknown: %w", sent)
		}
		if ended {
			return outcome{}, unavailable(ctx, nil)
		}
	}
}

func unavailable(ctx context.Context, err error) error {
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		return errs.New(errs.Unavailable, "the state store is closed")
	}
	return errs.New(errs.Unavailable, "the replicated state has no leader: %w", err)
}

// pauseMax bounds the wait between two tries; a new leader ends it at once.
const pauseMax = 200 * time.Millisecond

// atLeader runs one try at the leader, once there is one. Status notLeader, and any error, come back after a pause, for the next try.
func (g *Group) atLeader(ctx context.Context, try func(ctx context.Context, leader string) (outcome, error)) (outcome, error) {
	changed := g.LeaderChanged()
	result, err := outcome{status: notLeader}, error(nil)
	if leader := g.Leader(); leader != "" {
		once, cancel := context.WithTimeout(ctx, limits.PeerCallTimeout)
		result, err = try(once, leader)
		cancel()
	}
	if err == nil && result.status != notLeader {
		return result, nil
	}
	pause := time.NewTimer(pauseMax)
	defer pause.Stop()
	select {
	case <-changed:
	case <-pause.C:
	case <-ctx.Done():
	case <-g.ctx.Done():
	}
	return result, err
}

// apply puts a command into the log at the leader, and waits until its machine has it. An error leaves open whether it will be applied.
func (g *Group) apply(ctx context.Context, command []byte) (outcome, error) {
	if ctx.Err() != nil {
		return outcome{status: notLeader}, nil
	}
	wait := limits.PeerCallTimeout
	if deadline, has := ctx.Deadline(); has {
		wait = min(wait, max(time.Until(deadline), time.Millisecond))
	}
	future := g.raft.Apply(command, wait)
	switch err := g.await(ctx, future); {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return outcome{status: notLeader}, nil
	case err != nil:
		return outcome{}, errs.New(errs.Unavailable, "apply an update: %w", err)
	}
	g.quiet.Store(g.raft.LastIndex())
	notify(g.nudges)
	result := future.Response().(outcome)
	return result, result.err
}

// await is future.Error, but for ctx and the group's end: Raft does not answer all that it was asked when it stops.
func (g *Group) await(ctx context.Context, future raft.Future) error {
	answered := make(chan error, 1)
	go func() { answered <- future.Error() }()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-g.ctx.Done():
		return raft.ErrRaftShutdown
	}
}

// sendCommand sends a command to a peer, in pieces if it is long.
func sendCommand(ctx context.Context, caller rpc.Caller, peer, method string, command []byte) (outcome, error) {
	if len(command) <= pieceBytes {
		return parseOutcome(caller.Call(ctx, peer, method, command))
	}
	s, err := caller.Stream(ctx, peer, method)
	if err != nil {
		return outcome{}, err
	}
	defer func() { _ = s.Close() }() // after the answer it does nothing
	for len(command) > 0 {
		n := min(len(command), pieceBytes)
		if err := s.Send(command[:n]); err != nil {
			return outcome{}, err
		}
		command = command[n:]
	}
	if err := s.CloseSend(); err != nil {
		return outcome{}, err
	}
	return parseOutcome(s.Recv())
}

// serve registers what other peers ask of this one.
func (g *Group) serve(mux rpc.Mux) {
	mux.Handle(methodApply, func(ctx context.Context, s rpc.Stream) error { return answer(ctx, s, g.apply) })
	mux.Handle(methodReadIndex, func(ctx context.Context, s rpc.Stream) error {
		result, err := g.readIndex(ctx)
		if err != nil {
			return err
		}
		return s.Send(appendOutcome(nil, result))
	})
	g.serveTools(mux)
}

// answer gathers a command and sends what do makes of it.
func answer(ctx context.Context, s rpc.Stream, do func(context.Context, []byte) (outcome, error)) error {
	var command []byte
	for {
		piece, err := s.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if len(command)+len(piece) > state.TransactionBytesMax {
			return errs.New(errs.TooLarge, "an update of more than %d bytes", state.TransactionBytesMax)
		}
		command = append(command, piece...)
	}
	if _, _, err := decodeCommand(command); err != nil {
		return errs.With(errs.Invalid, err) // nothing that cannot be applied enters the log
	}
	result, err := do(ctx, command)
	if err != nil {
		return err
	}
	return s.Send(appendOutcome(nil, result))
}

func appendOutcome(b []byte, o outcome) []byte {
	return binary.AppendUvarint(append(b, byte(o.status)), uint64(o.index))
}

func parseOutcome(b []byte, err error) (outcome, error) {
	if err != nil {
		return outcome{}, err
	}
	if len(b) < 2 || status(b[0]) < applied || status(b[0]) > notLeader {
		return outcome{}, errs.New(errs.Corrupt, "the leader answered %x", b)
	}
	index, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return outcome{}, errs.New(errs.Corrupt, "the leader answered %x", b)
	}
	return outcome{status: status(b[0]), index: state.Index(index)}, nil
}

// Barrier is Store.Barrier: the leader proves that it still leads and tells how far its machine is; ours then gets there too.
func (g *Group) Barrier(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, limits.StateUpdateTimeout)
	defer cancel()
	for {
		result, err := g.atLeader(ctx, func(ctx context.Context, leader string) (outcome, error) {
			if leader == g.cfg.Self {
				return g.readIndex(ctx)
			}
			return parseOutcome(g.cfg.Caller.Call(ctx, leader, methodReadIndex, nil))
		})
		if err == nil && result.status == applied {
			return g.fsm.machine.WaitFor(ctx, result.index)
		}
		if ctx.Err() != nil || g.ctx.Err() != nil {
			return unavailable(ctx, err)
		}
	}
}

// readIndex answers, at the leader, an index that covers every update acknowledged before the call. An acknowledged update was applied at the
// machine of the leader of its time: either that was this peer in this term, or this peer, having proven itself in its term, has applied it since.
func (g *Group) readIndex(ctx context.Context) (outcome, error) {
	if g.raft.State() != raft.Leader || ctx.Err() != nil {
		return outcome{status: notLeader}, nil
	}
	if err := g.prove(ctx); err != nil {
		return outcome{status: notLeader}, nil
	}
	index := g.fsm.machine.Snapshot().Index()
	if err := g.await(ctx, g.raft.VerifyLeader()); err != nil {
		return outcome{status: notLeader}, nil
	}
	return outcome{status: applied, index: index}, nil
}

// prove makes sure, once a term, that all entries of earlier leaders are applied here.
func (g *Group) prove(ctx context.Context) error {
	term := g.raft.CurrentTerm()
	g.mu.Lock()
	proven := g.provenTerm == term
	g.mu.Unlock()
	if proven {
		return nil
	}
	if err := g.await(ctx, g.raft.Barrier(raftTimeout)); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.provenTerm = term
	return nil
}
