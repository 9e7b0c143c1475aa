package ring

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"henge/internal/errs"
)

// Bounds of what a ring can hold. They also bound what a decoder allocates.
const (
	PowerMax    = 24      // 16 Mi partitions
	ReplicasMax = 32      // copies of one partition
	DevicesMax  = 1 << 20 // device numbers are below it
	entriesMax  = 1 << 26 // partitions x replicas
	nameMax     = 128     // bytes of a device's name, a peer's id, an address
	metaMax     = 1024    // bytes of a device's meta
)

// Device is one disk of one peer, as the ring knows it. The devices of a Ring are shared: do not modify them.
type Device struct {
	ID      int     `json:"id"` // its number in this ring, from 0; handed out by the Builder and never used twice
	Region  int     `json:"region"`
	Zone    int     `json:"zone"`
	Peer    string  `json:"peer"`              // the peer's id: the host tier of placement
	Address string  `json:"address,omitempty"` // where the peer was when the device was added: for people, not for dialling
	Name    string  `json:"device"`            // the device's name on its peer, "d1"
	Weight  float64 `json:"weight"`            // its share of the partitions, relative to the others; 0 drains it
	Meta    string  `json:"meta,omitempty"`    // anything that the operator wants to remember
}

// String is the device in search syntax with its number: "d3r1z2-peer/d1".
func (d *Device) String() string {
	return fmt.Sprintf("d%dr%dz%d-%s/%s", d.ID, d.Region, d.Zone, d.Peer, d.Name)
}

// check says what is wrong with a device; errs.Invalid.
func (d *Device) check() error {
	switch {
	case d.ID < 0 || d.ID >= DevicesMax:
		return errs.New(errs.Invalid, "device number %d is not in 0...%d", d.ID, DevicesMax-1)
	case d.Region < 0 || d.Region > math.MaxInt32:
		return errs.New(errs.Invalid, "region %d of device d%d is out of range", d.Region, d.ID)
	case d.Zone < 0 || d.Zone > math.MaxInt32:
		return errs.New(errs.Invalid, "zone %d of device d%d is out of range", d.Zone, d.ID)
	case d.Weight != 0 && !(d.Weight >= 1e-6 && d.Weight <= 1e15):
		return errs.New(errs.Invalid, "weight %g of device d%d is neither 0 nor a number from 0.000001 to 1e15", d.Weight, d.ID)
	case len(d.Meta) > metaMax || !utf8.ValidString(d.Meta):
		return errs.New(errs.Invalid, "meta of device d%d is longer than %d bytes or not UTF-8", d.ID, metaMax)
	}
	for _, f := range []struct{ field, value string }{{"peer", d.Peer}, {"name", d.Name}} {
		if f.value == "" || len(f.value) > nameMax || !plain(f.value) {
			return errs.New(errs.Invalid, "%s %q of device d%d: 1 to %d letters, digits, dots, colons, hyphens", f.field, f.value, d.ID, nameMax)
		}
	}
	if len(d.Address) > nameMax || !plain(d.Address) {
		return errs.New(errs.Invalid, "address %q of device d%d: at most %d letters, digits, dots, colons, hyphens, brackets", d.Address, d.ID, nameMax)
	}
	return nil
}

// plain keeps the characters that separate the fields of the search syntax ("/" and "_") and white space out of names.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".:-[]", r))
	})
}

// compareDevices orders by place: region, zone, peer, number.
func compareDevices(a, b *Device) int {
	return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.ID, b.ID))
}
