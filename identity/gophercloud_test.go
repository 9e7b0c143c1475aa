package identity

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/applicationcredentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/catalog"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/domains"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/ec2credentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/endpoints"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/services"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
)

// must ends the test at an error of the client.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dial logs in with gophercloud over a real connection.
func dial(t *testing.T) (*cloud, *gophercloud.ProviderClient, *gophercloud.ServiceClient) {
	t.Helper()
	c := newCloud(t)
	server := httptest.NewServer(c.id.Handler())
	t.Cleanup(server.Close)
	c.bootstrap(server.URL)
	provider := must[*gophercloud.ProviderClient](t)(openstack.AuthenticatedClient(t.Context(), gophercloud.AuthOptions{
		IdentityEndpoint: server.URL, Username: "admin", Password: adminPassword, TenantName: "admin", DomainName: "Default"}))
	client := must[*gophercloud.ServiceClient](t)(openstack.NewIdentityV3(provider, gophercloud.EndpointOpts{Region: "RegionOne"}))
	return c, provider, client
}

func TestGophercloud_PeopleAndGrants(t *testing.T) {
	c, _, client := dial(t)
	ctx := t.Context()
	on := true
	domain := must[*domains.Domain](t)(domains.Create(ctx, client, domains.CreateOpts{Name: "acme", Enabled: &on}).Extract())
	project := must[*projects.Project](t)(projects.Create(ctx, client, projects.CreateOpts{Name: "web", DomainID: domain.ID, Tags: []string{"a"}}).Extract())
	user := must[*users.User](t)(users.Create(ctx, client, users.CreateOpts{Name: "bob", DomainID: domain.ID, Password: "one", DefaultProjectID: project.ID, Extra: map[string]any{"email": "b@example.com"}}).Extract())
	if user.Extra["email"] != "b@example.com" || user.DefaultProjectID != project.ID || !user.Enabled {
		t.Fatalf("user %+v", user)
	}
	group := must[*groups.Group](t)(groups.Create(ctx, client, groups.CreateOpts{Name: "devs", DomainID: domain.ID}).Extract())
	ok(t, users.AddToGroup(ctx, client, group.ID, user.ID).ExtractErr())
	if in := must[bool](t)(users.IsMemberOfGroup(ctx, client, group.ID, user.ID).Extract()); !in {
		t.Fatal("bob is not in the group")
	}
	ok(t, roles.Assign(ctx, client, c.role("member"), roles.AssignOpts{GroupID: group.ID, ProjectID: project.ID}).ExtractErr())
	on = true
	pages, err := roles.ListAssignments(client, roles.ListAssignmentsOpts{UserID: user.ID, Effective: &on, IncludeNames: &on}).AllPages(ctx)
	ok(t, err)
	list := must[[]roles.RoleAssignment](t)(roles.ExtractRoleAssignments(pages))
	if len(list) != 2 || list[0].User.Name != "bob" || list[0].Scope.Project.Name != "web" {
		t.Fatalf("assignments %+v", list)
	}
	provider := must[*gophercloud.ProviderClient](t)(openstack.AuthenticatedClient(ctx, gophercloud.AuthOptions{
		IdentityEndpoint: client.Endpoint, UserID: user.ID, Password: "one"}))
	result, isV3 := provider.GetAuthResult().(tokens.CreateResult)
	if !isV3 {
		t.Fatalf("authenticated with %T", provider.GetAuthResult())
	}
	if got := must[*tokens.Project](t)(result.ExtractProject()); got.ID != project.ID {
		t.Fatalf("bob's token is for %+v", got)
	}
	ok(t, users.ChangePassword(ctx, client, user.ID, users.ChangePasswordOpts{OriginalPassword: "one", Password: "two"}).ExtractErr())
	if valid := must[bool](t)(tokens.Validate(ctx, client, provider.Token())); valid {
		t.Fatal("a token of before the new password stands")
	}
	pages, err = users.List(client, users.ListOpts{DomainID: domain.ID, Filters: map[string]string{"name__contains": "o"}}).AllPages(ctx)
	ok(t, err)
	if all := must[[]users.User](t)(users.ExtractUsers(pages)); len(all) != 1 {
		t.Fatalf("users %+v", all)
	}
	ok(t, roles.Unassign(ctx, client, c.role("member"), roles.UnassignOpts{GroupID: group.ID, ProjectID: project.ID}).ExtractErr())
	off := false
	must[*domains.Domain](t)(domains.Update(ctx, client, domain.ID, domains.UpdateOpts{Enabled: &off}).Extract())
	ok(t, domains.Delete(ctx, client, domain.ID).ExtractErr())
	if err := projects.Get(ctx, client, project.ID).Err; !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Fatalf("the project of a domain that is gone: %v", err)
	}
}

