package api

import (
	"net/http"
	"slices"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/computed/quota"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func listAddresses(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	d, err := c.addresses(s)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"addresses": d})
}

func (c *call) addresses(s model.Server) (document, error) {
	x, err := c.gatherFor(s)
	if err != nil {
		return nil, err
	}
	d := addressesOf(s, x)
	for _, list := range d {
		for _, a := range list.([]document) {
			delete(a, "OS-EXT-IPS:type")
			delete(a, "OS-EXT-IPS-MAC:mac_addr")
		}
	}
	return d, nil
}

func showAddresses(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	d, err := c.addresses(s)
	if err != nil {
		return err
	}
	list, ok := d[c.path("network")]
	if !ok {
		return errs.New(errs.NotFound, "Network label %s not found", shorten(c.path("network")))
	}
	return c.json(http.StatusOK, document{c.path("network"): list})
}

func listMetadata(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"metadata": orEmpty(s.Metadata)})
}

func showMetadata(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	v, ok := s.Metadata[c.path("key")]
	if !ok {
		return errs.New(errs.NotFound, "Metadata item was not found")
	}
	return c.json(http.StatusOK, document{"meta": document{c.path("key"): v}})
}

// changeMetadata replaces a server's metadata by what a function makes of the old.
func (c *call) changeMetadata(change func(old map[string]string) (map[string]string, error)) (model.Server, error) {
	return c.changeServer(func(w state.Writer, s *model.Server) error {
		if err := c.unlocked(s); err != nil {
			return err
		}
		limits, err := quota.Of(w, s.ProjectID)
		if err != nil {
			return err
		}
		if s.Metadata, err = change(s.Metadata); err != nil {
			return err
		}
		if quota.Over(limits["metadata_items"], len(s.Metadata)) {
			return errs.New(errs.Quota, "Maximum number of metadata items exceeds %d", limits["metadata_items"])
		}
		return nil
	})
}

func merge(old, changes map[string]string) map[string]string {
	merged := map[string]string{}
	for k, v := range old {
		merged[k] = v
	}
	for k, v := range changes {
		merged[k] = v
	}
	return merged
}

func (c *call) metadataBody(wrapper string) (map[string]string, error) {
	f, err := c.body("")
	if err != nil {
		return nil, err
	}
	f.Require(wrapper)
	m := map[string]string{}
	takeMetadata(f, wrapper, &m)
	f.None()
	return m, f.Err()
}

func mergeMetadata(c *call) error {
	m, err := c.metadataBody("metadata")
	if err != nil {
		return err
	}
	s, err := c.changeMetadata(func(old map[string]string) (map[string]string, error) { return merge(old, m), nil })
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"metadata": s.Metadata})
}

func replaceMetadata(c *call) error {
	m, err := c.metadataBody("metadata")
	if err != nil {
		return err
	}
	if _, err := c.changeMetadata(func(map[string]string) (map[string]string, error) { return m, nil }); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"metadata": m})
}

func setMetadata(c *call) error {
	m, err := c.metadataBody("meta")
	if err != nil {
		return err
	}
	if _, ok := m[c.path("key")]; !ok || len(m) != 1 {
		return errs.New(errs.Invalid, "Request body and URI mismatch")
	}
	if _, err := c.changeMetadata(func(old map[string]string) (map[string]string, error) { return merge(old, m), nil }); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"meta": m})
}

func deleteMetadata(c *call) error {
	_, err := c.changeMetadata(func(old map[string]string) (map[string]string, error) {
		if _, ok := old[c.path("key")]; !ok {
			return nil, errs.New(errs.NotFound, "Metadata item was not found")
		}
		left := merge(old, nil)
		delete(left, c.path("key"))
		return left, nil
	})
	if err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

func listTags(c *call) error {
	s, err := c.taggedServer()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"tags": orNone(s.Tags)})
}

func (c *call) taggedServer() (model.Server, error) {
	if err := c.cameWith(26); err != nil {
		return model.Server{}, err
	}
	return c.server()
}

func checkTag(c *call) error {
	s, err := c.taggedServer()
	if err != nil {
		return err
	}
	if !slices.Contains(s.Tags, c.path("tag")) {
		return errs.New(errs.NotFound, "Instance %s has no tag '%s'", s.ID, shorten(c.path("tag")))
	}
	return c.empty(http.StatusNoContent)
}

func (c *call) changeTags(change func(old []string) ([]string, error)) error {
	if err := c.cameWith(26); err != nil {
		return err
	}
	_, err := c.changeServer(func(_ state.Writer, s *model.Server) (err error) {
		if err := c.unlocked(s); err != nil {
			return err
		}
		if s.Tags, err = change(slices.Clone(s.Tags)); err != nil {
			return err
		}
		if len(s.Tags) > tagsMax {
			return errs.New(errs.Invalid, "The number of tags exceeded the per-server limit %d", tagsMax)
		}
		return nil
	})
	return err
}

func replaceTags(c *call) error {
	f, err := c.body("")
	if err != nil {
		return err
	}
	var tags []string
	f.Require("tags")
	f.Texts("tags", &tags, tagRule, tagsMax)
	checkTags(f, tags)
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	tags = unique(tags)
	if err := c.changeTags(func([]string) ([]string, error) { return tags, nil }); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"tags": orNone(tags)})
}

