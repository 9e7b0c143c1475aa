package iscsi

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"henge/internal/checksum"
)

// client is a raw initiator: it sends what a test wants sent, right or wrong.
type client struct {
	t       testing.TB
	conn    net.Conn
	in      *bufio.Reader
	digests bool

	initiator string
	isid      byte
	tsih      uint16
	itt       uint32
	number    uint32 // CmdSN
	seen      uint32 // ExpStatSN
	most      uint32 // MaxCmdSN, as last told
}

func (r *rig) dial(t testing.TB) *client {
	t.Helper()
	c := r.dialBare(t)
	t.Cleanup(func() { c.conn.Close() })
	return c
}

// dialBare leaves closing to the caller.
func (r *rig) dialBare(t testing.TB) *client {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, conn: conn, in: bufio.NewReaderSize(conn, 32<<10), initiator: testInitiator, isid: 1, number: 1}
}

// login dials, and logs in to the open target.
func (r *rig) login(t testing.TB, keys ...string) *client {
	t.Helper()
	c := r.dial(t)
	if status := c.loginNone(keys...); status != 0 {
		t.Fatalf("login: status %04x", status)
	}
	return c
}

func text(keys ...string) []byte {
	var data []byte
	for _, key := range keys {
		data = append(append(data, key...), 0)
	}
	return data
}

// loginPDU sends one login request, and answers the response's status, flags and text.
func (c *client) loginPDU(flags byte, keys ...string) (status uint16, answer byte, values map[string]string) {
	c.t.Helper()
	var h header
	h[0], h[1] = opLogin|immediateBit, flags
	h[8], h[13] = 0x40, c.isid
	h[14], h[15] = byte(c.tsih>>8), byte(c.tsih)
	h.setWord(24, c.number)
	h.setWord(28, c.seen)
	c.send(&h, text(keys...))
	got, data, err := c.receive()
	if err != nil {
		c.t.Fatalf("login response: %v", err)
	}
	if got.opcode() != opLoginDone {
		c.t.Fatalf("opcode %#x instead of a login response", got.opcode())
	}
	c.seen = got.word(24) + 1
	values = map[string]string{}
	for part := range bytes.SplitSeq(data, []byte{0}) {
		if key, value, ok := strings.Cut(string(part), "="); ok {
			values[key] = value
		}
	}
	if got[1]&finalBit != 0 && got[1]&3 == stageFull {
		c.digests = values["HeaderDigest"] == "CRC32C" && values["DataDigest"] == "CRC32C"
	}
	return uint16(got[36])<<8 | uint16(got[37]), got[1], values
}

func (c *client) names() []string {
	return []string{"InitiatorName=" + c.initiator, "TargetName=" + testIQN, "SessionType=Normal"}
}

// loginNone goes straight to the operational stage.
func (c *client) loginNone(keys ...string) uint16 {
	c.t.Helper()
	status, _, _ := c.loginPDU(finalBit|stageOperational<<2|stageFull, append(c.names(), keys...)...)
	return status
}

// loginCHAP goes through the security stage. The answer's values are those of the last response in it.
func (c *client) loginCHAP(user, secret string, extra ...string) (status uint16, values map[string]string) {
	c.t.Helper()
	status, _, values = c.loginPDU(stageOperational, append(c.names(), "AuthMethod=CHAP,None")...)
	if status != 0 || values["AuthMethod"] != "CHAP" {
		return status, values
	}
	if status, _, values = c.loginPDU(stageOperational, "CHAP_A=5"); status != 0 {
		return status, values
	}
	asked, err := parseBinary(values["CHAP_C"])
	if err != nil {
		c.t.Fatal(err)
	}
	id, _ := parseNumber(values["CHAP_I"], 0, 255)
	theirs := challenge{hash: chapHashes["5"], id: byte(id), text: asked}
	keys := append([]string{"CHAP_N=" + user, "CHAP_R=" + formatBinary(theirs.answer(secret))}, extra...)
	if status, _, values = c.loginPDU(finalBit|stageOperational, keys...); status != 0 {
		return status, values
	}
	status, _, _ = c.loginPDU(finalBit|stageOperational<<2|stageFull, "HeaderDigest=None")
	return status, values
}

// send sends a PDU as it is; the data length is set.
func (c *client) send(h *header, data []byte) {
	c.t.Helper()
	h.setDataBytes(len(data))
	out := append([]byte(nil), h[:]...)
	if c.digests {
		out = binary.LittleEndian.AppendUint32(out, checksum.Of(h[:]))
	}
	if len(data) > 0 {
		padded := append(append([]byte(nil), data...), make([]byte, -len(data)&3)...)
		out = append(out, padded...)
		if c.digests {
			out = binary.LittleEndian.AppendUint32(out, checksum.Of(padded))
		}
	}
	if _, err := c.conn.Write(out); err != nil {
		c.t.Logf("send: %v", err)
	}
}

// receive takes the next PDU, whatever it is.
func (c *client) receive() (h header, data []byte, err error) {
	if _, err = io.ReadFull(c.in, h[:]); err != nil {
		return h, nil, err
	}
	sum := make([]byte, 4)
	if c.digests {
		if _, err = io.ReadFull(c.in, sum); err != nil {
			return h, nil, err
		}
		if binary.LittleEndian.Uint32(sum) != checksum.Of(h[:]) {
			return h, nil, errHeaderDigest
		}
	}
	padded := make([]byte, (h.dataBytes()+3)&^3)
	if _, err = io.ReadFull(c.in, padded); err != nil {
		return h, nil, err
	}
	if c.digests && len(padded) > 0 {
		if _, err = io.ReadFull(c.in, sum); err != nil {
			return h, nil, err
		}
		if binary.LittleEndian.Uint32(sum) != checksum.Of(padded) {
			return h, nil, errDataDigest
		}
	}
	c.most = h.word(32)
	return h, padded[:h.dataBytes()], nil
}

