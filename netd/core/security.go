package core

import (
	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

// Group fetches a security group.
func Group(r state.Reader, id string) (model.SecurityGroup, error) {
	g, err := model.SecurityGroups.Get(r, id)
	if errs.Is(err, errs.NotFound) {
		return g, fault.NotFound("SecurityGroupNotFound", "Security group %s does not exist", id)
	}
	return g, err
}

// DefaultGroup finds a project's default group, and makes it when it is not there yet.
func (c *Core) DefaultGroup(w state.Writer, projectID string) (model.SecurityGroup, error) {
	g, there, err := model.Optional(model.SecurityGroups.First(w, "default", projectID))
	if err != nil || there {
		return g, err
	}
	g = model.SecurityGroup{IsDefault: true}
	g.Name, g.ProjectID, g.Description = "default", projectID, "Default security group"
	return c.makeGroup(w, g)
}

// CreateGroup makes a security group, which lets everything out and nothing in.
func (c *Core) CreateGroup(w state.Writer, g model.SecurityGroup) (model.SecurityGroup, error) {
	if g.Name == "default" {
		return g, fault.Conflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
	}
	if _, err := c.DefaultGroup(w, g.ProjectID); err != nil {
		return g, err
	}
	if err := c.room(w, g.ProjectID, "security_group"); err != nil {
		return g, err
	}
	return c.makeGroup(w, g)
}

func (c *Core) makeGroup(w state.Writer, g model.SecurityGroup) (model.SecurityGroup, error) {
	c.born(&g.Standard)
	if err := model.SecurityGroups.Put(w, g.ID, g); err != nil {
		return g, err
	}
	for _, ether := range []string{model.IPv4, model.IPv6} {
		rules := []model.Rule{{Direction: model.Egress}}
		if g.IsDefault {
			rules = append(rules, model.Rule{Direction: model.Ingress, RemoteGroup: g.ID})
		}
		for _, r := range rules {
			r.GroupID, r.EtherType, r.ProjectID = g.ID, ether, g.ProjectID
			c.born(&r.Standard)
			if err := model.Rules.Put(w, r.ID, r); err != nil {
				return g, err
			}
		}
	}
	return g, nil
}

// UpdateGroup changes a group.
func (c *Core) UpdateGroup(w state.Writer, g model.SecurityGroup) (model.SecurityGroup, error) {
	old, err := Group(w, g.ID)
	if err != nil {
		return g, err
	}
	if g.Name != old.Name && g.Name == "default" {
		return g, fault.Conflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
	}
	if old.IsDefault && g.Name != old.Name {
		return g, fault.Conflict("SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.")
	}
	if old.Stateless != g.Stateless && model.PortGroups.Count(w, "group", g.ID) > 0 {
		return g, groupInUse(g.ID)
	}
	c.changed(&g.Standard)
	return g, model.SecurityGroups.Put(w, g.ID, g)
}

func groupInUse(id string) error {
	return fault.Conflict("SecurityGroupInUse", "Security Group %s in use.", id)
}

// DeleteGroup removes a group that no port is in. Rules of other groups that speak of it go with it, for nothing could match them any more. Whether the
// default group may go is the caller's to say.
func (c *Core) DeleteGroup(w state.Writer, id string) error {
	if _, err := Group(w, id); err != nil {
		return err
	}
	if model.PortGroups.Count(w, "group", id) > 0 {
		return groupInUse(id)
	}
	own, err := model.RulesOf(w, id)
	if err != nil {
		return err
	}
	remote, err := model.Collect(model.Rules.Where(w, "remote", id))
	if err != nil {
		return err
	}
	for _, r := range append(own, remote...) {
		if err := model.Rules.Delete(w, r.ID); err != nil && !errs.Is(err, errs.NotFound) { // one may be both
			return err
		}
	}
	if err := dropPolicies(w, id); err != nil {
		return err
	}
	return model.SecurityGroups.Delete(w, id)
}

// CreateRule makes a rule.
func (c *Core) CreateRule(w state.Writer, r model.Rule) (model.Rule, error) {
	g, err := Group(w, r.GroupID)
	if err != nil {
		return r, err
	}
	if r.RemoteGroup != "" {
		if _, err := Group(w, r.RemoteGroup); err != nil {
			return r, err
		}
	}
	if err := checkRule(&r); err != nil {
		return r, err
	}
	if r.ProjectID == "" {
		r.ProjectID = g.ProjectID
	}
	if err := c.room(w, r.ProjectID, "security_group_rule"); err != nil {
		return r, err
	}
	c.born(&r.Standard)
	err = model.Rules.Put(w, r.ID, r)
	if errs.Is(err, errs.Exists) {
		same, _ := model.Rules.First(w, "same", model.Sameness(r))
		return r, fault.Conflict("SecurityGroupRuleExists", "Security group rule already exists. Rule id is %s.", same.ID)
	}
	if err != nil {
		return r, err
	}
	c.changed(&g.Standard)
	return r, model.SecurityGroups.Put(w, g.ID, g)
}

// checkRule looks at the rule alone, and gives a prefix the form that it is compared in.
func checkRule(r *model.Rule) error {
	if r.RemotePrefix.IsValid() && r.RemoteGroup != "" {
		return fault.New(errs.Invalid, "SecurityGroupMultipleRemoteEntites", "Only one of remote_ip_prefix or remote_group_id may be provided.")
	}
	if r.RemotePrefix.IsValid() {
		if r.RemotePrefix.Addr().Is4() != (r.EtherType == model.IPv4) {
			return fault.New(errs.Invalid, "SecurityGroupRuleParameterConflict", "Conflicting value ethertype %s for CIDR %s", r.EtherType, r.RemotePrefix)
		}
		r.RemotePrefix = r.RemotePrefix.Masked()
	}
	number, known := model.ProtocolNumber(r.Protocol, r.EtherType)
	switch {
	case r.Protocol == "" && (r.PortMin != nil || r.PortMax != nil):
		return fault.New(errs.Invalid, "SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given.")
	case r.Protocol == "":
		return nil
	case !known:
		return fault.New(errs.Invalid, "SecurityGroupRuleInvalidProtocol", "Security group rule protocol %s not supported. Only protocol values that have a name, or integers from 0 to 255, are supported.", r.Protocol)
	case number == 58 && r.EtherType == model.IPv4:
		return fault.New(errs.Invalid, "SecurityGroupEthertypeConflictWithProtocol", "Invalid ethertype %s for protocol %s.", r.EtherType, r.Protocol)
	}
	return checkBounds(*r, number)
}

func checkBounds(r model.Rule, number int) error {
	low, high := r.PortMin, r.PortMax
	if low == nil && high == nil {
		return nil
	}
	if model.MatchesTypes(number) {
		return checkICMP(low, high)
	}
	switch {
	case !model.MatchesPorts(number):
		return fault.New(errs.Invalid, "SecurityGroupInvalidProtocolForPort", "Invalid protocol %s for port range, only supported for TCP, UDP, UDPLITE, SCTP and DCCP.", r.Protocol)
	case low == nil || high == nil || *low > *high || *low < 1 || *high > 65535:
		return fault.New(errs.Invalid, "SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max, and both lie between 1 and 65535.")
	}
	return nil
}

func checkICMP(typ, code *int) error {
	for _, bound := range []struct {
		field, attribute string
		n                *int
	}{{"type", "port_range_min", typ}, {"code", "port_range_max", code}} {
		if bound.n != nil && (*bound.n < 0 || *bound.n > 255) {
			return fault.New(errs.Invalid, "SecurityGroupInvalidIcmpValue", "Invalid value for ICMP %s (%s) %d. It must be 0 to 255.", bound.field, bound.attribute, *bound.n)
		}
	}
	if typ == nil {
		return fault.New(errs.Invalid, "SecurityGroupMissingIcmpType", "ICMP code (port-range-max) %d is provided but ICMP type (port-range-min) is missing.", *code)
	}
	return nil
}

// DeleteRule removes a rule.
func (c *Core) DeleteRule(w state.Writer, id string) error {
	r, err := get(w, model.Rules, "SecurityGroupRuleNotFound", "Security group rule", id)
	if err != nil {
		return err
	}
	if g, there, err := model.Optional(model.SecurityGroups.Get(w, r.GroupID)); err != nil {
		return err
	} else if there {
		c.changed(&g.Standard)
		if err := model.SecurityGroups.Put(w, g.ID, g); err != nil {
			return err
		}
	}
	return model.Rules.Delete(w, id)
}
