package lun

import (
	"encoding/binary"
)

// blockRange is what a command's LBA and length fields say.
func blockRange(cdb *[16]byte) (lba, count uint64) {
	switch cdb[0] {
	case opRead6, opWrite6:
		lba, count = uint64(binary.BigEndian.Uint32(cdb[0:])&0x1fffff), uint64(cdb[4])
		if count == 0 {
			count = 256
		}
		return lba, count
	case opCompareWrite:
		return binary.BigEndian.Uint64(cdb[2:]), uint64(cdb[13])
	}
	switch cdbBytes(cdb[0]) {
	case 10:
		return uint64(binary.BigEndian.Uint32(cdb[2:])), uint64(binary.BigEndian.Uint16(cdb[7:]))
	case 12:
		return uint64(binary.BigEndian.Uint32(cdb[2:])), uint64(binary.BigEndian.Uint32(cdb[6:]))
	}
	return binary.BigEndian.Uint64(cdb[2:]), uint64(binary.BigEndian.Uint32(cdb[10:]))
}

// inRange checks a command's range against the unit's length, and answers it in bytes.
func (u *Unit) inRange(c *Command) (off, n int64, ok bool) {
	lba, count := blockRange(&c.CDB)
	blocks := u.blocks.Load()
	if lba > blocks || count > blocks-lba || (count == 0 && lba == blocks) {
		c.Fail(KeyIllegal, OutOfRange)
		return 0, 0, false
	}
	return int64(lba << u.shift), int64(count << u.shift), true
}

// transfer is inRange for commands that move all of their range at once.
func (u *Unit) transfer(c *Command) (off int64, n int, ok bool) {
	if c.CDB[1]&0xe0 != 0 && cdbBytes(c.CDB[0]) != 6 {
		c.failField(1) // protection information, which the unit has not got
		return 0, 0, false
	}
	off, wide, ok := u.inRange(c)
	if ok && wide > TransferBytesMax {
		c.failField(lengthField(c.CDB[0]))
		return 0, 0, false
	}
	return off, int(wide), ok
}

func lengthField(code byte) int {
	switch cdbBytes(code) {
	case 10:
		return 7
	case 12:
		return 6
	}
	return 10
}

// dataBytes is the length of a command that moves its whole range. It saturates: what is too long is refused by its command.
func dataBytes(u *Unit, cdb *[16]byte) int {
	_, count := blockRange(cdb)
	return int(count << u.shift)
}

func length4(_ *Unit, cdb *[16]byte) int { return int(cdb[4]) }
func length7(_ *Unit, cdb *[16]byte) int { return int(binary.BigEndian.Uint16(cdb[7:])) }
func length5(_ *Unit, cdb *[16]byte) int {
	return int(min(binary.BigEndian.Uint32(cdb[5:]), 64<<10))
}

const fuaBit = 0x08

func hasFUA(c *Command) bool { return cdbBytes(c.CDB[0]) != 6 && c.CDB[1]&fuaBit != 0 }

func read(u *Unit, c *Command) {
	off, n, ok := u.transfer(c)
	if !ok {
		return
	}
	c.Wanted = n
	m := min(n, c.InMax)
	if m == 0 {
		return
	}
	whole := (m + u.blockBytes() - 1) >> u.shift << u.shift
	b := u.pool.Get(whole)
	if err := u.store.ReadAt(c.Ctx, b.B, off); err != nil {
		u.pool.Put(b)
		c.failStore(u, err, ReadError)
		return
	}
	c.InBuffer, c.In = b, b.B[:m]
}

// data is what came for a write: whole blocks only. An initiator that declared less than it writes gets what it declared written, and a residual.
func (u *Unit) data(c *Command, n int) []byte {
	return c.Out[:min(n, len(c.Out))>>u.shift<<u.shift]
}

func write(u *Unit, c *Command) {
	off, n, ok := u.transfer(c)
	if !ok {
		return
	}
	u.content.RLock()
	defer u.content.RUnlock()
	u.put(c, u.data(c, n), off, hasFUA(c))
}

// put writes, and makes it durable if the command wants that. u.content is held.
func (u *Unit) put(c *Command, p []byte, off int64, durable bool) bool {
	if len(p) > 0 {
		if err := u.store.WriteAt(c.Ctx, p, off); err != nil {
			c.failStore(u, err, WriteError)
			return false
		}
	}
	if durable {
		if err := u.store.Flush(c.Ctx); err != nil {
			c.failStore(u, err, WriteError)
			return false
		}
	}
	return true
}

// writeVerify writes, makes it durable, and reads it back.
func writeVerify(u *Unit, c *Command) {
	if c.CDB[1]&0x04 != 0 {
		c.failField(1)
		return
	}
	off, n, ok := u.transfer(c)
	if !ok {
		return
	}
	u.content.Lock()
	defer u.content.Unlock()
	p := u.data(c, n)
	if u.put(c, p, off, true) {
		u.compare(c, p, off)
	}
}

