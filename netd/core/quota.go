package core

import (
	"maps"

	"henge/cluster/state"
	"henge/netd/fault"
	"henge/netd/model"
)

// DefaultQuotas are Neutron's.
func DefaultQuotas() map[string]int {
	return map[string]int{"network": 100, "subnet": 100, "port": 500, "router": 10, "floatingip": 50, "security_group": 10,
		"security_group_rule": 100, "subnetpool": -1, "rbac_policy": 10}
}

// DefaultLimits are the limits of a project that has none of its own.
func (c *Core) DefaultLimits() map[string]int { return maps.Clone(c.cfg.Quotas) }

// Limits are a project's limits, and whether any is its own.
func (c *Core) Limits(r state.Reader, projectID string) (map[string]int, error) {
	limits := c.DefaultLimits()
	own, there, err := model.Optional(model.Quotas.Get(r, projectID))
	if err != nil || !there {
		return limits, err
	}
	maps.Copy(limits, own.Limits)
	return limits, nil
}

// Used counts what a project has of a resource.
func Used(r state.Reader, projectID, resource string) int {
	switch resource {
	case "network":
		return model.Networks.Count(r, "project", projectID)
	case "subnet":
		return model.Subnets.Count(r, "project", projectID)
	case "port":
		return model.Ports.Count(r, "project", projectID)
	case "router":
		return model.Routers.Count(r, "project", projectID)
	case "floatingip":
		return model.FloatingIPs.Count(r, "project", projectID)
	case "security_group":
		return model.SecurityGroups.Count(r, "project", projectID)
	case "security_group_rule":
		return model.Rules.Count(r, "project", projectID)
	case "subnetpool":
		return model.SubnetPools.Count(r, "project", projectID)
	case "rbac_policy":
		return model.Policies.Count(r, "project", projectID)
	}
	return 0
}

// room fails when one more of a resource would be more than the project may have. What belongs to no project is the cloud's own and is not counted.
func (c *Core) room(r state.Reader, projectID, resource string) error {
	if projectID == "" {
		return nil
	}
	limits, err := c.Limits(r, projectID)
	if err != nil {
		return err
	}
	limit, known := limits[resource]
	if !known || limit < 0 {
		return nil
	}
	if Used(r, projectID, resource) >= limit {
		return fault.Conflict("OverQuota", "Quota exceeded for resources: ['%s'].", resource)
	}
	return nil
}
