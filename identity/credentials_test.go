package identity

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"henge/internal/errs"
)

func TestEC2_Life(t *testing.T) {
	c := newCloud(t)
	at := "/v3/users/" + c.boot.AdminUserID + "/credentials/OS-EC2"
	a := c.want(201, c.admin, "POST", at, `{"tenant_id":"`+c.boot.DemoProjectID+`"}`)
	access, secret := a.text("credential", "access"), a.text("credential", "secret")
	if got, id, err := c.id.Keys().Key(t.Context(), access); err != nil || got != secret || id.ProjectID != c.boot.DemoProjectID {
		t.Fatalf("the key: %+v, %v", id, err)
	}
	if got := c.want(200, c.admin, "GET", at, "").names("credentials", "access"); len(got) != 2 {
		t.Errorf("keys: %v", got)
	}
	c.want(200, c.admin, "GET", at+"/"+access, "")
	c.want(403, c.admin, "POST", at, `{"tenant_id":"`+c.boot.ServiceProjectID+`"}`)
	c.want(400, c.admin, "POST", at, `{"tenant_id":"nowhere"}`)
	c.want(400, c.admin, "POST", at, `{"tenant_id":5}`)
	c.want(404, c.admin, "GET", at+"/none", "")
	c.want(204, c.admin, "DELETE", at+"/"+access, "")
	c.want(404, c.admin, "DELETE", at+"/"+access, "")
	if _, _, err := c.id.Keys().Key(t.Context(), access); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("a deleted key: %v", err)
	}
}

func TestCredentials_Life(t *testing.T) {
	c := newCloud(t)
	body := func(kind, project, blob string) string {
		return `{"credential":{"type":"` + kind + `","user_id":"` + c.boot.AdminUserID + `","project_id":` + project + `,"blob":` + quote(blob) + `}}`
	}
	demo := quote(c.boot.DemoProjectID)
	id := c.want(201, c.admin, "POST", "/v3/credentials", body("ec2", demo, `{"access":"AK","secret":"SK"}`)).text("credential", "id")
	c.want(409, c.admin, "POST", "/v3/credentials", body("ec2", demo, `{"access":"AK","secret":"other"}`))
	c.want(400, c.admin, "POST", "/v3/credentials", body("ec2", demo, `nonsense`))
	c.want(400, c.admin, "POST", "/v3/credentials", body("ec2", "null", `{"access":"A2","secret":"SK"}`))
	c.want(400, c.admin, "POST", "/v3/credentials", body("ec2", `"nowhere"`, `{"access":"A2","secret":"SK"}`))
	c.want(400, c.admin, "POST", "/v3/credentials", `{"credential":{"type":"cert"}}`)
	c.want(201, c.admin, "POST", "/v3/credentials", body("cert", "null", `anything`))
	c.want(200, c.admin, "PATCH", "/v3/credentials/"+id, `{"credential":{"blob":"{\"access\":\"AK2\",\"secret\":\"SK2\"}"}}`)
	if secret, _, err := c.id.Keys().Key(t.Context(), "AK2"); err != nil || secret != "SK2" {
		t.Errorf("the new key: %q, %v", secret, err)
	}
	if _, _, err := c.id.Keys().Key(t.Context(), "AK"); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("the old key: %v", err)
	}
	if got := c.want(200, c.admin, "GET", "/v3/credentials?type=cert", "").names("credentials", "blob"); len(got) != 1 {
		t.Errorf("certificates: %v", got)
	}
	c.want(204, c.admin, "DELETE", "/v3/credentials/"+id, "")
	c.want(404, c.admin, "GET", "/v3/credentials/"+id, "")
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func TestS3Tokens(t *testing.T) {
	c := newCloud(t)
	now := c.clock.Now().UTC()
	day := now.Format("20060102")
	text := "AWS4-HMAC-SHA256\n" + now.Format("20060102T150405Z") + "\n" + day + "/RegionOne/s3/aws4_request\n" + strings.Repeat("0", 64)
	key := mac(mac(mac(mac([]byte("AWS4"+c.boot.SecretKey), day), "RegionOne"), "s3"), "aws4_request")
	ask := func(access, text, signature string) string {
		return fmt.Sprintf(`{"credentials":{"access":%q,"token":%q,"signature":%q}}`, access, base64.URLEncoding.EncodeToString([]byte(text)), signature)
	}
	good := ask(c.boot.AccessKey, text, hex.EncodeToString(mac(key, text)))
	a := c.want(200, c.admin, "POST", "/v3/s3tokens", good)
	if a.text("token", "project", "id") != c.boot.AdminProjectID || a.header.Get("X-Subject-Token") == "" {
		t.Errorf("token: %s", a.body)
	}
	issued := a.header.Get("X-Subject-Token")
	rescope := `{"auth":{"identity":{"methods":["token"],"token":{"id":"` + issued + `"}},"scope":`
	c.want(401, "", "POST", "/v3/auth/tokens", rescope+projectScope("demo")+`}}`)
	c.want(201, "", "POST", "/v3/auth/tokens", rescope+projectScope("admin")+`}}`)
	c.want(403, issued, "POST", "/v3/users/"+c.boot.AdminUserID+"/credentials/OS-EC2", `{"tenant_id":"`+c.boot.DemoProjectID+`"}`)
	old := hmac.New(sha1.New, []byte(c.boot.SecretKey))
	old.Write([]byte("GET\n\n\nx\n/b/o"))
	c.want(200, c.admin, "POST", "/v3/s3tokens", ask(c.boot.AccessKey, "GET\n\n\nx\n/b/o", base64.StdEncoding.EncodeToString(old.Sum(nil))))
	c.want(401, "", "POST", "/v3/s3tokens", good)
	c.want(401, c.admin, "POST", "/v3/s3tokens", ask(c.boot.AccessKey, text, strings.Repeat("0", 64)))
	c.want(401, c.admin, "POST", "/v3/s3tokens", ask("nobody", text, "x"))
	c.want(401, c.admin, "POST", "/v3/s3tokens", ask(c.boot.AccessKey, "AWS4 nonsense", "x"))
	c.want(400, c.admin, "POST", "/v3/s3tokens", `{}`)
	c.want(400, c.admin, "POST", "/v3/s3tokens", `{"credentials":{"access":"x"}}`)
	c.want(400, c.admin, "POST", "/v3/s3tokens", `{"credentials":{"access":"`+c.boot.AccessKey+`","signature":"x","token":"%%"}}`)
	c.clock.Advance(16 * time.Minute)
	c.want(401, c.admin, "POST", "/v3/s3tokens", good)
}

