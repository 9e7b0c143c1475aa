package model

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"henge/cluster/state"
	"henge/internal/errs"
)

// Prefix is where all of identity's rows lie: one watch sees everything that can change what a token is worth.
const Prefix = "identity."

// Sep stands between the parts of a compound index key. Ids never hold it.
const Sep = "\x1f"

// The tables. Index names: see the comments beside them.
var (
	Domains  = state.NewTable[Domain](Prefix+"domains").Index("name", true, func(d Domain) string { return d.Name })
	Projects = state.NewTable[Project](Prefix+"projects").
			Index("name", true, func(p Project) string { return p.DomainID + Sep + p.Name }). // domain id, Sep, name
			Index("domain", false, func(p Project) string { return p.DomainID }).
			Index("parent", false, func(p Project) string { return p.ParentID })
	Users = state.NewTable[User](Prefix+"users").
		Index("name", true, func(u User) string { return u.DomainID + Sep + u.Name }). // domain id, Sep, name
		Index("domain", false, func(u User) string { return u.DomainID }).
		Index("project", false, func(u User) string { return u.DefaultProjectID })
	Groups = state.NewTable[Group](Prefix+"groups").
		Index("name", true, func(g Group) string { return g.DomainID + Sep + g.Name }).
		Index("domain", false, func(g Group) string { return g.DomainID })
	Memberships = state.NewTable[Membership](Prefix+"memberships").
			Index("user", false, func(m Membership) string { return m.UserID }).
			Index("group", false, func(m Membership) string { return m.GroupID })
	Roles = state.NewTable[Role](Prefix+"roles").
		Index("name", true, func(r Role) string { return r.DomainID + Sep + r.Name }).
		Index("domain", false, func(r Role) string { return r.DomainID })
	Implications = state.NewTable[Implication](Prefix+"implied_roles").
			Index("prior", false, func(i Implication) string { return i.PriorID }).
			Index("implied", false, func(i Implication) string { return i.ImpliedID })
	Assignments = state.NewTable[Assignment](Prefix+"assignments").
			Index("actor", false, func(a Assignment) string { return a.Actor.Key() }).
			Index("target", false, func(a Assignment) string { return a.Target.Key() }).
			Index("role", false, func(a Assignment) string { return a.RoleID })
	Services  = state.NewTable[Service](Prefix+"services").Index("type", false, func(s Service) string { return s.Type })
	Endpoints = state.NewTable[Endpoint](Prefix+"endpoints").
			Index("service", false, func(e Endpoint) string { return e.ServiceID }).
			Index("region", false, func(e Endpoint) string { return e.RegionID })
	Regions     = state.NewTable[Region](Prefix+"regions").Index("parent", false, func(r Region) string { return r.ParentRegionID })
	Credentials = state.NewTable[Credential](Prefix+"credentials").
			Index("user", false, func(c Credential) string { return c.UserID }).
			Index("project", false, func(c Credential) string { return c.ProjectID }).
			Index("access", true, Credential.access) // of those that are access keys
	ApplicationCredentials = state.NewTable[ApplicationCredential](Prefix+"application_credentials").
				Index("name", true, func(a ApplicationCredential) string { return a.UserID + Sep + a.Name }).
				Index("user", false, func(a ApplicationCredential) string { return a.UserID }).
				Index("project", false, func(a ApplicationCredential) string { return a.ProjectID })
	// EndedProjects are projects that were deleted and may have left things in other services, until these have taken note.
	EndedProjects = state.NewTable[EndedProject](Prefix + "ended_projects")
	Trusts        = state.NewTable[Trust](Prefix+"trusts").
			Index("trustor", false, func(t Trust) string { return t.TrustorID }).
			Index("trustee", false, func(t Trust) string { return t.TrusteeID }).
			Index("project", false, func(t Trust) string { return t.ProjectID })
	Policies    = state.NewTable[Policy](Prefix + "policies")
	Revocations = state.NewTable[Revocation](Prefix + "revocations")
	TokenKeys   = state.NewTable[TokenKey](Prefix + "token_keys")
)

// Key is the actor's key in the index "actor" of Assignments.
func (a Actor) Key() string { return string(a.Kind) + Sep + a.ID }

// Key is the target's key in the index "target" of Assignments.
func (t Target) Key() string { return string(t.Kind) + Sep + t.ID }

// RowID is the assignment's place in its table: the same grant always has the same one.
func (a Assignment) RowID() string {
	id := string(a.Actor.Kind) + ":" + a.Actor.ID + ":" + string(a.Target.Kind) + ":" + a.Target.ID + ":" + a.RoleID
	if a.Inherited {
		id += ":inherited"
	}
	return id
}

// RowID is the membership's place in its table.
func (m Membership) RowID() string { return m.GroupID + ":" + m.UserID }

// RowID is the implication's place in its table.
func (i Implication) RowID() string { return i.PriorID + ":" + i.ImpliedID }

// NewID makes an id as Keystone does: 32 hexadecimal digits, at random.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process rather than answer badly
	return hex.EncodeToString(b[:])
}

// CredentialID is the id of the EC2 credential with an access key.
func CredentialID(access string) string {
	sum := sha256.Sum256([]byte(access))
	return hex.EncodeToString(sum[:])
}

// AccessKeyType is the type of a credential that is an access key.
const AccessKeyType = "ec2"

// access is the access key that a credential is, "" for others.
func (c Credential) access() string {
	var blob struct {
		Access string `json:"access"`
	}
	if c.Type != AccessKeyType || json.Unmarshal([]byte(c.Blob), &blob) != nil {
		return ""
	}
	return blob.Access
}

// FindUser finds a user by id, or by name in a domain.
func FindUser(r state.Reader, id, domainID, name string) (User, error) {
	if id != "" {
		return Users.Get(r, id)
	}
	return Users.First(r, "name", domainID+Sep+name)
}

// FindProject finds a project by id, or by name in a domain.
func FindProject(r state.Reader, id, domainID, name string) (Project, error) {
	if id != "" {
		return Projects.Get(r, id)
	}
	return Projects.First(r, "name", domainID+Sep+name)
}

// FindDomain finds a domain by id, or by name.
func FindDomain(r state.Reader, id, name string) (Domain, error) {
	if id != "" {
		return Domains.Get(r, id)
	}
	return Domains.First(r, "name", name)
}

// Optional makes "not there" an answer instead of an error.
func Optional[T any](row T, err error) (T, bool, error) {
	if errs.Is(err, errs.NotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// ignoreMissing is for deletes that somebody else may have done already.
func ignoreMissing(err error) error {
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}
