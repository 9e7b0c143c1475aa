package api

import (
	"net/netip"

	"henge/cluster/state"
	"henge/netd/fault"
	"henge/netd/model"
)

func subnetPools() resource[model.SubnetPool, *model.SubnetPool] {
	return resource[model.SubnetPool, *model.SubnetPool]{
		name: "subnetpool", plural: "subnetpools", path: "subnetpools", typ: "SubnetPoolNotFound", label: "Subnet pool", table: model.SubnetPools, others: true,
		sees: func(c *call, r state.Reader, p *model.SubnetPool) bool {
			return p.Shared || c.lent(r, p.ID, "access_as_shared")
		},
		show: showPool,
		create: func(c *call, w state.Writer, in *input) (model.SubnetPool, error) {
			var p model.SubnetPool
			in.require("prefixes", "name")
			fillPool(in, w, &p)
			in.boolean("shared", &p.Shared)
			if err := in.done(); err != nil {
				return p, err
			}
			return c.Core.CreatePool(w, p)
		},
		update: func(c *call, w state.Writer, p model.SubnetPool, in *input) (model.SubnetPool, error) {
			in.once("shared")
			fillPool(in, w, &p)
			if err := in.done(); err != nil {
				return p, err
			}
			return c.Core.UpdatePool(w, p)
		},
		remove: func(c *call, w state.Writer, p model.SubnetPool) error { return c.Core.DeletePool(w, p.ID) },
	}
}

func fillPool(in *input, r state.Reader, p *model.SubnetPool) {
	in.standard(&p.Standard)
	in.privileged("shared", "is_default")
	in.boolean("is_default", &p.IsDefault)
	in.number("default_prefixlen", &p.DefaultLength, 0, 128)
	in.number("min_prefixlen", &p.MinLength, 0, 128)
	in.number("max_prefixlen", &p.MaxLength, 0, 128)
	in.number("default_quota", &p.DefaultQuota, 0, 1<<31-1)
	in.id("address_scope_id", &p.AddressScopeID)
	in.never("ip_version")
	if in.has("prefixes") {
		var list []string
		in.texts("prefixes", &list)
		p.Prefixes = nil
		for _, text := range list {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				in.fail("prefixes", "'%s' is not a valid IP subnet", text)
				return
			}
			p.Prefixes = append(p.Prefixes, prefix)
		}
	}
	if in.err == nil && p.IsDefault && len(p.Prefixes) > 0 {
		in.refuse(onlyDefault(r, p))
	}
	if in.err == nil && in.has("address_scope_id") && p.AddressScopeID != "" {
		_, err := addressScopes().fetch(in.c, r, p.AddressScopeID)
		in.refuse(err)
	}
}

func onlyDefault(r state.Reader, p *model.SubnetPool) error {
	for other, err := range model.SubnetPools.All(r) {
		if err == nil && other.IsDefault && other.ID != p.ID && other.Prefixes[0].Addr().Is4() == p.Prefixes[0].Addr().Is4() {
			return fault.Invalid("A default subnetpool for this IP family has already been set. Only one default may exist per IP family")
		}
	}
	return nil
}

func showPool(c *call, r state.Reader, p *model.SubnetPool) document {
	prefixes, version := []string{}, 4
	for _, prefix := range p.Prefixes {
		prefixes = append(prefixes, prefix.String())
		if prefix.Addr().Is6() {
			version = 6
		}
	}
	return base(&p.Standard, document{"prefixes": prefixes, "ip_version": version, "default_prefixlen": p.DefaultLength, "min_prefixlen": p.MinLength,
		"max_prefixlen": p.MaxLength, "default_quota": orNull(p.DefaultQuota), "address_scope_id": orNull(p.AddressScopeID),
		"shared": p.Shared || c.lent(r, p.ID, "access_as_shared"), "is_default": p.IsDefault})
}

