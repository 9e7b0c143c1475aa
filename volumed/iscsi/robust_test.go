package iscsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"henge/volumed/iscsi/iscsitest"
	"henge/volumed/iscsi/lun"
)

// alive shows that the process goes on serving others.
func (r *rig) alive(t testing.TB) {
	t.Helper()
	c := r.dial(t)
	c.isid = 0xee
	if status := c.loginNone(); status != 0 {
		t.Fatalf("login afterwards: status %04x", status)
	}
	if got := c.ready().read(0, 1); got.status != 0 {
		t.Fatalf("read afterwards: %v", got)
	}
}

func TestLogin_UnknownTSIH(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	c := r.dial(t)
	c.tsih = 77
	if status := c.loginNone(); status != statusNoSession {
		t.Errorf("status %04x, want %04x", status, statusNoSession)
	}
	r.alive(t)
}

func TestDataOut_BeyondTheEnd(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	c := r.login(t).ready()
	itt := c.start(writeBit, write10(0, 8), 4096, nil)
	r2t, _ := c.expect(opR2T)
	c.dataOut(itt, r2t.word(20), 0, 0, make([]byte, 8192), true)
	if got := c.finish(itt, nil); got.status != lun.StatusCheck || got.key != lun.KeyAborted {
		t.Errorf("%v", got)
	}
	r.alive(t)
}

func TestDataOut_WrongOrderIsNeverStored(t *testing.T) {
	store := memory()
	r := newRig(t, Config{})
	r.open(t, store)
	c := r.login(t).ready()
	for name, at := range map[string]int{"second half first": 512, "far beyond": 1 << 30} {
		itt := c.start(writeBit, write10(0, 2), 1024, nil)
		r2t, _ := c.expect(opR2T)
		c.dataOut(itt, r2t.word(20), 0, at, bytes.Repeat([]byte{1}, 512), false)
		c.dataOut(itt, r2t.word(20), 1, 0, bytes.Repeat([]byte{2}, 512), true)
		if got := c.finish(itt, nil); got.status != lun.StatusCheck || got.key != lun.KeyAborted {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := c.read(0, 2); !bytes.Equal(got.data, make([]byte, 1024)) {
		t.Error("bytes of a broken transfer were stored")
	}
}

// TestCommands_WithoutTheirData are commands whose data or direction is not what they need.
func TestCommands_WithoutTheirData(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	c := r.login(t).ready()
	capacity16 := cdb(0x9e, 0x10)
	capacity16[13] = 32
	orWrite := cdb(0x8b)
	orWrite[13] = 1
	for _, one := range []struct {
		name   string
		flags  byte
		cdb    []byte
		edtl   int
		data   []byte
		status byte
		code   uint16
	}{
		{"UNMAP without data", 0, cdb(0x42, 0, 0, 0, 0, 0, 0, 0, 24), 0, nil, lun.StatusCheck, lun.ListLength},
		{"READ CAPACITY(16) without room", readBit, capacity16, 0, nil, 0, 0},
		{"MODE SENSE(6) without room", readBit, cdb(0x1a, 0, 0x3f, 0, 0xff), 0, nil, 0, 0},
		{"MODE SENSE(6) of one byte", readBit, cdb(0x1a, 0, 0x3f, 0, 1), 1, nil, 0, 0},
		{"PREVENT ALLOW MEDIUM REMOVAL", 0, cdb(0x1e, 0, 0, 0, 1), 0, nil, 0, 0},
		{"ORWRITE(16)", writeBit, orWrite, 512, make([]byte, 512), 0, 0},
		{"INQUIRY with the write bit", writeBit, cdb(0x12, 0, 0, 0, 36), 36, make([]byte, 36), 0, 0},
		{"READ CAPACITY(10) with the write bit", writeBit, cdb(0x25), 8, make([]byte, 8), 0, 0},
		{"READ(10) with the write bit", writeBit, read10(0, 1), 512, make([]byte, 512), 0, 0},
		{"WRITE(10) with the read bit", readBit, write10(0, 1), 512, nil, 0, 0},
		{"both bits", readBit | writeBit, write10(0, 1), 512, make([]byte, 512), 0, 0},
		{"an unknown operation code", 0, cdb(0xff), 0, nil, lun.StatusCheck, lun.InvalidOpcode},
		{"an unknown service action", readBit, cdb(0x9e, 0x1f), 32, nil, lun.StatusCheck, lun.InvalidField},
		{"READ(16) at the end of all numbers", readBit, []byte{0x88, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 8, 0, 0}, 4096, nil, lun.StatusCheck, lun.OutOfRange},
		{"WRITE SAME(16) without a block", 0, cdb(0x93), 0, nil, lun.StatusCheck, lun.InvalidField},
		{"COMPARE AND WRITE without data", 0, []byte{0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}, 0, nil, lun.StatusCheck, lun.InvalidField},
		{"PERSISTENT RESERVE OUT without data", 0, cdb(0x5f), 0, nil, lun.StatusCheck, lun.ListLength},
	} {
		got := c.do(one.flags, one.cdb, one.edtl, one.data)
		if got.status != one.status || got.code != one.code {
			t.Errorf("%s: %v; want status %#x, code %04x", one.name, got, one.status, one.code)
		}
	}
	r.alive(t)
}

func TestLogins_ManyAtOnceWithReads(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	for range 4 {
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				c := r.dial(t)
				c.isid = byte(i)
				if status := c.loginNone(); status != 0 {
					t.Errorf("login %d: status %04x", i, status)
					return
				}
				c.do(0, cdb(0), 0, nil)
				for lba := range uint32(20) {
					if got := c.read(lba, 8); got.status != 0 {
						t.Errorf("read: %v", got)
					}
				}
				c.conn.Close()
			})
		}
		all.Wait()
	}
	r.alive(t)
}

