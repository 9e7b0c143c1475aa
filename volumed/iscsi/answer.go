package iscsi

import (
	"encoding/binary"

	"henge/volumed/iscsi/lun"
)

const (
	overflowBit  = 0x04
	underflowBit = 0x02
	statusBit    = 0x01
)

// residual compares what the command would have moved with what the initiator expected.
func (t *task) residual() (bits byte, count uint32) {
	wanted := 0
	switch {
	case t.reads() && !t.writes():
		wanted = t.cmd.Wanted
	case t.writes() && t.cmd.Status == lun.StatusGood:
		wanted = t.session.unit.OutBytes(&t.cmd.CDB)
	case t.writes():
		wanted = min(t.got, t.expects)
	case t.cmd.Status == lun.StatusGood:
		wanted = max(t.cmd.Wanted, t.session.unit.OutBytes(&t.cmd.CDB))
	}
	switch {
	case wanted > t.expects:
		return overflowBit, uint32(wanted - t.expects)
	case wanted < t.expects:
		return underflowBit, uint32(t.expects - wanted)
	}
	return 0, 0
}

// answer sends what the unit answered: data with the status in its last PDU, or a response.
func (t *task) answer() {
	in := t.cmd.In
	if len(in) == 0 || t.cmd.Status != lun.StatusGood {
		t.respond()
		return
	}
	frames := t.dataIn(in)
	last := &t.frame
	if len(frames) > 0 {
		last = &frames[len(frames)-1]
	}
	bits, count := t.residual()
	last.status = true
	last.bhs[1] |= finalBit | statusBit | bits
	last.bhs[3] = t.cmd.Status
	last.bhs.setWord(44, count)
	last.buf = t.cmd.InBuffer
	if t.admitted && last.buf != nil {
		last.freed = t.size
	}
	if len(frames) == 0 {
		t.session.out.add(last)
		return
	}
	t.session.out.addAll(frames)
}

// dataIn cuts data into PDUs no longer than the initiator takes, in bursts no longer than agreed. One that needs no cutting is t.frame.
func (t *task) dataIn(in []byte) []frame {
	p := &t.session.params
	if len(in) <= p.sendMax && len(in) <= p.burstMax {
		t.dataHeader(&t.frame, in, 0, 0)
		return nil
	}
	frames := make([]frame, 0, len(in)/p.sendMax+len(in)/p.burstMax+2)
	for at := 0; at < len(in); {
		burstEnd := min((at/p.burstMax+1)*p.burstMax, len(in))
		n := min(p.sendMax, burstEnd-at)
		frames = append(frames, frame{})
		f := &frames[len(frames)-1]
		t.dataHeader(f, in[at:at+n], at, len(frames)-1)
		if at+n == burstEnd {
			f.bhs[1] |= finalBit
		}
		at += n
	}
	return frames
}

func (t *task) dataHeader(f *frame, data []byte, at, number int) {
	f.bhs[0] = opDataIn
	f.data = data
	copy(f.bhs[16:20], t.header[16:20])
	f.bhs.setWord(20, noTag)
	f.bhs.setWord(36, uint32(number))
	f.bhs.setWord(40, uint32(at))
}

// respond sends a SCSI response, with sense data if there is any.
func (t *task) respond() {
	t.session.pool().Put(t.cmd.InBuffer)
	f := &t.frame
	f.status = true
	if t.admitted && t.cmd.InBuffer != nil {
		f.freed = t.size
	}
	t.cmd.InBuffer = nil
	bits, count := t.residual()
	f.bhs[0], f.bhs[1], f.bhs[3] = opResponse, finalBit|bits, t.cmd.Status
	copy(f.bhs[16:20], t.header[16:20])
	f.bhs.setWord(44, count)
	if len(t.cmd.Sense) > 0 {
		f.data = binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(t.cmd.Sense)), uint16(len(t.cmd.Sense)))
		f.data = append(f.data, t.cmd.Sense...)
	}
	t.session.out.add(f)
}
