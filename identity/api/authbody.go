package api

import (
	"encoding/json"
	"errors"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
)

// reference names something by id, or by name, in a domain that is named in the same way. The JSON of Identity v3.
type reference struct {
	ID     string     `json:"id"`
	Name   string     `json:"name"`
	Domain *reference `json:"domain"`
}

// authBody is what POST /v3/auth/tokens is sent.
type authBody struct {
	Auth *struct {
		Identity *struct {
			Methods  []string `json:"methods"`
			Password *struct {
				User *struct {
					reference
					Password *string `json:"password"`
				} `json:"user"`
			} `json:"password"`
			Token *struct {
				ID string `json:"id"`
			} `json:"token"`
			ApplicationCredential *struct {
				ID     string     `json:"id"`
				Name   string     `json:"name"`
				Secret string     `json:"secret"`
				User   *reference `json:"user"`
			} `json:"application_credential"`
		} `json:"identity"`
		Scope json.RawMessage `json:"scope"`
	} `json:"auth"`
}

// scopeBody is the scope of an authBody.
type scopeBody struct {
	Project  *reference       `json:"project"`
	Domain   *reference       `json:"domain"`
	Unscoped *json.RawMessage `json:"unscoped"`
	System   *struct {
		All bool `json:"all"`
	} `json:"system"`
	Trust *reference `json:"OS-TRUST:trust"`
}

// wantedScope is a scope as it was asked for, before anything was looked up.
type wantedScope struct {
	given    bool // false: the user's default project, if there is one
	unscoped bool
	system   bool
	project  *reference
	domain   *reference
	trust    string // its id
}

// decodeStrict reads JSON into a struct and says in the client's words which field has the wrong type.
func decodeStrict(raw []byte, into any) error {
	err := json.Unmarshal(raw, into)
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		return errs.New(errs.Invalid, "Invalid input for field '%s': a %s cannot stand there", mismatch.Field, mismatch.Value)
	}
	if err != nil {
		return errs.New(errs.Invalid, "Malformed JSON in request body: %w", err)
	}
	return nil
}

func parseAuth(raw []byte) (*authBody, wantedScope, error) {
	var body authBody
	if err := decodeStrict(raw, &body); err != nil {
		return nil, wantedScope{}, err
	}
	switch {
	case body.Auth == nil:
		return nil, wantedScope{}, required("auth")
	case body.Auth.Identity == nil:
		return nil, wantedScope{}, required("identity")
	case len(body.Auth.Identity.Methods) == 0:
		return nil, wantedScope{}, required("methods")
	case len(body.Auth.Identity.Methods) > 4:
		return nil, wantedScope{}, errs.New(errs.Invalid, "Invalid input for field 'methods': too many of them")
	}
	scope, err := parseScope(body.Auth.Scope)
	return &body, scope, err
}

func required(name string) error {
	return errs.New(errs.Invalid, "Invalid input for field '%s': '%s' is a required property", name, name)
}

func parseScope(raw json.RawMessage) (wantedScope, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return wantedScope{}, nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if text != "unscoped" {
			return wantedScope{}, errs.New(errs.Invalid, "Invalid input for field 'scope': neither an object nor 'unscoped'")
		}
		return wantedScope{given: true, unscoped: true}, nil
	}
	var body scopeBody
	if err := decodeStrict(raw, &body); err != nil {
		return wantedScope{}, err
	}
	given := 0
	for _, there := range []bool{body.Project != nil, body.Domain != nil, body.Unscoped != nil, body.System != nil, body.Trust != nil} {
		if there {
			given++
		}
	}
	switch {
	case given == 0:
		return wantedScope{}, errs.New(errs.Invalid, "Invalid input for field 'scope': it needs one of project, domain, system, unscoped, OS-TRUST:trust")
	case given > 1:
		return wantedScope{}, errs.New(errs.Invalid, "Invalid input for field 'scope': it holds more than one of project, domain, system, unscoped")
	case body.Trust != nil && body.Trust.ID == "":
		return wantedScope{}, errs.New(errs.Invalid, "Invalid input for field 'scope': OS-TRUST:trust needs an id")
	case body.Trust != nil:
		if err := body.Trust.check("OS-TRUST:trust", false); err != nil {
			return wantedScope{}, err
		}
		return wantedScope{given: true, trust: body.Trust.ID}, nil
	case body.System != nil && !body.System.All:
		return wantedScope{}, errs.New(errs.Invalid, `Invalid input for field 'scope': "system" must be {"all": true}`)
	case body.Project != nil:
		if err := body.Project.check("project", true); err != nil {
			return wantedScope{}, err
		}
	case body.Domain != nil:
		if err := body.Domain.check("domain", false); err != nil {
			return wantedScope{}, err
		}
	}
	return wantedScope{given: true, unscoped: body.Unscoped != nil, system: body.System != nil, project: body.Project, domain: body.Domain}, nil
}

