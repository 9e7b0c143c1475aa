package netcalls

import (
	"context"
	"net/url"

	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/internal/openstack"
)

// Request is one call under way. Whether the caller may make it has been checked.
type Request struct {
	Ctx      context.Context
	Who      *authn.Identity
	Networks neighbour.Networks
	Query    url.Values
	Limit    int                      // rows of a list at most
	Path     func(name string) string // a variable of the route
	Body     func(wrapper string) (*openstack.Fields, error)
}

// Handler answers a call with a document; nil: accepted, with nothing to say.
type Handler func(r *Request) (document any, err error)

type document = map[string]any

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// Routes are the calls, by method and path. All are gone since 2.36.
func Routes() map[string]Handler {
	return map[string]Handler{
		"GET /os-security-groups":              listGroups,
		"POST /os-security-groups":             createGroup,
		"GET /os-security-groups/{id}":         showGroup,
		"PUT /os-security-groups/{id}":         updateGroup,
		"DELETE /os-security-groups":           noGroup,
		"DELETE /os-security-groups/{id}":      deleteGroup,
		"POST /os-security-group-rules":        createRule,
		"DELETE /os-security-group-rules/{id}": deleteRule,
		"GET /os-floating-ip-pools":            listPools,
		"GET /os-floating-ips":                 listFloating,
		"POST /os-floating-ips":                allocate,
		"GET /os-floating-ips/{id}":            showFloating,
		"DELETE /os-floating-ips/{id}":         release,
		"GET /os-tenant-networks":              listNetworks,
		"GET /os-tenant-networks/{id}":         showNetwork,
	}
}
