package identity

import (
	"cmp"
	"context"
	"fmt"
	"runtime"

	"henge/cluster/state"
	"henge/identity/accesskey"
	"henge/identity/model"
	"henge/identity/password"
	"henge/identity/token"
	"henge/internal/clock"
	"henge/internal/errs"
)

// BootstrapConfig is what a new cloud begins with.
type BootstrapConfig struct {
	// AdminPassword is the password of the user admin. It is used when there is no such user yet; there is no default. An existing one's stays.
	AdminPassword string
	Region        string // default RegionOne
	Services      []BootstrapService
	Clock         clock.Clock // default the machine's
	PasswordCost  int         // as in Config
}

// BootstrapService is an entry of the catalog. URLs are templates, see model.Endpoint; "" leaves that interface alone.
type BootstrapService struct {
	Type, Name, Description string
	Public, Internal, Admin string
}

// ObjectStoreServices is the part of the catalog that identity and the object store make, given the roots of both, for example
// http://127.0.0.1:5000 and http://127.0.0.1:8080.
func ObjectStoreServices(identityURL, objectURL string) []BootstrapService {
	same := func(kind, name, description, url string) BootstrapService {
		return BootstrapService{Type: kind, Name: name, Description: description, Public: url, Internal: url, Admin: url}
	}
	return []BootstrapService{
		same("identity", "keystone", "OpenStack Identity", identityURL+"/v3"),
		same("object-store", "swift", "OpenStack Object Storage", objectURL+"/v1/AUTH_%(project_id)s"),
		same("s3", "s3", "S3 object storage", objectURL),
	}
}

// Bootstrapped says what Bootstrap found or made.
type Bootstrapped struct {
	Created                             bool // the user admin was made just now
	AdminUserID, AdminProjectID         string
	ServiceProjectID, DemoProjectID     string
	AccessKey, SecretKey                string // admin's, on the project admin
	EndpointsCreated, EndpointsReplaced int
}

// Bootstrap makes what a new cloud needs and is not there yet: the domain Default, the projects admin, service and demo, the roles admin, manager,
// member, reader and _member_ with what they imply, Swift's ResellerAdmin and swiftoperator, the user admin with the role admin on the project admin, on the project demo, on the domain and on
// the system, a pair of access keys for it, the region, and the services and endpoints given. Endpoints whose URL has changed are brought up to date.
// One transaction; repeating it, on any peer, changes nothing.
func Bootstrap(ctx context.Context, store state.Store, cfg BootstrapConfig) (Bootstrapped, error) {
	var done Bootstrapped
	hash, err := adminHash(ctx, store, cfg)
	if err != nil {
		return done, err
	}
	err = store.Update(ctx, func(w state.Writer) (err error) {
		b := bootstrapper{w: w, hash: hash, region: cmp.Or(cfg.Region, "RegionOne")}
		done, err = b.run(cfg.Services)
		return err
	})
	if err != nil {
		return done, fmt.Errorf("bootstrap identity: %w", err)
	}
	c := cfg.Clock
	if c == nil {
		c = clock.System{}
	}
	return done, token.NewKeyring(store, c, token.Lifetimes{}).Renew(ctx)
}

// adminHash hashes the password before the transaction; "" when admin is there already.
func adminHash(ctx context.Context, store state.Store, cfg BootstrapConfig) (string, error) {
	var there bool
	err := store.View(ctx, func(r state.Reader) (err error) {
		_, there, err = model.Optional(model.FindUser(r, "", model.DefaultDomainID, "admin"))
		return err
	})
	if err != nil || there {
		return "", err
	}
	if len(cfg.AdminPassword) < passwordBytesMin {
		return "", errs.New(errs.Invalid, "bootstrap identity: the password of the user admin needs at least %d characters", passwordBytesMin)
	}
	hasher, err := password.NewHasher(password.HasherConfig{Cost: cfg.PasswordCost, Workers: runtime.GOMAXPROCS(0)})
	if err != nil {
		return "", err
	}
	return hasher.Hash(ctx, cfg.AdminPassword)
}

// passwordBytesMin keeps the first administrator from a password that is guessed in an hour.
const passwordBytesMin = 8

// bootstrapper fills one transaction.
type bootstrapper struct {
	w      state.Writer
	hash   string
	region string
	done   Bootstrapped
}

func (b *bootstrapper) run(services []BootstrapService) (Bootstrapped, error) {
	for _, step := range []func() error{b.domain, b.projects, b.admin, b.roles, b.accessKey} {
		if err := step(); err != nil {
			return b.done, err
		}
	}
	if _, there, err := model.Optional(model.Regions.Get(b.w, b.region)); err != nil {
		return b.done, err
	} else if !there {
		if err := model.Regions.Put(b.w, b.region, model.Region{ID: b.region}); err != nil {
			return b.done, err
		}
	}
	for _, s := range services {
		if err := b.service(s); err != nil {
			return b.done, fmt.Errorf("service %s: %w", s.Type, err)
		}
	}
	return b.done, nil
}

func (b *bootstrapper) domain() error {
	_, there, err := model.Optional(model.Domains.Get(b.w, model.DefaultDomainID))
	if err != nil || there {
		return err
	}
	return model.Domains.Put(b.w, model.DefaultDomainID, model.Domain{ID: model.DefaultDomainID, Name: "Default",
		Description: "The default domain", Enabled: true})
}

