package lifecycle

import (
	"slices"

	"henge/internal/errs"
)

// VM is a lasting state.
type VM string

// The lasting states, in Nova's words.
const (
	Building  VM = "building"
	Active    VM = "active"
	Stopped   VM = "stopped"
	Paused    VM = "paused"
	Suspended VM = "suspended"
	Error     VM = "error"
	Deleted   VM = "deleted"
)

// Power is what the hypervisor says of the guest. The numbers are the API's.
type Power int

// The power states.
const (
	NoState     Power = 0
	Running     Power = 1
	PowerPaused Power = 3
	Shutdown    Power = 4
	Crashed     Power = 6
	Saved       Power = 7
)

// State is where a server is.
type State struct {
	VM    VM     `json:"vm_state"`
	Task  string `json:"task_state,omitempty"` // "" at rest
	Power Power  `json:"power_state"`
}

// Action is something asked of a server. The names are those of the instance actions.
type Action string

// The actions that the agent carries out.
const (
	Create          Action = "create"
	Delete          Action = "delete"
	Start           Action = "start"
	Stop            Action = "stop"
	RebootSoft      Action = "reboot"
	RebootHard      Action = "reboot-hard"
	Pause           Action = "pause"
	Unpause         Action = "unpause"
	Suspend         Action = "suspend"
	Resume          Action = "resume"
	Snapshot        Action = "createImage"
	Rebuild         Action = "rebuild"
	AttachVolume    Action = "attach_volume"
	DetachVolume    Action = "detach_volume"
	AttachInterface Action = "attach_interface"
	DetachInterface Action = "detach_interface"
)

// rule says when an action is possible, and what it leads to.
type rule struct {
	from []VM
	task string // while it is under way
	to   VM     // "": the state stays
	// fatal: a failure leaves the server in error. Otherwise it is where it was, and the action's record says what was wrong.
	fatal bool
}

var rules = map[Action]rule{
	Create:          {[]VM{Building}, "scheduling", Active, true},
	Delete:          {nil, "deleting", Deleted, true},
	Start:           {[]VM{Stopped}, "powering-on", Active, false},
	Stop:            {[]VM{Active, Error}, "powering-off", Stopped, false},
	RebootSoft:      {[]VM{Active}, "rebooting", Active, false},
	RebootHard:      {[]VM{Active, Stopped, Paused, Suspended, Error}, "rebooting_hard", Active, true},
	Pause:           {[]VM{Active}, "pausing", Paused, false},
	Unpause:         {[]VM{Paused}, "unpausing", Active, false},
	Suspend:         {[]VM{Active}, "suspending", Suspended, false},
	Resume:          {[]VM{Suspended}, "resuming", Active, true},
	Snapshot:        {[]VM{Active, Stopped, Paused, Suspended}, "image_snapshot", "", false},
	Rebuild:         {[]VM{Active, Stopped, Error}, "rebuilding", Active, true},
	AttachVolume:    {[]VM{Active, Stopped, Paused}, "", "", false},
	DetachVolume:    {[]VM{Active, Stopped, Paused}, "", "", false},
	AttachInterface: {[]VM{Active, Stopped, Paused}, "", "", false},
	DetachInterface: {[]VM{Active, Stopped, Paused}, "", "", false},
}

// Known tells whether there is such an action.
func Known(a Action) bool { _, ok := rules[a]; return ok }

// Begin is the state while the action is under way; errs.Conflict when it is not possible now. busy tells whether another action is.
// A delete is always possible, also in the midst of anything else.
func Begin(serverID string, s State, busy bool, a Action) (State, error) {
	r, ok := rules[a]
	if !ok {
		return s, errs.New(errs.Invalid, "there is no action %q", a)
	}
	if a == Delete {
		s.Task = r.task
		return s, nil
	}
	if !slices.Contains(r.from, s.VM) {
		return s, errs.New(errs.Conflict, "Cannot '%s' instance %s while it is in vm_state %s", wireName(a), serverID, s.VM)
	}
	if busy || s.Task != "" {
		task := s.Task
		if task == "" {
			task = "attaching or detaching"
		}
		return s, errs.New(errs.Conflict, "Cannot '%s' instance %s while it is in task_state %s", wireName(a), serverID, task)
	}
	s.Task = r.task
	return s, nil
}

// wireName is what the API calls an action.
func wireName(a Action) string {
	if a == RebootHard {
		return "reboot"
	}
	return string(a)
}

// Record is the name under which an action is remembered.
func Record(a Action) string { return wireName(a) }

// Done is the state after the action; power is what the guest is now.
func Done(s State, a Action, power Power) State {
	s.Task, s.Power = "", power
	if to := rules[a].to; to != "" {
		s.VM = to
	}
	return s
}

// Fail is the state after an action that went wrong.
func Fail(s State, a Action, power Power) State {
	s.Task, s.Power = "", power
	if rules[a].fatal {
		s.VM = Error
	}
	return s
}

// Fatal tells whether a failure of the action leaves the server in error.
func Fatal(a Action) bool { return rules[a].fatal }

// Observe is the state of a server at rest whose guest was seen in a power state: a guest that powered itself off is stopped, one that was started
// beside us is active.
func Observe(s State, busy bool, power Power) State {
	if busy || s.Task != "" || s.VM == Building || s.VM == Deleted {
		return s
	}
	s.Power = power
	switch {
	case s.VM == Active && (power == Shutdown || power == Crashed || power == NoState):
		s.VM = Stopped
	case s.VM == Active && power == Saved:
		s.VM = Suspended
	case (s.VM == Stopped || s.VM == Suspended || s.VM == Paused) && power == Running:
		s.VM = Active
	case s.VM == Paused && (power == Shutdown || power == NoState):
		s.VM = Stopped
	}
	return s
}

// Status is the one word that the API shows for a state.
func Status(s State) string {
	switch {
	case s.VM == Deleted:
		return "DELETED"
	case s.Task == "rebooting":
		return "REBOOT"
	case s.Task == "rebooting_hard":
		return "HARD_REBOOT"
	case s.Task == "rebuilding":
		return "REBUILD"
	case s.VM == Building:
		return "BUILD"
	case s.VM == Active:
		return "ACTIVE"
	case s.VM == Stopped:
		return "SHUTOFF"
	case s.VM == Paused:
		return "PAUSED"
	case s.VM == Suspended:
		return "SUSPENDED"
	case s.VM == Error:
		return "ERROR"
	}
	return "UNKNOWN"
}

// Statuses are all that Status answers for servers that are there, with the lasting states behind each.
func Statuses() []string {
	return []string{"ACTIVE", "BUILD", "DELETED", "ERROR", "HARD_REBOOT", "PAUSED", "REBOOT", "REBUILD", "SHUTOFF", "SUSPENDED"}
}

// PowerNeeded tells whether the guest must run in a state.
func PowerNeeded(vm VM) bool { return vm == Active }
