package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/identity/accesskey"
	"henge/identity/api"
	"henge/identity/authn"
	"henge/identity/model"
	"henge/identity/password"
	"henge/identity/token"
	"henge/internal/clock"
	"henge/internal/limits"
)

// Config is what identity needs. Store, Clock and Logger must be there.
type Config struct {
	Store  state.Store
	Clock  clock.Clock
	Logger *slog.Logger

	// PublicURL is the root of this API as the client of a request reaches it, without a slash at the end. Nil: http or https and the request's Host.
	PublicURL func(*http.Request) string
	// StorageURL is what v1 authentication tells a client of a project, for example http://host:8080/v1/AUTH_id. Nil: the public object-store endpoint of
	// the catalog.
	StorageURL func(r *http.Request, projectID string) string

	Lifetimes token.Lifetimes
	// PasswordCost is bcrypt's; 0 takes the default. PasswordWorkers is how many hashes are computed at a time; 0 takes half of the processors.
	PasswordCost, PasswordWorkers int
}

// Identity is the identity service of one peer. Safe for concurrent use.
type Identity struct {
	store    state.Store
	logger   *slog.Logger
	keyring  *token.Keyring
	sessions *token.Sessions
	keys     *accesskey.Keys
	api      *api.Server
}

// New makes the service. It serves correctly at once; Run makes it fast, and renews and sweeps.
func New(cfg Config) (*Identity, error) {
	workers := cfg.PasswordWorkers
	if workers == 0 {
		workers = max(1, runtime.GOMAXPROCS(0)/2)
	}
	hasher, err := password.NewHasher(password.HasherConfig{Cost: cfg.PasswordCost, Workers: workers, Queue: limits.PasswordHashesMax})
	if err != nil {
		return nil, err
	}
	id := &Identity{logger: cfg.Logger}
	id.store = &clearing{Store: cfg.Store, after: id.clear}
	id.keyring = token.NewKeyring(id.store, cfg.Clock, cfg.Lifetimes)
	id.sessions = token.NewSessions(id.store, cfg.Clock, id.keyring)
	id.keys = accesskey.New(id.store)
	id.api = api.New(api.Config{Store: id.store, Clock: cfg.Clock, Logger: cfg.Logger, Sessions: id.sessions, Keys: id.keys,
		Hasher: hasher, Throttle: password.NewThrottle(cfg.Clock), PublicURL: cfg.PublicURL, StorageURL: cfg.StorageURL})
	return id, nil
}

// Handler is Keystone's API, from "/" on, with v1 authentication at /auth/v1.0.
func (id *Identity) Handler() http.Handler { return id.api }

// V1Auth is Swift's v1 authentication alone, for the object port.
func (id *Identity) V1Auth() http.Handler { return id.api.V1Auth() }

// Tokens checks tokens.
func (id *Identity) Tokens() authn.Tokens { return id.sessions }

// Keys finds access keys.
func (id *Identity) Keys() authn.Keys { return id.keys }

const (
	upkeepInterval = time.Minute
	watchRetry     = time.Second
)

// Run watches for changes and does the upkeep until ctx ends: new token keys, old revocations. While it does not run, every check reads the state.
func (id *Identity) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		id.watch(ctx)
	}()
	id.upkeep(ctx)
	<-done
	return nil
}

// upkeep starts at a random moment, so that the peers of a cluster seldom meet.
func (id *Identity) upkeep(ctx context.Context) {
	wait := time.Duration(rand.Int64N(int64(upkeepInterval)))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = upkeepInterval
		if err := errors.Join(id.keyring.Renew(ctx), id.sessions.Sweep(ctx)); err != nil && ctx.Err() == nil {
			id.logger.Warn("identity upkeep", "error", err)
		}
	}
}

// watch clears what is remembered when something changes anywhere in the cluster.
func (id *Identity) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if err := id.watchOnce(ctx); err != nil && ctx.Err() == nil {
			id.logger.Warn("identity watch", "error", err)
		}
		id.trust(false)
		select {
		case <-ctx.Done():
		case <-time.After(watchRetry):
		}
	}
}

func (id *Identity) watchOnce(ctx context.Context) error {
	var from state.Index
	err := id.store.View(ctx, func(r state.Reader) error {
		from = r.Index()
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the state's index: %w", err)
	}
	id.clear()
	id.trust(true)
	for event, err := range id.store.Watch(ctx, model.Prefix, from) {
		if err != nil {
			return err
		}
		id.changed(event)
	}
	return nil
}

// changed clears no more than it must: a new access key leaves the tokens alone, and the catalog is not remembered at all.
func (id *Identity) changed(event state.Event) {
	var tokens, keys, keyring bool
	for _, change := range event.Changes {
		table, _, _ := strings.Cut(change.Key, "/")
		switch table + "/" {
		case model.TokenKeys.Prefix():
			keyring = true
		case model.Credentials.Prefix():
			keys = true
		case model.Revocations.Prefix(), model.ApplicationCredentials.Prefix():
			tokens = true
		case model.Services.Prefix(), model.Endpoints.Prefix(), model.Regions.Prefix(), model.Policies.Prefix():
		default:
			tokens, keys = true, true
		}
	}
	if keyring || event.Reset {
		id.keyring.Forget()
	}
	if tokens || keyring || event.Reset {
		id.sessions.Cache().Clear()
	}
	if keys || event.Reset {
		id.keys.Cache().Clear()
	}
}

func (id *Identity) trust(watched bool) {
	id.sessions.Cache().Trust(watched)
	id.keys.Cache().Trust(watched)
}

func (id *Identity) clear() {
	id.keyring.Forget()
	id.sessions.Cache().Clear()
	id.keys.Cache().Clear()
}

// clearing is the store as identity's own writers see it: what they changed, this peer forgets before they answer, so that a client
// that revokes a token finds it revoked at once.
type clearing struct {
	state.Store
	after func()
}

func (c *clearing) Update(ctx context.Context, fn func(state.Writer) error) error {
	defer c.after()
	return c.Store.Update(ctx, fn)
}
