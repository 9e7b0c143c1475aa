package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/quotas"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"henge/e2e/henged"
)

// The commands that everybody types to get a server onto the internet, and how they fail.
func TestOpenStackClient_Networks(t *testing.T) {
	c := sharedCloud(t, 1)
	dir := t.TempDir()
	run := func(args ...string) string {
		return strings.TrimSpace(client(t, c, dir, append([]string{"openstack"}, args...)...))
	}
	fails := func(want string, args ...string) {
		t.Helper()
		if _, err := tryClient(c, dir, append([]string{"openstack"}, args...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("openstack %s: %v, want %q in it", strings.Join(args, " "), err, want)
		}
	}
	value := func(column string, args ...string) string { return run(append(args, "-f", "value", "-c", column)...) }
	run("network", "create", "lan")
	if cidr := value("cidr", "subnet", "create", "--network", "lan", "--subnet-range", "10.5.0.0/24", "--dns-nameserver", "9.9.9.9", "lan4"); cidr != "10.5.0.0/24" {
		t.Errorf("the subnet is %s", cidr)
	}
	run("subnet", "create", "--network", "lan", "--ip-version", "6", "--subnet-range", "fd00:5::/64", "--ipv6-ra-mode", "slaac", "--ipv6-address-mode", "slaac", "lan6")
	run("router", "create", "gate")
	run("router", "set", "--external-gateway", "public", "gate")
	run("router", "add", "subnet", "gate", "lan4")
	run("security", "group", "create", "web")
	run("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "80:81", "--remote-ip", "0.0.0.0/0", "web")
	fails("already exists", "security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "80:81", "--remote-ip", "0.0.0.0/0", "web")
	if ips := value("fixed_ips", "port", "create", "--network", "lan", "--fixed-ip", "subnet=lan4,ip-address=10.5.0.80", "--security-group", "web", "nic"); !strings.Contains(ips, "10.5.0.80") || !strings.Contains(ips, "fd00:5::") {
		t.Errorf("the port has %s", ips)
	}
	fails("already allocated", "port", "create", "--network", "lan", "--fixed-ip", "ip-address=10.5.0.80", "other")
	floating := value("floating_ip_address", "floating", "ip", "create", "--port", "nic", "public")
	if !strings.HasPrefix(floating, "172.24.4.") {
		t.Errorf("the floating IP is %s", floating)
	}
	if list := run("floating", "ip", "list", "--port", "nic"); !strings.Contains(list, floating) {
		t.Errorf("floating IPs of the port:\n%s", list)
	}
	if list := run("port", "list", "--router", "gate"); !strings.Contains(list, "10.5.0.1'") {
		t.Errorf("ports of the router:\n%s", list)
	}
	fails("one or more ports", "network", "delete", "lan")
	fails("IP allocation", "subnet", "delete", "lan4")
	fails("still has ports", "router", "delete", "gate")
	fails("required by one or more floating IPs", "router", "remove", "subnet", "gate", "lan4")
	run("floating", "ip", "delete", floating)
	run("port", "delete", "nic")
	run("router", "remove", "subnet", "gate", "lan4")
	run("router", "delete", "gate")
	run("network", "delete", "lan")
	run("security", "group", "delete", "web")
	if list := run("subnet", "list"); strings.Contains(list, "lan4") {
		t.Errorf("subnets of a network that was deleted:\n%s", list)
	}
}

// neutron is a gophercloud client of one peer of a cloud.
func neutron(t *testing.T, c *henged.Cloud, peer int) *gophercloud.ServiceClient {
	t.Helper()
	env := c.Environment
	provider, err := openstack.AuthenticatedClient(t.Context(), gophercloud.AuthOptions{
		IdentityEndpoint: env["OS_AUTH_URL"], Username: env["OS_USERNAME"], Password: env["OS_PASSWORD"], DomainName: "Default", TenantName: env["OS_PROJECT_NAME"],
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := openstack.NewNetworkV2(provider, gophercloud.EndpointOpts{Region: env["OS_REGION_NAME"]})
	if err != nil {
		t.Fatal(err)
	}
	client.Endpoint = fmt.Sprintf("http://%s:%d/", c.Address(peer), c.Ports.Network)
	client.ResourceBase = client.Endpoint + "v2.0/"
	return client
}

// Ports made at once on the API of every peer: no address twice, and none left over.
func TestGophercloud_PortsOnAllPeersAtOnce(t *testing.T) {
	c, ctx := sharedCloud(t, 4), context.Background()
	first := neutron(t, c, 1)
	n, err := networks.Create(ctx, first, networks.CreateOpts{Name: "crowd"}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	off := false
	if _, err := subnets.Create(ctx, first, subnets.CreateOpts{NetworkID: n.ID, CIDR: "10.6.0.0/27", IPVersion: 4, EnableDHCP: &off}).Extract(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var made []ports.Port
	full := 0
	for peer := range 4 {
		client := neutron(t, c, peer+1)
		for range 9 { // 36 for the 29 addresses besides the gateway's
			wg.Go(func() {
				p, err := ports.Create(ctx, client, ports.CreateOpts{NetworkID: n.ID}).Extract()
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					made = append(made, *p)
				case gophercloud.ResponseCodeIs(err, http.StatusConflict) && strings.Contains(err.Error(), "IpAddressGenerationFailure"):
					full++
				default:
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, p := range made {
		ip := p.FixedIPs[0].IPAddress
		if seen[ip] || seen[p.MACAddress] {
			t.Errorf("%s (%s) is given twice", ip, p.MACAddress)
		}
		seen[ip], seen[p.MACAddress] = true, true
	}
	if len(made) != 29 || full != 7 {
		t.Errorf("%d ports made and %d refused, want 29 and 7", len(made), full)
	}
	for _, p := range made {
		if err := ports.Delete(ctx, first, p.ID).ExtractErr(); err != nil {
			t.Error(err)
		}
	}
	if err := networks.Delete(ctx, first, n.ID).ExtractErr(); err != nil {
		t.Error(err)
	}
}

// What Terraform's provider does, by the library that it stands on.
func TestGophercloud_Networks(t *testing.T) {
	c, ctx := sharedCloud(t, 1), context.Background()
	client := neutron(t, c, 1)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	pages, err := networks.List(client, networks.ListOpts{Name: "public"}).AllPages(ctx)
	must(err)
	public, err := networks.ExtractNetworks(pages)
	must(err)
	if len(public) != 1 {
		t.Fatalf("%d networks named public", len(public))
	}
	n, err := networks.Create(ctx, client, networks.CreateOpts{Name: "tf"}).Extract()
	must(err)
	s, err := subnets.Create(ctx, client, subnets.CreateOpts{NetworkID: n.ID, CIDR: "10.7.0.0/24", IPVersion: 4,
		AllocationPools: []subnets.AllocationPool{{Start: "10.7.0.10", End: "10.7.0.20"}}}).Extract()
	must(err)
	g, err := groups.Create(ctx, client, groups.CreateOpts{Name: "tf"}).Extract()
	must(err)
	_, err = rules.Create(ctx, client, rules.CreateOpts{Direction: rules.DirIngress, EtherType: rules.EtherType4, SecGroupID: g.ID, Protocol: rules.ProtocolICMP, RemoteGroupID: g.ID}).Extract()
	must(err)
	p, err := ports.Create(ctx, client, ports.CreateOpts{NetworkID: n.ID, SecurityGroups: &[]string{g.ID}, AllowedAddressPairs: []ports.AddressPair{{IPAddress: "10.7.0.99"}}}).Extract()
	must(err)
	r, err := routers.Create(ctx, client, routers.CreateOpts{Name: "tf", GatewayInfo: &routers.GatewayInfo{NetworkID: public[0].ID}}).Extract()
	must(err)
	_, err = routers.AddInterface(ctx, client, r.ID, routers.AddInterfaceOpts{SubnetID: s.ID}).Extract()
	must(err)
	route := []routers.Route{{DestinationCIDR: "10.99.0.0/16", NextHop: "10.7.0.20"}}
	r, err = routers.Update(ctx, client, r.ID, routers.UpdateOpts{Routes: &route}).Extract()
	must(err)
	if !slices.Equal(r.Routes, route) {
		t.Errorf("routes: %v", r.Routes)
	}
	f, err := floatingips.Create(ctx, client, floatingips.CreateOpts{FloatingNetworkID: public[0].ID, PortID: p.ID}).Extract()
	must(err)
	if f.RouterID != r.ID || f.FixedIP != p.FixedIPs[0].IPAddress {
		t.Errorf("the floating IP: %+v", f)
	}
	f, err = floatingips.Update(ctx, client, f.ID, floatingips.UpdateOpts{PortID: new(string)}).Extract()
	must(err)
	if f.PortID != "" {
		t.Errorf("still associated: %+v", f)
	}
	detail, err := quotas.GetDetail(ctx, client, n.ProjectID).Extract()
	must(err)
	if detail.Port.Used < 2 || detail.Port.Limit != 500 {
		t.Errorf("ports in the quota: %+v", detail.Port)
	}
	must(floatingips.Delete(ctx, client, f.ID).ExtractErr())
	none := []routers.Route{}
	_, err = routers.Update(ctx, client, r.ID, routers.UpdateOpts{Routes: &none}).Extract()
	must(err)
	_, err = routers.RemoveInterface(ctx, client, r.ID, routers.RemoveInterfaceOpts{SubnetID: s.ID}).Extract()
	must(err)
	must(routers.Delete(ctx, client, r.ID).ExtractErr())
	must(ports.Delete(ctx, client, p.ID).ExtractErr())
	must(networks.Delete(ctx, client, n.ID).ExtractErr())
	must(groups.Delete(ctx, client, g.ID).ExtractErr())
}