func (b *bootstrapper) projects() error {
	for _, p := range []struct {
		name, description string
		id                *string
	}{
		{"admin", "Bootstrap project for initializing the cloud.", &b.done.AdminProjectID},
		{"service", "Of the services themselves.", &b.done.ServiceProjectID},
		{"demo", "To try things in.", &b.done.DemoProjectID},
	} {
		found, there, err := model.Optional(model.FindProject(b.w, "", model.DefaultDomainID, p.name))
		if err != nil {
			return err
		}
		if !there {
			found = model.Project{ID: model.NewID(), Name: p.name, DomainID: model.DefaultDomainID, ParentID: model.DefaultDomainID,
				Description: p.description, Enabled: true}
			if err := model.Projects.Put(b.w, found.ID, found); err != nil {
				return err
			}
		}
		*p.id = found.ID
	}
	return nil
}

func (b *bootstrapper) admin() error {
	user, there, err := model.Optional(model.FindUser(b.w, "", model.DefaultDomainID, "admin"))
	if err != nil {
		return err
	}
	if !there {
		if b.hash == "" {
			return errs.New(errs.Conflict, "the user admin was deleted just now")
		}
		user = model.User{ID: model.NewID(), Name: "admin", DomainID: model.DefaultDomainID, Enabled: true, PasswordHash: b.hash,
			DefaultProjectID: b.done.AdminProjectID}
		if err := model.Users.Put(b.w, user.ID, user); err != nil {
			return err
		}
		b.done.Created = true
	}
	b.done.AdminUserID = user.ID
	return nil
}

// roles makes each role imply the next weaker one, and grants admin to admin. On an old cloud it adds only what is missing: an implication that
// an operator took away between roles that both exist stays away.
func (b *bootstrapper) roles() error {
	ids := map[string]string{}
	for _, name := range []string{"reader", "member", "manager", "admin", "_member_", "ResellerAdmin", "swiftoperator"} {
		role, there, err := model.Optional(model.Roles.First(b.w, "name", model.Sep+name))
		if err != nil {
			return err
		}
		if !there {
			role = model.Role{ID: model.NewID(), Name: name}
			if err := model.Roles.Put(b.w, role.ID, role); err != nil {
				return err
			}
			weaker := map[string]string{"admin": "manager", "manager": "member", "member": "reader"}[name]
			if i := (model.Implication{PriorID: role.ID, ImpliedID: ids[weaker]}); weaker != "" {
				if err := model.Implications.Put(b.w, i.RowID(), i); err != nil {
					return err
				}
			}
		}
		ids[name] = role.ID
	}
	if !b.done.Created {
		return nil
	}
	for _, target := range []model.Target{{Kind: model.TargetProject, ID: b.done.AdminProjectID}, {Kind: model.TargetProject, ID: b.done.DemoProjectID},
		{Kind: model.TargetDomain, ID: model.DefaultDomainID}, model.SystemTarget()} {
		grant := model.Assignment{Actor: model.Actor{Kind: model.ActorUser, ID: b.done.AdminUserID}, Target: target, RoleID: ids["admin"]}
		if err := model.Grant(b.w, grant); err != nil {
			return err
		}
	}
	return nil
}

func (b *bootstrapper) accessKey() error {
	for c, err := range model.Credentials.Where(b.w, "user", b.done.AdminUserID) {
		if err != nil {
			return err
		}
		if c.Type != accesskey.Type || c.ProjectID != b.done.AdminProjectID {
			continue
		}
		blob, err := accesskey.ParseBlob(c.Blob)
		if err != nil {
			continue // somebody's broken credential; make a good one beside it
		}
		b.done.AccessKey, b.done.SecretKey = blob.Access, blob.Secret
		return nil
	}
	c, blob, err := accesskey.NewCredential(b.done.AdminUserID, b.done.AdminProjectID)
	if err != nil {
		return err
	}
	b.done.AccessKey, b.done.SecretKey = blob.Access, blob.Secret
	return model.Credentials.Put(b.w, c.ID, c)
}

func (b *bootstrapper) service(s BootstrapService) error {
	row, there, err := model.Optional(model.Services.First(b.w, "type", s.Type))
	if err != nil {
		return err
	}
	if !there {
		row = model.Service{ID: model.NewID(), Type: s.Type, Name: s.Name, Description: s.Description, Enabled: true}
		if err := model.Services.Put(b.w, row.ID, row); err != nil {
			return err
		}
	}
	for _, e := range []struct{ face, url string }{{"public", s.Public}, {"internal", s.Internal}, {"admin", s.Admin}} {
		if e.url == "" {
			continue
		}
		if err := b.endpoint(row.ID, e.face, e.url); err != nil {
			return err
		}
	}
	return nil
}

func (b *bootstrapper) endpoint(serviceID, face, url string) error {
	var found *model.Endpoint
	for e, err := range model.Endpoints.Where(b.w, "service", serviceID) {
		if err != nil {
			return err
		}
		if e.Interface == face && e.RegionID == b.region && found == nil {
			found = &e
		}
	}
	switch {
	case found == nil:
		b.done.EndpointsCreated++
		found = &model.Endpoint{ID: model.NewID(), ServiceID: serviceID, RegionID: b.region, Interface: face, Enabled: true}
	case found.URL == url:
		return nil
	default:
		b.done.EndpointsReplaced++
	}
	found.URL = url
	return model.Endpoints.Put(b.w, found.ID, *found)
}
