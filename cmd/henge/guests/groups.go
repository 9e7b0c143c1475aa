package guests

import (
	"context"
	"net/netip"

	"henge/cluster/state"
	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/internal/errs"
	net "henge/netd/model"
)

// Groups are the security groups for Nova's old calls.
func (n Networks) Groups() neighbour.Groups { return guestGroups{n} }

type guestGroups struct{ n Networks }

func detailGroup(r state.Reader, g net.SecurityGroup) (neighbour.GroupDetail, error) {
	d := neighbour.GroupDetail{SecurityGroup: neighbour.SecurityGroup{ID: g.ID, Name: g.Name}, Description: g.Description, ProjectID: g.ProjectID}
	rules, err := net.RulesOf(r, g.ID)
	for _, rule := range rules {
		if rule.Direction == net.Ingress {
			d.Rules = append(d.Rules, oldRule(r, rule))
		}
	}
	return d, err
}

func oldRule(r state.Reader, rule net.Rule) neighbour.GroupRule {
	d := neighbour.GroupRule{ID: rule.ID, GroupID: rule.GroupID, Protocol: rule.Protocol, FromPort: -1, ToPort: -1}
	if rule.PortMin != nil {
		d.FromPort = *rule.PortMin
	}
	if rule.PortMax != nil {
		d.ToPort = *rule.PortMax
	}
	if rule.RemotePrefix.IsValid() {
		d.CIDR = rule.RemotePrefix.String()
	}
	if rule.RemoteGroup != "" {
		g, _, _ := net.Optional(net.SecurityGroups.Get(r, rule.RemoteGroup)) // one that is gone has no name
		d.RemoteGroup, d.RemoteProject = neighbour.SecurityGroup{ID: rule.RemoteGroup, Name: g.Name}, g.ProjectID
	}
	return d
}

func (g guestGroups) Groups(ctx context.Context, who *authn.Identity) (all []neighbour.GroupDetail, err error) {
	if _, err := g.n.Group(ctx, who, "default"); err != nil {
		return nil, err
	}
	err = g.n.Store.View(ctx, func(r state.Reader) error {
		for row, err := range net.SecurityGroups.Where(r, "project", who.ProjectID) {
			if err != nil {
				return err
			}
			d, err := detailGroup(r, row)
			if err != nil {
				return err
			}
			all = append(all, d)
		}
		return nil
	})
	return all, err
}

// owned finds a group of the caller's.
func owned(r state.Reader, who *authn.Identity, id string) (net.SecurityGroup, error) {
	g, err := net.SecurityGroups.Get(r, id)
	if errs.Is(err, errs.NotFound) || err == nil && g.ProjectID != who.ProjectID && !who.HasRole("admin") {
		return g, errs.New(errs.NotFound, "Security group %s does not exist", id)
	}
	return g, err
}

func (g guestGroups) GroupDetail(ctx context.Context, who *authn.Identity, id string) (d neighbour.GroupDetail, err error) {
	err = g.n.Store.View(ctx, func(r state.Reader) error {
		row, err := owned(r, who, id)
		if err == nil {
			d, err = detailGroup(r, row)
		}
		return err
	})
	return d, err
}

func (g guestGroups) CreateGroup(ctx context.Context, who *authn.Identity, name, description string) (d neighbour.GroupDetail, err error) {
	err = g.n.update(ctx, func(w state.Writer) error {
		row, err := g.n.Netd.Core().CreateGroup(w, net.SecurityGroup{Standard: net.Standard{ProjectID: who.ProjectID, Name: name, Description: description}})
		if err == nil {
			d, err = detailGroup(w, row)
		}
		return err
	})
	return d, err
}

func (g guestGroups) UpdateGroup(ctx context.Context, who *authn.Identity, id, name, description string) (d neighbour.GroupDetail, err error) {
	err = g.n.update(ctx, func(w state.Writer) error {
		row, err := owned(w, who, id)
		if err != nil {
			return err
		}
		row.Name, row.Description = name, description
		if row, err = g.n.Netd.Core().UpdateGroup(w, row); err == nil {
			d, err = detailGroup(w, row)
		}
		return err
	})
	return d, err
}

func (g guestGroups) DeleteGroup(ctx context.Context, who *authn.Identity, id string) error {
	return g.n.update(ctx, func(w state.Writer) error {
		row, err := owned(w, who, id)
		if err != nil {
			return err
		}
		if row.IsDefault {
			return errs.New(errs.Invalid, "Unable to delete system group 'default'")
		}
		return refused(g.n.Netd.Core().DeleteGroup(w, id))
	})
}

func (g guestGroups) CreateRule(ctx context.Context, who *authn.Identity, r neighbour.GroupRule) (d neighbour.GroupRule, err error) {
	rule := net.Rule{Standard: net.Standard{ProjectID: who.ProjectID}, GroupID: r.GroupID, Direction: net.Ingress, EtherType: net.IPv4, Protocol: r.Protocol, RemoteGroup: r.RemoteGroup.ID}
	if r.CIDR != "" {
		if rule.RemotePrefix, err = netip.ParsePrefix(r.CIDR); err != nil {
			return d, errs.New(errs.Invalid, "Invalid IP prefix %s", r.CIDR)
		}
		if rule.RemotePrefix.Addr().Is6() {
			rule.EtherType = net.IPv6
		}
	}
	if r.FromPort >= 0 {
		rule.PortMin = &r.FromPort
	}
	if r.ToPort >= 0 {
		rule.PortMax = &r.ToPort
	}
	err = g.n.update(ctx, func(w state.Writer) error {
		if _, err := owned(w, who, r.GroupID); err != nil {
			return err
		}
		made, err := g.n.Netd.Core().CreateRule(w, rule)
		d = oldRule(w, made)
		return err
	})
	return d, err
}

func (g guestGroups) DeleteRule(ctx context.Context, who *authn.Identity, id string) error {
	return g.n.update(ctx, func(w state.Writer) error {
		rule, err := net.Rules.Get(w, id)
		if err == nil {
			_, err = owned(w, who, rule.GroupID)
		}
		if errs.Is(err, errs.NotFound) {
			return errs.New(errs.NotFound, "Security group rule %s does not exist", id)
		}
		if err != nil {
			return err
		}
		return g.n.Netd.Core().DeleteRule(w, id)
	})
}