func TestEC2Tokens(t *testing.T) {
	c := newCloud(t)
	now := c.clock.Now().UTC()
	// Version 2, as botocore's query services sign.
	params := map[string]string{"Action": "Describe Things", "SignatureMethod": "HmacSHA256", "SignatureVersion": "2", "Timestamp": now.Format("2006-01-02T15:04:05Z")}
	query := "Action=Describe%20Things&SignatureMethod=HmacSHA256&SignatureVersion=2&Timestamp=" + strings.ReplaceAll(params["Timestamp"], ":", "%3A")
	signature := base64.StdEncoding.EncodeToString(mac([]byte(c.boot.SecretKey), "GET\nec2.example\n/\n"+query))
	body := func(signature string) string {
		return fmt.Sprintf(`{"credentials":{"access":%q,"signature":%q,"host":"ec2.example","verb":"GET","path":"/","params":{"Action":"Describe Things","SignatureMethod":"HmacSHA256","SignatureVersion":"2","Timestamp":%q}}}`,
			c.boot.AccessKey, signature, params["Timestamp"])
	}
	if a := c.want(200, c.admin, "POST", "/v3/ec2tokens", body(signature)); a.text("token", "user", "name") != "admin" {
		t.Errorf("token: %s", a.body)
	}
	c.want(401, c.admin, "POST", "/v3/ec2tokens", body("x"))

	// Version 4.
	date := now.Format("20060102T150405Z")
	scope := date[:8] + "/RegionOne/ec2/aws4_request"
	request := "POST\n/\n\nhost:ec2.example\nx-amz-date:" + date + "\n\nhost;x-amz-date\nBODY"
	hashed := sha256.Sum256([]byte(request))
	text := "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hex.EncodeToString(hashed[:])
	key := mac(mac(mac(mac([]byte("AWS4"+c.boot.SecretKey), date[:8]), "RegionOne"), "ec2"), "aws4_request")
	four := fmt.Sprintf(`{"credentials":{"access":%q,"signature":%q,"host":"ec2.example","verb":"POST","path":"/","params":{},"body_hash":"BODY","headers":{"X-Amz-Date":%q,"Authorization":"AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=host;x-amz-date, Signature=x"}}}`,
		c.boot.AccessKey, hex.EncodeToString(mac(key, text)), date, c.boot.AccessKey, scope)
	c.want(200, c.admin, "POST", "/v3/ec2tokens", four)
	c.want(401, c.admin, "POST", "/v3/ec2tokens", strings.Replace(four, `"path":"/"`, `"path":"/x"`, 1))
	c.want(401, c.admin, "POST", "/v3/ec2tokens", `{"credentials":{"access":"`+c.boot.AccessKey+`","signature":"x"}}`)
	c.want(400, c.admin, "POST", "/v3/ec2tokens", `{"credentials":"x"}`)
	c.clock.Advance(16 * time.Minute)
	c.want(401, c.admin, "POST", "/v3/ec2tokens", four)
}