// TestPing_KeepsTheSessionGoing is what hangs a stock gotgt after five seconds with QEMU: a ping that is not immediate counts as a command.
func TestPing_KeepsTheSessionGoing(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	c := r.login(t).ready()
	for _, immediate := range []bool{false, true, false, false} {
		c.ping(immediate)
		if got := c.do(0, cdb(0), 0, nil); got.status != 0 {
			t.Fatalf("TEST UNIT READY after a ping: %v", got)
		}
	}
}

// TestReject_WhatNobodyUnderstands shows that each such PDU is answered, and that the connection goes on.
func TestReject_WhatNobodyUnderstands(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	c := r.login(t).ready()
	send := func(opcode byte, word20 uint32, data []byte) header {
		var h header
		h[0], h[1] = opcode|immediateBit, finalBit
		h.setWord(16, 4711)
		h.setWord(20, word20)
		h.setWord(24, c.number)
		c.send(&h, data)
		got, back := c.expect(opReject)
		if len(back) != headerBytes || back[0] != h[0] {
			t.Errorf("opcode %#x: the Reject does not show the header", opcode)
		}
		return got
	}
	if got := send(0x1d, 0, []byte("abc")); got[2] != rejectNotSupported {
		t.Errorf("unknown opcode: reason %#x", got[2])
	}
	if got := send(opSNACK, 0, nil); got[2] != rejectNotSupported {
		t.Errorf("SNACK: reason %#x", got[2])
	}
	if got := send(opDataOut, 0x12345, []byte("abcd")); got[2] != rejectInvalidField {
		t.Errorf("data for an unknown tag: reason %#x", got[2])
	}
	if got := send(opText, 99, nil); got[2] != rejectInvalidField {
		t.Errorf("text with an unknown tag: reason %#x", got[2])
	}
	if got := c.do(0, cdb(0), 0, nil); got.status != 0 {
		t.Errorf("afterwards: %v", got)
	}
}

