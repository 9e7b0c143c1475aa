package api

import (
	"net/http"
	"time"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/identity/token"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// authenticate is POST /v3/auth/tokens.
func authenticate(c *call) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	body, scope, err := parseAuth(raw)
	if err != nil {
		return err
	}
	req, err := c.prove(body)
	if err != nil {
		return unauthenticated(err)
	}
	issued, session, err := c.issue(req, scope)
	if err != nil {
		return unauthenticated(err)
	}
	document, err := c.freshDocument(session, !c.noCatalog())
	if err != nil {
		return err
	}
	c.w.Header().Set("X-Subject-Token", issued)
	return c.json(http.StatusCreated, document)
}

// prove checks every method that the body names; all must hold, and mean the same user.
func (c *call) prove(body *authBody) (token.Request, error) {
	var req token.Request
	for _, method := range body.Auth.Identity.Methods {
		var one token.Request
		var err error
		switch method {
		case "password":
			one, err = c.provePassword(body)
		case "token":
			one, err = c.proveToken(body)
		case "application_credential":
			one, err = c.proveApplicationCredential(body)
		default:
			err = errs.New(errs.Unauthenticated, "method %q is not supported", method)
		}
		if err != nil {
			return req, err
		}
		if req.UserID != "" && req.UserID != one.UserID {
			return req, errs.New(errs.Unauthenticated, "the methods prove different users")
		}
		one.Methods |= req.Methods
		if one.Parent == nil {
			one.Parent = req.Parent
		}
		if one.ApplicationCredentialID == "" {
			one.ApplicationCredentialID = req.ApplicationCredentialID
		}
		req = one
	}
	return req, nil
}

func (c *call) provePassword(body *authBody) (token.Request, error) {
	password := body.Auth.Identity.Password
	switch {
	case password == nil:
		return token.Request{}, required("password")
	case password.User == nil:
		return token.Request{}, required("user")
	case password.User.Password == nil:
		return token.Request{}, required("password")
	}
	if err := password.User.check("user", true); err != nil {
		return token.Request{}, err
	}
	user, err := c.checkPassword(&password.User.reference, *password.User.Password)
	return token.Request{UserID: user.ID, UserEpoch: user.Epoch, Methods: token.Password}, err
}

// checkPassword finds the user that a reference means and checks its password, in the same time whether or not there is such a user.
// errs.Unauthenticated; *password.ThrottledError after too many guesses.
func (c *call) checkPassword(ref *reference, secret string) (model.User, error) {
	end, err := c.Throttle.Begin(ref.key(), c.r.RemoteAddr)
	if err != nil {
		return model.User{}, err
	}
	outcome := 0
	defer func() { end(outcome) }()
	var user model.User
	err = c.view(func(r state.Reader) (err error) {
		user, _, err = model.Optional(ref.user(r))
		return err
	})
	if err != nil {
		return model.User{}, err
	}
	right, err := c.Hasher.Verify(c.r.Context(), user.PasswordHash, secret)
	switch {
	case err != nil:
		return model.User{}, err
	case !right:
		outcome = -1
		return model.User{}, errs.New(errs.Unauthenticated, "no such user, or another password")
	}
	outcome = 1
	return user, nil
}

func (c *call) proveToken(body *authBody) (token.Request, error) {
	shown := body.Auth.Identity.Token
	if shown == nil {
		return token.Request{}, required("token")
	}
	session, err := c.Sessions.Session(c.r.Context(), shown.ID)
	if err != nil {
		return token.Request{}, err
	}
	if session.Claims.TrustID != "" {
		return token.Request{}, errs.New(errs.Denied, "A token of a trust makes no other tokens.")
	}
	return token.Request{UserID: session.UserID, Methods: token.Token, Parent: session}, nil
}

