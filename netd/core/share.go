package core

import (
	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

// CreateScope makes an address scope.
func (c *Core) CreateScope(w state.Writer, a model.AddressScope) (model.AddressScope, error) {
	c.born(&a.Standard)
	return a, model.AddressScopes.Put(w, a.ID, a)
}

// UpdateScope changes an address scope.
func (c *Core) UpdateScope(w state.Writer, a model.AddressScope) (model.AddressScope, error) {
	c.changed(&a.Standard)
	return a, model.AddressScopes.Put(w, a.ID, a)
}

// DeleteScope removes an address scope that no pool is in.
func (c *Core) DeleteScope(w state.Writer, id string) error {
	if model.SubnetPools.Count(w, "scope", id) > 0 {
		return fault.Conflict("AddressScopeInUse", "Unable to complete operation on address scope %s. There are one or more subnet pools in use on the address scope.", id)
	}
	if err := dropPolicies(w, id); err != nil {
		return err
	}
	return model.AddressScopes.Delete(w, id)
}

// CreateRBAC lends an object.
func (c *Core) CreateRBAC(w state.Writer, p model.RBAC) (model.RBAC, error) {
	if err := c.room(w, p.ProjectID, "rbac_policy"); err != nil {
		return p, err
	}
	c.born(&p.Standard)
	return p, putRBAC(w, p)
}

// UpdateRBAC lends it to somebody else.
func (c *Core) UpdateRBAC(w state.Writer, p model.RBAC) (model.RBAC, error) {
	old, err := get(w, model.Policies, "RbacPolicyNotFound", "RBAC policy", p.ID)
	if err != nil {
		return p, err
	}
	if err := c.unneeded(w, old, p.Target); err != nil {
		return p, err
	}
	c.changed(&p.Standard)
	return p, putRBAC(w, p)
}

func putRBAC(w state.Writer, p model.RBAC) error {
	err := model.Policies.Put(w, p.ID, p)
	if errs.Is(err, errs.Exists) {
		return fault.Conflict("DuplicateRbacPolicy", "An RBAC policy already exists with those values.")
	}
	return err
}

// DeleteRBAC takes it back, unless it is in use.
func (c *Core) DeleteRBAC(w state.Writer, p model.RBAC) error {
	if err := c.unneeded(w, p, ""); err != nil {
		return err
	}
	return model.Policies.Delete(w, p.ID)
}

// unneeded: nobody whom the policy lets in has ports on the network, unless it will let him in still.
func (c *Core) unneeded(r state.Reader, p model.RBAC, stays string) error {
	if p.ObjectType != "network" || p.Action != "access_as_shared" {
		return nil
	}
	n, err := Network(r, p.ObjectID)
	if err != nil || n.Shared {
		return err
	}
	for port, err := range model.Ports.Where(r, "network", p.ObjectID) {
		if err != nil {
			return err
		}
		let := port.ProjectID != "" && port.ProjectID != n.ProjectID && (p.Target == "*" || p.Target == port.ProjectID)
		if let && stays != "*" && stays != port.ProjectID {
			return fault.Conflict("RbacPolicyInUse", "RBAC policy on object %s cannot be removed because other objects depend on it.", p.ObjectID)
		}
	}
	return nil
}
