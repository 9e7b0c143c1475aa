package lun

import "encoding/binary"

// timeouts is a command timeouts descriptor that promises nothing.
var timeouts = [12]byte{1: 10}

// reportOpcodes is REPORT SUPPORTED OPERATION CODES.
func reportOpcodes(u *Unit, c *Command) {
	allocation := int(min(binary.BigEndian.Uint32(c.CDB[6:]), 64<<10))
	timed := c.CDB[2]&0x80 != 0
	code, action := c.CDB[3], int(binary.BigEndian.Uint16(c.CDB[4:]))
	known := u.table[code]
	actions := len(known) > 0 && known[0].action >= 0
	switch option := c.CDB[2] & 7; {
	case option == 0:
		c.give(u.allOpcodes(timed), allocation)
	case option > 3, option == 1 && actions, option == 2 && len(known) > 0 && !actions:
		c.failField(2)
	case option == 1, option == 3 && !actions:
		c.give(oneOpcode(code, -1, len(known) > 0 && (option == 1 || action == 0), timed), allocation)
	default:
		cdb := [16]byte{code, byte(action)}
		c.give(oneOpcode(code, action, action < 0x20 && u.find(&cdb) != nil, timed), allocation)
	}
}

func oneOpcode(code byte, action int, supported, timed bool) []byte {
	if !supported {
		return []byte{0, 1, 0, 0}
	}
	mask := usage(code, action)
	data := []byte{0, 3, 0, byte(len(mask))}
	data = append(data, mask...)
	if timed {
		data[1] |= 0x80
		data = append(data, timeouts[:]...)
	}
	return data
}

func (u *Unit) allOpcodes(timed bool) []byte {
	data := make([]byte, 4)
	for code := range u.table {
		for _, op := range u.table[code] {
			flags, action := byte(0), 0
			if op.action >= 0 {
				flags, action = 1, op.action
			}
			if timed {
				flags |= 2
			}
			data = append(data, byte(code), 0, byte(action>>8), byte(action), 0, flags, 0, byte(cdbBytes(byte(code))))
			if timed {
				data = append(data, timeouts[:]...)
			}
		}
	}
	binary.BigEndian.PutUint32(data, uint32(len(data)-4))
	return data
}

// reportManagement is REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS: abort task and task set, clear task set, logical unit reset, target reset.
func reportManagement(_ *Unit, c *Command) {
	data := []byte{0x80 | 0x40 | 0x10 | 0x08 | 0x02, 0, 0, 0}
	if c.CDB[2]&0x80 != 0 {
		data = append(data, make([]byte, 12)...)
		data[3] = 12
	}
	c.give(data, int(min(binary.BigEndian.Uint32(c.CDB[6:]), 64)))
}
