package lun

import (
	"bytes"
	"encoding/binary"
)

// modeSense asks gotgt for pages that there are, and cuts the answer.
func modeSense(u *Unit, c *Command) {
	page, sub := c.CDB[2]&0x3f, c.CDB[3]
	if c.CDB[2]>>6 == 3 {
		c.Fail(KeyIllegal, SavingUnsupported)
		return
	}
	known := bytes.IndexByte([]byte{0x02, 0x08, controlPage, 0x1c, 0x3f}, page) >= 0
	if !known || sub != 0 && (page != 0x3f || sub != 0xff) {
		c.failField(2)
		return
	}
	cdb := c.CDB
	if cdb[0] == opModeSense6 {
		cdb[4] = 0xff
		u.delegate(c, cdb, func(data []byte) int { return 1 + int(data[0]) }, int(c.CDB[4]))
		return
	}
	binary.BigEndian.PutUint16(cdb[7:], foreignBytesMax)
	u.delegate(c, cdb, func(data []byte) int { return 2 + int(binary.BigEndian.Uint16(data)) }, int(binary.BigEndian.Uint16(c.CDB[7:])))
}

// modeSelect takes pages whose unchangeable fields are as they are. What can be changed is the software write protect bit.
func modeSelect(u *Unit, c *Command) {
	if c.CDB[1]&0x10 == 0 && len(c.Out) > 0 || c.CDB[1]&0x01 != 0 {
		c.failField(1) // pages of SCSI-2's kind, and saving them
		return
	}
	header, descriptors := 4, 3
	if c.CDB[0] == opModeSelect10 {
		header, descriptors = 8, 7
	}
	if len(c.Out) == 0 {
		return
	}
	if len(c.Out) < header || len(c.Out) < header+int(c.Out[descriptors]) {
		c.Fail(KeyIllegal, ListLength)
		return
	}
	protect := u.swp.Load()
	for pages := c.Out[header+int(c.Out[descriptors]):]; len(pages) > 0; {
		if len(pages) < 2 || len(pages) < 2+int(pages[1]) {
			c.Fail(KeyIllegal, ListLength)
			return
		}
		page := pages[:2+int(pages[1])]
		if !u.selectable(page) {
			c.Fail(KeyIllegal, InvalidParameter)
			return
		}
		if page[0]&0x3f == controlPage {
			protect = page[4]&swpBit != 0
		}
		pages = pages[len(page):]
	}
	u.setProtect(c, protect)
}

func (u *Unit) setProtect(c *Command, on bool) {
	if u.swp.Swap(on) == on {
		return
	}
	u.foreign.protect(on)
	u.raise(ModeChanged, func(n *Nexus) bool { return n != c.Nexus })
}

// selectable says whether a page is one of ours, and differs from it only where it may.
func (u *Unit) selectable(page []byte) bool {
	u.foreign.mu.Lock()
	defer u.foreign.mu.Unlock()
	for _, ours := range u.foreign.lu.ModePages {
		size := int(ours.Size)
		if ours.PageCode != page[0]&0x7f {
			continue
		}
		if len(page) != 2+size {
			return false
		}
		for i, b := range page[2:] {
			if (b^ours.Data[i])&^ours.Data[size+i] != 0 {
				return false
			}
		}
		return true
	}
	return false
}
