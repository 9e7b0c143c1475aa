package lun

import (
	"encoding/binary"
	"slices"
)

// Types of a persistent reservation.
const (
	writeExclusive    = 1
	exclusiveAccess   = 3
	writeRegistrants  = 5
	accessRegistrants = 6
	writeAll          = 7
	accessAll         = 8
)

const registrationsMax = 128

// registration is one initiator port's key.
type registration struct {
	id  string
	key uint64
}

// persistent is the state of persistent reservations. The unit's mutex guards it.
type persistent struct {
	generation uint32
	registered []registration // in the order they came
	kind       byte           // 0: no reservation
	holder     string         // for all but the "all registrants" types
}

func (p *persistent) any() bool { return len(p.registered) > 0 || p.kind != 0 }

func (p *persistent) find(id string) *registration {
	for i := range p.registered {
		if p.registered[i].id == id {
			return &p.registered[i]
		}
	}
	return nil
}

func (p *persistent) forAll() bool { return p.kind == writeAll || p.kind == accessAll }

// shared says that a type lets all registrants in.
func shared(kind byte) bool { return kind >= writeRegistrants }

func (p *persistent) holds(id string) bool {
	return p.kind != 0 && (p.holder == id || p.forAll() && p.find(id) != nil)
}

// forbids is the table of SPC-4, 5.13.1.
func (p *persistent) forbids(id string, a access) bool {
	if p.kind == 0 || a == accessFree || a == accessOwn || p.holds(id) || (shared(p.kind) && p.find(id) != nil) {
		return false
	}
	readable := p.kind == writeExclusive || p.kind == writeRegistrants || p.kind == writeAll
	return a == accessWrite || !readable
}

// Service actions of PERSISTENT RESERVE OUT.
const (
	outRegister = iota
	outReserve
	outRelease
	outClear
	outPreempt
	outPreemptAbort
	outRegisterIgnore
)

// request is what a PERSISTENT RESERVE OUT asks.
type request struct {
	c        *Command
	id       string
	key, new uint64
	kind     byte
	action   byte
}

// persistentOut changes registrations and reservations.
func persistentOut(u *Unit, c *Command) {
	if binary.BigEndian.Uint32(c.CDB[5:]) != 24 || len(c.Out) != 24 {
		c.Fail(KeyIllegal, ListLength)
		return
	}
	if c.Out[20]&0x0d != 0 {
		c.Fail(KeyIllegal, InvalidParameter) // other ports, and surviving a power loss: not here
		return
	}
	r := request{c: c, id: c.Nexus.ID, key: binary.BigEndian.Uint64(c.Out), new: binary.BigEndian.Uint64(c.Out[8:]), kind: c.CDB[2] & 0x0f, action: c.CDB[1] & 0x1f}
	victims := u.changeReservation(&r)
	if r.action == outPreemptAbort && len(victims) > 0 && u.abort != nil {
		u.abort(victims)
	}
}

func (u *Unit) changeReservation(r *request) (victims []*Nexus) {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer u.guard()
	if u.reserved != nil {
		r.c.Status = StatusConflict
		return nil
	}
	if r.action == outRegister || r.action == outRegisterIgnore {
		u.register(r)
		return nil
	}
	mine := u.persistent.find(r.id)
	if mine == nil || mine.key != r.key {
		r.c.Status = StatusConflict
		return nil
	}
	switch r.action {
	case outReserve:
		u.reservePersistent(r)
	case outRelease:
		u.releasePersistent(r)
	case outClear:
		u.clearPersistent(r)
	default:
		return u.preempt(r)
	}
	return nil
}

func (u *Unit) register(r *request) {
	p := &u.persistent
	mine := p.find(r.id)
	if r.action == outRegister && ((mine == nil && r.key != 0) || (mine != nil && mine.key != r.key)) {
		r.c.Status = StatusConflict
		return
	}
	switch {
	case mine == nil && r.new == 0:
		return
	case mine == nil && len(p.registered) >= registrationsMax:
		r.c.Fail(KeyIllegal, NoRegistrations)
		return
	case mine == nil:
		p.registered = append(p.registered, registration{r.id, r.new})
	case r.new == 0:
		u.unregister(r.id)
	default:
		mine.key = r.new
	}
	p.generation++
}

// unregister removes a registration, and with it the reservation if that was its holder's.
func (u *Unit) unregister(id string) {
	p := &u.persistent
	held := p.holder == id && p.kind != 0 && !p.forAll()
	p.registered = slices.DeleteFunc(p.registered, func(r registration) bool { return r.id == id })
	if held || (p.forAll() && len(p.registered) == 0) {
		told := shared(p.kind)
		p.kind, p.holder = 0, ""
		if told {
			u.tell(Released, id)
		}
	}
}

