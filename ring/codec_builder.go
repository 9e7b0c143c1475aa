package ring

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"henge/internal/errs"
)

// WriteTo writes the builder in its file format.
func (b *Builder) WriteTo(w io.Writer) (int64, error) {
	c := &counter{w: w}
	err := writeFramed(c, builderMagic, b.encodeBody)
	return c.n, err
}

func (b *Builder) encodeBody(w io.Writer) {
	var flags uint8
	if b.changed {
		flags |= 1
	}
	if b.slots != nil {
		flags |= 2
	}
	if b.waiting {
		flags |= 4
	}
	w.Write([]byte{b.power, flags, uint8(b.minPartHours), uint8(b.stride)})
	put32(w, uint32(b.last))
	put64(w, b.version)
	put64(w, math.Float64bits(b.replicas))
	put64(w, math.Float64bits(b.overload))
	putDevices(w, b.devices)
	gone := make([]*Device, len(b.devices))
	for _, d := range b.removed {
		gone[d.ID] = d
	}
	putDevices(w, gone)
	if b.slots == nil {
		return
	}
	putNumbers(w, b.slots)
	putNumbers(w, b.moved)
}

// ReadBuilder reads what WriteTo wrote; errors and limits as ReadRing.
func ReadBuilder(from io.Reader) (*Builder, error) {
	b := &Builder{}
	if _, err := readFramed(from, builderMagic, b.decodeBody); err != nil {
		return nil, fmt.Errorf("builder file: %w", err)
	}
	return b, nil
}

func (b *Builder) decodeBody(s *source) error {
	b.power = s.u8()
	flags := s.u8()
	b.changed, b.waiting = flags&1 != 0, flags&4 != 0
	b.minPartHours = int(s.u8())
	b.stride = int(s.u8())
	b.last = int(s.u32())
	b.version = s.u64()
	b.replicas = math.Float64frombits(s.u64())
	b.overload = math.Float64frombits(s.u64())
	if err := b.checkHead(flags); err != nil {
		return err
	}
	var err error
	if b.devices, err = s.devices(); err != nil {
		return err
	}
	gone, err := s.devices()
	if err != nil {
		return err
	}
	for id, d := range gone {
		if d == nil {
			continue
		}
		if id >= len(b.devices) || b.devices[id] != nil {
			return errs.New(errs.Corrupt, "device %d is removed, and there", id)
		}
		b.removed = append(b.removed, d)
	}
	if len(gone) != len(b.devices) {
		return errs.New(errs.Corrupt, "two lists of devices of different length")
	}
	if flags&2 == 0 {
		return s.err
	}
	if b.slots = s.numbers(b.Partitions()*b.stride, 4); s.err != nil {
		return s.err
	}
	if b.moved = s.numbers(b.Partitions(), 4); s.err != nil {
		return s.err
	}
	// A device that was removed since the last rebalance still has its slots.
	for i, id := range b.slots {
		if id != noDevice && (int(id) >= len(b.devices) || b.devices[id] == nil && gone[id] == nil) {
			return errs.New(errs.Corrupt, "entry %d names device %d, which is not there", i, id)
		}
	}
	return nil
}

// checkHead looks at the fields before the devices with the same rules as the methods that set them.
func (b *Builder) checkHead(flags uint8) error {
	if b.power < 1 || b.power > PowerMax || flags > 7 {
		return errs.New(errs.Corrupt, "part power %d, flags %d: out of range", b.power, flags)
	}
	if flags&2 != 0 {
		if err := checkShape(b.power, 4, b.stride, b.last); err != nil {
			return err
		}
	} else if b.stride != 0 || b.last != 0 {
		return errs.New(errs.Corrupt, "a shape without entries")
	}
	probe := Builder{power: b.power}
	if err := probe.SetReplicas(b.replicas); err != nil {
		return errs.With(errs.Corrupt, err)
	}
	if err := probe.SetOverload(b.overload); err != nil {
		return errs.With(errs.Corrupt, err)
	}
	return nil
}

// IsBuilder tells from the first bytes of a file whether it is a builder rather than a ring.
func IsBuilder(head []byte) bool {
	return len(head) >= 8 && binary.BigEndian.Uint64(head) == binary.BigEndian.Uint64([]byte(builderMagic))
}

// Clone makes a Builder of its own with the same content.
func (b *Builder) Clone() *Builder {
	c := *b
	c.devices = append([]*Device(nil), b.devices...) // Devices are replaced, never modified
	c.removed = append([]*Device(nil), b.removed...)
	c.slots = append([]uint32(nil), b.slots...)
	c.moved = append([]uint32(nil), b.moved...)
	return &c
}
