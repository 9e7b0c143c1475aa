package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/limits"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servergroups"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/services"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"henge/e2e/henged"
)

// nova is a gophercloud client of the compute API of a cloud that runs no guests: what the API does without a host is tested here, guests are in e2e/story.
func nova(t *testing.T, c *henged.Cloud) *gophercloud.ServiceClient {
	t.Helper()
	env := c.Environment
	provider, err := openstack.AuthenticatedClient(t.Context(), gophercloud.AuthOptions{
		IdentityEndpoint: env["OS_AUTH_URL"], Username: env["OS_USERNAME"], Password: env["OS_PASSWORD"], DomainName: "Default", TenantName: env["OS_PROJECT_NAME"],
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := openstack.NewComputeV2(provider, gophercloud.EndpointOpts{Region: env["OS_REGION_NAME"]})
	if err != nil {
		t.Fatal(err)
	}
	client.Microversion = "2.79"
	return client
}

func TestGophercloud_ComputeWithoutHosts(t *testing.T) {
	c := sharedCloud(t, 1)
	client, ctx := nova(t, c), t.Context()
	pages, err := flavors.ListDetail(client, nil).AllPages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all, err := flavors.ExtractFlavors(pages)
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]string{}
	for _, f := range all {
		sizes[f.Name] = fmt.Sprintf("%d/%d/%d", f.VCPUs, f.RAM, f.Disk)
	}
	if sizes["m1.tiny"] != "1/512/1" || sizes["m1.small"] != "1/2048/20" || sizes["m1.nano"] != "1/128/1" {
		t.Errorf("flavors %v", sizes)
	}
	pair, err := keypairs.Create(ctx, client, keypairs.CreateOpts{Name: "gopher", Type: "ssh"}).Extract()
	if err != nil || !strings.Contains(pair.PrivateKey, "PRIVATE KEY") || !strings.HasPrefix(pair.PublicKey, "ssh-") {
		t.Errorf("key pair %+v, %v", pair, err)
	}
	if err := keypairs.Delete(ctx, client, "gopher", nil).ExtractErr(); err != nil {
		t.Error(err)
	}
	if l, err := limits.Get(ctx, client, nil).Extract(); err != nil || l.Absolute.MaxTotalInstances != 10 || l.Absolute.MaxTotalCores != 20 {
		t.Errorf("limits %+v, %v", l, err)
	}
	hosts, err := hypervisors.List(client, nil).AllPages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := hypervisors.ExtractHypervisors(hosts); err != nil || len(found) != 0 {
		t.Errorf("hypervisors of a cloud that runs no guests: %+v, %v", found, err)
	}
	if _, err := services.List(client, nil).AllPages(ctx); err != nil {
		t.Error(err)
	}
	group, err := servergroups.Create(ctx, client, servergroups.CreateOpts{Name: "apart", Policy: "anti-affinity"}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if err := servergroups.Delete(ctx, client, group.ID).ExtractErr(); err != nil {
		t.Error(err)
	}
	if err := servergroups.Delete(ctx, client, group.ID).ExtractErr(); !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Errorf("a group that is gone: %v", err)
	}
}

// TestGophercloud_ServerWithoutHost: a server that no host can take says so at once, keeps its metadata, and goes without a trace.
func TestGophercloud_ServerWithoutHost(t *testing.T) {
	c := sharedCloud(t, 1)
	client, ctx := nova(t, c), t.Context()
	images := imageClient(t, c)
	image := createImage(t, images)
	if err := imagedata.Upload(ctx, images, image, bytes.NewReader(make([]byte, 1<<20))).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	net := neutron(t, c, 1)
	n, err := networks.Create(ctx, net, networks.CreateOpts{Name: "nowhere"}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := subnets.Create(ctx, net, subnets.CreateOpts{NetworkID: n.ID, CIDR: "10.7.0.0/24", IPVersion: 4}).Extract(); err != nil {
		t.Fatal(err)
	}
	_, err = servers.Create(ctx, client, servers.CreateOpts{Name: "bad", ImageRef: image, FlavorRef: "no-such", Networks: "none"}, nil).Extract()
	if !gophercloud.ResponseCodeIs(err, http.StatusBadRequest) && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Errorf("an unknown flavor: %v", err)
	}
	s, err := servers.Create(ctx, client, servers.CreateOpts{Name: "alone", ImageRef: image, FlavorRef: "42", Networks: []servers.Network{{UUID: n.ID}},
		Metadata: map[string]string{"purpose": "test"}}, nil).Extract()
	if err != nil {
		t.Fatal(err)
	}
	got := serverBecomes(t, client, s.ID, "ERROR")
	if !strings.Contains(got.Fault.Message, "No valid host") || got.Metadata["purpose"] != "test" {
		t.Errorf("fault %+v, metadata %v", got.Fault, got.Metadata)
	}
	if m, err := servers.UpdateMetadata(ctx, client, s.ID, servers.MetadataOpts{"owner": "me"}).Extract(); err != nil || m["owner"] != "me" || m["purpose"] != "test" {
		t.Errorf("metadata %v, %v", m, err)
	}
	if err := servers.Delete(ctx, client, s.ID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	serverGone(t, client, s.ID)
	// The port went with it.
	if err := networks.Delete(ctx, net, n.ID).ExtractErr(); err != nil {
		t.Errorf("a network that nothing uses any more: %v", err)
	}
}

// serverWait is how long a server may take to get somewhere without a host.
const serverWait = 2 * time.Minute

func serverBecomes(t *testing.T, client *gophercloud.ServiceClient, id, status string) *servers.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), serverWait)
	defer cancel()
	last := ""
	err := gophercloud.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		s, err := servers.Get(ctx, client, id).Extract()
		if err == nil {
			last = s.Status
		}
		return last == status, err
	})
	if err != nil {
		t.Fatalf("server %s is %s, not %s: %v", id, last, status, err)
	}
	s, err := servers.Get(t.Context(), client, id).Extract()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func serverGone(t *testing.T, client *gophercloud.ServiceClient, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), serverWait)
	defer cancel()
	err := gophercloud.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		_, err := servers.Get(ctx, client, id).Extract()
		if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			return true, nil
		}
		return false, err
	})
	if err != nil {
		t.Fatalf("server %s is still there: %v", id, err)
	}
}
