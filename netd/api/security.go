package api

import (
	"iter"
	"net/url"
	"strconv"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

func securityGroups() resource[model.SecurityGroup, *model.SecurityGroup] {
	return resource[model.SecurityGroup, *model.SecurityGroup]{
		name: "security_group", plural: "security_groups", path: "security-groups", typ: "SecurityGroupNotFound", label: "Security group",
		table: model.SecurityGroups, others: true,
		sees: func(c *call, r state.Reader, g *model.SecurityGroup) bool {
			return c.lent(r, g.ID, "access_as_shared")
		},
		show:   showGroup,
		before: haveDefault,
		create: func(c *call, w state.Writer, in *input) (model.SecurityGroup, error) {
			var g model.SecurityGroup
			fillGroup(in, &g)
			if err := in.done(); err != nil {
				return g, err
			}
			return c.Core.CreateGroup(w, g)
		},
		update: func(c *call, w state.Writer, g model.SecurityGroup, in *input) (model.SecurityGroup, error) {
			fillGroup(in, &g)
			if err := in.done(); err != nil {
				return g, err
			}
			return c.Core.UpdateGroup(w, g)
		},
		remove: func(c *call, w state.Writer, g model.SecurityGroup) error {
			if g.IsDefault && !c.admin() {
				return fault.Conflict("SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group.")
			}
			return c.Core.DeleteGroup(w, g.ID)
		},
	}
}

// haveDefault makes the default group of the caller's project before the first list, as Neutron does.
func haveDefault(c *call) error {
	if c.who.ProjectID == "" {
		return nil
	}
	there := false
	err := c.view(func(r state.Reader) error {
		there = model.SecurityGroups.Count(r, "default", c.who.ProjectID) > 0
		return nil
	})
	if err != nil || there {
		return err
	}
	return c.change(func(w state.Writer) error {
		_, err := c.Core.DefaultGroup(w, c.who.ProjectID)
		return err
	})
}

func fillGroup(in *input, g *model.SecurityGroup) {
	in.standard(&g.Standard)
	stateful := !g.Stateless
	in.boolean("stateful", &stateful)
	if !stateful {
		in.refuse(fault.Invalid("stateless security groups are not supported: answers to what was let pass always pass"))
	}
	in.never("security_group_rules", "shared")
}

func showGroup(c *call, r state.Reader, g *model.SecurityGroup) document {
	rules := []document{}
	for rule, err := range model.Rules.Where(r, "group", g.ID) {
		if err == nil {
			rules = append(rules, showRule(c, r, &rule))
		}
	}
	return base(&g.Standard, document{"security_group_rules": rules, "stateful": !g.Stateless, "shared": c.lent(r, g.ID, "access_as_shared")})
}

func rules() resource[model.Rule, *model.Rule] {
	return resource[model.Rule, *model.Rule]{
		name: "security_group_rule", plural: "security_group_rules", path: "security-group-rules", typ: "SecurityGroupRuleNotFound",
		label: "Security group rule", table: model.Rules,
		show: showRule,
		near: func(_ *call, r state.Reader, q url.Values) iter.Seq2[model.Rule, error] {
			if groups := q["security_group_id"]; len(groups) == 1 {
				return model.Rules.Where(r, "group", groups[0])
			}
			return nil
		},
		before: haveDefault,
		create: createRule,
		remove: func(c *call, w state.Writer, r model.Rule) error { return c.Core.DeleteRule(w, r.ID) },
	}
}

func showRule(_ *call, _ state.Reader, r *model.Rule) document {
	number := func(n *int) any {
		if n == nil {
			return nil
		}
		return *n
	}
	d := base(&r.Standard, document{"security_group_id": r.GroupID, "direction": r.Direction, "ethertype": r.EtherType, "protocol": orNull(r.Protocol),
		"port_range_min": number(r.PortMin), "port_range_max": number(r.PortMax), "remote_ip_prefix": nil, "remote_group_id": orNull(r.RemoteGroup)})
	if r.RemotePrefix.IsValid() {
		d["remote_ip_prefix"] = r.RemotePrefix.String()
	}
	delete(d, "name")
	return d
}

func createRule(c *call, w state.Writer, in *input) (model.Rule, error) {
	r := model.Rule{EtherType: model.IPv4}
	in.require("security_group_id", "direction")
	in.id("security_group_id", &r.GroupID)
	in.text("description", &r.Description, 255)
	in.never("id", "created_at", "updated_at", "revision_number", "tags")
	in.project(&r.Standard)
	in.choice("direction", &r.Direction, model.Ingress, model.Egress)
	in.etherType(&r)
	in.protocol(&r)
	in.prefix("remote_ip_prefix", &r.RemotePrefix)
	in.id("remote_group_id", &r.RemoteGroup)
	r.PortMin, r.PortMax = in.port("port_range_min"), in.port("port_range_max")
	if err := in.done(); err != nil {
		return r, err
	}
	if _, err := securityGroups().fetchOwn(c, w, r.GroupID, "update"); err != nil {
		return r, err
	}
	if r.RemoteGroup != "" {
		if _, err := securityGroups().fetch(c, w, r.RemoteGroup); err != nil {
			return r, err
		}
	}
	return c.Core.CreateRule(w, r)
}

func (in *input) etherType(r *model.Rule) {
	var word string
	in.text("ethertype", &word, 64)
	switch {
	case strings.EqualFold(word, model.IPv6):
		r.EtherType = model.IPv6
	case word != "" && !strings.EqualFold(word, model.IPv4):
		in.fail("ethertype", "'%s' is not in ['IPv4', 'IPv6']", brief([]byte(word)))
	}
}

// protocol takes a name or a number; "any", "0" and null are all of them.
func (in *input) protocol(r *model.Rule) {
	raw, ok := in.get("protocol")
	if !ok || null(raw) {
		return
	}
	word := strings.ToLower(strings.Trim(string(raw), `"`))
	if len(word) > 64 {
		in.fail("protocol", "'%s' is too long", brief(raw))
		return
	}
	if word == "any" || word == "0" || word == "" {
		return
	}
	if r.Protocol = word; word == "icmpv6" {
		r.Protocol = "ipv6-icmp"
	}
}

// port takes a port or an ICMP type or code.
func (in *input) port(name string) *int {
	raw, ok := in.get(name)
	if !ok || null(raw) {
		return nil
	}
	n, err := strconv.Atoi(strings.Trim(string(raw), `"`))
	if err != nil || n < 0 || n > 65535 {
		in.refuse(fault.New(errs.Invalid, "SecurityGroupInvalidPortValue", "Invalid value for port %s", brief(raw)))
		return nil
	}
	return &n
}
