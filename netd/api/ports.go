package api

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"net/url"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/core"
	"henge/netd/fault"
	"henge/netd/model"
)

const dnsDomain = "openstacklocal."

func ports() resource[model.Port, *model.Port] {
	return resource[model.Port, *model.Port]{
		name: "port", plural: "ports", path: "ports", typ: "PortNotFound", label: "Port", table: model.Ports, others: true,
		sees:   ownsNetworkOf,
		owns:   ownsNetworkOf,
		show:   showPort,
		near:   nearPorts,
		create: createPort,
		update: updatePort,
		remove: func(c *call, w state.Writer, p model.Port) error { return c.Core.DeletePort(w, p.ID) },
	}
}

// ownsNetworkOf: whoever owns the network sees and keeps all ports on it.
func ownsNetworkOf(c *call, r state.Reader, p *model.Port) bool {
	n, err := model.Networks.Get(r, p.NetworkID)
	return err == nil && c.mine(n.ProjectID)
}

// nearPorts takes the index that leaves the fewest.
func nearPorts(_ *call, r state.Reader, q url.Values) iter.Seq2[model.Port, error] {
	for _, by := range []struct{ parameter, index string }{{"device_id", "device"}, {"network_id", "network"}} {
		if values := q[by.parameter]; len(values) == 1 && values[0] != "" && len(q["id"]) == 0 {
			return model.Ports.Where(r, by.index, values[0])
		}
	}
	return nil
}

func showPort(c *call, r state.Reader, p *model.Port) document {
	fixed := []document{}
	for _, f := range p.FixedIPs {
		fixed = append(fixed, document{"subnet_id": f.SubnetID, "ip_address": f.IP.String()})
	}
	pairs := []document{}
	for _, a := range p.AddressPairs {
		pairs = append(pairs, document{"ip_address": prefixText(a.Prefix), "mac_address": a.MAC})
	}
	options := []document{}
	for _, o := range p.DHCPOptions {
		options = append(options, document{"opt_name": o.Name, "opt_value": o.Value, "ip_version": o.IPVersion})
	}
	vif, status := vifOf(r, p)
	d := base(&p.Standard, document{"network_id": p.NetworkID, "mac_address": p.MAC, "fixed_ips": fixed, "device_id": p.DeviceID, "device_owner": p.DeviceOwner,
		"admin_state_up": p.AdminUp, "status": status, "port_security_enabled": p.PortSecurity, "security_groups": orEmpty(p.Groups),
		"allowed_address_pairs": pairs, "extra_dhcp_opts": options, "binding:vnic_type": p.BindingVNIC,
		"dns_name": p.DNSName, "dns_assignment": assignments(p)})
	if c.admin() {
		profile := p.BindingProfile
		if profile == nil {
			profile = map[string]any{}
		}
		d["binding:host_id"], d["binding:vif_type"], d["binding:profile"] = p.BindingHost, vif, profile
		d["binding:vif_details"] = vifDetails(vif)
	}
	return d
}

func vifDetails(vif string) document {
	if vif != "bridge" {
		return document{}
	}
	return document{"port_filter": true, "connectivity": "l2"}
}

// vifOf says how a port is bound, and its status, from what the agent observed.
func vifOf(r state.Reader, p *model.Port) (vif, status string) {
	if p.DeviceOwner == model.OwnerFloatingIP {
		return "unbound", "N/A"
	}
	if p.DeviceOwner == model.OwnerDHCP {
		return "bridge", "ACTIVE" // on every peer that has ports of the network
	}
	if p.BindingHost == "" {
		return "unbound", "DOWN"
	}
	seen, err := model.ObservedPorts.Get(r, p.ID)
	switch {
	case err != nil || seen.Host != p.BindingHost || !p.AdminUp:
		return "bridge", "DOWN"
	case seen.Status == model.Faulted:
		return "binding_failed", "DOWN"
	}
	return "bridge", "ACTIVE"
}

// assignments are the names that DNS gives the port's addresses.
func assignments(p *model.Port) []document {
	shown := []document{}
	for _, f := range p.FixedIPs {
		name := p.DNSName
		if name == "" {
			name = "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(f.IP.String())
		}
		shown = append(shown, document{"ip_address": f.IP.String(), "hostname": name, "fqdn": name + "." + dnsDomain})
	}
	return shown
}

// prefixText shows a prefix of full length as an address.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// addresses takes a list of fixed IPs.
func (in *input) addresses(name string) (requests []core.AddressRequest, given bool) {
	items, given := in.objects(name)
	for _, item := range items {
		var a core.AddressRequest
		item.id("subnet_id", &a.SubnetID)
		item.addr("ip_address", &a.IP)
		in.also(item)
		for _, other := range requests {
			if other == a && a.IP.IsValid() || in.err == nil && other.IP.IsValid() && other.IP == a.IP {
				in.fail(name, "Duplicate IP address '%s'", a.IP)
			}
		}
		requests = append(requests, a)
	}
	return requests, given
}

// fillPort takes what create and update have in common.
func fillPort(in *input, r state.Reader, p *model.Port) {
	in.standard(&p.Standard)
	in.boolean("admin_state_up", &p.AdminUp)
	in.text("device_id", &p.DeviceID, 255)
	in.text("device_owner", &p.DeviceOwner, 255)
	in.privileged("binding:host_id", "binding:profile")
	in.text("binding:host_id", &p.BindingHost, 255)
	in.choice("binding:vnic_type", &p.BindingVNIC, "normal")
	in.profile(p)
	in.boolean("port_security_enabled", &p.PortSecurity)
	in.ids("security_groups", &p.Groups)
	in.pairs(p)
	in.dhcpOptions(p)
	in.text("dns_name", &p.DNSName, 63)
	in.never("dns_assignment", "binding:vif_type", "binding:vif_details")
	if in.err == nil && in.has("security_groups") {
		for _, id := range p.Groups {
			if _, err := securityGroups().fetch(in.c, r, id); err != nil {
				in.refuse(err)
			}
		}
	}
}

