package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"henge/cluster/rings"
	"henge/cluster/state"
	"henge/internal/clock"
	"henge/ring"
)

// ringStory runs henge ring commands against a cluster in memory, or a file.
type ringStory struct {
	*testing.T
	store *state.Memory
	clock *clock.Manual
	flags []string // put before each command
}

func newRingStory(t *testing.T) *ringStory {
	return &ringStory{T: t, store: state.NewMemory(), clock: clock.NewManual(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))}
}

func (s *ringStory) try(args ...string) (string, error) {
	s.Helper()
	cmd := newRingCommandAt(func(*cobra.Command) (state.Store, func(), error) {
		if s.store == nil {
			return nil, nil, errors.Join(errors.New("no cluster here"), errors.New("nor there"))
		}
		return s.store, func() {}, nil
	}, s.clock)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append(append([]string(nil), s.flags...), args...))
	err := cmd.ExecuteContext(s.Context())
	return out.String(), err
}

// run wants success, and each of the lines somewhere in the output (runs of blanks count as one).
func (s *ringStory) run(command string, lines ...string) string {
	s.Helper()
	out, err := s.try(strings.Fields(command)...)
	if err != nil {
		s.Fatalf("henge ring %s: %v\n%s", command, err, out)
	}
	for _, want := range lines {
		if !strings.Contains(squeeze(out), want) {
			s.Fatalf("henge ring %s: no %q in\n%s", command, want, out)
		}
	}
	return out
}

// refused wants an error that says so, in one line.
func (s *ringStory) refused(command string, why string) {
	s.Helper()
	out, err := s.try(strings.Fields(command)...)
	if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "\n") {
		s.Fatalf("henge ring %s: %v, want %q\n%s", command, err, why, out)
	}
}