// tell raises a unit attention for all registrants but one.
func (u *Unit) tell(code uint16, but string) {
	u.raiseLocked(code, func(n *Nexus) bool { return n.ID != but && u.persistent.find(n.ID) != nil })
}

// checkKind checks scope and type.
func checkKind(r *request) bool {
	if r.c.CDB[2]&0xf0 != 0 || !slices.Contains([]byte{writeExclusive, exclusiveAccess, writeRegistrants, accessRegistrants, writeAll, accessAll}, r.kind) {
		r.c.failField(2)
		return false
	}
	return true
}

func (u *Unit) reservePersistent(r *request) {
	p := &u.persistent
	switch {
	case !checkKind(r):
	case p.kind == 0:
		p.kind, p.holder = r.kind, r.id
	case !p.holds(r.id) || p.kind != r.kind:
		r.c.Status = StatusConflict
	}
}

func (u *Unit) releasePersistent(r *request) {
	p := &u.persistent
	if !p.holds(r.id) {
		return
	}
	if r.c.CDB[2] != p.kind {
		r.c.Fail(KeyIllegal, InvalidRelease)
		return
	}
	told := shared(p.kind)
	p.kind, p.holder = 0, ""
	if told {
		u.tell(Released, r.id)
	}
}

func (u *Unit) clearPersistent(r *request) {
	u.tell(Preempted, r.id)
	u.persistent = persistent{generation: u.persistent.generation + 1}
}

// preempt removes the registrations with a key, and takes over the reservation if it was one of theirs.
func (u *Unit) preempt(r *request) (victims []*Nexus) {
	p := &u.persistent
	everybody := p.forAll() && r.new == 0
	takes := everybody || (p.kind != 0 && !p.forAll() && p.find(p.holder) != nil && p.find(p.holder).key == r.new)
	switch {
	case r.new == 0 && !everybody:
		r.c.Fail(KeyIllegal, InvalidParameter)
		return nil
	case takes && !checkKind(r):
		return nil
	}
	var gone []string
	for _, one := range p.registered {
		if one.id != r.id && (everybody || one.key == r.new) {
			gone = append(gone, one.id)
		}
	}
	if len(gone) == 0 && !takes {
		if mine := p.find(r.id); mine.key != r.new {
			r.c.Status = StatusConflict
			return nil
		}
	}
	p.registered = slices.DeleteFunc(p.registered, func(one registration) bool { return slices.Contains(gone, one.id) })
	p.generation++
	if takes {
		changed := p.kind != r.kind
		p.kind, p.holder = r.kind, r.id
		if changed {
			u.tell(Released, r.id)
		}
	}
	for n := range u.nexuses {
		if slices.Contains(gone, n.ID) {
			n.add(RegistrationsGone)
			victims = append(victims, n)
		}
	}
	return victims
}

// persistentIn tells of registrations and reservations.
func persistentIn(u *Unit, c *Command) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := &u.persistent
	data := binary.BigEndian.AppendUint32(nil, p.generation)
	data = append(data, 0, 0, 0, 0)
	switch c.CDB[1] & 0x1f {
	case 0:
		for _, one := range p.registered {
			data = binary.BigEndian.AppendUint64(data, one.key)
		}
	case 1:
		data = p.appendReservation(data)
	case 2:
		c.give([]byte{0, 8, 0, 0x80, 0xea, 0x01, 0, 0}, int(binary.BigEndian.Uint16(c.CDB[7:])))
		return
	case 3:
		for _, one := range p.registered {
			data = p.appendStatus(data, one)
		}
	}
	binary.BigEndian.PutUint32(data[4:], uint32(len(data)-8))
	c.give(data, int(binary.BigEndian.Uint16(c.CDB[7:])))
}

func (p *persistent) appendReservation(data []byte) []byte {
	if p.kind == 0 {
		return data
	}
	key := uint64(0)
	if holder := p.find(p.holder); holder != nil && !p.forAll() {
		key = holder.key
	}
	data = binary.BigEndian.AppendUint64(data, key)
	return append(data, 0, 0, 0, 0, 0, p.kind, 0, 0)
}

// appendStatus is a full status descriptor, with the initiator port's name as iSCSI's transport id.
func (p *persistent) appendStatus(data []byte, one registration) []byte {
	data = binary.BigEndian.AppendUint64(data, one.key)
	flags, kind := byte(0), byte(0)
	if p.holds(one.id) {
		flags, kind = 1, p.kind
	}
	data = append(data, 0, 0, 0, 0, flags, kind, 0, 0, 0, 0, 0, relativePort)
	name := append([]byte(one.id), 0)
	for len(name)%4 != 0 {
		name = append(name, 0)
	}
	data = binary.BigEndian.AppendUint32(data, uint32(4+len(name)))
	data = append(data, 0x45, 0, byte(len(name)>>8), byte(len(name)))
	return append(data, name...)
}