// issue finds the scope and makes the token. Application credentials are for one project, whatever was asked for.
func (c *call) issue(req token.Request, want wantedScope) (string, *token.Session, error) {
	if want.trust != "" {
		return c.issueTrusted(req, want.trust)
	}
	err := c.view(func(r state.Reader) error {
		user, err := model.Users.Get(r, req.UserID)
		if err != nil {
			return err
		}
		bound := req.ApplicationCredentialID
		if req.Parent != nil && bound == "" {
			bound = req.Parent.Claims.ApplicationCredentialID
		}
		if bound == "" {
			req.Scope, err = want.target(r, user)
			return keepsScope(req, err)
		}
		credential, err := model.ApplicationCredentials.Get(r, bound)
		if err != nil {
			return err
		}
		req.Scope = model.Target{Kind: model.TargetProject, ID: credential.ProjectID}
		if !want.given {
			return nil
		}
		asked, err := want.target(r, user)
		if err == nil && asked != req.Scope {
			err = errs.New(errs.Unauthenticated, "an application credential is for its project alone")
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}
	return c.Sessions.Issue(c.r.Context(), req)
}

// issueTrusted makes a token by a trust, for its trustee alone, and counts it.
func (c *call) issueTrusted(req token.Request, trustID string) (string, *token.Session, error) {
	if req.ApplicationCredentialID != "" || req.Parent != nil && (req.Parent.Claims.ApplicationCredentialID != "" || req.Parent.Claims.Methods&token.EC2Credential != 0) {
		return "", nil, errs.New(errs.Unauthenticated, "an application credential or an access key is for its project alone")
	}
	var trust model.Trust
	err := c.view(func(r state.Reader) (err error) {
		if trust, err = model.Trusts.Get(r, trustID); err != nil {
			return err
		}
		return usable(trust, req.UserID, c.Clock.Now())
	})
	if err != nil {
		return "", nil, err
	}
	req.Trust, req.Scope = &trust, model.Target{Kind: model.TargetProject, ID: trust.ProjectID}
	issued, session, err := c.Sessions.Issue(c.r.Context(), req)
	if err != nil || trust.UsesLeft == nil {
		return issued, session, err
	}
	err = c.update(func(w state.Writer) error {
		now, err := model.Trusts.Get(w, trustID)
		if err != nil {
			return err
		}
		if err := usable(now, req.UserID, c.Clock.Now()); err != nil {
			return err
		}
		left := *now.UsesLeft - 1
		now.UsesLeft = &left
		return model.Trusts.Put(w, trustID, now)
	})
	if err != nil {
		return "", nil, err
	}
	return issued, session, nil
}

// usable tells whether a user may have a token by a trust now.
func usable(trust model.Trust, userID string, now time.Time) error {
	switch {
	case trust.TrusteeID != userID:
		return errs.New(errs.Denied, "User is not a trustee.")
	case trust.Expired(now):
		return errs.New(errs.Unauthenticated, "trust %s has expired", trust.ID)
	case trust.UsesLeft != nil && *trust.UsesLeft < 1:
		return errs.New(errs.Denied, "No remaining uses for trust: %s", trust.ID)
	}
	return nil
}

// keepsScope: an access key is for one project, and so is a token made from it.
func keepsScope(req token.Request, err error) error {
	if err == nil && req.Parent != nil && req.Parent.Claims.Methods&token.EC2Credential != 0 && req.Scope != req.Parent.Claims.Scope {
		return errs.New(errs.Unauthenticated, "a token of an access key keeps its project")
	}
	return err
}

func (c *call) proveApplicationCredential(body *authBody) (token.Request, error) {
	shown := body.Auth.Identity.ApplicationCredential
	if shown == nil {
		return token.Request{}, required("application_credential")
	}
	key := "credential\x00" + shown.ID
	if shown.ID == "" {
		if shown.Name == "" || shown.User == nil {
			return token.Request{}, errs.New(errs.Invalid, "Invalid input for field 'application_credential': it needs an id, or a name and a user")
		}
		if err := shown.User.check("user", true); err != nil {
			return token.Request{}, err
		}
		key = "credential\x00" + shown.Name + "\x00" + shown.User.key()
	}
	end, err := c.Throttle.Begin(key, c.r.RemoteAddr)
	if err != nil {
		return token.Request{}, err
	}
	outcome := 0
	defer func() { end(outcome) }()
	var credential model.ApplicationCredential
	var user model.User
	err = c.view(func(r state.Reader) (err error) {
		credential, user, err = findApplicationCredential(r, shown.ID, shown.Name, shown.User)
		return err
	})
	if err != nil {
		return token.Request{}, err
	}
	right, err := c.Hasher.Verify(c.r.Context(), credential.SecretHash, shown.Secret)
	switch {
	case err != nil:
		return token.Request{}, err
	case !right:
		outcome = -1
		return token.Request{}, errs.New(errs.Unauthenticated, "no such application credential, or another secret")
	}
	outcome = 1
	return token.Request{UserID: user.ID, UserEpoch: user.Epoch, Methods: token.ApplicationCredential, ApplicationCredentialID: credential.ID}, nil
}

// findApplicationCredential gives empty rows, not an error, where there is none, so that looking takes as long.
func findApplicationCredential(r state.Reader, id, name string, owner *reference) (model.ApplicationCredential, model.User, error) {
	var credential model.ApplicationCredential
	var there bool
	var err error
	if id != "" {
		credential, there, err = model.Optional(model.ApplicationCredentials.Get(r, id))
	} else {
		var user model.User
		if user, there, err = model.Optional(owner.user(r)); there {
			credential, there, err = model.Optional(model.ApplicationCredentials.First(r, "name", user.ID+model.Sep+name))
		}
	}
	if err != nil || !there {
		return model.ApplicationCredential{}, model.User{}, err
	}
	user, _, err := model.Optional(model.Users.Get(r, credential.UserID))
	return credential, user, err
}
