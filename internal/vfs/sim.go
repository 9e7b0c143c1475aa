package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"henge/internal/errs"
)

// ErrPowerCut is what every change answers after the power was cut.
var ErrPowerCut = errors.New("the power was cut")

// Op is one change (or read) of a Sim, as fault predicates see it.
type Op struct {
	Kind   string // "create", "open", "rename", "remove", "mkdir", "syncdir", "write", "sync", "truncate", "allocate", "read", "begin", "direct"
	Name   string // of the file or folder
	Offset int64
	Length int64
}

// Fault is what a predicate makes of an Op. The zero Fault is none.
type Fault struct {
	Err  error // the operation fails
	Torn bool  // with Err, of a write: half of it is done before
	Flip bool  // of a read: one bit of what is read is wrong
}

// Sim is a file system in memory. What was not synced is lost, kept or torn when the power is cut, as a seed decides.
type Sim struct {
	mu       sync.Mutex // guards all below, and all nodes
	names    map[string]*node
	pending  []nameChange // changes of names that no SyncDir has covered yet, in order
	durable  map[string]*node
	steps    int
	cutAfter int // 0: never
	cut      bool
	fault    func(Op) Fault
	capacity int64 // 0: no bound
	locks    map[string]bool
}

type node struct {
	dir       bool
	data      []byte
	stable    []byte  // what Sync made durable
	unsynced  []write // since then
	allocated int64
}

type write struct {
	at       int64 // -1: a truncation to size
	data     []byte
	size     int64
	allocate bool
}

type nameChange struct {
	dirs     [2]string // the folders that it changes
	from, to string    // to appears (""), from goes ("")
	node     *node
}

// NewSim is an empty one.
func NewSim() *Sim {
	s := &Sim{names: map[string]*node{}, durable: map[string]*node{}, locks: map[string]bool{}}
	for _, root := range []string{"/", "."} {
		s.names[root] = &node{dir: true}
		s.durable[root] = s.names[root]
	}
	return s
}

// CutAfter cuts the power after n more changes. The change in which it happens may be half done.
func (s *Sim) CutAfter(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutAfter = s.steps + n
}

// Steps is how many changes there were.
func (s *Sim) Steps() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.steps
}

// SetFault lets decide look at every operation before it is done. nil ends that. decide runs with the file system locked: it must not use it.
func (s *Sim) SetFault(decide func(Op) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = decide
}

// SetCapacity bounds the bytes of all files together; writes beyond fail with ENOSPC, perhaps half done.
func (s *Sim) SetCapacity(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = n
}

// Crash is what a machine finds on the disk when it comes up again after losing power now. What was synced is there; of the rest the seed decides, for
// each change, whether it is there, and a write may be torn at any sector. Seed 0 loses all that was not synced. The old Sim answers ErrPowerCut from now on.
func (s *Sim) Crash(seed uint64) *Sim {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = true
	random := rand.New(rand.NewPCG(seed, 7))
	keep := func() bool { return seed != 0 && random.IntN(2) == 0 }
	names := map[string]*node{}
	for name, n := range s.durable {
		names[name] = n
	}
	for _, c := range s.pending {
		if keep() {
			c.apply(names)
		}
	}
	after := NewSim()
	after.capacity = s.capacity
	copies := map[*node]*node{}
	for _, name := range sortedNames(names) {
		if n := names[name]; reachable(names, name) {
			if copies[n] == nil {
				copies[n] = n.crash(random, keep)
			}
			after.names[name], after.durable[name] = copies[n], copies[n]
		}
	}
	return after
}

func reachable(names map[string]*node, name string) bool {
	for dir := path.Dir(name); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if n := names[dir]; n == nil || !n.dir {
			return false
		}
	}
	return true
}

