package netcalls

import (
	"net/netip"
	"regexp"

	"henge/computed/fields"
	"henge/computed/neighbour"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func ruleDocument(r neighbour.GroupRule) document {
	d := document{"id": r.ID, "parent_group_id": r.GroupID, "ip_protocol": orNull(r.Protocol), "from_port": r.FromPort, "to_port": r.ToPort, "ip_range": document{}, "group": document{}}
	if r.RemoteGroup.ID != "" {
		d["group"] = document{"name": r.RemoteGroup.Name, "tenant_id": r.RemoteProject}
	} else if r.CIDR != "" {
		d["ip_range"] = document{"cidr": r.CIDR}
	}
	return d
}

func groupDocument(g neighbour.GroupDetail) document {
	rules := []document{}
	for _, r := range g.Rules {
		rules = append(rules, ruleDocument(r))
	}
	return document{"id": g.ID, "name": g.Name, "description": g.Description, "tenant_id": g.ProjectID, "rules": rules}
}

func answerGroup(g neighbour.GroupDetail, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return document{"security_group": groupDocument(g)}, nil
}

func listGroups(r *Request) (any, error) {
	all, err := r.Networks.Groups().Groups(r.Ctx, r.Who)
	if err != nil {
		return nil, err
	}
	docs := []document{}
	for _, g := range all[:min(r.Limit, len(all))] {
		docs = append(docs, groupDocument(g))
	}
	return document{"security_groups": docs}, nil
}

func groupBody(r *Request) (name, description string, err error) {
	f, err := r.Body("security_group")
	if err != nil {
		return "", "", err
	}
	f.Require("name")
	f.Text("name", &name, openstack.Text{MinLength: 1})
	f.Text("description", &description, openstack.Text{Nullable: true})
	return name, description, f.Err()
}

func createGroup(r *Request) (any, error) {
	name, description, err := groupBody(r)
	if err != nil {
		return nil, err
	}
	return answerGroup(r.Networks.Groups().CreateGroup(r.Ctx, r.Who, name, description))
}

func showGroup(r *Request) (any, error) {
	return answerGroup(r.Networks.Groups().GroupDetail(r.Ctx, r.Who, r.Path("id")))
}

func updateGroup(r *Request) (any, error) {
	name, description, err := groupBody(r)
	if err != nil {
		return nil, err
	}
	return answerGroup(r.Networks.Groups().UpdateGroup(r.Ctx, r.Who, r.Path("id"), name, description))
}

func deleteGroup(r *Request) (any, error) {
	return nil, r.Networks.Groups().DeleteGroup(r.Ctx, r.Who, r.Path("id"))
}

// noGroup is the deletion of a group without an id.
func noGroup(*Request) (any, error) {
	return nil, errs.New(errs.NotFound, "The resource could not be found.")
}

var uuidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$`)

func parseRule(r *Request) (neighbour.GroupRule, error) {
	rule := neighbour.GroupRule{FromPort: -1, ToPort: -1}
	f, err := r.Body("security_group_rule")
	if err != nil {
		return rule, err
	}
	f.Require("parent_group_id")
	f.Text("parent_group_id", &rule.GroupID, openstack.Text{MaxLength: 36})
	f.Text("ip_protocol", &rule.Protocol, openstack.Text{Nullable: true})
	for name, into := range map[string]*int{"from_port": &rule.FromPort, "to_port": &rule.ToPort} {
		if f.Null(name) {
			f.Drop(name)
		}
		fields.Int(f, name, into, -1, 65535)
	}
	f.Text("cidr", &rule.CIDR, openstack.Text{Nullable: true})
	f.Text("group_id", &rule.RemoteGroup.ID, openstack.Text{Nullable: true, MaxLength: 36})
	f.None()
	if _, err := netip.ParsePrefix(rule.CIDR); rule.CIDR != "" && err != nil {
		f.Fail("cidr", "Invalid IP prefix '%s'", fields.Shorten(rule.CIDR))
	}
	if rule.GroupID != "" && !uuidPattern.MatchString(rule.GroupID) {
		f.Fail("parent_group_id", "Security group id should be uuid")
	}
	if rule.FromPort > rule.ToPort && rule.Protocol != "icmp" {
		f.Fail("from_port", "Former value cannot be greater than the later")
	}
	if rule.CIDR == "" && rule.RemoteGroup.ID == "" {
		rule.CIDR = "0.0.0.0/0"
	}
	return rule, f.Err()
}

func createRule(r *Request) (any, error) {
	rule, err := parseRule(r)
	if err != nil {
		return nil, err
	}
	made, err := r.Networks.Groups().CreateRule(r.Ctx, r.Who, rule)
	switch {
	case errs.Is(err, errs.NotFound):
		return nil, errs.New(errs.NotFound, "Security group %s not found", fields.Shorten(rule.GroupID))
	case errs.Is(err, errs.Conflict), errs.Is(err, errs.Exists): // Nova answers 400
		return nil, errs.New(errs.Invalid, "%s", err)
	case err != nil:
		return nil, err
	}
	return document{"security_group_rule": ruleDocument(made)}, nil
}

func deleteRule(r *Request) (any, error) {
	return nil, r.Networks.Groups().DeleteRule(r.Ctx, r.Who, r.Path("id"))
}
