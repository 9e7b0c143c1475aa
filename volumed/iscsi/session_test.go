package iscsi

import (
	"bytes"
	"context"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"henge/internal/checksum"
	"henge/internal/errs"
	"henge/volumed/iscsi/iscsitest"
	"henge/volumed/iscsi/lun"
)

func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i/512)*31 + byte(i) + seed
	}
	return p
}

// TestTransfer moves data of all sizes, with and without digests, immediate data and small segments.
func TestTransfer(t *testing.T) {
	for name, keys := range map[string][]string{
		"defaults":       nil,
		"digests":        {"HeaderDigest=CRC32C", "DataDigest=CRC32C"},
		"small segments": {"MaxRecvDataSegmentLength=512", "MaxBurstLength=1536", "FirstBurstLength=512"},
		"no immediate":   {"ImmediateData=No"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.open(t, memory())
			c := r.login(t, keys...).ready()
			for i, blocks := range []int{1, 2, 7, 8, 129, 700} {
				data := pattern(blocks*512, byte(i))
				now := data[:min(len(data), 512)]
				if name == "no immediate" {
					now = nil
				}
				itt := c.start(writeBit, write10(uint32(i), uint16(blocks)), len(data), now)
				if got := c.finish(itt, data); got.status != 0 || got.bits != 0 {
					t.Fatalf("write of %d blocks: %v", blocks, got)
				}
				if got := c.read(uint32(i), uint16(blocks)); got.status != 0 || !bytes.Equal(got.data, data) {
					t.Fatalf("read of %d blocks: %v", blocks, got)
				}
			}
		})
	}
}

func TestDigest_Wrong(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	for _, at := range []int{3, 50, 70} { // in the header, in its digest, in the data
		c := r.login(t, "HeaderDigest=CRC32C", "DataDigest=CRC32C").ready()
		var h header
		h[0], h[1] = opNopOut|immediateBit, finalBit
		h.setWord(16, 9)
		h.setWord(20, noTag)
		h.setDataBytes(32)
		wire := recorded(&h, make([]byte, 32))
		wire[at] ^= 1
		if _, err := c.conn.Write(wire); err != nil {
			t.Fatal(err)
		}
		c.closed()
	}
	r.alive(t)
}

// recorded is the bytes that send would have sent.
func recorded(h *header, data []byte) []byte {
	wire := append([]byte(nil), h[:]...)
	wire = binary.LittleEndian.AppendUint32(wire, checksum.Of(h[:]))
	wire = append(wire, data...)
	return binary.LittleEndian.AppendUint32(wire, checksum.Of(data))
}

// TestInFlight_Many shows that a slow store holds up no other command of the session.
func TestInFlight_Many(t *testing.T) {
	store := memory()
	r := newRig(t, Config{})
	r.open(t, store)
	c := r.login(t).ready()
	store.SetDelay(300 * time.Millisecond)
	for i := range 32 {
		c.start(readBit, read10(uint32(i), 1), 512, nil)
	}
	for range 32 {
		c.expect(opDataIn)
	}
	if most := store.BusyMost.Load(); most < 32 {
		t.Errorf("%d calls at once, of 32 commands", most)
	}
}

// TestMemory_IsBounded shows that large commands wait for memory, in both directions, and all end.
func TestMemory_IsBounded(t *testing.T) {
	store := memory()
	r := newRig(t, Config{SessionMemory: 2 << 20})
	r.open(t, store)
	c := r.login(t).ready()
	store.SetDelay(10 * time.Millisecond)
	data := pattern(1<<20, 3)
	want := map[uint32]bool{}
	for i := range 16 {
		if i%2 == 0 {
			want[c.start(readBit, read10(0, 2048), 1<<20, nil)] = true
		} else {
			want[c.start(writeBit, write10(2048, 2048), 1<<20, data[:64<<10])] = true
		}
	}
	for len(want) > 0 {
		h, _ := c.next()
		switch h.opcode() {
		case opR2T:
			at, n := int(h.word(40)), int(h.word(44))
			for sequence := uint32(0); n > 0; sequence++ {
				m := min(n, dataBytesMax)
				c.dataOut(h.itt(), h.word(20), sequence, at, data[at:at+m], m == n)
				at, n = at+m, n-m
			}
		case opResponse:
			if h[3] != 0 {
				t.Errorf("status %#x", h[3])
			}
			delete(want, h.itt())
		case opDataIn:
			if h[1]&statusBit != 0 {
				delete(want, h.itt())
			}
		}
	}
	if most := store.BusyMost.Load(); most > 2 {
		t.Errorf("%d calls of 1 MiB at once, in 2 MiB", most)
	}
	if got := c.read(2048, 2048); !bytes.Equal(got.data, data) {
		t.Error("what was written is not what is read")
	}
}