func TestText_InFullFeaturePhase(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	c := r.login(t).ready()
	for request, want := range map[string]string{
		"SendTargets=":             "TargetName=" + testIQN,
		"SendTargets=" + testIQN:   "TargetAddress=" + r.addr + ",1",
		"SendTargets=All":          "SendTargets=Reject",
		"X-com.example=1":          "X-com.example=NotUnderstood",
		"MaxBurstLength=512":       "MaxBurstLength=Reject",
		"SendTargets=iqn.2000-1.x": "",
	} {
		var h header
		h[0], h[1] = opText, finalBit
		h.setWord(16, 77)
		h.setWord(20, noTag)
		h.setWord(24, c.number)
		c.number++
		c.send(&h, text(request))
		if _, data := c.expect(opTextDone); !bytes.Contains(data, []byte(want)) {
			t.Errorf("%s: %q", request, data)
		}
	}
	c.ping(false)
}

// TestAHS_IsReadOver shows that an additional header does not put the stream out of step.
func TestAHS_IsReadOver(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	c := r.login(t).ready()
	var h header
	c.itt++
	h[0], h[1], h[4] = opCommand, finalBit, 2
	h.setWord(16, c.itt)
	h.setWord(24, c.number)
	c.number++
	if _, err := c.conn.Write(append(h[:], make([]byte, 8)...)); err != nil {
		t.Fatal(err)
	}
	if got := c.finish(c.itt, nil); got.status != 0 {
		t.Errorf("command with an additional header: %v", got)
	}
	if got := c.read(0, 1); got.status != 0 {
		t.Errorf("the next command: %v", got)
	}
}

