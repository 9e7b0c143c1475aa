package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"testing"

	"henge/internal/durable"
	"henge/internal/errs"
	"henge/internal/vfs"
)

// both runs a test on the real file system and on the simulated one, which must behave alike.
func both(t *testing.T, test func(t *testing.T, fsys vfs.FS, dir string)) {
	t.Run("OS", func(t *testing.T) { test(t, vfs.OS{}, t.TempDir()) })
	t.Run("Sim", func(t *testing.T) {
		s := vfs.NewSim()
		if err := s.MkdirAll("/tmp/dir"); err != nil {
			t.Fatal(err)
		}
		test(t, s, "/tmp/dir")
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, fsys vfs.FS, name, content string) vfs.File {
	t.Helper()
	f, err := fsys.Create(name)
	check(t, err)
	n, err := f.WriteAt([]byte(content), 0)
	if check(t, err); n != len(content) {
		t.Fatalf("wrote %d of %d", n, len(content))
	}
	return f
}

func content(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	b, err := durable.ReadFile(fsys, name, 1<<20)
	check(t, err)
	return string(b)
}

func TestFS_Files(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f := create(t, fsys, dir+"/a", "hello world")
		if _, err := fsys.Create(dir + "/a"); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("create again: %v", err)
		}
		if _, err := fsys.Open(dir + "/b"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("open what is not there: %v", err)
		}
		b := make([]byte, 20)
		if n, err := f.ReadAt(b, 6); n != 5 || err != io.EOF || string(b[:n]) != "world" {
			t.Fatalf("read %d, %v, %q", n, err, b[:n])
		}
		check(t, f.Truncate(3))
		check(t, f.Allocate(8))
		if got := content(t, fsys, dir+"/a"); got != "hel\x00\x00\x00\x00\x00" {
			t.Fatalf("after truncate and allocate: %q", got)
		}
		check(t, f.Sync())
		check(t, f.SyncData())
		f.Begin(0, 8)
		check(t, fsys.SyncDir(dir))
		check(t, fsys.Rename(dir+"/a", dir+"/b"))
		check(t, create(t, fsys, dir+"/c", "").Close())
		if names, err := fsys.List(dir); err != nil || fmt.Sprint(names) != "[b c]" {
			t.Fatalf("list: %v, %v", names, err)
		}
		check(t, fsys.Remove(dir+"/b"))
		if n, err := f.ReadAt(b[:3], 0); n != 3 || err != nil {
			t.Fatalf("read an open file that was removed: %d, %v", n, err)
		}
		check(t, f.Close())
		if err := fsys.Remove(dir + "/b"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("remove again: %v", err)
		}
		r, err := fsys.Open(dir + "/c")
		check(t, err)
		if _, err := r.WriteAt([]byte("x"), 0); err == nil {
			t.Fatal("a file opened for reading was written")
		}
		check(t, r.Close())
		if s, err := fsys.Space(dir); err != nil || s.Size <= 0 || s.Free > s.Size {
			t.Fatalf("space %+v, %v", s, err)
		}
	})
}

func TestFS_Direct(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f := create(t, fsys, dir+"/a", "")
		defer f.Close()
		if err := f.Direct(true); errs.Is(err, errs.Unsupported) {
			t.Logf("the file system of %s does not write directly", dir)
			return
		}
		b := vfs.AlignedBytes(2 * vfs.DirectBytes)
		for i := range b {
			b[i] = byte(i >> 8)
		}
		_, err := f.WriteAt(b, vfs.DirectBytes)
		check(t, err)
		for _, odd := range [][]byte{b[:100], b[8:][:vfs.DirectBytes]} {
			if vfs.Aligned(odd) {
				t.Fatalf("%d bytes at %p are not aligned", len(odd), odd)
			}
			if _, err := f.WriteAt(odd[:100], 0); !errors.Is(err, syscall.EINVAL) {
				t.Fatalf("a direct write of 100 bytes: %v", err)
			}
		}
		got := vfs.AlignedBytes(len(b))
		if n, err := f.ReadAt(got, vfs.DirectBytes); n < len(b) || !bytes.Equal(got, b) {
			t.Fatalf("read %d bytes directly, %v", n, err)
		}
		if _, err := f.ReadAt(got[1:101], vfs.DirectBytes+1); !errors.Is(err, syscall.EINVAL) {
			t.Fatalf("a direct read of 100 bytes: %v", err)
		}
		check(t, f.Direct(false))
		_, err = f.WriteAt([]byte("tail"), 3*vfs.DirectBytes)
		check(t, err)
		check(t, f.SyncData())
		want := string(make([]byte, vfs.DirectBytes)) + string(b) + "tail"
		if got := content(t, fsys, dir+"/a"); got != want {
			t.Fatalf("%d bytes, not the %d that were written", len(got), len(want))
		}
	})
}

