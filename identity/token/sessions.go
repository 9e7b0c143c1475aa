package token

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/identity/model"
	"henge/internal/clock"
	"henge/internal/errs"
)

// Session is a token that stands, with all that it means right now. Shared between requests: do not modify it.
type Session struct {
	authn.Identity
	Claims Claims
	Roles  []model.Role // in this scope, by name
}

// sessionsMax bounds how many tokens are remembered: a few kilobytes each.
const sessionsMax = 8192

// Sessions issues tokens and checks them; it is the authn.Tokens of the house. Safe for concurrent use.
type Sessions struct {
	store   state.Store
	clock   clock.Clock
	keys    *Keyring
	entries *state.Memo[*Session] // by token
}

var _ authn.Tokens = (*Sessions)(nil)

// NewSessions checks tokens of keys against store.
func NewSessions(store state.Store, c clock.Clock, keys *Keyring) *Sessions {
	return &Sessions{store: store, clock: c, keys: keys, entries: state.NewMemo[*Session](sessionsMax)}
}

// Token is authn.Tokens.
func (s *Sessions) Token(ctx context.Context, token string) (*authn.Identity, error) {
	session, err := s.Session(ctx, token)
	if err != nil {
		return nil, err
	}
	return &session.Identity, nil
}

// Session is Token with the claims and the roles' ids. The same errors.
func (s *Sessions) Session(ctx context.Context, token string) (session *Session, err error) {
	err = s.store.View(ctx, func(r state.Reader) (err error) {
		session, err = s.In(r, token)
		return err
	})
	if err != nil {
		return nil, err
	}
	return session, nil
}

// In is Session in a snapshot: what the token is worth there, or, where r is the Reader of a state.Memo, what the remembered value depends on.
func (s *Sessions) In(r state.Reader, token string) (*Session, error) {
	session, err := s.entries.Get(r, token, func(r state.Reader) (*Session, error) { return s.open(r, token) })
	if err == nil && !s.clock.Now().Before(session.Expires) {
		s.entries.Drop(token)
		err = errs.New(errs.Unauthenticated, "token expired at %s", session.Expires.Format(time.RFC3339))
	}
	return session, err
}

// open reads what a token means, whatever the time.
func (s *Sessions) open(r state.Reader, token string) (*Session, error) {
	claims, err := s.keys.Open(r, token)
	if err != nil {
		return nil, err
	}
	session, err := resolve(r, claims)
	if err == nil && session.Claims.Epoch != claims.Epoch {
		err = errs.New(errs.Unauthenticated, "token was made before its user, project or domain was disabled or the password changed")
	}
	return session, err
}

// Request says which token to make.
type Request struct {
	UserID                  string
	Scope                   model.Target // zero: unscoped
	Methods                 Methods
	ApplicationCredentialID string
	// Trust gives the scope, and the user that the token names; UserID is the trustee, who has proved it.
	Trust *model.Trust
	// UserEpoch is the user's epoch when the proof was checked: if it has changed since, there is no token.
	UserEpoch uint64
	// Parent is the token that this one is made from, or nil. The new one expires with it.
	Parent *Session
}

