package identity

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"time"

	"henge/cluster/state"
	"henge/identity/accesskey"
	"henge/identity/api"
	"henge/identity/authn"
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

// New makes the service. It serves at once; Run renews token keys and sweeps.
func New(cfg Config) (*Identity, error) {
	workers := cfg.PasswordWorkers
	if workers == 0 {
		workers = max(1, runtime.GOMAXPROCS(0)/2)
	}
	hasher, err := password.NewHasher(password.HasherConfig{Cost: cfg.PasswordCost, Workers: workers, Queue: limits.PasswordHashesMax})
	if err != nil {
		return nil, err
	}
	id := &Identity{logger: cfg.Logger, store: cfg.Store}
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

const upkeepInterval = time.Minute

// Run does the upkeep until ctx ends: new token keys, old revocations.
func (id *Identity) Run(ctx context.Context) error {
	id.upkeep(ctx)
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
