package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test binary be the laboratory's first process in its namespaces too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == insideArg {
		os.Exit(inside(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// TestFixedSeeds breaks one cloud by the plans of three seeds; nothing acknowledged may be missing afterwards.
func TestFixedSeeds(t *testing.T) {
	binary, err := filepath.Abs("../../bin/henge")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v: `make e2e` builds it first", err)
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if status := outside(self, []string{"-henge", binary, "-dir", dir, "-seed", "1,2,3", "-seconds", "9"}); status != 0 {
		t.Errorf("the laboratory ended with status %d", status)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "history.txt")); err != nil || strings.Count(string(raw), "undone") < 6 {
		t.Errorf("too few faults were made: %v", err)
	}
}

// TestPlan_IsTheSeeds tells that a seed decides the faults, and that every kind comes before one comes twice.
func TestPlan_IsTheSeeds(t *testing.T) {
	o := options{seconds: 120, peers: 4}
	first, again, other := describe(plan(7, o)), describe(plan(7, o)), describe(plan(8, o))
	if first != again {
		t.Error("the same seed made two plans")
	}
	if first == other {
		t.Error("two seeds made the same plan")
	}
	kinds := map[string]bool{}
	for _, p := range plan(7, o)[:len(faults)] {
		kinds[p.name] = true
	}
	if len(kinds) != len(faults) {
		t.Errorf("the first %d faults are of %d kinds", len(faults), len(kinds))
	}
}

func describe(all []planned) string {
	var b strings.Builder
	for _, p := range all {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// TestOutside_TellsTheStatus runs the laboratory with flags that it refuses.
func TestOutside_TellsTheStatus(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(self, insideArg, "-peers", "1").CombinedOutput(); err == nil || !strings.Contains(string(out), "-peers takes 3 to 20") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestLook_TellsWhatIsWrong: a checker that finds nothing must be able to find something.
func TestLook_TellsWhatIsWrong(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "history.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	l := &ledger{lost: map[string]bool{}}
	l.log = log
	live := &owned{bucket: "b", key: "live", value: "small-1", touched: true}
	gone := &owned{bucket: "b", key: "gone", touched: true}
	open := &owned{bucket: "b", key: "open", value: "small-1", touched: true, may: []string{"small-2", ""}}
	l.look(live, "small-1", nil, "a read")
	for _, found := range []string{"small-1", "small-2", ""} {
		l.look(open, found, nil, "a read")
	}
	l.compare([]*owned{live, gone, open}, []string{"live"}, "a listing")
	if len(l.lost) != 0 || len(l.violations) != 0 || l.acknowledged != 4 {
		t.Fatalf("what is right was called wrong: %v %v", l.lost, l.violations)
	}
	l.look(live, "", nil, "a read")
	l.look(live, "small-0", nil, "a read")
	l.look(open, "small-0", nil, "a read")
	if len(l.lost) != 2 {
		t.Errorf("lost: %v", l.lost)
	}
	l.look(gone, "small-1", nil, "a read")
	l.compare([]*owned{live, gone}, []string{"gone", "gone"}, "a listing")
	// It came back; it is listed, and twice; and what lives is not.
	if len(l.violations) != 4 {
		t.Errorf("violations: %q", l.violations)
	}
}
