// Package accesskey finds the EC2 credentials that S3 clients sign with, and checks the signatures that other services send to identity.
package accesskey

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/identity/model"
	"henge/internal/errs"
)

// Type is the type of a credential that is an access key.
const Type = model.AccessKeyType

// Blob is what such a credential keeps, as Keystone writes it.
type Blob struct {
	Access string `json:"access"`
	Secret string `json:"secret"`
	Trust  string `json:"trust_id,omitempty"`
}

// ParseBlob reads a credential's blob: errs.Invalid when it is not an access key.
func ParseBlob(blob string) (Blob, error) {
	var b Blob
	if err := json.Unmarshal([]byte(blob), &b); err != nil || b.Access == "" || b.Secret == "" {
		return Blob{}, errs.New(errs.Invalid, `the blob of an ec2 credential must be a JSON object with "access" and "secret"`)
	}
	return b, nil
}

// NewCredential makes an access key for a user on a project: 32 hexadecimal digits each for key and secret.
func NewCredential(userID, projectID string) (model.Credential, Blob, error) {
	b := Blob{Access: model.NewID(), Secret: secret()}
	raw, err := json.Marshal(b)
	if err != nil {
		return model.Credential{}, b, fmt.Errorf("encode an access key: %w", err)
	}
	return model.Credential{ID: model.CredentialID(b.Access), Type: Type, UserID: userID, ProjectID: projectID, Blob: string(raw)}, b, nil
}

func secret() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// entriesMax bounds how many keys are remembered.
const entriesMax = 8192

// Keys is the authn.Keys of the house. Safe for concurrent use.
type Keys struct {
	store   state.Store
	entries *state.Memo[*entry] // by access key
}

type entry struct {
	secret string
	id     authn.Identity
}

var _ authn.Keys = (*Keys)(nil)

// New looks keys up in store.
func New(store state.Store) *Keys {
	return &Keys{store: store, entries: state.NewMemo[*entry](entriesMax)}
}

// Key is authn.Keys.
func (k *Keys) Key(ctx context.Context, access string) (string, *authn.Identity, error) {
	var e *entry
	err := k.store.View(ctx, func(r state.Reader) (err error) {
		e, err = k.entries.Get(r, access, func(r state.Reader) (*entry, error) {
			e := &entry{}
			return e, e.read(r, access)
		})
		return err
	})
	if errs.Is(err, errs.NotFound) {
		err = errs.With(errs.Unauthenticated, err)
	}
	if err != nil {
		return "", nil, fmt.Errorf("access key: %w", err)
	}
	return e.secret, &e.id, nil
}

func (e *entry) read(r state.Reader, access string) error {
	c, err := model.Credentials.First(r, "access", access)
	if err != nil {
		return err
	}
	blob, err := ParseBlob(c.Blob)
	if err != nil {
		return errs.With(errs.Unauthenticated, err)
	}
	e.secret = blob.Secret
	return e.identify(r, c)
}

func (e *entry) identify(r state.Reader, c model.Credential) error {
	user, err := model.Users.Get(r, c.UserID)
	if err != nil {
		return err
	}
	userDomain, err := model.Domains.Get(r, user.DomainID)
	if err != nil {
		return err
	}
	project, err := model.Projects.Get(r, c.ProjectID)
	if err != nil {
		return err
	}
	domain, err := model.Domains.Get(r, project.DomainID)
	if err != nil {
		return err
	}
	if !user.Enabled || !userDomain.Enabled || !project.Enabled || !domain.Enabled {
		return errs.New(errs.Unauthenticated, "the user %s, the project %s or a domain of theirs is disabled", user.ID, project.ID)
	}
	roles, err := model.RolesOn(r, user.ID, model.Target{Kind: model.TargetProject, ID: project.ID})
	if err != nil {
		return err
	}
	if len(roles) == 0 {
		return errs.New(errs.Unauthenticated, "user %s has no role on project %s", user.ID, project.ID)
	}
	e.id = authn.Identity{UserID: user.ID, UserName: user.Name, UserDomainID: userDomain.ID, UserDomainName: userDomain.Name,
		ProjectID: project.ID, ProjectName: project.Name, ProjectDomainID: domain.ID, ProjectDomainName: domain.Name, Methods: []string{"ec2credential"}}
	for _, role := range roles {
		e.id.Roles = append(e.id.Roles, strings.ToLower(role.Name))
	}
	return nil
}