func addressScopes() resource[model.AddressScope, *model.AddressScope] {
	return resource[model.AddressScope, *model.AddressScope]{
		name: "address_scope", plural: "address_scopes", path: "address-scopes", typ: "AddressScopeNotFound", label: "Address scope",
		table: model.AddressScopes, others: true,
		sees: func(c *call, r state.Reader, a *model.AddressScope) bool {
			return a.Shared || c.lent(r, a.ID, "access_as_shared")
		},
		show: func(c *call, r state.Reader, a *model.AddressScope) document {
			return base(&a.Standard, document{"ip_version": a.IPVersion, "shared": a.Shared || c.lent(r, a.ID, "access_as_shared")})
		},
		create: func(c *call, w state.Writer, in *input) (model.AddressScope, error) {
			var a model.AddressScope
			in.require("name", "ip_version")
			in.choiceOfInts("ip_version", &a.IPVersion, 4, 6)
			fillScope(in, &a)
			if err := in.done(); err != nil {
				return a, err
			}
			return c.Core.CreateScope(w, a)
		},
		update: func(c *call, w state.Writer, a model.AddressScope, in *input) (model.AddressScope, error) {
			in.once("ip_version")
			fillScope(in, &a)
			if err := in.done(); err != nil {
				return a, err
			}
			return c.Core.UpdateScope(w, a)
		},
		remove: func(c *call, w state.Writer, a model.AddressScope) error { return c.Core.DeleteScope(w, a.ID) },
	}
}

func fillScope(in *input, a *model.AddressScope) {
	in.standard(&a.Standard)
	in.privileged("shared")
	in.boolean("shared", &a.Shared)
}

func rbacPolicies() resource[model.RBAC, *model.RBAC] {
	return resource[model.RBAC, *model.RBAC]{
		name: "rbac_policy", plural: "rbac_policies", path: "rbac-policies", typ: "RbacPolicyNotFound", label: "RBAC policy", table: model.Policies, others: true,
		sees:   func(c *call, _ state.Reader, p *model.RBAC) bool { return c.mine(p.Target) },
		show:   showRBAC,
		create: createRBAC,
		update: func(c *call, w state.Writer, p model.RBAC, in *input) (model.RBAC, error) {
			in.once("object_type", "object_id", "action", "project_id", "tenant_id")
			in.target(&p)
			if err := in.done(); err != nil {
				return p, err
			}
			return c.Core.UpdateRBAC(w, p)
		},
		remove: func(c *call, w state.Writer, p model.RBAC) error { return c.Core.DeleteRBAC(w, p) },
	}
}

func showRBAC(_ *call, _ state.Reader, p *model.RBAC) document {
	return document{"id": p.ID, "project_id": p.ProjectID, "tenant_id": p.ProjectID, "object_type": p.ObjectType, "object_id": p.ObjectID,
		"action": p.Action, "target_tenant": p.Target, "target_project_id": p.Target}
}

// target takes the project that is lent to, under either name.
func (in *input) target(p *model.RBAC) {
	in.text("target_project_id", &p.Target, 255)
	in.text("target_tenant", &p.Target, 255)
	if p.Target == "*" && !in.c.admin() {
		in.refuse(denied(in.verb() + ":target_tenant"))
	}
	if p.Target == "" {
		in.fail("target_tenant", "it is the id of a project, or *")
	}
}

func createRBAC(c *call, w state.Writer, in *input) (model.RBAC, error) {
	var p model.RBAC
	in.require("object_type", "object_id", "action")
	in.choice("object_type", &p.ObjectType, "network", "security_group", "subnetpool", "address_scope")
	in.id("object_id", &p.ObjectID)
	in.choice("action", &p.Action, "access_as_shared", "access_as_external")
	in.project(&p.Standard)
	in.target(&p)
	if err := in.done(); err != nil {
		return p, err
	}
	if p.Action == "access_as_external" && (p.ObjectType != "network" || !c.admin()) {
		return p, denied("create_rbac_policy")
	}
	var err error
	switch p.ObjectType {
	case "network":
		_, err = networks().fetchOwn(c, w, p.ObjectID, "share")
	case "security_group":
		_, err = securityGroups().fetchOwn(c, w, p.ObjectID, "share")
	case "subnetpool":
		_, err = subnetPools().fetchOwn(c, w, p.ObjectID, "share")
	case "address_scope":
		_, err = addressScopes().fetchOwn(c, w, p.ObjectID, "share")
	}
	if err != nil {
		return p, err
	}
	return c.Core.CreateRBAC(w, p)
}
