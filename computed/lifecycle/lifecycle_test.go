package lifecycle

import (
	"testing"

	"henge/internal/errs"
)

var allVMs = []VM{Building, Active, Stopped, Paused, Suspended, Error, Deleted}

// TestEveryTransition walks every action in every state, at rest and busy.
func TestEveryTransition(t *testing.T) {
	allowed := map[Action]string{ // the states an action is possible in, and where it leads when it succeeds
		Create: "building>active", Start: "stopped>active", Stop: "active>stopped error>stopped",
		RebootSoft: "active>active", RebootHard: "active>active stopped>active paused>active suspended>active error>active",
		Pause: "active>paused", Unpause: "paused>active", Suspend: "active>suspended", Resume: "suspended>active",
		Snapshot:     "active>active stopped>stopped paused>paused suspended>suspended",
		Rebuild:      "active>active stopped>active error>active",
		AttachVolume: "active>active stopped>stopped paused>paused", DetachVolume: "active>active stopped>stopped paused>paused",
		AttachInterface: "active>active stopped>stopped paused>paused", DetachInterface: "active>active stopped>stopped paused>paused",
		Delete: "building>deleted active>deleted stopped>deleted paused>deleted suspended>deleted error>deleted deleted>deleted",
	}
	for action, r := range rules {
		want := map[VM]VM{}
		for _, pair := range fields(allowed[action]) {
			from, to, _ := cut(pair)
			want[VM(from)] = VM(to)
		}
		for _, vm := range allVMs {
			s, err := Begin("x", State{VM: vm}, false, action)
			to, ok := want[vm]
			if !ok {
				if !errs.Is(err, errs.Conflict) {
					t.Errorf("%s in %s: %v, want a conflict", action, vm, err)
				}
				continue
			}
			if err != nil || s.Task != r.task || s.VM != vm {
				t.Errorf("%s in %s: %+v, %v", action, vm, s, err)
				continue
			}
			if done := Done(s, action, Running); done.VM != to || done.Task != "" || done.Power != Running {
				t.Errorf("%s in %s ends in %+v, want %s", action, vm, done, to)
			}
			failed := Fail(s, action, Shutdown)
			if failed.Task != "" || r.fatal != (failed.VM == Error) && vm != Error {
				t.Errorf("%s in %s fails into %+v", action, vm, failed)
			}
			if _, err := Begin("x", State{VM: vm}, true, action); (err == nil) != (action == Delete) {
				t.Errorf("%s in %s while busy: %v", action, vm, err)
			}
			if _, err := Begin("x", State{VM: vm, Task: "pausing"}, false, action); (err == nil) != (action == Delete) {
				t.Errorf("%s in %s while pausing: %v", action, vm, err)
			}
		}
	}
	if _, err := Begin("x", State{VM: Active}, false, "fly"); !errs.Is(err, errs.Invalid) {
		t.Errorf("an unknown action: %v", err)
	}
}

func fields(s string) []string {
	var all []string
	start := 0
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == ' ' {
			if i > start {
				all = append(all, s[start:i])
			}
			start = i + 1
		}
	}
	return all
}

func cut(s string) (string, string, bool) {
	for i := range s {
		if s[i] == '>' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func TestObserve(t *testing.T) {
	for _, c := range []struct {
		name string
		from State
		busy bool
		see  Power
		want VM
	}{
		{"powered itself off", State{VM: Active}, false, Shutdown, Stopped},
		{"vanished", State{VM: Active}, false, NoState, Stopped},
		{"crashed", State{VM: Active}, false, Crashed, Stopped},
		{"saved beside us", State{VM: Active}, false, Saved, Suspended},
		{"stopped on an I/O error", State{VM: Active}, false, PowerPaused, Active},
		{"started beside us", State{VM: Stopped}, false, Running, Active},
		{"resumed beside us", State{VM: Paused}, false, Running, Active},
		{"paused and gone", State{VM: Paused}, false, Shutdown, Stopped},
		{"still building", State{VM: Building, Task: "spawning"}, false, Shutdown, Building},
		{"on its way down", State{VM: Active, Task: "powering-off"}, false, Shutdown, Active},
		{"busy", State{VM: Active}, true, Shutdown, Active},
		{"in error", State{VM: Error}, false, Running, Error},
	} {
		if got := Observe(c.from, c.busy, c.see); got.VM != c.want {
			t.Errorf("%s: %s, want %s", c.name, got.VM, c.want)
		}
	}
}

func TestStatus(t *testing.T) {
	for want, s := range map[string]State{
		"ACTIVE": {VM: Active, Task: "powering-off"}, "BUILD": {VM: Building}, "ERROR": {VM: Error}, "SHUTOFF": {VM: Stopped}, "PAUSED": {VM: Paused},
		"SUSPENDED": {VM: Suspended}, "DELETED": {VM: Deleted}, "REBOOT": {VM: Active, Task: "rebooting"}, "HARD_REBOOT": {VM: Active, Task: "rebooting_hard"},
		"REBUILD": {VM: Active, Task: "rebuilding"}, "UNKNOWN": {},
	} {
		if got := Status(s); got != want {
			t.Errorf("%+v: %s, want %s", s, got, want)
		}
	}
}