// check tells whether a reference names anything: an id, or a name with, where one is needed, a domain.
func (ref *reference) check(label string, inDomain bool) error {
	switch {
	case ref.ID != "":
	case ref.Name == "":
		return errs.New(errs.Invalid, "Invalid input for field '%s': it needs an id or a name", label)
	case inDomain && (ref.Domain == nil || ref.Domain.ID == "" && ref.Domain.Name == ""):
		return errs.New(errs.Invalid, "Invalid input for field '%s': a name needs a domain with an id or a name", label)
	}
	for r := ref; r != nil; r = r.Domain {
		if len(r.ID) > 255 || len(r.Name) > 1024 {
			return errs.New(errs.Invalid, "Invalid input for field '%s': the id or the name is too long", label)
		}
	}
	return nil
}

// user finds whom a reference means.
func (ref *reference) user(r state.Reader) (model.User, error) {
	if ref.ID != "" {
		return model.Users.Get(r, ref.ID)
	}
	domain, err := model.FindDomain(r, ref.Domain.ID, ref.Domain.Name)
	if err != nil {
		return model.User{}, err
	}
	return model.FindUser(r, "", domain.ID, ref.Name)
}

// key names the reference for the throttle, whether or not anybody is behind it.
func (ref *reference) key() string {
	if ref.ID != "" {
		return "id\x00" + ref.ID
	}
	return "name\x00" + ref.Domain.ID + "\x00" + ref.Domain.Name + "\x00" + ref.Name
}

// target finds the scope. A user's default project counts only when he has a role there.
func (want wantedScope) target(r state.Reader, user model.User) (model.Target, error) {
	switch {
	case want.unscoped:
		return model.Target{}, nil
	case want.system:
		return model.SystemTarget(), nil
	case want.domain != nil:
		domain, err := model.FindDomain(r, want.domain.ID, want.domain.Name)
		return model.Target{Kind: model.TargetDomain, ID: domain.ID}, err
	case want.project != nil:
		project, err := want.project.projectIn(r)
		return model.Target{Kind: model.TargetProject, ID: project.ID}, err
	}
	return defaultScope(r, user)
}

func (ref *reference) projectIn(r state.Reader) (model.Project, error) {
	if ref.ID != "" {
		return model.Projects.Get(r, ref.ID)
	}
	domain, err := model.FindDomain(r, ref.Domain.ID, ref.Domain.Name)
	if err != nil {
		return model.Project{}, err
	}
	return model.FindProject(r, "", domain.ID, ref.Name)
}

func defaultScope(r state.Reader, user model.User) (model.Target, error) {
	if user.DefaultProjectID == "" {
		return model.Target{}, nil
	}
	project, there, err := model.Optional(model.Projects.Get(r, user.DefaultProjectID))
	if err != nil || !there || !project.Enabled {
		return model.Target{}, err
	}
	target := model.Target{Kind: model.TargetProject, ID: project.ID}
	roles, err := model.RolesOn(r, user.ID, target)
	if err != nil || len(roles) == 0 {
		return model.Target{}, err
	}
	return target, nil
}