// compare reads as many bytes as p has, and fails with MISCOMPARE where they differ.
func (u *Unit) compare(c *Command, p []byte, off int64) bool {
	b := u.pool.Get(chunkBytes)
	defer u.pool.Put(b)
	for at := 0; at < len(p); {
		n := min(len(p)-at, len(b.B))
		if err := u.store.ReadAt(c.Ctx, b.B[:n], off+int64(at)); err != nil {
			c.failStore(u, err, ReadError)
			return false
		}
		for i := range n {
			if b.B[i] != p[at+i] {
				c.failAt(KeyMiscompare, Miscompare, uint32(at+i))
				return false
			}
		}
		at += n
	}
	return true
}

// chunkBytes is how much a command works on at a time that needs not have all of its range at once.
const chunkBytes = 1 << 20

// Values of BYTCHK.
const (
	checkMedium = 0
	checkData   = 1
	checkBlock  = 3
)

func verifyBytes(u *Unit, cdb *[16]byte) int {
	_, count := blockRange(cdb)
	switch cdb[1] >> 1 & 3 {
	case checkData:
		return int(count << u.shift)
	case checkBlock:
		if count > 0 {
			return u.blockBytes()
		}
	}
	return 0
}

func verify(u *Unit, c *Command) {
	if c.CDB[1]&0xe0 != 0 {
		c.failField(1)
		return
	}
	off, n, ok := u.inRange(c)
	if !ok {
		return
	}
	u.content.RLock()
	defer u.content.RUnlock()
	switch c.CDB[1] >> 1 & 3 {
	case checkMedium:
		u.readable(c, off, n)
	case checkData:
		if n > TransferBytesMax {
			c.failField(lengthField(c.CDB[0]))
			return
		}
		u.compare(c, u.data(c, int(n)), off)
	case checkBlock:
		u.repeated(c, off, n)
	default:
		c.failField(1)
	}
}

// readable reads a range, and throws it away.
func (u *Unit) readable(c *Command, off, n int64) {
	b := u.pool.Get(chunkBytes)
	defer u.pool.Put(b)
	for n > 0 {
		m := min(n, int64(len(b.B)))
		if err := u.store.ReadAt(c.Ctx, b.B[:m], off); err != nil {
			c.failStore(u, err, ReadError)
			return
		}
		off, n = off+m, n-m
	}
}

// repeated compares every block of a range with the one that came.
func (u *Unit) repeated(c *Command, off, n int64) {
	if len(c.Out) < u.blockBytes() {
		if n > 0 {
			c.failField(1)
		}
		return
	}
	block := c.Out[:u.blockBytes()]
	for end := off + n; off < end; off += int64(len(block)) {
		if !u.compare(c, block, off) {
			return
		}
	}
}

func preFetch(u *Unit, c *Command) {
	if _, _, ok := u.inRange(c); ok {
		c.Status = StatusGood
	}
}

// synchronize makes all durable, whatever the range: a Store has no narrower promise.
func synchronize(u *Unit, c *Command) {
	if _, _, ok := u.inRange(c); !ok {
		return
	}
	if err := u.store.Flush(c.Ctx); err != nil {
		c.failStore(u, err, WriteError)
	}
}

func readDefect(u *Unit, c *Command) {
	if c.CDB[0] == opReadDefect10 {
		c.give([]byte{0, c.CDB[2] & 0x1f, 0, 0}, int(binary.BigEndian.Uint16(c.CDB[7:])))
		return
	}
	c.give([]byte{0, c.CDB[1] & 0x1f, 0, 0, 0, 0, 0, 0}, int(binary.BigEndian.Uint32(c.CDB[6:])))
}

func orWrite(u *Unit, c *Command) {
	off, n, ok := u.transfer(c)
	if !ok {
		return
	}
	p := u.data(c, n)
	if len(p) == 0 {
		return
	}
	u.content.Lock()
	defer u.content.Unlock()
	b := u.pool.Get(len(p))
	defer u.pool.Put(b)
	if err := u.store.ReadAt(c.Ctx, b.B, off); err != nil {
		c.failStore(u, err, ReadError)
		return
	}
	for i := range p {
		b.B[i] |= p[i]
	}
	u.put(c, b.B, off, hasFUA(c))
}

// compareBlocksMax is the most that COMPARE AND WRITE takes.
const compareBlocksMax = 128

func compareBytes(u *Unit, cdb *[16]byte) int { return 2 * int(cdb[13]) << u.shift }

// compareWrite writes the second half of the data if the blocks hold the first.
func compareWrite(u *Unit, c *Command) {
	if c.CDB[13] > compareBlocksMax {
		c.failField(13)
		return
	}
	off, n, ok := u.transfer(c)
	if !ok {
		return
	}
	if len(c.Out) != 2*n || c.Declared != 2*n {
		c.failField(13)
		return
	}
	u.content.Lock()
	defer u.content.Unlock()
	if n > 0 && u.compare(c, c.Out[:n], off) {
		u.put(c, c.Out[n:], off, hasFUA(c))
	}
}
