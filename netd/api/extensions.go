package api

import (
	"net/http"

	"henge/netd/fault"
)

// extensions are those that are served in full, so that a client that looks for one finds what it expects.
var extensions = []struct{ alias, name string }{
	{"address-scope", "Address scope"},
	{"agent", "agent"},
	{"allowed-address-pairs", "Allowed Address Pairs"},
	{"availability_zone", "Availability Zone"},
	{"binding", "Port Binding"},
	{"default-subnetpools", "Default Subnetpools"},
	{"dns-integration", "DNS Integration"},
	{"empty-string-filtering", "Empty String Filtering Extension"},
	{"ext-gw-mode", "Neutron L3 Configurable external gateway mode"},
	{"external-net", "Neutron external network"},
	{"extra_dhcp_opt", "Neutron Extra DHCP options"},
	{"extraroute", "Neutron Extra Route"},
	{"extraroute-atomic", "Atomically add/remove extra routes"},
	{"filter-validation", "Filter parameters validation"},
	{"fip-port-details", "Floating IP Port Details Extension"},
	{"ip-substring-filtering", "IP address substring filtering"},
	{"net-mtu", "Network MTU"},
	{"net-mtu-writable", "Network MTU (writable)"},
	{"network-ip-availability", "Network IP Availability"},
	{"network_availability_zone", "Network Availability Zone"},
	{"pagination", "Pagination support"},
	{"port-security", "Port Security"},
	{"project-id", "project_id field enabled"},
	{"provider", "Provider Network"},
	{"quota_details", "Quota details management support"},
	{"quotas", "Quota management support"},
	{"rbac-address-scope", "Add address_scope type to RBAC"},
	{"rbac-policies", "RBAC Policies"},
	{"rbac-security-groups", "Add security_group type to network RBAC"},
	{"rbac-subnetpool", "Add subnetpool type to RBAC"},
	{"revision-if-match", "If-Match constraints based on revision_number"},
	{"router", "Neutron L3 Router"},
	{"router_availability_zone", "Router Availability Zone"},
	{"security-group", "security-group"},
	{"service-type", "Neutron Service Type Management"},
	{"sorting", "Sorting support"},
	{"standard-attr-description", "standard-attr-description"},
	{"standard-attr-revisions", "Resource revision numbers"},
	{"standard-attr-tag", "Tag support for resources with standard attribute"},
	{"standard-attr-timestamp", "Resource timestamps"},
	{"subnet-service-types", "Subnet service types"},
	{"subnet_allocation", "Subnet Allocation"},
}

func showExtension(alias, name string) document {
	return document{"alias": alias, "name": name, "description": name, "updated": "2026-01-01T00:00:00-00:00", "links": []document{}}
}

func listExtensions(c *call) error {
	all := []document{}
	for _, e := range extensions {
		all = append(all, showExtension(e.alias, e.name))
	}
	return c.json(http.StatusOK, document{"extensions": all})
}

func getExtension(c *call) error {
	for _, e := range extensions {
		if e.alias == c.r.PathValue("alias") {
			return c.json(http.StatusOK, document{"extension": showExtension(e.alias, e.name)})
		}
	}
	return fault.NotFound("ExtensionNotFound", "Extension with alias %s does not exist", brief([]byte(c.r.PathValue("alias"))))
}

func versions(c *call) error {
	return c.json(http.StatusOK, document{"versions": []document{{"id": "v2.0", "status": "CURRENT",
		"links": []document{{"rel": "self", "href": c.root() + "/v2.0/"}}}}})
}

// resources is the document at /v2.0.
func resources(c *call) error {
	all := []document{}
	for _, r := range [][2]string{{"network", "networks"}, {"subnet", "subnets"}, {"subnetpool", "subnetpools"}, {"port", "ports"}, {"router", "routers"},
		{"floatingip", "floatingips"}, {"security_group", "security-groups"}, {"security_group_rule", "security-group-rules"},
		{"address_scope", "address-scopes"}, {"rbac_policy", "rbac-policies"}, {"quota", "quotas"}, {"agent", "agents"}} {
		all = append(all, document{"name": r[0], "collection": r[1], "links": []document{{"rel": "self", "href": c.root() + "/v2.0/" + r[1]}}})
	}
	return c.json(http.StatusOK, document{"resources": all})
}

// listProviders names the one that makes routers.
func listProviders(c *call) error {
	return c.json(http.StatusOK, document{"service_providers": []document{{"service_type": "L3_ROUTER_NAT", "name": "single_node", "default": true}}})
}

// routes binds everything.
func (s *Server) routes() {
	s.mux.Handle("/", s.open(s.noRoute))
	s.mux.Handle("GET /{$}", s.open(versions))
	s.mux.Handle("GET /v2.0", s.open(resources))
	s.mux.Handle("GET /healthcheck", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("OK\n")) }))
	s.mux.Handle("GET /v2.0/extensions", s.authed(listExtensions))
	s.mux.Handle("GET /v2.0/extensions/{alias}", s.authed(getExtension))
	s.mux.Handle("GET /v2.0/service-providers", s.authed(listProviders))
	s.mux.Handle("GET /v2.0/network-ip-availabilities", s.authed(listAvailability))
	s.mux.Handle("GET /v2.0/network-ip-availabilities/{id}", s.authed(showAvailability))
	bind(s, networks())
	bind(s, subnets())
	bind(s, subnetPools())
	bind(s, addressScopes())
	bind(s, ports())
	bind(s, routers())
	bind(s, floatingIPs())
	bind(s, securityGroups())
	bind(s, rules())
	bind(s, rbacPolicies())
	s.interfaces()
	s.quotaRoutes()
	s.agentRoutes()
}