// next is receive that must succeed.
func (c *client) next() (header, []byte) {
	c.t.Helper()
	h, data, err := c.receive()
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	return h, data
}

// expect takes PDUs until one with the opcode comes.
func (c *client) expect(opcode byte) (header, []byte) {
	c.t.Helper()
	for {
		h, data := c.next()
		if h.opcode() == opcode {
			return h, data
		}
		c.t.Logf("on the way to %#x: %#x reason %#x", opcode, h.opcode(), h[2])
	}
}

// closed waits for the target to close the connection.
func (c *client) closed() {
	c.t.Helper()
	for {
		if _, _, err := c.receive(); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				c.t.Fatal("the connection is still open")
			}
			return
		}
	}
}

// start sends a SCSI command, with data at once if there is any.
func (c *client) start(flags byte, cdb []byte, edtl int, data []byte) (itt uint32) {
	c.t.Helper()
	var h header
	c.itt++
	h[0], h[1] = opCommand, finalBit|flags
	h.setWord(16, c.itt)
	h.setWord(20, uint32(edtl))
	h.setWord(24, c.number)
	h.setWord(28, c.seen)
	copy(h[32:], cdb)
	c.number++
	c.send(&h, data)
	return c.itt
}

// result is how a command ended.
type result struct {
	status byte
	key    byte
	code   uint16
	data   []byte
	bits   byte
	count  uint32
}

func (r result) String() string {
	return fmt.Sprintf("status %#x, sense %x/%04x, %d bytes, residual %#x %d", r.status, r.key, r.code, len(r.data), r.bits, r.count)
}

// finish gathers the answer to a command; it sends data as asked.
func (c *client) finish(itt uint32, out []byte) result {
	c.t.Helper()
	var r result
	for {
		h, data := c.next()
		if h.itt() != itt && h.opcode() != opReject {
			continue
		}
		switch h.opcode() {
		case opDataIn:
			if int(h.word(40)) != len(r.data) {
				c.t.Fatalf("data at %d, %d expected", h.word(40), len(r.data))
			}
			r.data = append(r.data, data...)
			if h[1]&statusBit != 0 {
				r.status, r.bits, r.count = h[3], h[1]&6, h.word(44)
				return r
			}
		case opR2T:
			at, n := int(h.word(40)), int(h.word(44))
			c.dataOut(itt, h.word(20), 0, at, out[at:at+n], true)
		case opResponse:
			r.status, r.bits, r.count = h[3], h[1]&6, h.word(44)
			if len(data) >= 16 {
				r.key, r.code = data[4]&0xf, binary.BigEndian.Uint16(data[14:])
			}
			return r
		case opReject:
			c.t.Fatalf("rejected: reason %#x", h[2])
		}
	}
}

func (c *client) dataOut(itt, ttt, sequence uint32, at int, data []byte, final bool) {
	c.t.Helper()
	var h header
	h[0] = opDataOut
	if final {
		h[1] = finalBit
	}
	h.setWord(16, itt)
	h.setWord(20, ttt)
	h.setWord(28, c.seen)
	h.setWord(36, sequence)
	h.setWord(40, uint32(at))
	c.send(&h, data)
}

func (c *client) do(flags byte, cdb []byte, edtl int, data []byte) result {
	c.t.Helper()
	return c.finish(c.start(flags, cdb, edtl, data), nil)
}

// ready takes the unit attention that every session begins with.
func (c *client) ready() *client {
	c.t.Helper()
	for range 4 {
		if r := c.do(0, cdb(0x00), 0, nil); r.status == 0 {
			return c
		}
	}
	c.t.Fatal("the unit does not become ready")
	return nil
}

// cdb makes a command descriptor block.
func cdb(b ...byte) []byte { return append(b, make([]byte, max(0, 16-len(b)))...)[:16] }

func read10(lba uint32, blocks uint16) []byte {
	return cdb(0x28, 0, byte(lba>>24), byte(lba>>16), byte(lba>>8), byte(lba), 0, byte(blocks>>8), byte(blocks))
}

func write10(lba uint32, blocks uint16) []byte {
	b := read10(lba, blocks)
	b[0] = 0x2a
	return b
}

func (c *client) read(lba uint32, blocks uint16) result {
	c.t.Helper()
	return c.do(readBit, read10(lba, blocks), int(blocks)*512, nil)
}

func (c *client) write(lba uint32, data []byte) result {
	c.t.Helper()
	return c.do(writeBit, write10(lba, uint16(len(data)/512)), len(data), data)
}

// ping sends a NOP-Out that wants an answer, and waits for it.
func (c *client) ping(immediate bool) {
	c.t.Helper()
	var h header
	c.itt++
	h[0], h[1] = opNopOut, finalBit
	h.setWord(16, c.itt)
	h.setWord(20, noTag)
	h.setWord(24, c.number)
	if immediate {
		h[0] |= immediateBit
	} else {
		c.number++
	}
	c.send(&h, []byte("are you there"))
	got, data := c.expect(opNopIn)
	if got.itt() != c.itt || string(data) != "are you there" {
		c.t.Fatalf("NOP-In %d %q", got.itt(), data)
	}
}

// manage sends a task management request.
func (c *client) manage(function byte, itt, number uint32) byte {
	c.t.Helper()
	var h header
	c.itt++
	h[0], h[1] = opTask|immediateBit, finalBit|function
	h.setWord(16, c.itt)
	h.setWord(20, itt)
	h.setWord(24, c.number)
	h.setWord(32, number)
	c.send(&h, nil)
	got, _ := c.expect(opTaskDone)
	return got[2]
}
