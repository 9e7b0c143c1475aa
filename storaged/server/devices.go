package server

import (
	"henge/cluster/rpc"
	"henge/storaged/peerapi"
)

// Devices finds devices: this peer's own directly, others over the peer protocol. It is a peerapi.Devices.
type Devices struct {
	self   string
	local  func(name string) (peerapi.Device, bool)
	caller rpc.Caller
	up     func(peer string) bool
}

// NewDevices makes a Devices for the peer self. local finds its own devices (nil: it has none), up tells which other peers are believed to be alive.
func NewDevices(self string, local func(name string) (peerapi.Device, bool), caller rpc.Caller, up func(peer string) bool) *Devices {
	if local == nil {
		local = func(string) (peerapi.Device, bool) { return nil, false }
	}
	return &Devices{self: self, local: local, caller: caller, up: up}
}

// Device is peerapi.Devices'. A peer that is down is not called: it would cost each request a time-out.
func (d *Devices) Device(t peerapi.Target) peerapi.Device {
	if t.Peer == d.self {
		if device, ok := d.local(t.Device); ok {
			return device
		}
		return peerapi.Absent(peerapi.Unavailable(t, "it is not open"))
	}
	if !d.up(t.Peer) {
		return peerapi.Absent(peerapi.Unavailable(t, "the peer is down"))
	}
	return peerapi.NewRemote(d.caller, t)
}

// Up is peerapi.Devices'.
func (d *Devices) Up(t peerapi.Target) bool {
	if t.Peer == d.self {
		_, ok := d.local(t.Device)
		return ok
	}
	return d.up(t.Peer)
}
