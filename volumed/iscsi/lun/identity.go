package lun

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

const relativePort = 1

// delegate asks gotgt, and gives length bytes of its answer.
func (u *Unit) delegate(c *Command, cdb [16]byte, length func([]byte) int, allocation int) {
	data, ok := u.foreign.answer(cdb)
	if !ok {
		c.failField(2)
		return
	}
	c.give(data[:min(length(data), len(data))], allocation)
}

func testUnitReady(*Unit, *Command) {}

// requestSense has nothing to tell: sense data comes with the status.
func requestSense(_ *Unit, c *Command) { c.give(senseData(KeyNone, 0), int(c.CDB[4])) }

func startStop(u *Unit, c *Command) {
	// A stop without "no flush" wants the cache on the medium. There is no motor to stop.
	if c.CDB[4]&0xf0 == 0 && c.CDB[4]&1 == 0 && c.CDB[4]&4 == 0 {
		if err := u.store.Flush(c.Ctx); err != nil {
			c.failStore(u, err, WriteError)
		}
	}
}

func sendDiagnostic(_ *Unit, c *Command) {
	if c.CDB[1]&0x04 == 0 || c.CDB[1]&0xe0 != 0 {
		c.failField(1) // only the default self-test, which finds what every read would
	}
}

// preventAllow accepts what makes no difference: the medium cannot be taken out.
func preventAllow(_ *Unit, c *Command) {
	if c.CDB[4]&^3 != 0 {
		c.failField(4)
	}
}

func inquiry(u *Unit, c *Command) {
	allocation := int(binary.BigEndian.Uint16(c.CDB[3:]))
	if c.CDB[1]&^1 != 0 {
		c.failField(1)
		return
	}
	if c.CDB[1]&1 != 0 {
		u.vital(c, allocation)
		return
	}
	if c.CDB[2] != 0 {
		c.failField(2)
		return
	}
	cdb := c.CDB
	binary.BigEndian.PutUint16(cdb[3:], foreignBytesMax)
	data, ok := u.foreign.answer(cdb)
	if !ok {
		c.Fail(KeyHardware, InternalFailure)
		return
	}
	data[5] &^= 0x30 // gotgt says that there are port groups to choose from; there is one port
	c.give(data[:5+int(data[4])], allocation)
}

// vital answers vital product data pages.
func (u *Unit) vital(c *Command, allocation int) {
	var page []byte
	switch c.CDB[2] {
	case 0x00:
		page = []byte{0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2}
	case 0x80:
		page = []byte(u.serial)
	case 0x83:
		page = u.designators()
	case 0x86:
		page = make([]byte, 60)
		page[1] = 0x07 // simple, ordered and head of queue
		page[2] = 0x01 // a volatile cache
	case 0xb0:
		page = u.blockLimits()
	case 0xb1:
		page = make([]byte, 60)
		page[1] = 1 // not a rotating medium
	case 0xb2:
		page = []byte{0, 0xc4, 2, 0} // UNMAP and WRITE SAME(16) unmap; unmapped reads as zeroes; thin
	default:
		c.failField(2)
		return
	}
	data := []byte{0, c.CDB[2], byte(len(page) >> 8), byte(len(page))}
	c.give(append(data, page...), allocation)
}

// designators names the unit and the port. The NAA identifier is made of the serial, so it is the same on whatever peer the volume is.
func (u *Unit) designators() []byte {
	sum := sha256.Sum256([]byte("henge volume " + u.serial))
	naa := sum[:8]
	naa[0] = 0x30 | naa[0]&0x0f // locally assigned
	var page []byte
	add := func(codeSet, kind byte, id []byte) {
		page = append(page, codeSet, kind, 0, byte(len(id)))
		page = append(page, id...)
	}
	add(2, 0x01, fmt.Appendf(nil, "%-8s%s", vendor, u.serial))
	add(1, 0x03, naa)
	add(0x51, 0x94, []byte{0, 0, 0, relativePort})
	add(0x51, 0x95, []byte{0, 0, 0, 1})
	port := fmt.Appendf(nil, "%s,t,0x0001\x00", u.name)
	for len(port)%4 != 0 {
		port = append(port, 0)
	}
	add(0x53, 0x98, port)
	return page
}

func (u *Unit) blockLimits() []byte {
	page := make([]byte, 60)
	put := func(at int, v int) { binary.BigEndian.PutUint32(page[at-4:], uint32(v)) }
	page[1] = compareBlocksMax
	binary.BigEndian.PutUint16(page[2:], uint16(granularityBytes>>u.shift))
	put(8, TransferBytesMax>>u.shift)
	put(12, optimalTransferBytes>>u.shift)
	put(16, 0xffffffff) // prefetch: any length
	put(20, 0xffffffff) // UNMAP: any length
	put(24, unmapDescriptorsMax)
	put(28, granularityBytes>>u.shift)
	put(32, 1<<31) // granularity alignment: valid, 0
	binary.BigEndian.PutUint64(page[32:], writeSameBlocksNoStop)
	return page
}

func readCapacity10(u *Unit, c *Command) {
	if c.CDB[8]&1 == 0 && binary.BigEndian.Uint32(c.CDB[2:]) != 0 {
		c.failField(2)
		return
	}
	u.delegate(c, c.CDB, func([]byte) int { return 8 }, 8)
}

func readCapacity16(u *Unit, c *Command) {
	allocation := int(min(binary.BigEndian.Uint32(c.CDB[10:]), foreignBytesMax))
	cdb := c.CDB
	binary.BigEndian.PutUint32(cdb[10:], foreignBytesMax)
	u.delegate(c, cdb, func(data []byte) int {
		data[14] |= 0x40 // unmapped blocks read as zeroes, which gotgt does not say
		return 32
	}, allocation)
}

func reportLUNs(u *Unit, c *Command) {
	allocation := binary.BigEndian.Uint32(c.CDB[6:])
	if c.CDB[2] > 2 {
		c.failField(2)
		return
	}
	if allocation < 16 {
		c.failField(6)
		return
	}
	if c.CDB[2] == 1 { // well known ones only: there is none
		c.give(make([]byte, 8), int(min(allocation, foreignBytesMax)))
		return
	}
	cdb := c.CDB
	binary.BigEndian.PutUint32(cdb[6:], foreignBytesMax)
	u.delegate(c, cdb, func(data []byte) int { return 8 + int(data[3]) }, int(min(allocation, foreignBytesMax)))
}
