package lun

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime/debug"

	"henge/internal/errs"
	"henge/volumed/iscsi/pool"
)

// TransferBytesMax is the most that one command moves; the block limits page tells initiators.
const TransferBytesMax = 32 << 20

// Status codes of SAM.
const (
	StatusGood         = 0x00
	StatusCheck        = 0x02
	StatusBusy         = 0x08
	StatusConflict     = 0x18
	StatusTaskSetFull  = 0x28
	StatusConditionMet = 0x04
)

// Sense keys of SPC.
const (
	KeyNone          = 0x00
	KeyNotReady      = 0x02
	KeyMedium        = 0x03
	KeyHardware      = 0x04
	KeyIllegal       = 0x05
	KeyUnitAttention = 0x06
	KeyProtect       = 0x07
	KeyAborted       = 0x0b
	KeyMiscompare    = 0x0e
)

// Additional sense codes: code and qualifier.
const (
	NotReadyCause     = 0x0400
	WriteError        = 0x0c00
	UnexpectedData    = 0x0c0c
	ReadError         = 0x1100
	ListLength        = 0x1a00
	Miscompare        = 0x1d00
	InvalidOpcode     = 0x2000
	OutOfRange        = 0x2100
	InvalidField      = 0x2400
	NoSuchUnit        = 0x2500
	InvalidParameter  = 0x2600
	InvalidRelease    = 0x2604
	WriteProtected    = 0x2700
	SpaceExhausted    = 0x2707
	PowerOn           = 0x2900
	DeviceReset       = 0x2903
	ModeChanged       = 0x2a01
	Preempted         = 0x2a03
	Released          = 0x2a04
	RegistrationsGone = 0x2a05
	CapacityChanged   = 0x2a09
	CommandsCleared   = 0x2f00
	SavingUnsupported = 0x3900
	InternalFailure   = 0x4400
	DataPhaseError    = 0x4b00
	NoRegistrations   = 0x5504
)

// Command is one SCSI command. The caller fills in the first part, Execute the second.
type Command struct {
	Ctx      context.Context
	Nexus    *Nexus
	LUN      uint64
	CDB      [16]byte
	Out      []byte // data from the initiator: as much of OutBytes as came
	Declared int    // length that the initiator declared for data out
	InMax    int    // what the initiator takes at most

	Status   byte
	Sense    []byte
	In       []byte       // data for the initiator, at most InMax
	InBuffer *pool.Buffer // what In lies in, if it was borrowed; the caller gives it back
	Wanted   int          // length of In if InMax had not cut it

	sense [18]byte
}

// Fail ends the command with CHECK CONDITION.
func (c *Command) Fail(key byte, code uint16) {
	c.Status = StatusCheck
	c.sense = [18]byte{0: 0x70, 2: key, 7: 10, 12: byte(code >> 8), 13: byte(code)}
	c.Sense = c.sense[:]
	c.Wanted = 0
}

// failAt is Fail with the information field.
func (c *Command) failAt(key byte, code uint16, information uint32) {
	c.Fail(key, code)
	c.sense[0] |= 0x80
	binary.BigEndian.PutUint32(c.sense[3:], information)
}

// failField is INVALID FIELD IN CDB, and says which byte.
func (c *Command) failField(at int) {
	c.Fail(KeyIllegal, InvalidField)
	c.sense[15] = 0xc0
	binary.BigEndian.PutUint16(c.sense[16:], uint16(at))
}

// failStore turns a Store's error into sense data.
func (c *Command) failStore(u *Unit, err error, code uint16) {
	switch {
	case errs.Is(err, errs.NoSpace):
		c.Fail(KeyProtect, SpaceExhausted)
	case errors.Is(err, context.Canceled):
		c.Fail(KeyAborted, 0) // nobody hears it: the command was aborted, or its session is over
		return
	default:
		c.Fail(KeyMedium, code)
	}
	u.log.Error("iSCSI command failed", "target", u.name, "initiator", c.Nexus.ID, "opcode", c.CDB[0], "err", err)
}

// give answers data that is small, cut to the allocation length and to what the initiator takes.
func (c *Command) give(data []byte, allocation int) {
	data = data[:min(len(data), allocation)]
	c.Wanted = len(data)
	c.In = data[:min(len(data), c.InMax)]
}

// Execute runs a command to its end. What the command found, good or bad, is in c.
func (u *Unit) Execute(c *Command) {
	defer func() {
		if p := recover(); p != nil {
			u.log.Error("iSCSI command panicked", "target", u.name, "opcode", c.CDB[0], "panic", p, "stack", string(debug.Stack()))
			c.In, c.InBuffer = nil, nil
			c.Fail(KeyHardware, InternalFailure)
		}
	}()
	op := u.find(&c.CDB)
	if !u.Has(c.LUN) {
		u.elsewhere(c)
		return
	}
	if op == nil {
		u.unknown(c)
		return
	}
	if op.access != accessAlways {
		if code := c.Nexus.attention(); code != 0 {
			c.Fail(KeyUnitAttention, code)
			return
		}
	}
	if u.conflicts(c, op) {
		c.Status = StatusConflict
		return
	}
	if op.modifies && u.protected() {
		c.Fail(KeyProtect, WriteProtected)
		return
	}
	op.run(u, c)
}

// unknown answers an operation code, or a service action, that there is not.
func (u *Unit) unknown(c *Command) {
	if code := c.Nexus.attention(); code != 0 {
		c.Fail(KeyUnitAttention, code)
		return
	}
	if len(u.table[c.CDB[0]]) > 0 {
		c.failField(1)
		return
	}
	c.Fail(KeyIllegal, InvalidOpcode)
}

// elsewhere answers for logical units that are not there.
func (u *Unit) elsewhere(c *Command) {
	switch c.CDB[0] {
	case opInquiry:
		if c.CDB[1]&1 == 0 && c.CDB[2] == 0 {
			data := make([]byte, 36)
			data[0], data[2], data[3], data[4] = 0x7f, 5, 2, 31
			c.give(data, int(binary.BigEndian.Uint16(c.CDB[3:])))
			return
		}
	case opReportLUNs:
		reportLUNs(u, c)
		return
	case opRequestSense:
		data := senseData(KeyIllegal, NoSuchUnit)
		c.give(data, int(c.CDB[4]))
		return
	}
	c.Fail(KeyIllegal, NoSuchUnit)
}

func senseData(key byte, code uint16) []byte {
	return []byte{0: 0x70, 2: key, 7: 10, 12: byte(code >> 8), 13: byte(code), 17: 0}
}

// find is the operation that a command descriptor block asks for.
func (u *Unit) find(cdb *[16]byte) *operation {
	for i := range u.table[cdb[0]] {
		op := &u.table[cdb[0]][i]
		if op.action < 0 || byte(op.action) == cdb[1]&0x1f {
			return op
		}
	}
	return nil
}

// OutBytes is how much data a command takes from the initiator.
func (u *Unit) OutBytes(cdb *[16]byte) int {
	op := u.find(cdb)
	if op == nil || op.out == nil {
		return 0
	}
	return op.out(u, cdb)
}

// InBytes is a bound of how much data a command gives.
func (u *Unit) InBytes(cdb *[16]byte) int {
	op := u.find(cdb)
	if op == nil {
		return 0
	}
	if op.in != nil {
		return min(op.in(u, cdb), TransferBytesMax)
	}
	return TransferBytesMax
}