func squeeze(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

func (s *ringStory) inUse(name string) *ring.Ring {
	s.Helper()
	var r *ring.Ring
	if err := s.store.View(s.Context(), func(v state.Reader) (err error) { r, err = rings.PublishedRing(v, name); return err }); err != nil {
		s.Fatal(err)
	}
	return r
}

func TestRingCommand_LifeOfARing(t *testing.T) {
	for _, where := range []string{"cluster", "file"} {
		t.Run(where, func(t *testing.T) {
			s := newRingStory(t)
			path := filepath.Join(t.TempDir(), "object.builder")
			if where == "file" {
				s.flags, s.store = []string{"--file", path}, nil
			}
			s.refused("show", map[string]string{"cluster": `there is no ring "object"`, "file": "no such file"}[where])
			s.run("create 8 3 1", "256 partitions, 3 replicas, min_part_hours 1")
			s.refused("create 8 3 1", "already")
			s.refused("rebalance", "no device with a weight")
			s.run("add r1z1-p1/d1 100 r1z2-p2/d1 100 r1z3-p3/d1_ssd 100", "Device d2r1z3-p3/d1 with weight 100 got id 2")
			s.run("add --zone 4 --peer p4 --device d1 --weight 100 --address 10.0.0.4:7480", "Device d3r1z4-p4/d1")
			s.refused("add r1z9-p4/d1 1", "is in the ring already")
			s.run("rebalance --seed 1 --dry-run", "768 replicas get their first place.", "r1z1-p1/d1 0 192 0 192 new", "Nothing was written")
			s.run("list", "never published: rebalance")
			s.run("rebalance --seed 1", "Balance 0.00, was 100.00. Dispersion 0.00", "Ring version 6")
			s.run("list", "256 3 4 0.00 0.00 up to date")
			s.run("validate", "is valid")
			s.run("show", "256 partitions, 3.000000 replicas, 1 regions, 4 zones, 4 devices, 0.00 balance, 0.00 dispersion", "is 1 (1:00:00 remaining)",
				"3 1 4 p4 d1 10.0.0.4:7480 100.00 192 0.00", "(up to date)")
			s.run("rebalance", "Nothing moves.", "nothing was written")

			s.run("set-weight d3 0", "weight 0, was 100")
			s.run("list", "changed: rebalance")
			s.run("rebalance --seed 2", "Nothing moves.", "rebalance again in 1:00:00", "wait for that")
			s.run("list", "moves wait: rebalance again")
			s.clock.Advance(time.Hour)
			s.run("rebalance --seed 3", "r1z4-p4/d1 192 0 192 0 -100.00%", "192 replicas of 192 partitions move: 25.00% of 768.")
			s.refused("remove /d1 --zone 4", "not both")
			s.refused("remove /d1", "4 devices match /d1")
			s.run("remove --zone 4", "will be removed by the next rebalance")
			s.run("show", "0.00 DEL")
			s.run("rebalance", "Nothing moves.")
		})
	}
}

func TestRingCommand_PublishesWhatItSays(t *testing.T) {
	s := newRingStory(t)
	s.flags = []string{"--ring", "account"}
	s.run("create 6 3 0")
	s.run("add r1z1-p1/d1 1 r1z2-p2/d1 1 r2z1-p3/d1 1 r2z1-p3/d2 1")
	s.run("rebalance --seed 1", "published in the cluster")
	first := s.inUse("account")
	if first.Partitions() != 64 || len(first.Devices()) != 4 {
		t.Fatalf("%d partitions, %d devices", first.Partitions(), len(first.Devices()))
	}
	s.run("set-weight --yes -- -p3 5", "d2r2z1-p3/d1 weight 5, was 1", "d3r2z1-p3/d2 weight 5, was 1")
	s.run("rebalance --dry-run --seed 1", "Nothing was written")
	if s.inUse("account").Digest() != first.Digest() {
		t.Fatal("--dry-run published")
	}
	s.run("rebalance --seed 1")
	if second := s.inUse("account"); second.Digest() == first.Digest() || second.Version() <= first.Version() {
		t.Fatal("nothing was published")
	}
	s.run("list", "account")
	s.refused("--ring nonsense show", `"nonsense" is no ring`)
}

func TestRingCommand_Settings(t *testing.T) {
	s := newRingStory(t)
	s.run("create 6 2 24")
	s.run("add r1z1-p1/d1 1 r1z2-p2/d1 1 r1z3-p3/d1 1")
	s.run("rebalance --seed 1")
	s.run("set-overload 0.1", "now 0.1")
	s.run("set-min-part-hours 2", "now 2")
	s.run("set-replicas 2.5", "now 2.5")
	s.run("show", "is 2 (2:00:00 remaining)", "The overload factor is 10.00% (0.100000)", "64 partitions, 2.500000 replicas")
	s.run("set-region d0 7", "region 7, was 1")
	s.run("set-zone d0 8", "zone 8, was 1")
	s.run("search r7z8", "p1 d1")
	s.run("search --peer p2", "p2 d1")
	s.refused("search d9", "no device matches d9")
	s.run("rebalance --seed 2", "32 replicas get their first place.")
	s.run("set-weight d1 0")
	s.run("pretend-min-part-hours-passed", "Every partition may move")
	s.run("rebalance --seed 3", "r1z2-p2/d1")
	s.refused("set-overload -- -1", "overload -1")
	s.refused("set-overload many", `overload "many" is not a number`)
	s.refused("set-min-part-hours 1.5", "not a whole number")
	s.refused("set-replicas 0", "0 replicas")
	s.refused("set-weight d0", "pairs of device and value")
	s.refused("set-weight d0 heavy", `weight "heavy" is not a number`)
	s.refused("set-weight x 1", `search "x"`)
	s.refused("set-weight d77 1", "no device matches d77")
	s.refused("add r1z1-p9/d1", "has no weight")
	s.refused("add", "add needs")
	s.refused("create a 3 1", `part power "a"`)
	s.refused("dispersion (", "not a regular expression")
}

func TestRingCommand_ValidateFailsAloud(t *testing.T) {
	s := newRingStory(t)
	s.run("create 6 3 1")
	s.run("add r1z1-p1/d1 1 r1z2-p2/d1 1")
	out, err := s.try("validate")
	if err == nil || !strings.Contains(out, "never rebalanced") {
		t.Fatal(out, err)
	}
	s.run("rebalance --seed 1", "Warning: 3 replicas, but only 2 devices with a weight")
	out, err = s.try("validate")
	if err == nil || !strings.Contains(out, "64 replicas have no device") {
		t.Fatal(out, err)
	}
	s.run("add r1z3-p3/d1 1")
	s.run("rebalance --seed 1")
	s.run("validate", "object is valid")
	s.run("remove d2")
	if out, err = s.try("validate"); err == nil || !strings.Contains(out, "64 replicas are on devices that were removed") {
		t.Fatal(out, err)
	}
}

func TestRingCommand_Dispersion(t *testing.T) {
	s := newRingStory(t)
	s.run("create 8 3 0")
	s.run("add r1z1-p1/d1 10 r1z2-p2/d1 10 r1z3-p3/d1 4 r1z1-p1/d2 10 r1z2-p2/d2 10 r1z3-p3/d2 4")
	s.run("rebalance --seed 1")
	s.run("dispersion", "Required overload is 100.000000%", "Worst tier is")
	s.run("dispersion z3$", "TIER PARTS % MAX 0 1 2 3", "r1z3 128 0.00 1 128 128 0 0")
	s.run("set-overload 1")
	for range 6 {
		s.run("rebalance --seed 2")
	}
	s.run("dispersion", "Dispersion is 0.000000", "Required overload is 100")
}

func TestRingCommand_WriteAndLoad(t *testing.T) {
	s := newRingStory(t)
	dir := t.TempDir()
	builder, ringFile := filepath.Join(dir, "o.builder"), filepath.Join(dir, "o.ring")
	s.run("create 6 3 1")
	s.refused("write", "never rebalanced")
	s.run("add r1z1-p1/d1 1 r1z2-p2/d1 1 r1z3-p3/d1 1")
	s.run("rebalance --seed 1")
	s.run("write "+ringFile, "written to "+ringFile)
	s.run("write --builder "+builder, "written to "+builder)
	s.refused("write --builder", "needs a file")
	f, err := os.Open(ringFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if r, err := ring.ReadRing(f); err != nil || r.Digest() != s.inUse("object").Digest() {
		t.Fatalf("the file is not the ring in use: %v", err)
	}
	s.run("--file " + builder + " set-weight d1 3")
	s.run("--file "+builder+" rebalance --seed 1", "written to "+ringFile)
	s.refused("load "+filepath.Join(dir, "nothing"), "no such file")
	s.refused("--file x load "+builder, "leave --file out")
	s.run("load "+builder, "published as object")
	if s.inUse("object").Devices()[1].Weight != 3 {
		t.Fatal("not loaded")
	}
	s.run("--ring object-3 load "+builder, "published as object-3")
	s.run("set-weight d0 2")
	s.run("set-weight d0 1")
	s.refused("load "+builder, "the file only")
	s.run("load --force " + builder)
	other := filepath.Join(dir, "other.builder")
	s.run("--file " + other + " create 7 3 1")
	s.refused("load "+other, "never rebalanced")
	s.run("--file " + other + " add r1z1-p1/d1 1 r1z2-p2/d1 1 r1z3-p3/d1 1")
	s.run("--file " + other + " rebalance")
	s.refused("load "+other, "part power 6, the file 7")
	if err := os.WriteFile(other, []byte("hengbldr\x01 and then nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused("load "+other, "builder file")
	s.refused("--file "+other+" show", "builder file")
	s.refused("--file "+ringFile+" show", "not with")
	if err := os.WriteFile(other, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused("load "+other, "ring file")
	before := s.inUse("object")
	s.run("--ring object-9 load --min-part-hours 5 "+ringFile, "published as object-9")
	again := s.inUse("object-9")
	if again.Replicas() != before.Replicas() || len(again.Devices()) != 3 || again.Version() == 0 {
		t.Fatalf("%+v", again)
	}
	s.run("--ring object-9 show", "is 5 (5:00:00 remaining)", "(up to date)")
	s.run("--ring object-9 rebalance", "Nothing moves.", "nothing was written")
}

func TestRingCommand_Policies(t *testing.T) {
	s := newRingStory(t)
	s.refused("--ring object-1 set-policy two", "no object-1 ring is published")
	for _, name := range []string{"object", "object-1"} {
		s.run("--ring " + name + " create 6 2 1")
		s.run("--ring " + name + " add r1z1-p1/d1 1 r1z2-p2/d1 1")
		s.run("--ring " + name + " rebalance")
	}
	s.run("set-policy gold --alias default", "Policy 0 is gold")
	s.run("--ring object-1 set-policy cheap --deprecated")
	s.refused("--ring object-1 set-policy GOLD", "the name \"GOLD\" is policy 0's")
	s.refused("--ring account set-policy x", "works on an object ring")
	s.run("policies", "0 gold object replicas default default", "1 cheap object-1 replicas deprecated")
	s.run("list", "object-1")
}

func TestRingCommand_SaysWhenThereIsNoCluster(t *testing.T) {
	s := newRingStory(t)
	s.store = nil
	s.refused("list", "no cluster here; nor there")
	s.refused("rebalance", "no cluster here")
}
