package model

import (
	"cmp"
	"slices"
	"strings"

	"henge/cluster/state"
)

// CatalogService is one service of a catalog, as a token shows it.
type CatalogService struct {
	ID        string            `json:"id"`
	Type      string            `json:"type"`
	Name      string            `json:"name"`
	Endpoints []CatalogEndpoint `json:"endpoints"`
}

// CatalogEndpoint is one endpoint of a catalog, its URL ready to use.
type CatalogEndpoint struct {
	ID        string `json:"id"`
	Interface string `json:"interface"`
	RegionID  string `json:"region_id"`
	Region    string `json:"region"`
	URL       string `json:"url"`
}

// Catalog lists the enabled services and endpoints as seen from a project ("" for none) by a user. An endpoint whose URL needs a
// project is left out where there is none.
func Catalog(r state.Reader, projectID, userID string) ([]CatalogService, error) {
	list := []CatalogService{}
	for s, err := range Services.All(r) {
		if err != nil {
			return nil, err
		}
		if !s.Enabled {
			continue
		}
		entry := CatalogService{ID: s.ID, Type: s.Type, Name: s.Name, Endpoints: []CatalogEndpoint{}}
		for e, err := range Endpoints.Where(r, "service", s.ID) {
			if err != nil {
				return nil, err
			}
			url, ok := substitute(e.URL, projectID, userID)
			if e.Enabled && ok {
				entry.Endpoints = append(entry.Endpoints, CatalogEndpoint{ID: e.ID, Interface: e.Interface, RegionID: e.RegionID, Region: e.RegionID, URL: url})
			}
		}
		slices.SortFunc(entry.Endpoints, func(a, b CatalogEndpoint) int {
			return cmp.Or(cmp.Compare(a.RegionID, b.RegionID), cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.ID, b.ID))
		})
		list = append(list, entry)
	}
	slices.SortFunc(list, func(a, b CatalogService) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// substitute fills an endpoint's URL template; false when it wants a project and there is none.
func substitute(url, projectID, userID string) (string, bool) {
	for _, form := range []string{"%(", "$("} {
		for _, name := range []string{"project_id", "tenant_id"} {
			if strings.Contains(url, form+name+")s") {
				if projectID == "" {
					return "", false
				}
				url = strings.ReplaceAll(url, form+name+")s", projectID)
			}
		}
		url = strings.ReplaceAll(url, form+"user_id)s", userID)
	}
	return url, true
}