func TestOrdered_WaitsItsTurn(t *testing.T) {
	store := memory()
	r := newRig(t, Config{})
	r.open(t, store)
	c := r.login(t).ready()
	var order []int64
	release := make(chan struct{})
	var first atomic.Bool
	store.SetFault(func(kind string, off, _ int64) error {
		if kind == iscsitest.Read && first.CompareAndSwap(false, true) {
			<-release
		}
		return nil
	})
	tags := []uint32{c.start(readBit|1, read10(0, 1), 512, nil), c.start(readBit|attrOrdered, read10(1, 1), 512, nil), c.start(readBit|1, read10(2, 1), 512, nil)}
	c.ping(true) // all three have been taken
	waitFor(t, func() bool { return store.Busy.Load() > 0 })
	if busy := store.Busy.Load(); busy != 1 {
		t.Errorf("%d commands run beside an ordered one", busy)
	}
	close(release)
	for range tags {
		h, _ := c.expect(opDataIn)
		order = append(order, int64(h.itt()))
	}
	for i, itt := range tags {
		if order[i] != int64(itt) {
			t.Errorf("answers in the order %v, want %v", order, tags)
		}
	}
}

func TestCommandNumbers(t *testing.T) {
	r := newRig(t, Config{CommandsMax: 8})
	r.open(t, memory())
	c := r.login(t).ready()
	number := c.number
	c.number = number + 1 // the second first
	later := c.start(0, cdb(0), 0, nil)
	c.number = number + 100 // outside the window: not answered
	c.start(0, cdb(0), 0, nil)
	c.number = number - 1 // seen before
	c.start(0, cdb(0), 0, nil)
	c.number = number
	first := c.start(0, cdb(0), 0, nil)
	got := []uint32{}
	for range 2 {
		h, _ := c.expect(opResponse)
		got = append(got, h.itt())
	}
	if !(got[0] == first && got[1] == later || got[0] == later && got[1] == first) {
		t.Errorf("answered %v, want %d and %d", got, first, later)
	}
	c.number = number + 2
	c.ping(false)
	if want := c.number + 7; c.most != want {
		t.Errorf("MaxCmdSN %d, want %d", c.most, want)
	}
}

func TestAbort(t *testing.T) {
	store := memory()
	r := newRig(t, Config{})
	r.open(t, store)
	c := r.login(t).ready()
	store.SetDelay(time.Hour)
	one := c.start(readBit, read10(0, 1), 512, nil)
	c.start(writeBit, write10(0, 8), 4096, make([]byte, 4096))
	waitFor(t, func() bool { return store.Busy.Load() == 2 })
	if answer := c.manage(manageAbortTask, one, c.number-2); answer != managedDone {
		t.Errorf("abort task: %d", answer)
	}
	if answer := c.manage(manageAbortTask, 999, c.number); answer != managedNoTask {
		t.Errorf("abort of what is not there: %d", answer)
	}
	waiting := c.start(writeBit, write10(0, 8), 4096, nil)
	r2t, _ := c.expect(opR2T)
	if answer := c.manage(manageResetLUN, noTag, 0); answer != managedDone {
		t.Errorf("LUN reset: %d", answer)
	}
	if busy := store.Busy.Load(); busy != 0 {
		t.Errorf("%d calls go on after the reset was answered", busy)
	}
	store.SetDelay(0)
	c.dataOut(waiting, r2t.word(20), 0, 0, make([]byte, 4096), true) // too late, and no mistake
	if got := c.do(0, cdb(0), 0, nil); got.key != lun.KeyUnitAttention || got.code != lun.DeviceReset {
		t.Errorf("after a reset: %v", got)
	}
	if got := c.read(0, 1); got.status != 0 {
		t.Errorf("%v", got)
	}
	for function, want := range map[byte]byte{manageClearACA: managedUnsupported, manageReassign: managedNoReassign, 99: managedUnsupported,
		manageAbortSet: managedDone, manageClearSet: managedDone, manageWarmReset: managedDone} {
		if answer := c.manage(function, noTag, 0); answer != want {
			t.Errorf("function %d: %d, want %d", function, answer, want)
		}
	}
	if answer := c.manage(manageColdReset, noTag, 0); answer != managedDone {
		t.Errorf("cold reset: %d", answer)
	}
	c.closed()
}