func deleteTags(c *call) error {
	if err := c.changeTags(func([]string) ([]string, error) { return nil, nil }); err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

func addTag(c *call) error {
	tag, status := c.path("tag"), http.StatusCreated
	f, _ := openstack.NewFields([]byte(`{"tag":`+jsonText(tag)+`}`), "")
	f.Text("tag", &tag, tagRule)
	checkTags(f, []string{tag})
	if err := f.Err(); err != nil {
		return err
	}
	err := c.changeTags(func(old []string) ([]string, error) {
		if status = http.StatusCreated; slices.Contains(old, tag) {
			status = http.StatusNoContent
		}
		return unique(append(old, tag)), nil
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.link("servers", c.path("id"), "tags", tag))
	return c.empty(status)
}

func deleteTag(c *call) error {
	err := c.changeTags(func(old []string) ([]string, error) {
		if !slices.Contains(old, c.path("tag")) {
			return nil, errs.New(errs.NotFound, "Instance %s has no tag '%s'", c.path("id"), shorten(c.path("tag")))
		}
		return slices.DeleteFunc(old, func(t string) bool { return t == c.path("tag") }), nil
	})
	if err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

// showPassword is what the guest left at its metadata service.
func showPassword(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"password": s.GuestPassword})
}

func clearPassword(c *call) error {
	if err := c.member(); err != nil {
		return err
	}
	_, err := c.changeServer(func(_ state.Writer, s *model.Server) error {
		s.GuestPassword = ""
		return nil
	})
	if err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

// serverGroupsOf are the security groups on a server's ports.
func serverGroupsOf(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	x, err := c.gatherFor(s)
	if err != nil {
		return err
	}
	docs, seen := []document{}, map[string]bool{}
	for _, n := range s.NICs {
		for _, g := range x.groups(n.PortID) {
			if !seen[g.ID] {
				docs = append(docs, document{"id": g.ID, "name": g.Name, "description": "", "tenant_id": s.ProjectID, "rules": []any{}})
			}
			seen[g.ID] = true
		}
	}
	return c.json(http.StatusOK, document{"security_groups": docs})
}

// changeGroups adds a security group to every port of a server, or takes it away.
func changeGroups(add bool) action {
	return func(c *call, f *openstack.Fields) error {
		name := ""
		f.Require("name")
		f.Text("name", &name, openstack.Text{MinLength: 1})
		if err := f.Err(); err != nil {
			return err
		}
		s, err := c.server()
		if err != nil {
			return err
		}
		g, err := c.Networks.Group(c.r.Context(), c.who, name)
		if err != nil {
			return err
		}
		x, err := c.gatherFor(s)
		if err != nil {
			return err
		}
		if err := c.setGroups(s, x, g, add); err != nil {
			return err
		}
		return c.empty(http.StatusAccepted)
	}
}

func (c *call) setGroups(s model.Server, x shown, g neighbour.SecurityGroup, add bool) error {
	found := false
	for _, n := range s.NICs {
		p, ok := x.ports[n.PortID]
		if !ok {
			continue
		}
		var ids []string
		for _, have := range p.Groups {
			found = found || have.ID == g.ID
			if have.ID != g.ID {
				ids = append(ids, have.ID)
			}
		}
		if add {
			ids = append(ids, g.ID)
		}
		if err := c.Networks.SetGroups(c.r.Context(), c.who, p.ID, orNone(ids)); err != nil {
			return err
		}
	}
	if !add && !found {
		return errs.New(errs.NotFound, "Security group %s not associated with the instance %s", g.ID, s.ID)
	}
	return nil
}

func addFixedIP(c *call, f *openstack.Fields) error {
	if err := c.goneSince(44); err != nil {
		return err
	}
	network := ""
	f.Require("networkId")
	f.Text("networkId", &network, openstack.Text{MaxLength: 36})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	return c.changeFixedIP(func(n model.NIC) bool { return n.NetworkID == network }, func(n model.NIC) (neighbour.Port, error) {
		return c.Networks.AddFixedIP(c.r.Context(), c.who, n.PortID, network)
	})
}

func removeFixedIP(c *call, f *openstack.Fields) error {
	if err := c.goneSince(44); err != nil {
		return err
	}
	address := ""
	f.Require("address")
	f.Text("address", &address, openstack.Text{MaxLength: 64})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	has := func(n model.NIC) bool {
		return slices.ContainsFunc(n.Addresses, func(a model.Address) bool { return a.IP == address })
	}
	return c.changeFixedIP(has, func(n model.NIC) (neighbour.Port, error) {
		return c.Networks.RemoveFixedIP(c.r.Context(), c.who, n.PortID, address)
	})
}

// changeFixedIP changes the addresses of the first interface that matches.
func (c *call) changeFixedIP(matches func(model.NIC) bool, change func(model.NIC) (neighbour.Port, error)) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.NICs, matches)
	if i < 0 || s.NICs[i].PortID == "" {
		return errs.New(errs.Invalid, "the server has no interface on that network, or not that address")
	}
	p, err := change(s.NICs[i])
	if err != nil {
		return err
	}
	_, err = c.changeServer(func(_ state.Writer, s *model.Server) error {
		s.NICs = slices.Clone(s.NICs)
		if n := s.Port(p.ID); n != nil {
			neighbour.Describe(n, p)
		}
		return nil
	})
	return orAccepted(c, err)
}
