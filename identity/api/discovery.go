package api

import (
	"net/http"

	"henge/internal/openstack"
)

func (c *call) version() openstack.Version {
	return openstack.Version{ID: "v3.14", Status: "stable", Updated: "2020-04-07T00:00:00Z",
		Links:      []openstack.Link{{Rel: "self", Href: c.PublicURL(c.r) + "/v3/"}},
		MediaTypes: []openstack.MediaType{{Base: "application/json", Type: "application/vnd.openstack.identity-v3+json"}}}
}

// versions answers at the root, where clients look for what is spoken here.
func versions(c *call) error {
	c.w.Header().Set("Location", c.PublicURL(c.r)+"/v3/")
	return c.json(http.StatusMultipleChoices, map[string]any{"versions": map[string]any{"values": []openstack.Version{c.version()}}})
}

func version(c *call) error {
	return c.json(http.StatusOK, map[string]any{"version": c.version()})
}