func TestLogout(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	c := r.login(t).ready()
	var h header
	h[0], h[1] = opLogout|immediateBit, finalBit|logoutRecovery
	h.setWord(24, c.number)
	c.send(&h, nil)
	if got, _ := c.expect(opLogoutEnd); got[2] != logoutNoRecovery {
		t.Errorf("for recovery: %d", got[2])
	}
	h[1] = finalBit
	c.send(&h, nil)
	if got, _ := c.expect(opLogoutEnd); got[2] != loggedOut {
		t.Errorf("response %d", got[2])
	}
	c.closed()
	waitFor(t, func() bool { return len(r.Sessions()) == 0 })
}

// TestLogin_Again shows that a second login of the same initiator port takes the first one's place, after its commands are over.
func TestLogin_Again(t *testing.T) {
	store := memory()
	r := newRig(t, Config{})
	r.open(t, store)
	first := r.login(t).ready()
	store.SetDelay(time.Hour)
	first.start(readBit, read10(0, 1), 512, nil)
	waitFor(t, func() bool { return store.Busy.Load() == 1 })
	second := r.login(t)
	if busy := store.Busy.Load(); busy != 0 {
		t.Errorf("%d commands of the first session go on", busy)
	}
	first.closed()
	store.SetDelay(0)
	second.ready()
	if open := r.Sessions(); len(open) != 1 {
		t.Errorf("%d sessions", len(open))
	}
}

// TestEpoch shows that an older epoch does nothing any more once the newer one is there.
func TestEpoch(t *testing.T) {
	store := memory()
	r := newRig(t, Config{})
	target := Target{IQN: testIQN, Store: store, Serial: "v", Open: true, Initiators: []string{testInitiator, otherName}, Volume: "v", Epoch: 1}
	r.export(t, target)
	old := r.login(t).ready()
	release := make(chan struct{})
	store.SetFault(func(kind string, _, _ int64) error {
		if kind == iscsitest.Write {
			<-release // a store that does not look at its context
		}
		return nil
	})
	old.start(writeBit, write10(0, 1), 512, make([]byte, 512))
	waitFor(t, func() bool { return store.Busy.Load() == 1 })
	target.IQN, target.Epoch = testIQN+"-2", 2
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Export(ctx, target); !errs.Is(err, errs.Timeout) {
		t.Errorf("with a write of the old epoch under way: %v", err)
	}
	if status := r.dial(t).loginNone(); status != statusNotFound {
		t.Errorf("login to the old epoch: status %04x", status)
	}
	old.closed()
	close(release)
	r.export(t, target)
	if store.Busy.Load() != 0 {
		t.Error("the old epoch's write goes on beside the new one")
	}
	target.Epoch = 1
	if err := r.Export(t.Context(), target); !errs.Is(err, errs.Conflict) {
		t.Errorf("an older epoch: %v", err)
	}
	if exports := r.Exports(); len(exports) != 1 || exports[testIQN+"-2"] != 2 {
		t.Errorf("exports %v", exports)
	}
}

