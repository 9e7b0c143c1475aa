package lun

import "encoding/hex"

// Operation codes.
const (
	opTestUnitReady  = 0x00
	opRequestSense   = 0x03
	opRead6          = 0x08
	opWrite6         = 0x0a
	opInquiry        = 0x12
	opModeSelect6    = 0x15
	opReserve6       = 0x16
	opRelease6       = 0x17
	opModeSense6     = 0x1a
	opStartStop      = 0x1b
	opSendDiagnostic = 0x1d
	opPreventAllow   = 0x1e
	opReadCapacity10 = 0x25
	opRead10         = 0x28
	opWrite10        = 0x2a
	opWriteVerify10  = 0x2e
	opVerify10       = 0x2f
	opPreFetch10     = 0x34
	opSync10         = 0x35
	opReadDefect10   = 0x37
	opWriteSame10    = 0x41
	opUnmap          = 0x42
	opModeSelect10   = 0x55
	opReserve10      = 0x56
	opRelease10      = 0x57
	opModeSense10    = 0x5a
	opPersistentIn   = 0x5e
	opPersistentOut  = 0x5f
	opRead16         = 0x88
	opCompareWrite   = 0x89
	opWrite16        = 0x8a
	opOrWrite16      = 0x8b
	opWriteVerify16  = 0x8e
	opVerify16       = 0x8f
	opPreFetch16     = 0x90
	opSync16         = 0x91
	opWriteSame16    = 0x93
	opServiceIn16    = 0x9e
	opReportLUNs     = 0xa0
	opMaintenanceIn  = 0xa3
	opRead12         = 0xa8
	opWrite12        = 0xaa
	opWriteVerify12  = 0xae
	opVerify12       = 0xaf
	opReadDefect12   = 0xb7
)

// access says how a command stands to other initiators' reservations.
type access byte

const (
	accessAlways access = iota // INQUIRY and its like: never refused, and never told a unit attention
	accessFree                 // allowed beside persistent reservations
	accessRead
	accessWrite
	accessOwn // the reservation commands: they decide themselves
)

// operation is one command.
type operation struct {
	run      func(*Unit, *Command)
	access   access
	modifies bool // refused when write protected
	action   int  // service action, or -1
	out, in  func(*Unit, *[16]byte) int
}

// operations is the table of all that the unit understands.
func operations() (table [256][]operation) {
	add := func(op operation, codes ...byte) {
		for _, code := range codes {
			table[code] = append(table[code], op)
		}
	}
	none := func(run func(*Unit, *Command), a access) operation { return operation{run: run, access: a, action: -1} }
	action := func(n int, run func(*Unit, *Command), a access) operation {
		return operation{run: run, access: a, action: n}
	}
	reads := operation{run: read, access: accessRead, action: -1, in: dataBytes}
	writes := operation{run: write, access: accessWrite, modifies: true, action: -1, out: dataBytes}
	add(reads, opRead6, opRead10, opRead12, opRead16)
	add(writes, opWrite6, opWrite10, opWrite12, opWrite16)
	add(operation{run: writeVerify, access: accessWrite, modifies: true, action: -1, out: dataBytes}, opWriteVerify10, opWriteVerify12, opWriteVerify16)
	add(operation{run: verify, access: accessRead, action: -1, out: verifyBytes}, opVerify10, opVerify12, opVerify16)
	add(operation{run: orWrite, access: accessWrite, modifies: true, action: -1, out: dataBytes}, opOrWrite16)
	add(operation{run: compareWrite, access: accessWrite, modifies: true, action: -1, out: compareBytes}, opCompareWrite)
	add(operation{run: writeSame, access: accessWrite, modifies: true, action: -1, out: sameBytes}, opWriteSame10, opWriteSame16)
	add(operation{run: unmap, access: accessWrite, modifies: true, action: -1, out: length7}, opUnmap)
	add(none(preFetch, accessRead), opPreFetch10, opPreFetch16)
	add(none(synchronize, accessWrite), opSync10, opSync16)
	add(none(readDefect, accessRead), opReadDefect10, opReadDefect12)

	add(none(testUnitReady, accessFree), opTestUnitReady)
	add(none(requestSense, accessAlways), opRequestSense)
	add(none(inquiry, accessAlways), opInquiry)
	add(none(reportLUNs, accessAlways), opReportLUNs)
	add(none(modeSense, accessWrite), opModeSense6, opModeSense10)
	add(operation{run: modeSelect, access: accessWrite, action: -1, out: length4}, opModeSelect6)
	add(operation{run: modeSelect, access: accessWrite, action: -1, out: length7}, opModeSelect10)
	add(none(startStop, accessWrite), opStartStop)
	add(none(sendDiagnostic, accessWrite), opSendDiagnostic)
	add(none(preventAllow, accessFree), opPreventAllow)
	add(none(readCapacity10, accessFree), opReadCapacity10)
	add(action(0x10, readCapacity16, accessFree), opServiceIn16)
	add(action(0x12, lbaStatus, accessRead), opServiceIn16)
	add(action(0x0c, reportOpcodes, accessFree), opMaintenanceIn)
	add(action(0x0d, reportManagement, accessFree), opMaintenanceIn)
	add(none(reserve, accessOwn), opReserve6, opReserve10)
	add(none(release, accessOwn), opRelease6, opRelease10)
	for n := range 4 {
		add(action(n, persistentIn, accessOwn), opPersistentIn)
	}
	for n := range 7 {
		add(operation{run: persistentOut, access: accessOwn, action: n, out: length5}, opPersistentOut)
	}
	return table
}