func TestApplicationCredentials(t *testing.T) {
	c := newCloud(t)
	at := "/v3/users/" + c.boot.AdminUserID + "/application_credentials"
	expires := c.clock.Now().Add(30 * time.Minute).UTC().Format("2006-01-02T15:04:05")
	a := c.want(201, c.admin, "POST", at, `{"application_credential":{"name":"ci","roles":[{"name":"member"}],"expires_at":"`+expires+`"}}`)
	id, secret := a.text("application_credential", "id"), a.text("application_credential", "secret")
	login := func(rest string) string {
		return `{"auth":{"identity":{"methods":["application_credential"],"application_credential":{` + rest + `}}}}`
	}
	a = c.want(201, "", "POST", "/v3/auth/tokens", login(`"id":"`+id+`","secret":"`+secret+`"`))
	token := a.header.Get("X-Subject-Token")
	if who, err := c.id.Tokens().Token(t.Context(), token); err != nil || who.HasRole("admin") || !who.HasRole("member") || !who.HasRole("reader") {
		t.Fatalf("it may do %+v, %v", who, err)
	}
	if ends := a.text("token", "expires_at"); !strings.HasPrefix(ends, expires) {
		t.Errorf("its token ends %s, it %s", ends, expires)
	}
	c.want(201, "", "POST", "/v3/auth/tokens", login(`"name":"ci","user":{"name":"admin","domain":{"id":"default"}},"secret":"`+secret+`"`))
	c.want(401, "", "POST", "/v3/auth/tokens", login(`"id":"`+id+`","secret":"x"`))
	c.want(401, "", "POST", "/v3/auth/tokens", login(`"id":"none","secret":"x"`))
	c.want(400, "", "POST", "/v3/auth/tokens", login(`"name":"ci"`))
	rescope := `{"auth":{"identity":{"methods":["token"],"token":{"id":"` + token + `"}},"scope":` + projectScope("demo") + `}}`
	c.want(401, "", "POST", "/v3/auth/tokens", rescope)
	c.want(403, token, "POST", at, `{"application_credential":{"name":"more"}}`)
	c.want(403, token, "POST", "/v3/users/"+c.boot.AdminUserID+"/credentials/OS-EC2", `{"tenant_id":"`+c.boot.AdminProjectID+`"}`)
	c.want(409, c.admin, "POST", at, `{"application_credential":{"name":"ci"}}`)
	for _, bad := range []string{`{}`, `{"name":"x","roles":[{"name":"nope"}]}`, `{"name":"x","expires_at":"yesterday"}`, `{"name":"x","roles":5}`,
		`{"name":"x","expires_at":"2001-01-01T00:00:00"}`, `{"name":"x","access_rules":[]}`, `{"name":"x","unrestricted":"yes"}`} {
		c.want(400, c.admin, "POST", at, `{"application_credential":`+bad+`}`)
	}
	c.want(204, c.admin, "DELETE", at+"/"+id, "")
	c.want(401, token, "GET", "/v3/auth/catalog", "")
	c.want(404, c.admin, "GET", at+"/"+id, "")
}