func TestResize(t *testing.T) {
	store := memory()
	r := newRig(t, Config{})
	r.open(t, store)
	c := r.login(t).ready()
	if got := c.read(300000, 1); got.code != lun.OutOfRange {
		t.Fatalf("%v", got)
	}
	store.Resize(256 << 20)
	if err := r.Resize(testIQN); err != nil {
		t.Fatal(err)
	}
	if got := c.read(300000, 1); got.key != lun.KeyUnitAttention || got.code != lun.CapacityChanged {
		t.Errorf("the first command afterwards: %v", got)
	}
	if got := c.read(300000, 1); got.status != 0 {
		t.Errorf("%v", got)
	}
	if got := c.do(readBit, cdb(0x25), 8, nil); binary.BigEndian.Uint32(got.data) != 256<<11-1 {
		t.Errorf("READ CAPACITY(10): %x", got.data)
	}
	store.Resize(1 << 20)
	if err := r.Resize(testIQN); !errs.Is(err, errs.Invalid) {
		t.Errorf("smaller: %v", err)
	}
	if err := r.Resize("iqn.2000-01.x:y"); !errs.Is(err, errs.NotFound) {
		t.Errorf("not exported: %v", err)
	}
}

func TestUnexport(t *testing.T) {
	store := memory()
	r := newRig(t, Config{LogoutGrace: 100 * time.Millisecond})
	r.open(t, store)
	c := r.login(t).ready()
	done := make(chan error, 1)
	go func() { done <- r.Unexport(context.Background(), testIQN) }()
	if got, _ := c.expect(opAsync); got[36] != eventLogout {
		t.Errorf("event %d", got[36])
	}
	c.closed()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if status := r.dial(t).loginNone(); status != statusNotFound {
		t.Errorf("status %04x", status)
	}
	if err := r.Unexport(t.Context(), testIQN); err != nil {
		t.Errorf("again: %v", err)
	}
	r.open(t, store)
	r.alive(t)
}

// TestDrain lets commands under way end with their answers.
func TestDrain(t *testing.T) {
	store := memory()
	r := newRig(t, Config{LogoutGrace: 50 * time.Millisecond})
	r.open(t, store)
	c := r.login(t).ready()
	store.SetDelay(time.Second)
	c.start(readBit, read10(0, 1), 512, nil)
	waitFor(t, func() bool { return store.Busy.Load() == 1 })
	done := make(chan error, 1)
	go func() { done <- r.Drain(context.Background()) }()
	got := []byte{}
	for {
		h, _, err := c.receive()
		if err != nil {
			break
		}
		got = append(got, h.opcode())
	}
	if !bytes.Equal(got, []byte{opAsync, opDataIn, opAsync}) {
		t.Errorf("PDUs % x", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestSilence shows that a silent initiator is pinged, kept if it answers, and given up if not.
func TestSilence(t *testing.T) {
	r := newRig(t, Config{PingInterval: 100 * time.Millisecond})
	r.open(t, memory())
	c := r.login(t).ready()
	for range 3 {
		got, _ := c.expect(opNopIn)
		var h header
		h[0], h[1] = opNopOut|immediateBit, finalBit
		h.setWord(16, noTag)
		h.setWord(20, got.word(20))
		h.setWord(24, c.number)
		c.send(&h, nil)
	}
	if got := c.do(0, cdb(0), 0, nil); got.status != 0 {
		t.Errorf("%v", got)
	}
	c.closed()
}

// TestDeaf shows that an initiator that sends and never reads is given up, and holds a bounded amount of memory until then.
func TestDeaf(t *testing.T) {
	r := newRig(t, Config{WriteTimeout: 500 * time.Millisecond})
	r.open(t, memory())
	c := r.login(t).ready()
	var h header
	h[0], h[1] = opNopOut|immediateBit, finalBit
	h.setWord(16, 1)
	h.setWord(20, noTag)
	h.setDataBytes(8192)
	wire := append(h[:], make([]byte, 8192)...)
	for range 1 << 20 {
		if _, err := c.conn.Write(wire); err != nil {
			break
		}
	}
	waitFor(t, func() bool { return len(r.Sessions()) == 0 })
	r.alive(t)
}

// TestLogins_FlatMemory logs in and out again and again.
func TestLogins_FlatMemory(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	cycle := func(n int) uint64 {
		for range n {
			c := r.dialBare(t)
			if status := c.loginNone(); status != 0 {
				t.Errorf("status %04x", status)
			}
			c.do(0, cdb(0), 0, nil)
			c.conn.Close()
		}
		waitFor(t, func() bool { return len(r.Sessions()) == 0 })
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := cycle(200)
	after := cycle(2000)
	if grown := int64(after) - int64(before); grown > 300<<10 {
		t.Errorf("%d bytes more after 2000 logins", grown)
	}
}
