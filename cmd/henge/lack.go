package main

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
)

// lack is something that a peer was to do and cannot on this machine, with the reason in words for the operator.
type lack struct {
	Role  string `json:"role"`
	Why   string `json:"why"`
	Whole bool   `json:"whole,omitempty"` // without it no guest runs here
}

// lacks are all of a peer. Safe for concurrent use.
type lacks struct {
	mu  sync.Mutex // guards all
	all []lack
}

// cannot notes that the peer does without something, and says so once in its log.
func (p *peer) cannot(l lack) {
	p.logger.Warn("a role that this peer cannot play whole", "role", l.Role, "reason", l.Why)
	p.lacks.mu.Lock()
	defer p.lacks.mu.Unlock()
	p.lacks.all = append(p.lacks.all, l)
}

func (l *lacks) list() []lack {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// printLacks says what peers cannot do; nothing when they can do all.
func printLacks(out io.Writer, of map[string][]lack) {
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	first := true
	for _, id := range sortedKeys(of) {
		for _, l := range of[id] {
			if first {
				fmt.Fprintln(t, "\nPEER\tROLE\tWHAT IT CANNOT DO HERE, AND WHY")
				first = false
			}
			fmt.Fprintf(t, "%s\t%s\t%s\n", id, l.Role, l.Why)
		}
	}
	t.Flush()
}
