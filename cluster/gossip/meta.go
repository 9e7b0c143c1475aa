package gossip

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"henge/internal/errs"
)

// Meta is what a peer says of itself. Its encoding has at most metaBytesMax bytes, which is memberlist's limit.
type Meta struct {
	Region, Zone string
	Roles        []string
	RPC          string            // host:port
	Services     map[string]string // name -> host:port
	Capacity     Capacity
	Rings        map[string]uint64 // name -> the version that the peer uses
}

// Capacity is a short summary of a storage peer's devices.
type Capacity struct {
	Devices               int
	BytesTotal, BytesUsed uint64
}

const (
	metaVersion  = 1
	metaBytesMax = 512
)

// encode is the form on the wire: docs/formats/peer-protocol.md. host is the peer's own address, which services mostly have and which is left
// out then. errs.TooLarge when it does not fit.
func (m *Meta) encode(host string) ([]byte, error) {
	b := []byte{metaVersion}
	b = appendText(appendText(b, m.Region), m.Zone)
	b = binary.AppendUvarint(b, uint64(len(m.Roles)))
	for _, role := range m.Roles {
		b = appendText(b, role)
	}
	b = appendText(b, shorten(m.RPC, host))
	b = binary.AppendUvarint(b, uint64(len(m.Services)))
	for _, name := range slices.Sorted(maps.Keys(m.Services)) {
		b = appendText(appendText(b, name), shorten(m.Services[name], host))
	}
	b = binary.AppendUvarint(b, uint64(m.Capacity.Devices))
	b = binary.AppendUvarint(b, m.Capacity.BytesTotal)
	b = binary.AppendUvarint(b, m.Capacity.BytesUsed)
	b = binary.AppendUvarint(b, uint64(len(m.Rings)))
	for _, name := range slices.Sorted(maps.Keys(m.Rings)) {
		b = binary.AppendUvarint(appendText(b, name), m.Rings[name])
	}
	if len(b) > metaBytesMax {
		return nil, errs.New(errs.TooLarge, "what this peer says of itself takes %d bytes, gossip carries %d", len(b), metaBytesMax)
	}
	return b, nil
}

func shorten(address, host string) string { return strings.TrimPrefix(address, host) }

func lengthen(address, host string) string {
	if strings.HasPrefix(address, ":") {
		return host + address
	}
	return address
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeMeta reads what encode wrote: errs.Corrupt.
func decodeMeta(b []byte, host string) (*Meta, error) {
	if len(b) == 0 || b[0] != metaVersion {
		return nil, errs.New(errs.Corrupt, "what a peer says of itself is not of version %d", metaVersion)
	}
	r := &metaReader{rest: b[1:]}
	m := &Meta{Region: r.text(), Zone: r.text(), Services: map[string]string{}, Rings: map[string]uint64{}}
	for n := r.count(); n > 0; n-- {
		m.Roles = append(m.Roles, r.text())
	}
	m.RPC = lengthen(r.text(), host)
	for n := r.count(); n > 0; n-- {
		name := r.text()
		m.Services[name] = lengthen(r.text(), host)
	}
	m.Capacity = Capacity{Devices: int(r.count32()), BytesTotal: r.number(), BytesUsed: r.number()}
	for n := r.count(); n > 0; n-- {
		name := r.text()
		m.Rings[name] = r.number()
	}
	if r.bad {
		return nil, errs.New(errs.Corrupt, "what a peer says of itself is cut short")
	}
	return m, nil // what a later version adds at the end is passed over
}

type metaReader struct {
	rest []byte
	bad  bool
}

func (r *metaReader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// count is a number of items, each of which takes a byte at least.
func (r *metaReader) count() uint64 {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return 0
	}
	return n
}

func (r *metaReader) count32() uint32 { return uint32(min(r.number(), 1<<31-1)) }

func (r *metaReader) text() string {
	n := r.count()
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