// TestLogin_HalfOpen shows that connections that never log in cost little, and end.
func TestLogin_HalfOpen(t *testing.T) {
	r := newRig(t, Config{LoginTimeout: 2 * time.Second})
	r.open(t, memory())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var open []*client
	for range 200 {
		c := r.dial(t)
		var h header
		h[0], h[1] = opLogin|immediateBit, finalBit|stageOperational<<2|stageFull
		h[5], h[6], h[7] = 0xff, 0xff, 0xff // 16 MiB are declared
		if _, err := c.conn.Write(h[:40]); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 200*64<<10 {
		t.Errorf("%d bytes a connection that has not logged in", grown/200)
	}
	for _, c := range open {
		c.closed()
	}
	r.alive(t)
}

func TestLogin_TooMuchData(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	c := r.dial(t)
	var h header
	h[0], h[1] = opLogin|immediateBit, finalBit|stageOperational<<2|stageFull
	h[5] = 0xff
	if _, err := c.conn.Write(h[:]); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.expect(opLoginDone); got[36] != 2 {
		t.Errorf("status %x", got[36:38])
	}
	c.closed()
	r.alive(t)
}

func TestLogin_Truncated(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	var whole header
	whole[0], whole[1] = opLogin|immediateBit, finalBit|stageOperational<<2|stageFull
	data := text("InitiatorName="+testInitiator, "TargetName="+testIQN)
	whole.setDataBytes(len(data))
	bytes := append(whole[:], data...)
	for n := range bytes {
		c := r.dial(t)
		if _, err := c.conn.Write(bytes[:n]); err != nil {
			t.Fatal(err)
		}
		c.conn.Close()
	}
	r.alive(t)
}

// reset closes a connection with RST.
func (c *client) reset() {
	if err := c.conn.(*net.TCPConn).SetLinger(0); err != nil {
		c.t.Error(err)
	}
	c.conn.Close()
}

func TestReset_InTheMiddle(t *testing.T) {
	store := memory()
	r := newRig(t, Config{})
	r.open(t, store)
	for i := range 50 {
		c := r.login(t).ready()
		itt := c.start(writeBit, write10(0, 256), 128<<10, nil)
		r2t, _ := c.expect(opR2T)
		c.dataOut(itt, r2t.word(20), 0, 0, make([]byte, 512*(1+i)), false)
		c.reset()
		c = r.login(t).ready()
		for range 8 {
			c.start(readBit, read10(0, 2048), 1<<20, nil)
		}
		c.reset()
	}
	r.alive(t)
	waitFor(t, func() bool { return store.Busy.Load() == 0 })
}

func waitFor(t testing.TB, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !condition(); {
		if time.Now().After(end) {
			t.Fatal("it did not come about within a minute")
		}
		runtime.Gosched()
	}
}

// second logs in as another initiator.
func (r *rig) second(t testing.TB) *client {
	t.Helper()
	c := r.dial(t)
	c.initiator, c.isid = otherName, 2
	if status := c.loginNone(); status != 0 {
		t.Fatalf("login: status %04x", status)
	}
	return c.ready()
}

func TestReservations_AreEnforced(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	a, b := r.login(t).ready(), r.second(t)
	if got := a.do(0, cdb(0x16), 0, nil); got.status != 0 {
		t.Fatalf("RESERVE(6): %v", got)
	}
	if got := b.write(0, make([]byte, 512)); got.status != lun.StatusConflict {
		t.Errorf("a foreign write under RESERVE(6): %v", got)
	}
	if got := a.do(0, cdb(0x16), 0, nil); got.status != 0 {
		t.Errorf("RESERVE(6) again by its owner: %v", got)
	}
	a.conn.Close()
	waitFor(t, func() bool { return b.write(0, make([]byte, 512)).status == 0 })
	a = r.login(t).ready()
	list := make([]byte, 24)
	binary.BigEndian.PutUint64(list[8:], 0xabcd)
	if got := a.do(writeBit, cdb(0x5f, 0, 0, 0, 0, 0, 0, 0, 24), 24, list); got.status != 0 {
		t.Fatalf("REGISTER: %v", got)
	}
	binary.BigEndian.PutUint64(list, 0xabcd)
	if got := a.do(writeBit, cdb(0x5f, 1, 1, 0, 0, 0, 0, 0, 24), 24, list); got.status != 0 {
		t.Fatalf("RESERVE: %v", got)
	}
	if got := b.write(0, make([]byte, 512)); got.status != lun.StatusConflict {
		t.Errorf("a foreign write under a persistent reservation: %v", got)
	}
	if got := b.read(0, 1); got.status != 0 {
		t.Errorf("a foreign read beside write exclusive: %v", got)
	}
}

// TestStoreErrors_AreErrors is what a stock gotgt answers with GOOD and zeroes.
func TestStoreErrors_AreErrors(t *testing.T) {
	store := memory()
	r := newRig(t, Config{})
	r.open(t, store)
	c := r.login(t).ready()
	store.SetFault(func(string, int64, int64) error { return iscsitest.ErrBroken })
	same := cdb(0x93)
	same[13] = 8
	list := make([]byte, 24)
	list[1], list[3], list[19] = 22, 16, 8
	for name, got := range map[string]result{
		"read":       c.read(0, 8),
		"write":      c.write(0, make([]byte, 4096)),
		"sync":       c.do(0, cdb(0x35), 0, nil),
		"verify":     c.do(0, cdb(0x2f, 0, 0, 0, 0, 0, 0, 0, 8), 0, nil),
		"write same": c.do(writeBit, same, 512, make([]byte, 512)),
		"unmap":      c.do(writeBit, cdb(0x42, 0, 0, 0, 0, 0, 0, 0, 24), 24, list),
	} {
		if got.status != lun.StatusCheck || got.key != lun.KeyMedium || len(got.data) != 0 {
			t.Errorf("%s on a broken store: %v", name, got)
		}
	}
	store.SetFault(func(string, int64, int64) error { return fmt.Errorf("write: %w", errNoSpace) })
	if got := c.write(0, make([]byte, 4096)); got.key != lun.KeyProtect || got.code != lun.SpaceExhausted {
		t.Errorf("write on a full store: %v", got)
	}
	store.SetFault(func(string, int64, int64) error { panic("a bug in the store") })
	if got := c.read(0, 8); got.key != lun.KeyHardware || got.code != lun.InternalFailure {
		t.Errorf("read on a store that panics: %v", got)
	}
	store.SetFault(nil)
	if got := c.read(0, 8); got.status != 0 {
		t.Errorf("afterwards: %v", got)
	}
}

var errNoSpace = syscall.ENOSPC
