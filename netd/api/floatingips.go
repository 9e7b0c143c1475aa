package api

import (
	"iter"
	"net/url"

	"henge/cluster/state"
	"henge/netd/core"
	"henge/netd/model"
)

func floatingIPs() resource[model.FloatingIP, *model.FloatingIP] {
	return resource[model.FloatingIP, *model.FloatingIP]{
		name: "floatingip", plural: "floatingips", path: "floatingips", typ: "FloatingIPNotFound", label: "Floating IP", table: model.FloatingIPs,
		show:   showFloatingIP,
		near:   nearFloatingIPs,
		create: createFloatingIP,
		update: updateFloatingIP,
		remove: func(c *call, w state.Writer, f model.FloatingIP) error { return c.Core.DeleteFloatingIP(w, f.ID) },
	}
}

func nearFloatingIPs(_ *call, r state.Reader, q url.Values) iter.Seq2[model.FloatingIP, error] {
	if values := q["port_id"]; len(values) == 1 && values[0] != "" {
		return model.FloatingIPs.Where(r, "port", values[0])
	}
	return nil
}

func showFloatingIP(_ *call, r state.Reader, f *model.FloatingIP) document {
	d := base(&f.Standard, document{"floating_network_id": f.NetworkID, "floating_ip_address": f.Address.String(), "port_id": orNull(f.PortID),
		"fixed_ip_address": addrOrNull(f.FixedIP), "router_id": orNull(f.RouterID), "status": floatingStatus(r, f), "dns_name": f.DNSName,
		"dns_domain": f.DNSDomain, "port_details": nil, "port_forwardings": []document{}})
	delete(d, "name") // the one resource that has none
	if p, err := model.Ports.Get(r, f.PortID); err == nil && f.PortID != "" {
		_, status := vifOf(r, &p)
		d["port_details"] = document{"name": p.Name, "network_id": p.NetworkID, "mac_address": p.MAC, "admin_state_up": p.AdminUp, "status": status,
			"device_id": p.DeviceID, "device_owner": p.DeviceOwner}
	}
	return d
}

// floatingStatus is what the agent of the router has made of it.
func floatingStatus(r state.Reader, f *model.FloatingIP) string {
	if f.RouterID == "" {
		return "DOWN"
	}
	seen, err := model.ObservedRouters.Get(r, f.RouterID)
	router, rerr := model.Routers.Get(r, f.RouterID)
	switch {
	case err != nil || rerr != nil || seen.Host != router.Host:
		return "DOWN"
	case seen.Status == model.Faulted:
		return "ERROR"
	}
	return "ACTIVE"
}

func fillFloatingIP(in *input, r state.Reader, f *model.FloatingIP) {
	in.text("description", &f.Description, 255)
	in.never("id", "created_at", "updated_at", "revision_number", "status", "tags", "router_id", "port_details", "port_forwardings")
	in.project(&f.Standard)
	in.text("dns_name", &f.DNSName, 255)
	in.text("dns_domain", &f.DNSDomain, 255)
	in.once("dns_name", "dns_domain")
	before := f.PortID
	in.id("port_id", &f.PortID)
	if f.PortID != before {
		f.FixedIP = model.FloatingIP{}.FixedIP
	}
	in.addr("fixed_ip_address", &f.FixedIP)
	if in.err == nil && in.has("port_id") && f.PortID != "" {
		if _, err := ports().fetch(in.c, r, f.PortID); err != nil {
			in.refuse(err)
		}
	}
}

func createFloatingIP(c *call, w state.Writer, in *input) (model.FloatingIP, error) {
	var req core.FloatingRequest
	f := &req.FloatingIP
	in.require("floating_network_id")
	in.id("floating_network_id", &f.NetworkID)
	in.privileged("floating_ip_address")
	in.addr("floating_ip_address", &f.Address)
	in.id("subnet_id", &req.SubnetID)
	fillFloatingIP(in, w, f)
	if err := in.done(); err != nil {
		return *f, err
	}
	if _, err := networks().fetch(c, w, f.NetworkID); err != nil {
		return *f, err
	}
	return c.Core.CreateFloatingIP(w, req)
}

// updateFloatingIP: as ever with Neutron, an update that does not name the port leaves it, and null dissociates.
func updateFloatingIP(c *call, w state.Writer, f model.FloatingIP, in *input) (model.FloatingIP, error) {
	in.once("floating_network_id", "floating_ip_address", "subnet_id")
	fillFloatingIP(in, w, &f)
	if err := in.done(); err != nil {
		return f, err
	}
	return c.Core.UpdateFloatingIP(w, f)
}
