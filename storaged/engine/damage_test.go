package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/vfs"
	"henge/storaged/engine"
	"henge/storaged/engine/enginetest"
	"henge/storaged/peerapi"
)

const damagedKeys = 12

// damagedDisk is a device with several segments, two versions of some keys, and two large objects; all ever written is in the result.
func damagedDisk(t *testing.T) (*vfs.Sim, map[string][]version) {
	t.Helper()
	disk := vfs.NewSim()
	cfg := config(disk, "/disk")
	cfg.CompactShare = 0.0001 // nothing is rewritten behind the test's back
	e := opened(t, cfg)
	all := map[string][]version{}
	for i := range damagedKeys * 3 {
		object := fmt.Sprint("o", i%damagedKeys)
		size := 37_000 + i
		if i%damagedKeys == 3 {
			size = 200_000
		}
		v := version{at: clock.Timestamp(100 + i), data: enginetest.Data(i, size)}
		w, err := e.Create(t.Context(), enginetest.Key(object), -1)
		if err != nil {
			t.Fatal(err)
		}
		_, errWrite := w.Write(v.data)
		if out, err := w.Commit(t.Context(), engine.Write{Record: enginetest.Record(object, v.at)}); err != nil || errWrite != nil || !out.Accepted {
			t.Fatal(out, err, errWrite)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		all[object] = append(all[object], v)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return disk, all
}

// survey opens a damaged device and gives how many keys have not their newest version. It fails the test when anything is read that was never written, or when
// a loss goes unnoticed; torn is the object of which it may, because damage of the last entry looks like a torn tail where no hints say otherwise.
func survey(t *testing.T, disk *vfs.Sim, all map[string][]version, torn, what string) (lost int) {
	t.Helper()
	e, err := engine.Open(t.Context(), config(disk, "/disk"))
	if err != nil {
		t.Fatalf("%s: open: %v", what, err)
	}
	defer e.Close()
	noticed := false
	for object, versions := range all {
		got, _, err := read(e, object)
		switch newest := versions[len(versions)-1]; {
		case err != nil && !errs.Is(err, errs.Corrupt):
			t.Fatalf("%s: %s: %v", what, object, err)
		case err != nil:
			noticed = true
			lost++
			if s, err := e.Head(enginetest.Key(object)); !errs.Is(err, errs.Corrupt) {
				t.Fatalf("%s: %s was set aside, and is %+v, %v", what, object, s.Record, err)
			}
		case !got.equal(newest):
			lost++
			noticed = noticed || object == torn
			if got.at != 0 && !got.equal(versions[0]) && !got.equal(versions[1]) {
				t.Fatalf("%s: %s: what is read was never written: version %d, %d bytes", what, object, got.at, len(got.data))
			}
		}
	}
	if lost > 0 && !noticed && e.Usage().Quarantine == 0 {
		t.Fatalf("%s: %d objects lost, and nobody says so", what, lost)
	}
	// The device goes on, and takes the lost versions again.
	for object, versions := range all {
		newest := versions[len(versions)-1]
		out, err := e.Commit(t.Context(), engine.Write{Record: enginetest.Record(object, newest.at)}, newest.data)
		if err != nil || !out.Accepted {
			t.Fatalf("%s: heal %s: %+v, %v", what, object, out, err)
		}
		want(t, e, object, newest)
	}
	return lost
}

// places gives positions in a file of every sort: all of the first entry's header and metadata, the end, and a sample of the rest.
func places(size int64) []int64 {
	var all []int64
	for i := int64(0); i < 64+72+40; i += 9 {
		all = append(all, i)
	}
	for i := int64(1000); i < size; i += 150_001 {
		all = append(all, i)
	}
	return append(all, size-1, size-5, size-40, size-63, size-100, size-200)
}

func TestDamage_FlippedAndCut(t *testing.T) {
	disk, all := damagedDisk(t)
	files := dataAndLog(t, disk)
	if len(files) < 5 {
		t.Fatalf("only %v", files)
	}
	flips, losses := 0, 0
	for _, name := range files {
		info, err := disk.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range places(info.Size) {
			for _, hints := range []bool{true, false} {
				if at < 0 || at >= info.Size || strings.HasSuffix(name, ".hint") && !hints {
					continue
				}
				hurt := disk.Crash(0)
				if err := hurt.Damage(name, func(b []byte) []byte { b[at] ^= 0x40; return b }); err != nil {
					t.Fatal(err)
				}
				what := fmt.Sprintf("%s flipped at %d of %d, hints %v", name, at, info.Size, hints)
				flips++
				losses += surveyed(t, hurt, all, hints, what, 1)
			}
		}
		for _, at := range []int64{0, 10, 64, 100, 150, 1000, info.Size / 2, info.Size - 1} {
			hurt := disk.Crash(0)
			if err := hurt.Damage(name, func(b []byte) []byte { return b[:min(at, int64(len(b)))] }); err != nil {
				t.Fatal(err)
			}
			surveyed(t, hurt, all, true, fmt.Sprintf("%s cut at %d", name, at), damagedKeys)
		}
	}
	if losses == 0 || losses == flips {
		t.Fatalf("%d flips lost %d objects: the flips did not hit what they should", flips, losses)
	}
}

func surveyed(t *testing.T, hurt *vfs.Sim, all map[string][]version, hints bool, what string, most int) int {
	t.Helper()
	if !hints {
		for _, n := range dataAndLog(t, hurt) {
			if strings.HasSuffix(n, ".hint") {
				if err := hurt.Remove(n); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	torn := ""
	if !hints {
		torn = fmt.Sprint("o", damagedKeys-1)
	}
	lost := survey(t, hurt, all, torn, what)
	if lost > most {
		t.Fatalf("%s: %d objects lost", what, lost)
	}
	return lost
}

// dataAndLog lists all files that matter but the active segment's, whose last entry may pass for torn when there are no hints.
func dataAndLog(t *testing.T, disk *vfs.Sim) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"/disk/log", "/disk/data"} {
		names, err := disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			n = dir + "/" + n
			if inside, err := disk.List(n); err == nil {
				for _, m := range inside {
					all = append(all, n+"/"+m)
				}
			} else {
				all = append(all, n)
			}
		}
	}
	return all
}

func TestDamage_ReadTwiceBeforeBlame(t *testing.T) {
	disk := vfs.NewSim()
	e := opened(t, config(disk, "/disk"))
	put(t, e, "small", 10, enginetest.Data(1, 1000))
	put(t, e, "large", 10, enginetest.Data(2, 200_000))
	for _, object := range []string{"small", "large"} {
		flips := 1
		disk.SetFault(func(op vfs.Op) vfs.Fault {
			if op.Kind == "read" && flips > 0 && op.Length > 500 {
				flips--
				return vfs.Fault{Flip: true}
			}
			return vfs.Fault{}
		})
		_, rc, err := e.Open(enginetest.Key(object), 0, peerapi.Whole)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, rc); err != nil || flips != 0 {
			t.Fatalf("%s: %v, %d flips left: a bit that flips once is to be read again", object, err, flips)
		}
		rc.Close()
	}
	if q := e.Usage().Quarantine; q != 0 {
		t.Fatalf("%d in quarantine", q)
	}
}

func TestDamage_LostIsRemembered(t *testing.T) {
	disk := vfs.NewSim()
	cfg := config(disk, "/disk")
	e := opened(t, cfg)
	put(t, e, "large", 10, enginetest.Data(1, 300_000))
	put(t, e, "other", 10, enginetest.Data(2, 300_000))
	name := dataAndLog(t, disk)[1]
	if err := disk.Damage(name, func(b []byte) []byte { b[200_000] ^= 1; return b }); err != nil {
		t.Fatal(err)
	}
	_, rc, err := e.Open(enginetest.Key("large"), 0, peerapi.Range{Offset: 0, Length: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(rc); len(b) != 0 || !errs.Is(err, errs.Corrupt) {
		// one read brings all four blocks of it: whether a range beside the damage is served is not promised
		if err != nil || !bytes.Equal(b, enginetest.Data(1, 1000)) {
			t.Fatalf("read %d bytes, %v", len(b), err)
		}
	}
	rc.Close()
	if _, _, err = read(e, "large"); !errs.Is(err, errs.Corrupt) && e.Usage().Quarantine != 1 {
		t.Fatalf("read: %v", err)
	}
	for range 2 {
		// Who lost a version does not vote as one who never had it.
		if s, err := e.Head(enginetest.Key("large")); !errs.Is(err, errs.Corrupt) || e.Usage().Quarantine != 1 {
			t.Fatalf("%+v, %v, %d in quarantine", s, err, e.Usage().Quarantine)
		}
		if out, s, err := e.Prepare(t.Context(), enginetest.Key("large"), 20); !errs.Is(err, errs.Corrupt) {
			t.Fatalf("promised: %+v, %+v, %v", out, s, err)
		}
		out, err := e.Commit(t.Context(), engine.Write{Record: enginetest.Record("large", 9)}, nil)
		if err != nil || out.Accepted || out.Newest != 10 {
			t.Fatalf("an older version in the place of a lost one: %+v, %v", out, err)
		}
		e = reopened(t, e, cfg)
	}
	put(t, e, "large", 10, enginetest.Data(1, 300_000))
	e = reopened(t, e, cfg)
	want(t, e, "large", version{at: 10, data: enginetest.Data(1, 300_000)})
	want(t, e, "other", version{at: 10, data: enginetest.Data(2, 300_000)})
	if q := e.Usage().Quarantine; q != 0 {
		t.Fatalf("%d in quarantine after it was healed", q)
	}
}
