package openstack

// Link is a link of a version document.
type Link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

// MediaType names a representation that a version speaks.
type MediaType struct {
	Base string `json:"base"`
	Type string `json:"type"`
}

// Version describes one version of an API, as keystoneauth's discovery reads it. Microversions are "" where an API has none.
type Version struct {
	ID         string      `json:"id"`
	Status     string      `json:"status"`
	Updated    string      `json:"updated"`
	Links      []Link      `json:"links"`
	MediaTypes []MediaType `json:"media-types,omitempty"`
	Version    string      `json:"version,omitempty"`     // the latest microversion
	MinVersion string      `json:"min_version,omitempty"` // the oldest
}
