package history

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Step is one call on a key: what was asked, and what was answered.
type Step struct {
	Kind  string // Get, Put, Delete
	Value string // of a put
	Match string // the value that must be there; Nothing: none may be there; "": no condition

	// The answer.
	Found    string // of a get: the value, "" when there was none
	Refused  bool   // the condition did not hold
	Unknown  bool   // no answer that says what happened
	Conflict bool   // it certainly did not happen, and says nothing of the condition
}

// The kinds of Step.
const (
	Get    = "get"
	Put    = "put"
	Delete = "delete"
)

// Nothing as a Match is If-None-Match: *.
const Nothing = "*"

// Register is an object's key as a client may rely on it: one value, changed whole, conditions decided at the same moment.
var Register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		now, s, a := state.(string), input.(Step), output.(Step)
		holds := s.Match == "" || (s.Match == Nothing && now == "") || (s.Match != Nothing && s.Match == now)
		switch {
		case s.Kind == Get:
			return a.Unknown || a.Found == now, now
		case a.Unknown:
			// It happened or it did not: an unknown answer returns at the end of time, so that porcupine may also put it there.
			if !holds {
				return true, now
			}
		case a.Refused:
			return !holds, now
		case !holds:
			return false, now
		}
		if s.Kind == Delete {
			return true, ""
		}
		return true, s.Value
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string {
		s, a := input.(Step), output.(Step)
		what := s.Kind
		if s.Kind == Put {
			what += " " + s.Value
		}
		if s.Match != "" {
			what += " if " + s.Match
		}
		switch {
		case a.Unknown:
			return what + " -> unknown"
		case a.Refused:
			return what + " -> refused"
		case s.Kind == Get:
			return fmt.Sprintf("%s -> %q", what, a.Found)
		}
		return what + " -> done"
	},
}

// History is what happened to several keys. Safe for concurrent use.
type History struct {
	start time.Time

	mu                         sync.Mutex // guards the fields below
	ops                        map[string][]porcupine.Operation
	answered, refused, unknown int
}

// New begins one.
func New() *History { return &History{start: time.Now(), ops: map[string][]porcupine.Operation{}} }

// Now is the moment to give to Record as the call's.
func (h *History) Now() time.Duration { return time.Since(h.start) }

// never is when a call returns whose outcome nobody knows.
const never = 24 * time.Hour

// Record notes that a client's step on a key, begun at call, was answered just now.
func (h *History) Record(client int, key string, call time.Duration, asked, answer Step) {
	end := h.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case answer.Unknown && asked.Kind == Get, answer.Conflict:
		return // says nothing
	case answer.Unknown:
		h.unknown++
		end = never
	default:
		h.answered++
		if answer.Refused {
			h.refused++
		}
	}
	h.ops[key] = append(h.ops[key], porcupine.Operation{ClientId: client, Input: asked, Output: answer, Call: int64(call), Return: int64(end)})
}

// Counts are how many steps were answered, how many of these by a refusal, and of how many the outcome is unknown.
func (h *History) Counts() (answered, refused, unknown int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answered, h.refused, h.unknown
}

// Fault is a key whose answers no order of the calls explains.
type Fault struct {
	Key    string
	Result porcupine.CheckResult // Illegal, or Unknown when time ran out
	Ops    []porcupine.Operation
}

// explainWait bounds each step of the search for the operation that nothing explains.
const explainWait = 2 * time.Second

// shownMax is how many operations before the one that nothing explains are shown.
const shownMax = 30

func (f Fault) String() string {
	ops := f.Ops
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	text := fmt.Sprintf("key %s, %d operations: %v; the last of these has no explanation:\n", f.Key, len(ops), f.Result)
	end := sort.Search(len(ops), func(n int) bool {
		return porcupine.CheckOperationsTimeout(Register, until(ops, ops[n].Return), explainWait) == porcupine.Illegal
	})
	shown := ops
	if end < len(ops) {
		shown = until(ops, ops[end].Return)
	}
	for _, op := range shown[max(0, len(shown)-shownMax):] {
		text += fmt.Sprintf("%v .. %v client %d: %s\n", time.Duration(op.Call).Round(time.Millisecond), time.Duration(op.Return).Round(time.Millisecond), op.ClientId,
			Register.DescribeOperation(op.Input, op.Output))
	}
	return text
}

// until is what was known at a moment: of calls that were under way, nothing but that they had been made.
func until(ops []porcupine.Operation, moment int64) []porcupine.Operation {
	var open, known []porcupine.Operation
	for _, op := range ops {
		switch {
		case op.Return <= moment:
			known = append(known, op)
		case op.Call < moment && op.Input.(Step).Kind != Get:
			op.Output, op.Return = Step{Unknown: true}, int64(never)
			open = append(open, op)
		}
	}
	return append(open, known...)
}

// Check judges every key, each within the time given.
func (h *History) Check(limit time.Duration) []Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	var faults []Fault
	for key, ops := range h.ops {
		if result := porcupine.CheckOperationsTimeout(Register, ops, limit); result != porcupine.Ok {
			faults = append(faults, Fault{key, result, ops})
		}
	}
	slices.SortFunc(faults, func(a, b Fault) int { return len(a.Ops) - len(b.Ops) })
	return faults
}
