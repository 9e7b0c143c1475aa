package identity

import (
	"fmt"
	"slices"
	"testing"

	"henge/internal/errs"
)

// trustCloud has a trustor with the roles member and reader on demo, and a trustee with none.
func trustCloud(t *testing.T) (c *cloud, trustor, trustee string) {
	c = newCloud(t)
	trustor = c.make("users", "user", `{"name":"tor","password":"tor's password","default_project_id":"`+c.boot.DemoProjectID+`"}`)
	trustee = c.make("users", "user", `{"name":"tee","password":"tee's password"}`)
	for _, role := range []string{"member", "swiftoperator"} {
		c.want(204, c.admin, "PUT", "/v3/projects/"+demoOf(c)+"/users/"+trustor+"/roles/"+c.role(role), "")
	}
	return c, trustor, trustee
}

func trustBody(trustor, trustee, project, rest string) string {
	return fmt.Sprintf(`{"trust":{"trustor_user_id":%q,"trustee_user_id":%q,"project_id":%q%s}}`, trustor, trustee, project, rest)
}

const lendMember = `,"impersonation":true,"roles":[{"name":"member"}]`

func trustScope(id string) string { return `{"OS-TRUST:trust":{"id":"` + id + `"}}` }

func TestTrusts_Life(t *testing.T) {
	c, tor, tee := trustCloud(t)
	token, demo := c.login("tor", "tor's password", "demo"), demoOf(c)
	for rest, status := range map[string]int{
		``: 400, `,"impersonation":true`: 403, `,"impersonation":true,"roles":[]`: 403, `,"impersonation":true,"roles":[{"name":"admin"}]`: 404,
		lendMember + `,"expires_at":"bad.123Z"`: 400, lendMember + `,"expires_at":"2001-01-01T00:00:00Z"`: 400, lendMember + `,"remaining_uses":0`: 400,
		lendMember + `,"remaining_uses":"x"`: 400, lendMember + `,"allow_redelegation":true`: 400, lendMember + `,"nonsense":1`: 400, `,"impersonation":5,"roles":[{"name":"member"}]`: 400,
	} {
		c.want(status, token, "POST", "/v3/OS-TRUST/trusts", trustBody(tor, tee, demo, rest))
	}
	c.want(404, token, "POST", "/v3/OS-TRUST/trusts", trustBody(tor, "nobody", demo, lendMember))
	c.want(404, token, "POST", "/v3/OS-TRUST/trusts", trustBody(tor, tee, "nowhere", lendMember))
	c.want(403, c.admin, "POST", "/v3/OS-TRUST/trusts", trustBody(tor, tee, demo, lendMember))
	id := c.want(201, token, "POST", "/v3/OS-TRUST/trusts", trustBody(tor, tee, demo, lendMember)).text("trust", "id")
	at := "/v3/OS-TRUST/trusts/" + id
	if roles := c.want(200, token, "GET", at+"/roles", "").names("roles", "name"); !slices.Equal(roles, []string{"member"}) {
		t.Errorf("roles %v", roles)
	}
	c.want(200, token, "HEAD", at+"/roles/"+c.role("member"), "")
	c.want(404, token, "GET", at+"/roles/"+c.role("swiftoperator"), "")
	c.want(403, token, "GET", "/v3/OS-TRUST/trusts", "")
	for _, query := range []string{"?trustor_user_id=" + tor, "?trustee_user_id=" + tee, ""} {
		if got := c.want(200, c.admin, "GET", "/v3/OS-TRUST/trusts"+query, "").names("trusts", "id"); !slices.Equal(got, []string{id}) {
			t.Errorf("list %s: %v", query, got)
		}
	}
	c.want(204, token, "DELETE", at, "")
	c.want(404, token, "GET", at, "")
	c.want(404, token, "DELETE", at, "")
}

// What a token by a trust may do, and what ends it.
func TestTrusts_Tokens(t *testing.T) {
	c, tor, tee := trustCloud(t)
	token, demo := c.login("tor", "tor's password", "demo"), demoOf(c)
	make := func(rest string) string {
		return c.want(201, token, "POST", "/v3/OS-TRUST/trusts", trustBody(tor, tee, demo, rest)).text("trust", "id")
	}
	get := func(status int, user, trust string) answer {
		t.Helper()
		return c.want(status, "", "POST", "/v3/auth/tokens", passwordBody(user, user+"'s password", trustScope(trust)))
	}
	id := make(lendMember)
	a := get(201, "tee", id)
	if a.text("token", "user", "id") != tor || a.text("token", "project", "id") != demo || a.text("token", "OS-TRUST:trust", "trustee_user", "id") != tee {
		t.Errorf("%s", a.body)
	}
	lent := a.header.Get("X-Subject-Token")
	if who, err := c.id.Tokens().Token(t.Context(), lent); err != nil || who.UserID != tor || who.HasRole("swiftoperator") || !who.HasRole("member", "reader") {
		t.Errorf("%+v, %v", who, err)
	}
	plain := make(`,"impersonation":false,"remaining_uses":1,"roles":[{"id":"` + c.role("member") + `"}]`)
	if a := get(201, "tee", plain); a.text("token", "user", "id") != tee {
		t.Errorf("%s", a.body)
	}
	get(403, "tee", plain)
	get(403, "tor", id)
	get(401, "tee", "nothing")
	c.want(403, "", "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["token"],"token":{"id":"`+lent+`"}}}}`)
	for _, path := range []string{"/v3/credentials", "/v3/users/" + tor + "/credentials/OS-EC2", "/v3/users/" + tor + "/application_credentials", "/v3/OS-TRUST/trusts"} {
		c.want(403, lent, "GET", path, "")
	}
	c.want(403, lent, "POST", "/v3/OS-TRUST/trusts", trustBody(tor, tee, demo, lendMember))
	for name, end := range map[string]func(){
		"the trust is deleted": func() { c.want(204, token, "DELETE", "/v3/OS-TRUST/trusts/"+id, "") },
		"the role is taken": func() {
			c.want(204, c.admin, "DELETE", "/v3/projects/"+demo+"/users/"+tor+"/roles/"+c.role("member"), "")
		},
		"the trustee is disabled": func() {
			c.want(200, c.admin, "PATCH", "/v3/users/"+tee, `{"user":{"enabled":false}}`)
			c.want(200, c.admin, "PATCH", "/v3/users/"+tee, `{"user":{"enabled":true}}`)
		},
	} {
		id = make(lendMember)
		lent := get(201, "tee", id).header.Get("X-Subject-Token")
		end()
		if _, err := c.id.Tokens().Token(t.Context(), lent); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: the token stands, %v", name, err)
		}
		c.want(204, c.admin, "PUT", "/v3/projects/"+demo+"/users/"+tor+"/roles/"+c.role("member"), "")
	}
	id = make(lendMember)
	c.want(204, c.admin, "DELETE", "/v3/users/"+tee, "")
	c.want(404, token, "GET", "/v3/OS-TRUST/trusts/"+id, "")
}
