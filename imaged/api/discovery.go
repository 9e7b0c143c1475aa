package api

import (
	"net/http"

	"henge/internal/openstack"
)

// minors are the versions of the API that we speak. Those between are about several stores (2.8, 2.10, 2.11), which there are not.
var minors = []string{"13", "12", "9", "7", "6", "5", "4", "3", "2", "1", "0"}

type apiVersion struct {
	ID     string           `json:"id"`
	Status string           `json:"status"`
	Links  []openstack.Link `json:"links"`
}

func (c *call) versions() map[string]any {
	var all []apiVersion
	for i, minor := range minors {
		status := "SUPPORTED"
		if i == 0 {
			status = "CURRENT"
		}
		all = append(all, apiVersion{"v2." + minor, status, []openstack.Link{{Rel: "self", Href: c.PublicURL(c.r) + "/v2/"}}})
	}
	return map[string]any{"versions": all}
}

// choices answers "/", as Glance does: 300.
func choices(c *call) error { return c.json(http.StatusMultipleChoices, c.versions()) }

func versions(c *call) error { return c.json(http.StatusOK, c.versions()) }