// guarded attributes are only for the network's owner and administrators.
func (in *input) guarded(n model.Network, names ...string) {
	for _, name := range names {
		if in.has(name) && !in.c.admin() && !in.c.mine(n.ProjectID) {
			in.refuse(denied(fmt.Sprintf("%s and rule:%s:%s", in.verb(), in.verb(), name)))
		}
	}
}

// owner keeps users from making a port look like the network's own, which is not filtered.
func (in *input) owner(n model.Network, p model.Port) {
	if in.has("device_owner") && strings.HasPrefix(p.DeviceOwner, "network:") && !in.c.admin() && !in.c.mine(n.ProjectID) {
		in.refuse(denied(in.verb() + " and rule:" + in.verb() + ":device_owner"))
	}
}

func (in *input) profile(p *model.Port) {
	raw, ok := in.get("binding:profile")
	if !ok {
		return
	}
	p.BindingProfile = nil
	if len(raw) > 4096 || json.Unmarshal(raw, &p.BindingProfile) != nil {
		in.fail("binding:profile", "it is not a dictionary of at most 4096 bytes")
	}
}

// pairs takes the allowed address pairs.
func (in *input) pairs(p *model.Port) {
	items, given := in.objects("allowed_address_pairs")
	if !given {
		return
	}
	p.AddressPairs = nil
	for _, item := range items {
		var a model.AddressPair
		item.require("ip_address")
		item.prefix("ip_address", &a.Prefix)
		item.mac("mac_address", &a.MAC)
		in.also(item)
		for _, other := range p.AddressPairs {
			if other == a {
				in.refuse(fault.New(errs.Invalid, "DuplicateAddressPairInRequest", "Request contains duplicate address pair: mac_address %s ip_address %s.", a.MAC, prefixText(a.Prefix)))
			}
		}
		p.AddressPairs = append(p.AddressPairs, a)
	}
}

// dhcpOptions takes the extra DHCP options: a value of null takes one away, the others of before stay.
func (in *input) dhcpOptions(p *model.Port) {
	items, _ := in.objects("extra_dhcp_opts")
	options := append([]model.DHCPOption(nil), p.DHCPOptions...)
	for _, item := range items {
		o := model.DHCPOption{IPVersion: 4}
		raw, _ := item.get("opt_value")
		item.require("opt_name")
		item.text("opt_name", &o.Name, 64)
		item.text("opt_value", &o.Value, 255)
		item.choiceOfInts("ip_version", &o.IPVersion, 4, 6)
		in.also(item)
		if o.Name == "" || strings.ContainsAny(o.Name+o.Value, "\n\r") {
			in.fail("extra_dhcp_opts", "a DHCP option has a name, and no line breaks")
		}
		kept := options[:0:0]
		for _, old := range options {
			if old.Name != o.Name || old.IPVersion != o.IPVersion {
				kept = append(kept, old)
			}
		}
		if options = kept; !null(raw) {
			options = append(options, o)
		}
	}
	p.DHCPOptions = options
}

func createPort(c *call, w state.Writer, in *input) (model.Port, error) {
	req := core.PortRequest{Port: model.Port{AdminUp: true, BindingVNIC: "normal"}}
	p := &req.Port
	in.require("network_id")
	in.id("network_id", &p.NetworkID)
	in.mac("mac_address", &p.MAC)
	req.Addresses, req.AddressesGiven = in.addresses("fixed_ips")
	fillPort(in, w, p)
	req.GroupsGiven, req.SecurityGiven = in.has("security_groups"), in.has("port_security_enabled")
	if in.err != nil {
		return *p, in.done()
	}
	n, err := networks().fetch(c, w, p.NetworkID)
	if err != nil {
		return *p, err
	}
	if !c.mayUse(w, n) {
		return *p, denied("create_port")
	}
	in.guarded(n, "mac_address", "port_security_enabled", "allowed_address_pairs")
	in.addressesGuarded(n, req.Addresses)
	in.owner(n, *p)
	if err := in.done(); err != nil {
		return *p, err
	}
	return c.Core.CreatePort(w, req)
}

// addressesGuarded: on another's network one may choose the subnet, not the address.
func (in *input) addressesGuarded(n model.Network, requests []core.AddressRequest) {
	for _, a := range requests {
		if a.IP.IsValid() {
			in.guarded(n, "fixed_ips")
		}
	}
}

func updatePort(c *call, w state.Writer, p model.Port, in *input) (model.Port, error) {
	change := core.PortChange{}
	in.once("network_id")
	n, err := core.Network(w, p.NetworkID)
	if err != nil {
		return p, err
	}
	in.privileged("mac_address")
	in.mac("mac_address", &p.MAC)
	change.Addresses, change.AddressesGiven = in.addresses("fixed_ips")
	fillPort(in, w, &p)
	in.guarded(n, "port_security_enabled", "allowed_address_pairs")
	in.addressesGuarded(n, change.Addresses)
	in.owner(n, p)
	if err := in.done(); err != nil {
		return p, err
	}
	change.Port = p
	return c.Core.UpdatePort(w, change)
}
