package agent

import (
	"context"
	"errors"
	"time"

	"henge/cluster/state"
	"henge/computed/hypervisor"
	"henge/computed/lifecycle"
	"henge/computed/model"
	"henge/identity/authn"
	"henge/internal/errs"
)

// downMax is how long a task waits for a hypervisor that does not answer before the server is told.
const downMax = 2 * time.Minute

// step does the next thing that a row asks for. It answers an error only when it should be tried again.
func (a *Agent) step(ctx context.Context, s model.Server) error {
	if s.Task == nil {
		return a.attachments(ctx, &s)
	}
	err := a.carryOut(ctx, &s)
	switch {
	case err == nil, errors.Is(err, errSuperseded):
		return err
	case ctx.Err() != nil: // the agent ends, or the task was taken back
		return errSuperseded
	case a.again(s, err):
		return err
	}
	return a.failed(ctx, &s, err)
}

// again tells whether an error is no fault of the server's: the cluster has no leader for now, or the hypervisor's daemon is down.
func (a *Agent) again(s model.Server, err error) bool {
	if errors.Is(err, errState) {
		return true
	}
	return errors.Is(err, hypervisor.ErrDown) && (a.Clock.Now().Sub(s.Task.Started) < downMax || s.Task.Action == lifecycle.Delete)
}

// errState marks errors of our own writes.
var errState = errors.New("write the server's row")

// write is change for use inside a task.
func (a *Agent) write(ctx context.Context, s *model.Server, change func(w state.Writer, s *model.Server) error) error {
	err := a.change(ctx, s, change)
	if err == nil || errors.Is(err, errSuperseded) {
		return err
	}
	return errors.Join(errState, err)
}

func (a *Agent) carryOut(ctx context.Context, s *model.Server) error {
	switch s.Task.Action {
	case lifecycle.Create:
		return a.build(ctx, s)
	case lifecycle.Rebuild:
		return a.rebuild(ctx, s)
	case lifecycle.Delete:
		return a.remove(ctx, s)
	case lifecycle.Snapshot:
		return a.snapshot(ctx, s)
	}
	if err := a.power(ctx, s); err != nil {
		return err
	}
	return a.done(ctx, s)
}

// done writes that the task is done, and what the guest is now.
func (a *Agent) done(ctx context.Context, s *model.Server) error {
	power, err := a.powerOf(ctx, s.ID)
	if err != nil {
		return err
	}
	return a.write(ctx, s, func(w state.Writer, s *model.Server) error {
		s.State = lifecycle.Done(s.State, s.Task.Action, power)
		if s.VM != lifecycle.Error {
			s.Fault = nil
		}
		return a.finish(w, s, nil)
	})
}

// finish ends the task in the row, and its record.
func (a *Agent) finish(w state.Writer, s *model.Server, failure error) error {
	task := s.Task
	s.Task = nil
	return a.recordEnd(w, s.ID, task.RequestID, "compute_"+string(task.Action), task.Started, failure)
}

// recordEnd notes how an action ended.
func (a *Agent) recordEnd(w state.Writer, serverID, requestID, event string, started time.Time, failure error) error {
	rec, there, err := model.Optional(model.Actions.Get(w, model.ActionID(serverID, requestID)))
	if err != nil || !there {
		return err
	}
	now := a.Clock.Now()
	e := model.Event{Name: event, Started: started, Ended: now, Result: "Success", Host: a.Host.Name}
	rec.Updated = now
	if failure != nil {
		e.Result, e.Details = "Error", failure.Error()
		rec.Message = failure.Error()
	}
	rec.Events = append(rec.Events[:len(rec.Events):len(rec.Events)], e)
	return model.Actions.Put(w, model.ActionID(serverID, requestID), rec)
}

// failed ends a task that went wrong, with its cause.
func (a *Agent) failed(ctx context.Context, s *model.Server, failure error) error {
	a.Logger.Warn("server", "id", s.ID, "action", s.Task.Action, "error", failure)
	switch s.Task.Action {
	case lifecycle.Create:
		return a.buildFailed(ctx, s, failure)
	case lifecycle.Delete:
		return a.removeFailed(ctx, s, failure)
	case lifecycle.Snapshot:
		if err := a.Images.Delete(ctx, identity(*s), s.Task.ImageID); err != nil {
			failure = errors.Join(failure, err)
		}
	}
	return a.fail(ctx, s, failure)
}

func (a *Agent) fail(ctx context.Context, s *model.Server, failure error) error {
	power, err := a.powerOf(ctx, s.ID)
	if err != nil {
		power = lifecycle.NoState
	}
	return a.write(ctx, s, func(w state.Writer, s *model.Server) error {
		s.State = lifecycle.Fail(s.State, s.Task.Action, power)
		s.Fault = a.fault(failure)
		return a.finish(w, s, failure)
	})
}

// faultBytesMax bounds a fault's text.
const faultBytesMax = 1000

func (a *Agent) fault(err error) *model.Fault {
	text := err.Error()
	if len(text) > faultBytesMax {
		text = text[:faultBytesMax]
	}
	return &model.Fault{Code: 500, Message: text, Created: a.Clock.Now()}
}

// powerOf is what the hypervisor says of a guest; one that is not there has no state.
func (a *Agent) powerOf(ctx context.Context, id string) (lifecycle.Power, error) {
	seen, err := a.Driver.Guest(ctx, id)
	if errs.Is(err, errs.NotFound) {
		return lifecycle.NoState, nil
	}
	return seen.Power, err
}

// identity is who the agent acts for: whoever asked, with the rights of the service.
func identity(s model.Server) *authn.Identity {
	who := &authn.Identity{UserID: s.UserID, ProjectID: s.ProjectID, Roles: []string{"admin", "member", "reader", "service"}}
	if s.Task != nil && s.Task.UserID != "" {
		who.UserID = s.Task.UserID
		if s.Task.Action == lifecycle.Snapshot && s.Task.ProjectID != "" {
			who.ProjectID = s.Task.ProjectID
		}
	}
	return who
}