func sortedNames(names map[string]*node) []string {
	all := make([]string, 0, len(names))
	for name := range names {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

const sector = 512

func (n *node) crash(random *rand.Rand, keep func() bool) *node {
	after := &node{dir: n.dir, stable: slices.Clone(n.stable)}
	for _, w := range n.unsynced {
		switch {
		case !keep():
			continue
		case w.at >= 0 && random.IntN(3) == 0: // torn: any of its sectors
			for from := int64(0); from < int64(len(w.data)); from += sector - (w.at+from)%sector {
				if to := min(from+sector-(w.at+from)%sector, int64(len(w.data))); random.IntN(2) == 0 {
					after.stable = write{at: w.at + from, data: w.data[from:to]}.apply(after.stable)
				}
			}
		default:
			after.stable = w.apply(after.stable)
		}
	}
	after.data = slices.Clone(after.stable)
	return after
}

func (w write) apply(b []byte) []byte {
	if w.at < 0 {
		if w.size <= int64(len(b)) && !w.allocate {
			return b[:w.size]
		}
		return grow(b, w.size)
	}
	b = grow(b, w.at+int64(len(w.data)))
	copy(b[w.at:], w.data)
	return b
}

func grow(b []byte, size int64) []byte {
	if n := size - int64(len(b)); n > 0 {
		old := len(b)
		b = slices.Grow(b, int(n))[:size]
		clear(b[old:])
	}
	return b
}

func (c nameChange) apply(names map[string]*node) {
	if c.from != "" {
		if names[c.from] != c.node {
			return // the change that it builds on was lost
		}
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.node
	}
}

// begin counts a change, and asks the predicate. Call with mu held. torn says that half of the write is to be done all the same.
func (s *Sim) begin(op Op) (f Fault, err error) {
	change := op.Kind != "read" && op.Kind != "open" && op.Kind != "begin" && op.Kind != "direct"
	if s.cut {
		return Fault{}, fmt.Errorf("%s %s: %w", op.Kind, op.Name, ErrPowerCut)
	}
	if change {
		s.steps++
		if s.cutAfter > 0 && s.steps > s.cutAfter {
			s.cut = true
			return Fault{Torn: true}, fmt.Errorf("%s %s: %w", op.Kind, op.Name, ErrPowerCut)
		}
	}
	if s.fault != nil {
		f = s.fault(op)
	}
	if f.Err != nil {
		return f, &fs.PathError{Op: op.Kind, Path: op.Name, Err: f.Err}
	}
	return f, nil
}

func (s *Sim) change(c nameChange) {
	for i, name := range []string{c.from, c.to} {
		if name != "" {
			c.dirs[i] = path.Dir(name)
		}
	}
	c.apply(s.names)
	s.pending = append(s.pending, c)
}

func (s *Sim) used() (n int64) {
	seen := map[*node]bool{}
	for _, f := range s.names {
		if !seen[f] {
			seen[f] = true
			n += max(int64(len(f.data)), f.allocated)
		}
	}
	return n
}

// Damage changes a file behind everybody's back, as a rotting disk does: change gets the bytes and gives what is there from now on.
func (s *Sim) Damage(name string, change func([]byte) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.file("damage", name)
	if err != nil {
		return err
	}
	n.data = change(slices.Clone(n.data))
	n.stable, n.unsynced = slices.Clone(n.data), nil
	return nil
}

func (s *Sim) file(op, name string) (*node, error) {
	n := s.names[path.Clean(name)]
	switch {
	case n == nil:
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	case n.dir:
		return nil, &fs.PathError{Op: op, Path: name, Err: syscall.EISDIR}
	}
	return n, nil
}

// Create implements FS.
func (s *Sim) Create(name string) (File, error) {
	name = path.Clean(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.begin(Op{Kind: "create", Name: name}); err != nil {
		return nil, err
	}
	if s.names[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	if d := s.names[path.Dir(name)]; d == nil || !d.dir {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrNotExist}
	}
	n := &node{}
	s.change(nameChange{to: name, node: n})
	return &simFile{sim: s, node: n, name: name, writable: true}, nil
}

// Open implements FS.
func (s *Sim) Open(name string) (File, error) { return s.open(name, false) }

// OpenWrite implements FS.
func (s *Sim) OpenWrite(name string) (File, error) { return s.open(name, true) }

func (s *Sim) open(name string, writable bool) (File, error) {
	name = path.Clean(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.begin(Op{Kind: "open", Name: name}); err != nil {
		return nil, err
	}
	n, err := s.file("open", name)
	if err != nil {
		return nil, err
	}
	return &simFile{sim: s, node: n, name: name, writable: writable}, nil
}

// Rename implements FS.
func (s *Sim) Rename(old, new string) error {
	old, new = path.Clean(old), path.Clean(new)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.begin(Op{Kind: "rename", Name: new}); err != nil {
		return err
	}
	n, err := s.file("rename", old)
	if err != nil {
		return err
	}
	s.change(nameChange{from: old, to: new, node: n})
	return nil
}

// Remove implements FS.
func (s *Sim) Remove(name string) error {
	name = path.Clean(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.begin(Op{Kind: "remove", Name: name}); err != nil {
		return err
	}
	n := s.names[name]
	if n == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	for other := range s.names {
		if n.dir && strings.HasPrefix(other, name+"/") {
			return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
		}
	}
	s.change(nameChange{from: name, node: n})
	return nil
}

// MkdirAll implements FS.
func (s *Sim) MkdirAll(dir string) error {
	dir = path.Clean(dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mkdir(dir)
}

func (s *Sim) mkdir(dir string) error {
	if n := s.names[dir]; n != nil {
		if n.dir {
			return nil
		}
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	}
	if err := s.mkdir(path.Dir(dir)); err != nil {
		return err
	}
	if _, err := s.begin(Op{Kind: "mkdir", Name: dir}); err != nil {
		return err
	}
	s.change(nameChange{to: dir, node: &node{dir: true}})
	return nil
}

// List implements FS.
func (s *Sim) List(dir string) ([]string, error) {
	dir = path.Clean(dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.names[dir]; n == nil || !n.dir {
		return nil, &fs.PathError{Op: "list", Path: dir, Err: fs.ErrNotExist}
	}
	var all []string
	for name := range s.names {
		if path.Dir(name) == dir && name != dir {
			all = append(all, path.Base(name))
		}
	}
	slices.Sort(all)
	return all, nil
}

// Stat implements FS.
func (s *Sim) Stat(name string) (Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.names[path.Clean(name)]
	if n == nil {
		return Info{}, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return Info{Size: int64(len(n.data)), Dir: n.dir}, nil
}

// SyncDir implements FS.
func (s *Sim) SyncDir(dir string) error {
	dir = path.Clean(dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.begin(Op{Kind: "syncdir", Name: dir}); err != nil {
		return err
	}
	if n := s.names[dir]; n == nil || !n.dir {
		return &fs.PathError{Op: "syncdir", Path: dir, Err: fs.ErrNotExist}
	}
	s.pending = slices.DeleteFunc(s.pending, func(c nameChange) bool {
		covered := c.from != "" && c.dirs[0] == dir || c.to != "" && c.dirs[1] == dir
		if covered {
			c.apply(s.durable)
		}
		return covered
	})
	return nil
}

// Space implements FS.
func (s *Sim) Space(string) (Space, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := s.capacity
	if size == 0 {
		size = 1 << 40
	}
	return Space{Size: size, Free: max(0, size-s.used())}, nil
}

// Lock implements FS.
func (s *Sim) Lock(name string) (io.Closer, error) {
	name = path.Clean(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		return nil, fmt.Errorf("lock %s: %w", name, ErrPowerCut)
	}
	if s.locks[name] {
		return nil, errs.New(errs.Conflict, "lock %s: another process holds it", name)
	}
	s.locks[name] = true
	return unlock{s, name}, nil
}

type unlock struct {
	s    *Sim
	name string
}

func (u unlock) Close() error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	delete(u.s.locks, u.name)
	return nil
}
