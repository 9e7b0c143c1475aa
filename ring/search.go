package ring

import (
	"net"
	"strconv"
	"strings"

	"henge/internal/errs"
)

// Query selects devices: those that match every field which is set.
type Query struct {
	ID     *int
	Region *int
	Zone   *int
	Peer   *string // the peer's id, or its address with or without the port
	Name   *string
	Weight *float64
	Meta   *string // anywhere in the device's meta
}

// Empty tells whether nothing is set: such a query would match everything.
func (q Query) Empty() bool { return q == Query{} }

// Match tells whether d is selected.
func (q Query) Match(d *Device) bool {
	return (q.ID == nil || *q.ID == d.ID) &&
		(q.Region == nil || *q.Region == d.Region) &&
		(q.Zone == nil || *q.Zone == d.Zone) &&
		(q.Peer == nil || *q.Peer == d.Peer || *q.Peer != "" && (*q.Peer == d.Address || *q.Peer == host(d.Address))) &&
		(q.Name == nil || *q.Name == d.Name) &&
		(q.Weight == nil || *q.Weight == d.Weight) &&
		(q.Meta == nil || strings.Contains(d.Meta, *q.Meta))
}

func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
}

// Search gives the devices that match, by number.
func (b *Builder) Search(q Query) []Device {
	var out []Device
	for _, d := range b.devices {
		if d != nil && q.Match(d) {
			out = append(out, *d)
		}
	}
	return out
}

// ParseQuery reads swift-ring-builder's search syntax, d<id>r<region>z<zone>-<peer>/<device>_<meta>, in which every part may be left out: "d7", "r1z2",
// "z1-peer3", "/d1", "-peer3/d2_ssd". errs.Invalid.
func ParseQuery(s string) (Query, error) {
	var q Query
	rest := s
	for _, number := range []struct {
		letter string
		to     **int
	}{{"d", &q.ID}, {"r", &q.Region}, {"z", &q.Zone}} {
		after, ok := strings.CutPrefix(rest, number.letter)
		if !ok {
			continue
		}
		digits := after[:len(after)-len(strings.TrimLeft(after, "0123456789"))]
		n, err := strconv.Atoi(digits)
		if err != nil {
			return Query{}, errs.New(errs.Invalid, "search %q: a number must follow %q", s, number.letter)
		}
		*number.to = &n
		rest = after[len(digits):]
	}
	for _, text := range []struct {
		mark, ends, what string
		to               **string
	}{{"-", "/_", "peer", &q.Peer}, {"/", "_", "device name", &q.Name}, {"_", "", "meta", &q.Meta}} {
		after, ok := strings.CutPrefix(rest, text.mark)
		if !ok {
			continue
		}
		end := strings.IndexAny(after, text.ends)
		if end < 0 {
			end = len(after)
		}
		value := after[:end]
		if value == "" {
			return Query{}, errs.New(errs.Invalid, "search %q: a %s must follow %q", s, text.what, text.mark)
		}
		*text.to = &value
		rest = after[end:]
	}
	if rest != "" || q.Empty() {
		return Query{}, errs.New(errs.Invalid, "search %q: not of the form d<id>r<region>z<zone>-<peer>/<device>_<meta> (parts may be left out)", s)
	}
	return q, nil
}

// ParseDevice reads what `add` takes: r<region>z<zone>-<peer>/<device>, and _<meta> after it. The region is 1 when it is left out. errs.Invalid.
func ParseDevice(s string) (Device, error) {
	q, err := ParseQuery(s)
	if err != nil || q.ID != nil || q.Zone == nil || q.Peer == nil || q.Name == nil {
		return Device{}, errs.New(errs.Invalid, "device %q: not of the form r<region>z<zone>-<peer>/<device>_<meta> (region and meta may be left out)", s)
	}
	d := Device{Region: 1, Zone: *q.Zone, Peer: *q.Peer, Name: *q.Name}
	if q.Region != nil {
		d.Region = *q.Region
	}
	if q.Meta != nil {
		d.Meta = *q.Meta
	}
	return d, nil
}
