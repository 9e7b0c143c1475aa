package lun

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"testing"

	"henge/internal/errs"
	"henge/volumed/iscsi/iscsitest"
	"henge/volumed/iscsi/pool"
)

const unitBytes = 4 << 20

func newUnit(t testing.TB, store Store, blockBytes int, readOnly bool) (*Unit, *Nexus) {
	t.Helper()
	u, err := New(Config{Store: store, Name: "iqn.2026-11.cloud.henge:u", Serial: "serial", BlockBytes: blockBytes, ReadOnly: readOnly,
		Pool: &pool.Pool{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	n := u.Attach("iqn.2026-11.cloud.henge:i,i,0x000000000001")
	n.attention()
	return u, n
}

func do(u *Unit, n *Nexus, out []byte, cdb ...byte) *Command {
	c := &Command{Ctx: context.Background(), Nexus: n, Out: out, Declared: len(out), InMax: TransferBytesMax}
	copy(c.CDB[:], cdb)
	u.Execute(c)
	return c
}

func cdb16(code, flags byte, lba uint64, count uint32) []byte {
	b := make([]byte, 16)
	b[0], b[1] = code, flags
	binary.BigEndian.PutUint64(b[2:], lba)
	binary.BigEndian.PutUint32(b[10:], count)
	return b
}

// TestModel runs random commands on the unit and on a plain array, for both block lengths.
func TestModel(t *testing.T) {
	for _, blockBytes := range []int{512, 4096} {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 1))
		u, n := newUnit(t, iscsitest.NewMemory(unitBytes), blockBytes, false)
		model := make([]byte, unitBytes)
		for range 300 {
			blocks := uint64(unitBytes / blockBytes)
			lba := random.Uint64N(blocks)
			count := min(1+random.Uint64N(64), blocks-lba)
			at, length := int(lba)*blockBytes, int(count)*blockBytes
			part := model[at : at+length]
			data := make([]byte, length)
			for i := 0; i < length; i += 8 {
				binary.LittleEndian.PutUint64(data[i:], random.Uint64())
			}
			step(t, u, n, random.IntN(8), lba, uint32(count), part, data)
			if got := do(u, n, nil, cdb16(opRead16, 0, lba, uint32(count))...); got.Status != 0 || !bytes.Equal(got.In, part) {
				t.Fatalf("read of %d blocks at %d differs: status %#x sense % x", count, lba, got.Status, got.Sense)
			}
		}
		whole := do(u, n, nil, cdb16(opRead16, 0, 0, uint32(unitBytes/blockBytes))...)
		if !bytes.Equal(whole.In, model) {
			t.Error("the whole unit differs from the model")
		}
	}
}

// step does one random operation on both.
func step(t *testing.T, u *Unit, n *Nexus, kind int, lba uint64, count uint32, part, data []byte) {
	t.Helper()
	block := u.blockBytes()
	var c *Command
	switch kind {
	case 0:
		c = do(u, n, data, cdb16(opWrite16, fuaBit, lba, count)...)
		copy(part, data)
	case 1:
		c = do(u, n, data, cdb16(opOrWrite16, 0, lba, count)...)
		for i := range part {
			part[i] |= data[i]
		}
	case 2:
		c = do(u, n, data[:block], cdb16(opWriteSame16, 0, lba, count)...)
		for at := 0; at < len(part); at += block {
			copy(part[at:], data[:block])
		}
	case 3:
		c = do(u, n, make([]byte, block), cdb16(opWriteSame16, sameUnmap, lba, count)...)
		clear(part)
	case 4:
		list := make([]byte, 24)
		binary.BigEndian.PutUint16(list[2:], 16)
		binary.BigEndian.PutUint64(list[8:], lba)
		binary.BigEndian.PutUint32(list[16:], count)
		c = do(u, n, list, opUnmap, 0, 0, 0, 0, 0, 0, 0, 24)
		clear(part)
	case 5:
		compare := cdb16(opCompareWrite, 0, lba, count)
		c = do(u, n, append(bytes.Clone(part), data...), compare...)
		copy(part, data)
	case 6:
		other := bytes.Clone(part)
		other[len(other)-1] ^= 1
		c = do(u, n, append(other, data...), cdb16(opCompareWrite, 0, lba, count)...)
		if c.Status != StatusCheck || c.Sense[2] != KeyMiscompare || binary.BigEndian.Uint32(c.Sense[3:]) != uint32(len(part)-1) {
			t.Fatalf("a comparison that must fail: status %#x sense % x", c.Status, c.Sense)
		}
		return
	default:
		c = do(u, n, data, cdb16(opWriteVerify16, 0, lba, count)...)
		copy(part, data)
	}
	if c.Status != 0 {
		t.Fatalf("operation %d: status %#x sense % x", kind, c.Status, c.Sense)
	}
}

func TestReadOnly(t *testing.T) {
	store := iscsitest.NewMemory(unitBytes)
	u, n := newUnit(t, store, 512, true)
	store.SetFault(func(kind string, _, _ int64) error {
		if kind != iscsitest.Read && kind != iscsitest.Flush {
			t.Errorf("%s reached the store", kind)
		}
		return nil
	})
	for _, code := range []byte{opWrite6, opWrite10, opWrite12, opWrite16, opWriteVerify10, opOrWrite16, opWriteSame10, opWriteSame16, opUnmap, opCompareWrite} {
		if c := do(u, n, nil, code); c.Status != StatusCheck || c.Sense[2] != KeyProtect {
			t.Errorf("%#x: status %#x sense % x", code, c.Status, c.Sense)
		}
	}
	if c := do(u, n, nil, opModeSense6, 0, 0x3f, 0, 255); c.In[2]&0x80 == 0 {
		t.Error("MODE SENSE does not tell")
	}
}

// TestWriteProtect sets the bit by MODE SELECT, which another initiator hears of, and a reset takes back.
func TestWriteProtect(t *testing.T) {
	u, n := newUnit(t, iscsitest.NewMemory(unitBytes), 512, false)
	other := u.Attach("other")
	other.attention()
	page := do(u, n, nil, opModeSense6, 8, controlPage, 0, 255).In[4:]
	list := append([]byte{0, 0, 0, 0}, page...)
	list[6+2] |= swpBit
	if c := do(u, n, list, opModeSelect6, 0x10, 0, 0, byte(len(list))); c.Status != 0 {
		t.Fatalf("sense % x", c.Sense)
	}
	if c := do(u, n, make([]byte, 512), cdb16(opWrite16, 0, 0, 1)...); c.Sense == nil || c.Sense[2] != KeyProtect {
		t.Errorf("a write: status %#x", c.Status)
	}
	if code := other.attention(); code != ModeChanged {
		t.Errorf("the other one hears %04x", code)
	}
	list[6+3] ^= 0x40 // what must not be changed
	if c := do(u, n, list, opModeSelect6, 0x10, 0, 0, byte(len(list))); c.Status == 0 {
		t.Error("an unchangeable field was changed")
	}
	u.Reset()
	n.attention()
	if c := do(u, n, make([]byte, 512), cdb16(opWrite16, 0, 0, 1)...); c.Status != 0 {
		t.Errorf("after a reset: sense % x", c.Sense)
	}
}

func TestOtherUnits(t *testing.T) {
	u, n := newUnit(t, iscsitest.NewMemory(unitBytes), 512, false)
	run := func(lun uint64, cdb ...byte) *Command {
		c := &Command{Ctx: context.Background(), Nexus: n, InMax: 1000, LUN: lun}
		copy(c.CDB[:], cdb)
		u.Execute(c)
		return c
	}
	if c := run(1<<48, opTestUnitReady); c.Sense == nil || binary.BigEndian.Uint16(c.Sense[12:]) != NoSuchUnit {
		t.Errorf("status %#x", c.Status)
	}
	if c := run(1<<48, opInquiry, 0, 0, 0, 255); c.Status != 0 || c.In[0] != 0x7f {
		t.Errorf("INQUIRY: status %#x % x", c.Status, c.In)
	}
	for _, lun := range []uint64{0, 1 << 48, 0x4000 << 48} {
		if c := run(lun, opReportLUNs, 0, 0, 0, 0, 0, 0, 0, 0, 255); len(c.In) != 16 || c.In[3] != 8 {
			t.Errorf("REPORT LUNS: % x", c.In)
		}
	}
	if c := run(0x4000<<48, opTestUnitReady); c.Status != 0 {
		t.Error("LUN 0 in flat addressing is not known")
	}
}

func TestIdentity(t *testing.T) {
	u, n := newUnit(t, iscsitest.NewMemory(6<<40), 512, false)
	if c := do(u, n, nil, opInquiry, 1, 0x80, 0, 255); string(c.In[4:]) != "serial" {
		t.Errorf("serial page % x", c.In)
	}
	if c := do(u, n, nil, opReadCapacity10); !bytes.Equal(c.In, []byte{255, 255, 255, 255, 0, 0, 2, 0}) {
		t.Errorf("READ CAPACITY(10) of 6 TiB: % x", c.In)
	}
	if c := do(u, n, nil, opServiceIn16, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32); binary.BigEndian.Uint64(c.In) != 6<<31-1 || c.In[14]&0xc0 != 0xc0 {
		t.Errorf("READ CAPACITY(16) of 6 TiB: % x", c.In)
	}
	if c := do(u, n, make([]byte, 512), cdb16(opWrite16, 0, 5<<31, 1)...); c.Status != 0 {
		t.Errorf("a write beyond 4 TiB: % x", c.Sense)
	}
	one, two := u.designators(), u.designators()
	if !bytes.Equal(one, two) {
		t.Error("the identifiers change")
	}
}

func TestStoreFull(t *testing.T) {
	store := iscsitest.NewMemory(unitBytes)
	u, n := newUnit(t, store, 512, false)
	store.SetFault(func(string, int64, int64) error { return errs.New(errs.NoSpace, "full") })
	if c := do(u, n, make([]byte, 512), cdb16(opWrite16, 0, 0, 1)...); binary.BigEndian.Uint16(c.Sense[12:]) != SpaceExhausted {
		t.Errorf("sense % x", c.Sense)
	}
}

func TestPreemptAndAbort(t *testing.T) {
	u, a := newUnit(t, iscsitest.NewMemory(unitBytes), 512, false)
	b := u.Attach("b")
	b.attention()
	var ended []*Nexus
	u.abort = func(of []*Nexus) { ended = append(ended, of...) }
	out := func(n *Nexus, action, kind byte, key, new uint64) byte {
		list := make([]byte, 24)
		binary.BigEndian.PutUint64(list, key)
		binary.BigEndian.PutUint64(list[8:], new)
		return do(u, n, list, opPersistentOut, action, kind, 0, 0, 0, 0, 0, 24).Status
	}
	for i, status := range []byte{out(a, outRegister, 0, 0, 1), out(b, outRegister, 0, 0, 2), out(b, outReserve, exclusiveAccess, 2, 0)} {
		if status != 0 {
			t.Fatalf("step %d: status %#x", i, status)
		}
	}
	if c := do(u, a, nil, cdb16(opRead16, 0, 0, 1)...); c.Status != StatusConflict {
		t.Errorf("a read under exclusive access: %#x", c.Status)
	}
	if status := out(a, outPreemptAbort, exclusiveAccess, 1, 2); status != 0 {
		t.Fatalf("PREEMPT AND ABORT: %#x", status)
	}
	if len(ended) != 1 || ended[0] != b {
		t.Errorf("ended: %v", ended)
	}
	if code := b.attention(); code != RegistrationsGone {
		t.Errorf("the victim hears %04x", code)
	}
	if c := do(u, b, make([]byte, 512), cdb16(opWrite16, 0, 0, 1)...); c.Status != StatusConflict {
		t.Errorf("the victim writes: %#x", c.Status)
	}
	if c := do(u, a, nil, opPersistentIn, 3, 0, 0, 0, 0, 0, 2, 0); !bytes.Contains(c.In, []byte(a.ID)) || c.In[3] != 3 {
		t.Errorf("full status: % x", c.In)
	}
}

// FuzzCDB runs any command descriptor block with any data: it ends, with a status, within the bounds, and without reaching gotgt's panics.
func FuzzCDB(f *testing.F) {
	for _, code := range []byte{opInquiry, opModeSense6, opModeSense10, opModeSelect6, opUnmap, opPersistentOut, opServiceIn16, opMaintenanceIn, opReportLUNs, opWriteSame16} {
		f.Add([]byte{code, 1, 0x3f, 0, 0, 0, 0, 0, 24}, make([]byte, 24), 255)
	}
	u, n := newUnit(f, iscsitest.NewMemory(unitBytes), 512, false)
	f.Fuzz(func(t *testing.T, cdb, out []byte, inMax int) {
		c := &Command{Ctx: t.Context(), Nexus: n, InMax: max(0, min(inMax, TransferBytesMax))}
		copy(c.CDB[:], cdb)
		want := u.OutBytes(&c.CDB)
		c.Out, c.Declared = out[:min(len(out), max(want, 0))], len(out)
		if u.InBytes(&c.CDB) < 0 || want < 0 {
			t.Fatal("a negative length")
		}
		u.Execute(c)
		if len(c.In) > c.InMax {
			t.Fatalf("%d bytes of %d", len(c.In), c.InMax)
		}
		if c.Sense != nil && c.Sense[2] == KeyHardware {
			t.Fatalf("a panic: % x", cdb)
		}
		u.pool.Put(c.InBuffer)
	})
}
