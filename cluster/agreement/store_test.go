package agreement

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"henge/cluster/state"
	"henge/internal/errs"
)

func TestLogStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	s, err := openLogStore(path)
	must(t, err)
	if first, _ := s.FirstIndex(); first != 0 {
		t.Fatalf("an empty store begins at %d", first)
	}
	var entries []*raft.Log
	for i := uint64(1); i <= 10; i++ {
		entries = append(entries, &raft.Log{Index: i, Term: i / 3, Type: raft.LogType(i % 3), Data: bytes.Repeat([]byte{byte(i)}, int(i)), Extensions: []byte("x"),
			AppendedAt: time.Unix(1700000000, int64(i))})
	}
	must(t, s.StoreLogs(entries))
	s.stage(7)
	must(t, s.StoreLog(&raft.Log{Index: 11, Data: []byte{}}))
	must(t, s.SetUint64([]byte("term"), 5))
	must(t, s.close())

	s, err = openLogStore(path)
	must(t, err)
	defer s.close()
	for _, want := range entries {
		var got raft.Log
		must(t, s.GetLog(want.Index, &got))
		if !reflect.DeepEqual(&got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
	if committed, err := s.committed(); err != nil || committed != 7 {
		t.Fatalf("committed %d, %v", committed, err)
	}
	must(t, s.DeleteRange(1, 4))
	must(t, s.DeleteRange(9, 11))
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	if first != 5 || last != 8 {
		t.Fatalf("%d to %d are left", first, last)
	}
	if err := s.GetLog(4, &raft.Log{}); err != raft.ErrLogNotFound {
		t.Fatalf("a deleted entry: %v", err)
	}
	term, err := s.GetUint64([]byte("term"))
	none, _ := s.GetUint64([]byte("none"))
	if err != nil || term != 5 || none != 0 {
		t.Fatalf("stable values %d, %d, %v", term, none, err)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(encodeEntry(&raft.Log{Index: 1, Term: 2, Data: []byte("d"), Extensions: []byte("e")}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var entry, back raft.Log
		if decodeEntry(1, raw, &entry) != nil {
			return
		}
		if err := decodeEntry(1, encodeEntry(&entry), &back); err != nil || !reflect.DeepEqual(entry, back) {
			t.Fatalf("%+v became %+v, %v", entry, back, err)
		}
	})
}

// machineWith applies n updates through an fsm, as a log would.
func fsmWith(t testing.TB, n int) (*fsm, [][]byte) {
	t.Helper()
	f := newFSM(slog.New(slog.DiscardHandler), func(uint64) {})
	var commands [][]byte
	for i := range n {
		a := f.machine.Snapshot().Begin()
		a.Put(fmt.Sprintf("k%d", i%5), []byte{byte(i)})
		command, err := newCommand(a.Transaction())
		if err != nil {
			t.Fatal(err)
		}
		commands = append(commands, command)
		if got := f.Apply(&raft.Log{Index: uint64(i + 1), Data: command}).(outcome); got.status != applied {
			t.Fatalf("update %d: %+v", i, got)
		}
	}
	return f, commands
}

func TestFSM_SameCommandHappensOnce(t *testing.T) {
	f, commands := fsmWith(t, 20)
	got := f.Apply(&raft.Log{Index: 21, Data: commands[12]}).(outcome)
	if got.status != applied || got.index != 13 || f.machine.Snapshot().Index() != 20 {
		t.Fatalf("sent again it gave %+v, and the state is at %d", got, f.machine.Snapshot().Index())
	}
	var raw bytes.Buffer
	p, err := f.Snapshot()
	must(t, err)
	must(t, p.(*picture).write(&raw))
	g, _ := fsmWith(t, 0)
	must(t, g.Restore(readCloser{&raw}))
	if got := g.Apply(&raft.Log{Index: 21, Data: commands[12]}).(outcome); got.status != applied || got.index != 13 {
		t.Fatalf("sent again after a restore it gave %+v", got)
	}
	if !slices.Equal(dump(f), dump(g)) {
		t.Fatalf("restored %v, want %v", dump(g), dump(f))
	}
}

func TestFSM_ForgottenCommandsExpire(t *testing.T) {
	f, commands := fsmWith(t, recentMax+10)
	if got := f.Apply(&raft.Log{Index: recentMax + 11, Data: commands[3]}).(outcome); got.status != expired {
		t.Fatalf("a command that nobody remembers gave %+v", got)
	}
	if got := f.Apply(&raft.Log{Index: recentMax + 12, Data: commands[recentMax]}).(outcome); got.status != applied || got.index != recentMax+1 {
		t.Fatalf("a command that is remembered gave %+v", got)
	}
}

func TestFSM_UnknownCommandStopsIt(t *testing.T) {
	f, commands := fsmWith(t, 1)
	for i, data := range [][]byte{append([]byte{99}, commands[0][1:]...), commands[0]} {
		if got := f.Apply(&raft.Log{Index: uint64(i + 2), Data: data}).(outcome); !errs.Is(got.err, errs.Internal) {
			t.Fatalf("got %+v", got)
		}
	}
	if f.machine.Snapshot().Index() != 1 {
		t.Fatal("the state went on after an entry that was not understood")
	}
}

type readCloser struct{ *bytes.Buffer }

func (readCloser) Close() error { return nil }

func dump(f *fsm) (all []string) {
	for c, mod := range f.machine.Snapshot().Entries() {
		all = append(all, fmt.Sprintf("%s=%x@%d", c.Key, c.Value, mod))
	}
	return all
}

func FuzzReadPicture(f *testing.F) {
	m, _ := fsmWith(f, 12)
	p, err := m.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	var raw bytes.Buffer
	if err := p.(*picture).write(&raw); err != nil {
		f.Fatal(err)
	}
	f.Add(raw.Bytes())
	f.Add(raw.Bytes()[:len(raw.Bytes())-5])
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, content, err := readPicture(bytes.NewReader(raw)); err == nil {
			state.NewMachine().Restore(1, content)
		} else if !errs.Is(err, errs.Corrupt) {
			t.Fatal(err)
		}
	})
}

