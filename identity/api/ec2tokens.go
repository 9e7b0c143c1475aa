package api

import (
	"encoding/json"
	"net/http"

	"henge/cluster/state"
	"henge/identity/accesskey"
	"henge/identity/model"
	"henge/identity/token"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// signedBody is what a service sends. Keystone takes three names for it.
type signedBody struct {
	Credentials    *accesskey.Signed `json:"credentials"`
	Credential     *accesskey.Signed `json:"credential"`
	EC2Credentials *accesskey.Signed `json:"ec2Credentials"`
}

// ec2Tokens is POST /v3/ec2tokens: a token for whoever signed a request, asked for by the service that the request was made to.
func ec2Tokens(c *call) error {
	return c.signedToken(func(s *accesskey.Signed, secret string) error { return s.VerifyRequest(secret, c.Clock.Now()) })
}

// s3Tokens is POST /v3/s3tokens: the same, with the string that was signed instead of the request.
func s3Tokens(c *call) error {
	return c.signedToken(func(s *accesskey.Signed, secret string) error { return s.VerifyString(secret, c.Clock.Now()) })
}

// signedToken lets only services and administrators ask: otherwise whoever sees one signed request could turn it into a token.
func (c *call) signedToken(verify func(s *accesskey.Signed, secret string) error) error {
	if err := c.require(c.admin() || c.who.HasRole("service")); err != nil {
		return err
	}
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	signed, err := parseSigned(raw)
	if err != nil {
		return err
	}
	secret, id, err := c.Keys.Key(c.r.Context(), signed.Access)
	if err != nil {
		return unauthenticated(err)
	}
	if err := verify(signed, secret); err != nil {
		return unauthenticated(err)
	}
	var user model.User
	err = c.view(func(r state.Reader) (err error) {
		user, err = model.Users.Get(r, id.UserID)
		return err
	})
	if err != nil {
		return unauthenticated(err)
	}
	issued, session, err := c.Sessions.Issue(c.r.Context(), token.Request{UserID: user.ID, UserEpoch: user.Epoch, Methods: token.EC2Credential,
		Scope: model.Target{Kind: model.TargetProject, ID: id.ProjectID}})
	if err != nil {
		return unauthenticated(err)
	}
	document, err := c.freshDocument(session, true)
	if err != nil {
		return err
	}
	c.w.Header().Set("X-Subject-Token", issued)
	return c.json(http.StatusOK, document)
}

func parseSigned(raw []byte) (*accesskey.Signed, error) {
	var body signedBody
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, errs.New(errs.Invalid, "Malformed JSON in request body: %w", err)
	}
	for _, s := range []*accesskey.Signed{body.Credentials, body.Credential, body.EC2Credentials} {
		if s == nil {
			continue
		}
		if s.Access == "" || s.Signature == "" {
			return nil, errs.New(errs.Invalid, "Invalid input for field 'credentials': it needs access and signature")
		}
		return s, nil
	}
	return nil, required("credentials")
}
