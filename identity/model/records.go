package model

import "time"

// DefaultDomainID is the id of the domain that clients of the older APIs mean when they name none.
const DefaultDomainID = "default"

// Domain is a namespace of users, groups and projects.
type Domain struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	Enabled     bool           `json:"enabled"`
	Epoch       uint64         `json:"epoch,omitempty"` // see User.Epoch
	Options     map[string]any `json:"options,omitempty"`
	Extra       map[string]any `json:"extra,omitempty"` // attributes of the client's own
}

// Project owns resources. Its parent is its domain or another project of the same domain.
type Project struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	DomainID    string         `json:"domain_id"`
	ParentID    string         `json:"parent_id"` // the domain's id at the top
	Description string         `json:"description,omitempty"`
	Enabled     bool           `json:"enabled"`
	Tags        []string       `json:"tags,omitempty"`
	Epoch       uint64         `json:"epoch,omitempty"` // see User.Epoch
	Options     map[string]any `json:"options,omitempty"`
	Extra       map[string]any `json:"extra,omitempty"`
}

// User is somebody who can prove who he is.
type User struct {
	ID               string `json:"id"`
	Name             string `json:"name"`
	DomainID         string `json:"domain_id"`
	Description      string `json:"description,omitempty"`
	Enabled          bool   `json:"enabled"`
	DefaultProjectID string `json:"default_project_id,omitempty"`
	PasswordHash     string `json:"password_hash,omitempty"` // empty: no password opens this user
	// Epoch counts the events after which older tokens are worth nothing: a new password, disabling. A token carries the sum of
	// the epochs of its user, its scope and their domains. A count, not a time, so that no two clocks need agree.
	Epoch   uint64         `json:"epoch,omitempty"`
	Options map[string]any `json:"options,omitempty"`
	Extra   map[string]any `json:"extra,omitempty"`
}

// Group is a set of users that roles can be granted to.
type Group struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	DomainID    string         `json:"domain_id"`
	Description string         `json:"description,omitempty"`
	Extra       map[string]any `json:"extra,omitempty"`
}

// Membership puts a user into a group.
type Membership struct {
	GroupID string `json:"group_id"`
	UserID  string `json:"user_id"`
}

// Role is a name that policies ask for. A role with a domain is only good for implying others.
type Role struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	DomainID    string         `json:"domain_id,omitempty"`
	Description string         `json:"description,omitempty"`
	Options     map[string]any `json:"options,omitempty"`
	Extra       map[string]any `json:"extra,omitempty"`
}

// Implication says that whoever holds Prior holds Implied.
type Implication struct {
	PriorID   string `json:"prior_id"`
	ImpliedID string `json:"implied_id"`
}

// ActorKind says who was granted a role.
type ActorKind string

// The kinds of actor.
const (
	ActorUser  ActorKind = "user"
	ActorGroup ActorKind = "group"
)

// TargetKind says on what a role was granted.
type TargetKind string

// The kinds of target.
const (
	TargetProject TargetKind = "project"
	TargetDomain  TargetKind = "domain"
	TargetSystem  TargetKind = "system" // the whole cloud; its id is "all"
)

// Actor is a user or a group.
type Actor struct {
	Kind ActorKind `json:"kind"`
	ID   string    `json:"id"`
}

// Target is a project, a domain or the system.
type Target struct {
	Kind TargetKind `json:"kind"`
	ID   string     `json:"id"`
}

// SystemTarget is the whole cloud.
func SystemTarget() Target { return Target{Kind: TargetSystem, ID: "all"} }

// Assignment grants a role to an actor on a target. An inherited one counts on the projects below the target, not on the target.
type Assignment struct {
	Actor     Actor  `json:"actor"`
	Target    Target `json:"target"`
	RoleID    string `json:"role_id"`
	Inherited bool   `json:"inherited,omitempty"`
}

// Service is an entry of the catalog.
type Service struct {
	ID          string         `json:"id"`
	Type        string         `json:"type"`
	Name        string         `json:"name,omitempty"`
	Description string         `json:"description,omitempty"`
	Enabled     bool           `json:"enabled"`
	Extra       map[string]any `json:"extra,omitempty"`
}

// Endpoint is where a service is reached. The URL may hold %(project_id)s, $(project_id)s and the same with tenant_id and user_id.
type Endpoint struct {
	ID        string         `json:"id"`
	ServiceID string         `json:"service_id"`
	RegionID  string         `json:"region_id,omitempty"`
	Interface string         `json:"interface"` // public, internal or admin
	URL       string         `json:"url"`
	Enabled   bool           `json:"enabled"`
	Extra     map[string]any `json:"extra,omitempty"`
}

// Region is a place that endpoints lie in.
type Region struct {
	ID             string         `json:"id"`
	Description    string         `json:"description,omitempty"`
	ParentRegionID string         `json:"parent_region_id,omitempty"`
	Extra          map[string]any `json:"extra,omitempty"`
}

// Policy is a text that identity keeps for services that want it kept; it means nothing here.
type Policy struct {
	ID    string         `json:"id"`
	Type  string         `json:"type"`
	Blob  string         `json:"blob"`
	Extra map[string]any `json:"extra,omitempty"`
}

// Credential is something secret that identity keeps for a user. For the type "ec2" the blob is a JSON object with "access" and "secret", and the
// id of a new one is the hexadecimal SHA-256 of the access key.
type Credential struct {
	ID        string         `json:"id"`
	Type      string         `json:"type"`
	UserID    string         `json:"user_id"`
	ProjectID string         `json:"project_id,omitempty"`
	Blob      string         `json:"blob"`
	Extra     map[string]any `json:"extra,omitempty"`
}

// ApplicationCredential lets a program act for a user on one project, with some of the user's roles and a secret of its own.
type ApplicationCredential struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Description  string    `json:"description,omitempty"`
	UserID       string    `json:"user_id"`
	ProjectID    string    `json:"project_id"`
	RoleIDs      []string  `json:"role_ids"`
	SecretHash   string    `json:"secret_hash"`
	Expires      time.Time `json:"expires,omitzero"`
	Unrestricted bool      `json:"unrestricted,omitempty"`
}

// Trust lets one user, the trustee, act on a project with some of the roles that another one, the trustor, has there.
type Trust struct {
	ID            string    `json:"id"`
	TrustorID     string    `json:"trustor_id"`
	TrusteeID     string    `json:"trustee_id"`
	ProjectID     string    `json:"project_id"`
	RoleIDs       []string  `json:"role_ids"`
	Impersonation bool      `json:"impersonation,omitempty"` // its tokens name the trustor as their user
	Expires       time.Time `json:"expires,omitzero"`
	UsesLeft      *int      `json:"uses_left,omitempty"` // how many tokens may still be made; nil: any number
}

// Actor is the user that the trust's tokens name.
func (t Trust) Actor() string {
	if t.Impersonation {
		return t.TrustorID
	}
	return t.TrusteeID
}

// Expired tells whether the trust's time is over.
func (t Trust) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Revocation ends a token before its time. It is kept until the token would have expired anyway.
type Revocation struct {
	AuditID string    `json:"audit_id"`
	Expires time.Time `json:"expires"`
}

// TokenKey seals tokens from SealFrom on, until a later key takes over.
type TokenKey struct {
	ID       string    `json:"id"` // eight hexadecimal digits: the number that tokens carry
	Secret   []byte    `json:"secret"`
	SealFrom time.Time `json:"seal_from"`
}

// EndedProject is a project that was deleted.
type EndedProject struct {
	ID string `json:"id"`
}
