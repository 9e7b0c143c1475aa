package iscsi

import "slices"

// line keeps the promises of task attributes: an ORDERED command begins when all before it are over, and none after it begins earlier; HEAD OF
// QUEUE waits for nobody. SIMPLE ones run side by side.
type line struct {
	open    int  // commands whose turn it is
	ordered bool // one of them is ORDERED, and alone
	waiting []*task
}

// enter gives t its turn, or a place to wait.
func (l *line) enter(t *task) {
	if !t.overtaking() && (l.ordered || len(l.waiting) > 0 || t.ordered() && l.open > 0) {
		l.waiting = append(l.waiting, t)
		return
	}
	l.begin(t)
}

func (l *line) begin(t *task) {
	t.turn = true
	l.open++
	l.ordered = l.ordered || t.ordered()
}

// leave takes t out, and answers those whose turn it is now.
func (l *line) leave(t *task) (next []*task) {
	if t.turn {
		l.open--
		l.ordered = l.ordered && !t.ordered()
	} else if i := slices.Index(l.waiting, t); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	for len(l.waiting) > 0 && !l.ordered {
		t := l.waiting[0]
		if t.ordered() && l.open > 0 {
			break
		}
		l.waiting = slices.Delete(l.waiting, 0, 1)
		l.begin(t)
		next = append(next, t)
	}
	return next
}
