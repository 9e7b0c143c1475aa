package lun

import (
	"encoding/binary"
)

const (
	unmapDescriptorsMax   = 256
	lbaDescriptorsMax     = 64
	granularityBytes      = 4096
	optimalTransferBytes  = 1 << 20
	writeSameBlocksNoStop = 0 // no maximum: the work can be aborted
)

// unmap frees the ranges of its parameter list. All are checked before the first is freed.
func unmap(u *Unit, c *Command) {
	if c.CDB[1]&1 != 0 {
		c.failField(1) // anchored blocks, which the unit has not got
		return
	}
	if length7(u, &c.CDB) == 0 {
		return
	}
	if len(c.Out) < 8 {
		c.Fail(KeyIllegal, ListLength)
		return
	}
	list := c.Out[8:]
	list = list[:min(len(list), int(binary.BigEndian.Uint16(c.Out[2:])))/16*16]
	if len(list) > 16*unmapDescriptorsMax {
		c.Fail(KeyIllegal, InvalidParameter)
		return
	}
	blocks := u.blocks.Load()
	for at := 0; at < len(list); at += 16 {
		lba, count := binary.BigEndian.Uint64(list[at:]), uint64(binary.BigEndian.Uint32(list[at+8:]))
		if lba > blocks || count > blocks-lba {
			c.Fail(KeyIllegal, OutOfRange)
			return
		}
	}
	u.content.RLock()
	defer u.content.RUnlock()
	for at := 0; at < len(list); at += 16 {
		lba, count := binary.BigEndian.Uint64(list[at:]), uint64(binary.BigEndian.Uint32(list[at+8:]))
		if count == 0 {
			continue
		}
		if err := u.store.Unmap(c.Ctx, int64(lba<<u.shift), int64(count<<u.shift)); err != nil {
			c.failStore(u, err, WriteError)
			return
		}
	}
}

const (
	sameUnmap  = 0x08
	sameAnchor = 0x10
	sameNoData = 0x01
)

func sameBytes(u *Unit, cdb *[16]byte) int {
	if cdb[0] == opWriteSame16 && cdb[1]&sameNoData != 0 {
		return 0
	}
	return u.blockBytes()
}

// writeSame writes one block again and again. Zeroes go to the store as what they are.
func writeSame(u *Unit, c *Command) {
	if bad := byte(0xe0 | sameAnchor | 0x06); c.CDB[1]&bad != 0 || (c.CDB[0] == opWriteSame10 && c.CDB[1]&sameUnmap != 0) {
		c.failField(1)
		return
	}
	off, n, ok := u.inRange(c)
	if !ok {
		return
	}
	want := sameBytes(u, &c.CDB)
	if len(c.Out) != want || c.Declared != want {
		c.failField(1)
		return
	}
	if n == 0 {
		n = int64(u.blocks.Load()<<u.shift) - off
	}
	u.content.RLock()
	defer u.content.RUnlock()
	var err error
	switch zero := allZero(c.Out); {
	case zero && c.CDB[1]&sameUnmap != 0:
		err = u.store.Unmap(c.Ctx, off, n)
	case zero:
		err = u.store.WriteZeroes(c.Ctx, off, n)
	default:
		err = u.fill(c, off, n)
	}
	if err != nil {
		c.failStore(u, err, WriteError)
	}
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

func (u *Unit) fill(c *Command, off, n int64) error {
	b := u.pool.Get(int(min(n, chunkBytes)))
	defer u.pool.Put(b)
	for at := 0; at < len(b.B); at += len(c.Out) {
		copy(b.B[at:], c.Out)
	}
	for n > 0 {
		if err := c.Ctx.Err(); err != nil {
			return err
		}
		m := min(n, int64(len(b.B)))
		if err := u.store.WriteAt(c.Ctx, b.B[:m], off); err != nil {
			return err
		}
		off, n = off+m, n-m
	}
	return nil
}

// lbaStatus tells which ranges are allocated.
func lbaStatus(u *Unit, c *Command) {
	lba, allocation := binary.BigEndian.Uint64(c.CDB[2:]), binary.BigEndian.Uint32(c.CDB[10:])
	blocks := u.blocks.Load()
	if lba >= blocks {
		c.Fail(KeyIllegal, OutOfRange)
		return
	}
	data := make([]byte, 8, 8+16*lbaDescriptorsMax)
	for lba < blocks && len(data)+16 <= min(int(min(allocation, 1<<20)), cap(data)) {
		count := min(blocks-lba, 0xffffffff)
		state := byte(0)
		if u.extents != nil {
			allocated, length, err := u.extents.Extent(c.Ctx, int64(lba<<u.shift), int64(count<<u.shift))
			if err != nil {
				c.failStore(u, err, ReadError)
				return
			}
			if !allocated {
				state = 1
			}
			count = min(count, max(uint64(length)>>u.shift, 1))
		}
		data = binary.BigEndian.AppendUint64(data, lba)
		data = binary.BigEndian.AppendUint32(data, uint32(count))
		data = append(data, state, 0, 0, 0)
		lba += count
	}
	binary.BigEndian.PutUint32(data, uint32(len(data)-4))
	c.give(data, int(min(allocation, 1<<20)))
}
