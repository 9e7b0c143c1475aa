// Package authn is identity's door: who is asking, and with which roles. Every API uses it and nothing else of identity.
package authn

import (
	"context"
	"slices"
	"time"
)

// Identity is an authenticated user, in the scope of the token or key that was shown.
type Identity struct {
	UserID, UserName             string
	UserDomainID, UserDomainName string

	// The scope: a project, or a domain, or the system (the cloud itself), or none of them (unscoped).
	ProjectID, ProjectName             string
	ProjectDomainID, ProjectDomainName string
	DomainID, DomainName               string
	System                             bool

	Roles   []string // names, lower case, implied ones included
	Methods []string // how it was authenticated: "password", "token", "ec2credential", ...
	AuditID string
	Issued  time.Time
	Expires time.Time
}

// HasRole tells whether one of the named roles is held in this scope.
func (id *Identity) HasRole(names ...string) bool {
	return id != nil && slices.ContainsFunc(id.Roles, func(r string) bool { return slices.Contains(names, r) })
}

// Tokens checks tokens.
type Tokens interface {
	// Token checks a token (X-Auth-Token) without asking another peer. errs.Unauthenticated when it is malformed, sealed by nobody we know,
	// expired, revoked, or its user, project or role is gone or disabled. The Identity is shared: do not modify it.
	Token(ctx context.Context, token string) (*Identity, error)
}

// Keys finds S3 keys.
type Keys interface {
	// Key gives the secret of an access key and whom it speaks for; errs.Unauthenticated when there is no such key, or its user or project is gone or disabled.
	// The Identity is shared: do not modify it.
	Key(ctx context.Context, access string) (secret string, id *Identity, err error)
}
