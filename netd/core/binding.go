package core

import (
	"henge/cluster/state"
	"henge/netd/fault"
	"henge/netd/model"
)

// Binding says which peer a port is to be wired on, and for what.
type Binding struct {
	Host        string
	DeviceID    string
	DeviceOwner string // for example compute:nova
	Profile     map[string]any
}

// BindPort gives a port to a device on a peer, whose agent then wires it. A port that another device has is not given: errs.Conflict, PortInUse. Binding it
// again to the same is nothing.
func (c *Core) BindPort(w state.Writer, id string, b Binding) (model.Port, error) {
	p, err := Port(w, id)
	if err != nil {
		return p, err
	}
	if p.DeviceID != "" && p.DeviceID != b.DeviceID {
		return p, fault.Conflict("PortInUse", "Unable to complete operation on port %s for network %s. Port already has an attached device %s.", id, p.NetworkID, p.DeviceID)
	}
	if p.BindingHost == b.Host && p.DeviceID == b.DeviceID && p.DeviceOwner == b.DeviceOwner && b.Profile == nil {
		return p, nil
	}
	p.DeviceID, p.DeviceOwner, p.BindingHost = b.DeviceID, b.DeviceOwner, b.Host
	if b.Profile != nil {
		p.BindingProfile = b.Profile
	}
	return c.UpdatePort(w, PortChange{Port: p})
}

// UnbindPort takes a port from its device; it stays with its addresses. On one that nobody has it does nothing.
func (c *Core) UnbindPort(w state.Writer, id string) (model.Port, error) {
	p, err := Port(w, id)
	if err != nil {
		return p, err
	}
	if p.BindingHost == "" && p.DeviceID == "" {
		return p, nil
	}
	p.DeviceID, p.DeviceOwner, p.BindingHost, p.BindingProfile = "", "", "", nil
	return c.UpdatePort(w, PortChange{Port: p})
}
