package api

import (
	"net/http"
	"net/netip"

	"henge/computed/neighbour"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// Security groups belong to the network service. Until 2.36 Nova had calls for them, which only hand on.

func (s *Server) groupRoutes() {
	for pattern, h := range map[string]handler{
		"GET /os-security-groups":              listOldGroups,
		"POST /os-security-groups":             createOldGroup,
		"GET /os-security-groups/{id}":         showOldGroup,
		"PUT /os-security-groups/{id}":         updateOldGroup,
		"DELETE /os-security-groups/{id}":      deleteOldGroup,
		"POST /os-security-group-rules":        createOldRule,
		"DELETE /os-security-group-rules/{id}": deleteOldRule,
	} {
		s.bind(pattern, func(c *call) error {
			if err := c.goneSince(36); err != nil {
				return err
			}
			if c.r.Method != http.MethodGet {
				if err := c.member(); err != nil {
					return err
				}
			}
			return h(c)
		})
	}
}

func oldRule(r neighbour.GroupRule) document {
	d := document{"id": r.ID, "parent_group_id": r.GroupID, "ip_protocol": orNull(r.Protocol), "from_port": r.FromPort, "to_port": r.ToPort, "ip_range": document{}, "group": document{}}
	if r.RemoteGroup.ID != "" {
		d["group"] = document{"name": r.RemoteGroup.Name, "tenant_id": r.RemoteProject}
	} else if r.CIDR != "" {
		d["ip_range"] = document{"cidr": r.CIDR}
	}
	return d
}

func oldGroup(g neighbour.GroupDetail) document {
	rules := []document{}
	for _, r := range g.Rules {
		rules = append(rules, oldRule(r))
	}
	return document{"id": g.ID, "name": g.Name, "description": g.Description, "tenant_id": g.ProjectID, "rules": rules}
}

func listOldGroups(c *call) error {
	if err := c.reader(); err != nil {
		return err
	}
	p, err := parsePage(c.r.URL.Query())
	if err != nil {
		return err
	}
	all, err := c.Networks.Groups().Groups(c.r.Context(), c.who)
	if err != nil {
		return err
	}
	docs := []document{}
	for _, g := range all[:min(p.limit, len(all))] {
		docs = append(docs, oldGroup(g))
	}
	return c.json(http.StatusOK, document{"security_groups": docs})
}

func (c *call) oldGroupBody() (name, description string, err error) {
	f, err := c.body("security_group")
	if err != nil {
		return "", "", err
	}
	f.Require("name")
	f.Text("name", &name, openstack.Text{MinLength: 1})
	f.Text("description", &description, openstack.Text{Nullable: true})
	return name, description, f.Err()
}

func createOldGroup(c *call) error {
	name, description, err := c.oldGroupBody()
	if err != nil {
		return err
	}
	g, err := c.Networks.Groups().CreateGroup(c.r.Context(), c.who, name, description)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"security_group": oldGroup(g)})
}

func showOldGroup(c *call) error {
	if err := c.reader(); err != nil {
		return err
	}
	g, err := c.Networks.Groups().GroupDetail(c.r.Context(), c.who, c.path("id"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"security_group": oldGroup(g)})
}

func updateOldGroup(c *call) error {
	name, description, err := c.oldGroupBody()
	if err != nil {
		return err
	}
	g, err := c.Networks.Groups().UpdateGroup(c.r.Context(), c.who, c.path("id"), name, description)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"security_group": oldGroup(g)})
}

func deleteOldGroup(c *call) error {
	return orAccepted(c, c.Networks.Groups().DeleteGroup(c.r.Context(), c.who, c.path("id")))
}

func createOldRule(c *call) error {
	f, err := c.body("security_group_rule")
	if err != nil {
		return err
	}
	r := neighbour.GroupRule{FromPort: -1, ToPort: -1}
	f.Require("parent_group_id")
	f.Text("parent_group_id", &r.GroupID, openstack.Text{MaxLength: 36})
	f.Text("ip_protocol", &r.Protocol, openstack.Text{Nullable: true})
	for name, into := range map[string]*int{"from_port": &r.FromPort, "to_port": &r.ToPort} {
		if f.Null(name) {
			f.Drop(name)
		}
		takeInt(f, name, into, -1, 65535)
	}
	f.Text("cidr", &r.CIDR, openstack.Text{Nullable: true})
	f.Text("group_id", &r.RemoteGroup.ID, openstack.Text{Nullable: true, MaxLength: 36})
	f.None()
	if _, err := netip.ParsePrefix(r.CIDR); r.CIDR != "" && err != nil {
		f.Fail("cidr", "Invalid IP prefix '%s'", shorten(r.CIDR))
	}
	if r.GroupID != "" && !uuidPattern.MatchString(r.GroupID) {
		f.Fail("parent_group_id", "Security group id should be uuid")
	}
	if r.FromPort > r.ToPort && r.Protocol != "icmp" {
		f.Fail("from_port", "Former value cannot be greater than the later")
	}
	if err := f.Err(); err != nil {
		return err
	}
	if r.CIDR == "" && r.RemoteGroup.ID == "" {
		r.CIDR = "0.0.0.0/0"
	}
	made, err := c.Networks.Groups().CreateRule(c.r.Context(), c.who, r)
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.NotFound, "Security group %s not found", shorten(r.GroupID))
	}
	if errs.Is(err, errs.Conflict) || errs.Is(err, errs.Exists) { // Nova answers 400
		return errs.New(errs.Invalid, "%s", err)
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"security_group_rule": oldRule(made)})
}

func deleteOldRule(c *call) error {
	return orAccepted(c, c.Networks.Groups().DeleteRule(c.r.Context(), c.who, c.path("id")))
}