func TestPicture_FlippedBits(t *testing.T) {
	m, _ := fsmWith(t, 12)
	p, err := m.Snapshot()
	must(t, err)
	var raw bytes.Buffer
	must(t, p.(*picture).write(&raw))
	for i := range raw.Bytes() {
		raw.Bytes()[i] ^= 4
		if _, _, err := readPicture(bytes.NewReader(raw.Bytes())); !errs.Is(err, errs.Corrupt) {
			t.Fatalf("byte %d was changed: %v", i, err)
		}
		raw.Bytes()[i] ^= 4
	}
}

// The newest snapshot is damaged: the older one and the log do as well, or else nothing is opened at all.
func TestOpen_DamagedSnapshot(t *testing.T) {
	t.Parallel()
	h := newHall(t, 1)
	dir := h.group("p1").cfg.Dir
	for i := range 3 {
		put(t, h.group("p1"), "k", fmt.Sprint(i))
		must(t, h.group("p1").Snapshot())
	}
	h.kill("p1")
	snapshots, err := filepath.Glob(filepath.Join(dir, "snapshots", "*", "state.bin"))
	if err != nil || len(snapshots) != 2 {
		t.Fatalf("%d snapshots are kept, %v", len(snapshots), err)
	}
	must(t, os.Truncate(snapshots[1], 20))
	h.open(filepath.Dir(dir), "p1")
	if got := get(t, h.group("p1"), "k"); got != "2" {
		t.Fatalf("with the older snapshot and the log k is %q", got)
	}
}

func TestPlan(t *testing.T) {
	voter := func(ids ...string) (s []raft.Server) {
		for _, id := range ids {
			suffrage := raft.Voter
			if id[0] == '-' {
				id, suffrage = id[1:], raft.Nonvoter
			}
			s = append(s, raft.Server{ID: raft.ServerID(id), Suffrage: suffrage})
		}
		return s
	}
	// A peer is "name/zone", with a ! in front when it is long dead, a ? when it is just not alive.
	peers := func(names ...string) (all []Peer) {
		for _, n := range names {
			p := Peer{Alive: true}
			switch n[0] {
			case '!':
				p.Alive, n = false, n[1:]
			case '?':
				p.Alive, n, p.DeadSince = false, n[1:], time.Unix(1<<40, 0)
			}
			p.ID, p.Zone = n[:1], n[2:]
			all = append(all, p)
		}
		return all
	}
	for _, c := range []struct {
		name    string
		servers []raft.Server
		peers   []Peer
		want    change
	}{
		{"alone", voter("a"), peers("a/1"), change{}},
		{"nobody is known yet", voter("a"), nil, change{}},
		{"a new peer follows", voter("a"), peers("a/1", "b/2"), change{follow, "b"}},
		{"then votes", voter("a", "-b"), peers("a/1", "b/2"), change{promote, "b"}},
		{"a fresh zone first", voter("a", "-b", "-c"), peers("a/1", "b/1", "c/2"), change{promote, "c"}},
		{"the same zone if there is no other", voter("a", "-b"), peers("a/1", "b/1"), change{promote, "b"}},
		{"the dead do not begin to vote", voter("a", "-b"), peers("a/1", "?b/2"), change{}},
		{"three are enough", voter("a", "b", "c", "-d"), peers("a/1", "b/2", "c/3", "d/4"), change{}},
		{"away for a moment", voter("a", "b", "c", "-d"), peers("a/1", "b/2", "?c/3", "d/4"), change{}},
		{"long dead, another can", voter("a", "b", "c", "-d"), peers("a/1", "b/2", "!c/3", "d/4"), change{promote, "d"}},
		{"then the dead one goes", voter("a", "b", "c", "d"), peers("a/1", "b/2", "!c/3", "d/4"), change{demote, "c"}},
		{"long dead, nobody else", voter("a", "b", "c"), peers("a/1", "b/2", "!c/3"), change{}},
		{"removed", voter("a", "b", "c"), peers("a/1", "b/2"), change{remove, "c"}},
		{"a crowded zone makes room", voter("a", "b", "c", "-d"), peers("a/1", "b/1", "c/2", "d/3"), change{promote, "d"}},
		{"and one of it goes, not the leader", voter("a", "b", "c", "d"), peers("a/1", "b/1", "c/2", "d/3"), change{demote, "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plan(c.servers, c.peers, "a", 3, func(p Peer) bool { return !p.Alive && p.DeadSince.IsZero() })
			if got != c.want {
				t.Fatalf("got %v, want %v", got, c.want)
			}
		})
	}
}