func TestFS_FoldersAndLocks(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		check(t, durable.Mkdir(fsys, dir, dir+"/x/y/z"))
		check(t, create(t, fsys, dir+"/x/y/f", "1").Close())
		if i, err := fsys.Stat(dir + "/x/y"); err != nil || !i.Dir {
			t.Fatalf("stat: %+v, %v", i, err)
		}
		if err := fsys.Remove(dir + "/x"); err == nil {
			t.Fatal("a folder that is not empty was removed")
		}
		check(t, fsys.Remove(dir+"/x/y/z"))
		if err := durable.Mkdir(fsys, dir+"/x", dir+"/other"); err == nil {
			t.Fatal("made a folder outside its root")
		}
		l, err := fsys.Lock(dir + "/lock")
		check(t, err)
		if _, err := fsys.Lock(dir + "/lock"); !errs.Is(err, errs.Conflict) {
			t.Fatalf("locked twice: %v", err)
		}
		check(t, l.Close())
		l, err = fsys.Lock(dir + "/lock")
		check(t, err)
		check(t, l.Close())
	})
}

func TestWriteFile(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		check(t, durable.WriteFile(fsys, dir+"/f", []byte("one")))
		check(t, create(t, fsys, dir+"/f.new", "what a crash left").Close())
		check(t, durable.WriteFile(fsys, dir+"/f", []byte("two")))
		if got := content(t, fsys, dir+"/f"); got != "two" {
			t.Fatalf("%q", got)
		}
		if _, err := durable.ReadFile(fsys, dir+"/f", 2); err == nil {
			t.Fatal("read a file larger than allowed")
		}
	})
}

// TestWriteFile_PowerCut: whenever the power goes, the old file or the new one is there, and after WriteFile returned the new one.
func TestWriteFile_PowerCut(t *testing.T) {
	for cut := 1; cut < 20; cut++ {
		for seed := range uint64(8) {
			s := vfs.NewSim()
			check(t, durable.WriteFile(s, "/f", bytes.Repeat([]byte("old"), 1000)))
			s.CutAfter(cut)
			err := durable.WriteFile(s, "/f", bytes.Repeat([]byte("new"), 2000))
			after := s.Crash(seed)
			got := content(t, after, "/f")
			isOld, isNew := got == string(bytes.Repeat([]byte("old"), 1000)), got == string(bytes.Repeat([]byte("new"), 2000))
			if !isOld && !isNew || err == nil && !isNew {
				t.Fatalf("cut after %d, seed %d: %d bytes, %v", cut, seed, len(got), err)
			}
			if err == nil && cut < 4 {
				t.Fatalf("cut after %d changes, and nobody noticed", cut)
			}
		}
	}
}

func TestSim_LosesWhatWasNotSynced(t *testing.T) {
	s := vfs.NewSim()
	f := create(t, s, "/a", "safe")
	check(t, f.Sync())
	check(t, s.SyncDir("/"))
	_, err := f.WriteAt([]byte("gone"), 0)
	check(t, err)
	check(t, create(t, s, "/b", "no name").Sync())
	after := s.Crash(0)
	if got := content(t, after, "/a"); got != "safe" {
		t.Fatalf("a: %q", got)
	}
	if _, err := after.Stat("/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("b: %v", err)
	}
	if _, err := s.Create("/c"); !errors.Is(err, vfs.ErrPowerCut) {
		t.Fatalf("after the cut: %v", err)
	}
	outcomes := map[string]bool{}
	for seed := range uint64(100) {
		outcomes[content(t, s.Crash(seed), "/a")] = true
	}
	if len(outcomes) < 2 {
		t.Fatalf("outcomes %v: the seed decides nothing", outcomes)
	}
}

func TestSim_TornWrites(t *testing.T) {
	s := vfs.NewSim()
	f := create(t, s, "/a", "")
	check(t, f.Sync())
	check(t, s.SyncDir("/"))
	_, err := f.WriteAt(bytes.Repeat([]byte{1}, 4096), 100)
	check(t, err)
	partly := false
	for seed := range uint64(50) {
		n := bytes.Count([]byte(content(t, s.Crash(seed), "/a")), []byte{1})
		partly = partly || n > 0 && n < 4096
	}
	if !partly {
		t.Fatal("no write was torn")
	}
}

func TestSim_FaultsAndCapacity(t *testing.T) {
	s := vfs.NewSim()
	s.SetCapacity(1000)
	f := create(t, s, "/a", "x")
	if n, err := f.WriteAt(make([]byte, 2000), 0); !errors.Is(err, syscall.ENOSPC) || n >= 2000 {
		t.Fatalf("write beyond: %d, %v", n, err)
	}
	if err := f.Allocate(5000); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("allocate beyond: %v", err)
	}
	check(t, f.Truncate(10))
	s.SetFault(func(op vfs.Op) vfs.Fault {
		switch op.Kind {
		case "write":
			return vfs.Fault{Err: syscall.EIO, Torn: true}
		case "read":
			return vfs.Fault{Flip: true}
		}
		return vfs.Fault{}
	})
	if n, err := f.WriteAt([]byte("abcdefgh"), 0); n != 4 || !errors.Is(err, syscall.EIO) {
		t.Fatalf("torn write: %d, %v", n, err)
	}
	b := make([]byte, 4)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) == "abcd" {
		t.Fatalf("flip: %q, %v", b, err)
	}
	s.SetFault(nil)
	if got := content(t, s, "/a"); got != "abcd\x00\x00\x00\x00\x00\x00" {
		t.Fatalf("%q", got)
	}
}