// cdbBytes is the length of the command descriptor block by its operation code.
func cdbBytes(code byte) int { return [8]int{6, 10, 10, 0, 16, 12, 0, 0}[code>>5] }

// usage is the CDB usage data: which bits are evaluated.
func usage(code byte, action int) []byte {
	masks := map[byte]string{
		opTestUnitReady: "0000000007", opRequestSense: "010000ff07", opRead6: "1fffffff07", opWrite6: "1fffffff07", opInquiry: "01ffffff07",
		opModeSelect6: "110000ff07", opReserve6: "0000000007", opRelease6: "0000000007", opModeSense6: "08ffffff07", opStartStop: "01000ff707",
		opSendDiagnostic: "fd00ffff07", opPreventAllow: "0000000307", opReadCapacity10: "00ffffffff00000107",
		opRead10: "f8ffffffff1fffff07", opWrite10: "f8ffffffff1fffff07", opWriteVerify10: "f2ffffffff1fffff07", opVerify10: "f6ffffffff1fffff07",
		opPreFetch10: "02ffffffff1fffff07", opSync10: "02ffffffff1fffff07", opReadDefect10: "001f00000000ffff07", opWriteSame10: "e0ffffffff1fffff07",
		opUnmap: "01000000001fffff07", opModeSelect10: "110000000000ffff07", opReserve10: "000000000000000007", opRelease10: "000000000000000007",
		opModeSense10: "18ffff000000ffff07", opPersistentIn: "1f0000000000ffff07", opPersistentOut: "1fff0000ffffffff07",
		opRead16: "f8ffffffffffffffffffffffff1f07", opWrite16: "f8ffffffffffffffffffffffff1f07", opOrWrite16: "f8ffffffffffffffffffffffff1f07",
		opCompareWrite: "f8ffffffffffffffff000000ff1f07", opWriteVerify16: "f2ffffffffffffffffffffffff1f07", opVerify16: "f6ffffffffffffffffffffffff1f07",
		opPreFetch16: "02ffffffffffffffffffffffff1f07", opSync16: "02ffffffffffffffffffffffff1f07", opWriteSame16: "f9ffffffffffffffffffffffff1f07",
		opServiceIn16: "1fffffffffffffffffffffffff0007", opReportLUNs: "00ff000000ffffffff0007", opMaintenanceIn: "1fffffff00ffffffff0007",
		opRead12: "f8ffffffffffffffff1f07", opWrite12: "f8ffffffffffffffff1f07", opWriteVerify12: "f2ffffffffffffffff1f07",
		opVerify12: "f6ffffffffffffffff1f07", opReadDefect12: "1f00000000ffffffff0007",
	}
	data := make([]byte, cdbBytes(code))
	data[0] = code
	_, _ = hex.Decode(data[1:], []byte(masks[code])[:min(len(masks[code]), 2*(len(data)-1))])
	if action >= 0 {
		data[1] = data[1]&^0x1f | byte(action)
	}
	return data
}