func TestGophercloud_Catalog(t *testing.T) {
	c, provider, client := dial(t)
	ctx := t.Context()
	url := must[string](t)(provider.EndpointLocator(gophercloud.EndpointOpts{Type: "object-store", Region: "RegionOne", Availability: gophercloud.AvailabilityPublic}))
	if !strings.HasPrefix(url, "http://127.0.0.1:8080/v1/AUTH_"+c.boot.AdminProjectID) {
		t.Fatalf("object store at %s", url)
	}
	service := must[*services.Service](t)(services.Create(ctx, client, services.CreateOpts{Type: "volumev3", Extra: map[string]any{"name": "cinder"}}).Extract())
	must[*endpoints.Endpoint](t)(endpoints.Create(ctx, client, endpoints.CreateOpts{Availability: gophercloud.AvailabilityPublic, Name: "e",
		Region: "RegionOne", URL: "http://x/v3/%(project_id)s", ServiceID: service.ID}).Extract())
	pages, err := catalog.List(client).AllPages(ctx)
	ok(t, err)
	if entries := must[[]tokens.CatalogEntry](t)(catalog.ExtractServiceCatalog(pages)); len(entries) != 4 {
		t.Fatalf("catalog %+v", entries)
	}
	ok(t, services.Delete(ctx, client, service.ID).ExtractErr())
}

func TestGophercloud_Credentials(t *testing.T) {
	c, _, client := dial(t)
	ctx := t.Context()
	key := must[*ec2credentials.Credential](t)(ec2credentials.Create(ctx, client, c.boot.AdminUserID, ec2credentials.CreateOpts{TenantID: c.boot.DemoProjectID}).Extract())
	if secret, id, err := c.id.Keys().Key(ctx, key.Access); err != nil || secret != key.Secret || id.ProjectName != "demo" {
		t.Fatalf("key %+v: %+v, %v", key, id, err)
	}
	pages, err := ec2credentials.List(client, c.boot.AdminUserID).AllPages(ctx)
	ok(t, err)
	if all := must[[]ec2credentials.Credential](t)(ec2credentials.ExtractCredentials(pages)); len(all) != 2 {
		t.Fatalf("keys %+v", all)
	}
	ok(t, ec2credentials.Delete(ctx, client, c.boot.AdminUserID, key.Access).ExtractErr())
	expires := c.clock.Now().Add(time.Minute).UTC().Truncate(time.Millisecond)
	app := must[*applicationcredentials.ApplicationCredential](t)(applicationcredentials.Create(ctx, client, c.boot.AdminUserID,
		applicationcredentials.CreateOpts{Name: "ci", Roles: []applicationcredentials.Role{{Name: "reader"}}, ExpiresAt: &expires}).Extract())
	if !app.ExpiresAt.Equal(expires) {
		t.Fatalf("it ends %s, not %s", app.ExpiresAt, expires)
	}
	must[*gophercloud.ProviderClient](t)(openstack.AuthenticatedClient(ctx, gophercloud.AuthOptions{
		IdentityEndpoint: client.Endpoint, ApplicationCredentialID: app.ID, ApplicationCredentialSecret: app.Secret}))
}