// Issue makes a token: errs.Unauthenticated when the user or the scope is disabled or gone, or the user has no role there.
func (s *Sessions) Issue(ctx context.Context, req Request) (string, *Session, error) {
	now := s.clock.Now().UTC().Truncate(time.Microsecond)
	claims := Claims{UserID: req.UserID, Scope: req.Scope, Methods: req.Methods, AuditID: NewAuditID(), Issued: now,
		Expires: now.Add(s.keys.lifetimes.Token).Truncate(time.Second), ApplicationCredentialID: req.ApplicationCredentialID}
	if req.Parent != nil {
		parent := req.Parent.Claims
		claims.Expires, claims.Methods = parent.Expires, claims.Methods|parent.Methods
		claims.ParentAuditID = parent.AuditIDs()[len(parent.AuditIDs())-1]
		claims.ApplicationCredentialID = parent.ApplicationCredentialID
	}
	if req.Trust != nil {
		claims.TrustID, claims.UserID = req.Trust.ID, req.Trust.Actor()
	}
	var session *Session
	err := s.store.View(ctx, func(r state.Reader) (err error) {
		if claims.Expires, err = expiry(r, claims); err != nil {
			return err
		}
		if session, err = resolve(r, claims); err != nil {
			return err
		}
		if req.Parent != nil {
			return stillStands(r, req.Parent.Claims)
		}
		user, err := model.Users.Get(r, req.UserID)
		if err == nil && user.Epoch != req.UserEpoch {
			err = errs.New(errs.Unauthenticated, "user %s changed during the request", req.UserID)
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}
	token, err := s.keys.Seal(ctx, session.Claims)
	return token, session, err
}

// expiry is when a token ends: its application credential or its trust may end sooner.
func expiry(r state.Reader, c Claims) (time.Time, error) {
	if c.TrustID != "" {
		trust, found, err := model.Optional(model.Trusts.Get(r, c.TrustID))
		if found && !trust.Expires.IsZero() && trust.Expires.Before(c.Expires) {
			return trust.Expires, nil
		}
		return c.Expires, err
	}
	if c.ApplicationCredentialID == "" {
		return c.Expires, nil
	}
	credential, found, err := model.Optional(model.ApplicationCredentials.Get(r, c.ApplicationCredentialID))
	if found && !credential.Expires.IsZero() && credential.Expires.Before(c.Expires) {
		return credential.Expires, nil
	}
	return c.Expires, err
}

// stillStands resolves a parent again in the snapshot that the child is made in: it may have changed since the parent was shown.
func stillStands(r state.Reader, parent Claims) error {
	again, err := resolve(r, parent)
	if err == nil && again.Claims.Epoch != parent.Epoch {
		err = errs.New(errs.Unauthenticated, "the token shown was revoked")
	}
	return err
}

// Revoke ends a token everywhere. The row is gone again once the token would have expired.
func (s *Sessions) Revoke(ctx context.Context, c Claims) error {
	row := model.Revocation{AuditID: c.AuditID, Expires: c.Expires.Add(keySlack)}
	err := s.store.Update(ctx, func(w state.Writer) error { return model.Revocations.Put(w, row.AuditID, row) })
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", c.AuditID, err)
	}
	return nil
}

// Sweep drops revocations of tokens that have expired. It writes only when there are any.
func (s *Sessions) Sweep(ctx context.Context) error {
	now := s.clock.Now()
	var expired []string
	err := s.store.View(ctx, func(r state.Reader) error {
		for row, err := range model.Revocations.All(r) {
			if err != nil {
				return err
			}
			if !now.Before(row.Expires) {
				expired = append(expired, row.AuditID)
			}
		}
		return nil
	})
	if err != nil || len(expired) == 0 {
		return err
	}
	return s.store.Update(ctx, func(w state.Writer) error {
		for _, id := range expired {
			if err := model.Revocations.Delete(w, id); err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
		}
		return nil
	})
}

// resolve reads what claims mean in a snapshot; the session's claims carry the epoch as it is now. errs.Unauthenticated when they mean nothing any more.
func resolve(r state.Reader, c Claims) (*Session, error) {
	session, err := (&resolver{r: r}).resolve(c)
	if errs.Is(err, errs.NotFound) {
		err = errs.With(errs.Unauthenticated, err)
	}
	return session, err
}

// resolver adds up the epochs on its way.
type resolver struct {
	r     state.Reader
	epoch uint64
}

func (v *resolver) resolve(c Claims) (*Session, error) {
	if _, revoked := v.r.Get(model.Revocations.Prefix() + c.AuditID); revoked {
		return nil, errs.New(errs.Unauthenticated, "token %s was revoked", c.AuditID)
	}
	user, domain, err := v.user(c.UserID)
	if err != nil {
		return nil, err
	}
	s := &Session{Claims: c, Identity: authn.Identity{UserID: user.ID, UserName: user.Name, UserDomainID: domain.ID, UserDomainName: domain.Name,
		Methods: c.Methods.Names(), AuditID: c.AuditID, Issued: c.Issued, Expires: c.Expires}}
	if err := v.scope(s, c.Scope); err != nil {
		return nil, err
	}
	if c.Scope.Kind == "" {
		s.Claims.Epoch = v.epoch
		return s, nil
	}
	if s.Roles, err = v.roles(c); err != nil {
		return nil, err
	}
	s.Claims.Epoch = v.epoch // with those of a trust's other user
	if len(s.Roles) == 0 {
		return nil, errs.New(errs.Unauthenticated, "user %s has no role on %s %s", user.ID, c.Scope.Kind, c.Scope.ID)
	}
	for _, role := range s.Roles {
		s.Identity.Roles = append(s.Identity.Roles, strings.ToLower(role.Name))
	}
	return s, nil
}

// user is one that may act, with his domain.
func (v *resolver) user(id string) (model.User, model.Domain, error) {
	user, err := model.Users.Get(v.r, id)
	if err != nil {
		return user, model.Domain{}, err
	}
	if !user.Enabled {
		return user, model.Domain{}, errs.New(errs.Unauthenticated, "user %s is disabled", user.ID)
	}
	domain, err := v.domain(user.DomainID)
	v.epoch += user.Epoch
	return user, domain, err
}

func (v *resolver) domain(id string) (model.Domain, error) {
	domain, err := model.Domains.Get(v.r, id)
	if err == nil && !domain.Enabled {
		err = errs.New(errs.Unauthenticated, "domain %s is disabled", id)
	}
	v.epoch += domain.Epoch
	return domain, err
}

func (v *resolver) scope(s *Session, scope model.Target) error {
	switch scope.Kind {
	case model.TargetProject:
		project, err := model.Projects.Get(v.r, scope.ID)
		if err != nil {
			return err
		}
		if !project.Enabled {
			return errs.New(errs.Unauthenticated, "project %s is disabled", project.ID)
		}
		v.epoch += project.Epoch
		domain, err := v.domain(project.DomainID)
		if err != nil {
			return err
		}
		s.ProjectID, s.ProjectName, s.ProjectDomainID, s.ProjectDomainName = project.ID, project.Name, domain.ID, domain.Name
	case model.TargetDomain:
		domain, err := v.domain(scope.ID)
		if err != nil {
			return err
		}
		s.DomainID, s.DomainName = domain.ID, domain.Name
	case model.TargetSystem:
		s.System = true
	}
	return nil
}

// roles are those that the user holds now; an application credential has at most those it was made with.
func (v *resolver) roles(c Claims) ([]model.Role, error) {
	if c.TrustID != "" {
		return v.trusted(c)
	}
	roles, err := model.RolesOn(v.r, c.UserID, c.Scope)
	if err != nil || c.ApplicationCredentialID == "" {
		return roles, err
	}
	credential, err := model.ApplicationCredentials.Get(v.r, c.ApplicationCredentialID)
	if err != nil {
		return nil, err
	}
	if credential.UserID != c.UserID || c.Scope != (model.Target{Kind: model.TargetProject, ID: credential.ProjectID}) {
		return nil, errs.New(errs.Unauthenticated, "application credential %s is not for this", credential.ID)
	}
	if !credential.Expires.IsZero() && !c.Issued.Before(credential.Expires) {
		return nil, errs.New(errs.Unauthenticated, "application credential %s has expired", credential.ID)
	}
	return intersect(v.r, roles, credential.RoleIDs)
}

// trusted are the roles that a trust gives: its trustor must still have every one of them, and both users must be good.
func (v *resolver) trusted(c Claims) ([]model.Role, error) {
	trust, err := model.Trusts.Get(v.r, c.TrustID)
	if err != nil {
		return nil, err
	}
	if c.UserID != trust.Actor() || c.Scope != (model.Target{Kind: model.TargetProject, ID: trust.ProjectID}) || trust.Expired(c.Issued) {
		return nil, errs.New(errs.Unauthenticated, "trust %s is not for this", trust.ID)
	}
	other := trust.TrustorID
	if other == c.UserID {
		other = trust.TrusteeID
	}
	if _, _, err := v.user(other); err != nil {
		return nil, err
	}
	held, err := model.RolesOn(v.r, trust.TrustorID, c.Scope)
	if err != nil {
		return nil, err
	}
	for _, id := range trust.RoleIDs {
		if !slices.ContainsFunc(held, func(r model.Role) bool { return r.ID == id }) {
			return nil, errs.New(errs.Unauthenticated, "the trustor of %s no longer has the role %s", trust.ID, id)
		}
	}
	return intersect(v.r, held, trust.RoleIDs)
}

func intersect(r state.Reader, held []model.Role, ids []string) ([]model.Role, error) {
	lent, err := model.Closure(r, ids)
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for _, id := range lent {
		set[id] = true
	}
	var both []model.Role
	for _, role := range held {
		if set[role.ID] {
			both = append(both, role)
		}
	}
	return both, nil
}
