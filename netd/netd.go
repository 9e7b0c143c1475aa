package netd

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/netd/api"
	"henge/netd/core"
	"henge/netd/model"
)

// Config is what the service needs. Alive and IdentityURL may be left out.
type Config struct {
	Store  state.Store
	Clock  clock.Clock
	Logger *slog.Logger
	Tokens authn.Tokens
	// Alive tells whether a peer is there now, as the membership sees it.
	Alive func(host string) bool
	// IdentityURL is where a client without a token is sent.
	IdentityURL string
}

// Service is the network service of one peer. Safe for concurrent use.
type Service struct {
	cfg  Config
	core *core.Core
	api  *api.Server
}

// New makes the service. It serves correctly at once; Run looks after routers whose peer is lost.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Clock == nil || cfg.Logger == nil || cfg.Tokens == nil {
		return nil, errs.New(errs.Invalid, "netd needs a store, a clock, a logger and tokens")
	}
	if cfg.Alive == nil {
		cfg.Alive = func(string) bool { return true }
	}
	s := &Service{cfg: cfg, core: core.New(core.Config{Clock: cfg.Clock, Alive: cfg.Alive})}
	s.api = api.New(api.Config{Store: cfg.Store, Core: s.core, Tokens: cfg.Tokens, Clock: cfg.Clock, Logger: cfg.Logger, Alive: cfg.Alive, IdentityURL: cfg.IdentityURL})
	return s, nil
}

// Handler is the Neutron API, from "/" on.
func (s *Service) Handler() http.Handler { return s.api }

// Core is what may happen to networks, for callers that put it into transactions of their own.
func (s *Service) Core() *core.Core { return s.core }

// Wait returns once the agent of host has wired the port, or has said that it cannot: then the error is errs.Unavailable with the agent's own words. A port that is
// deleted or bound elsewhere meanwhile is errs.NotFound or errs.Conflict. It waits as long as ctx lets it.
func (s *Service) Wait(ctx context.Context, portID, host string) (model.Observed, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var from state.Index
	look := func() (seen model.Observed, done bool, err error) {
		err = s.cfg.Store.View(ctx, func(r state.Reader) error {
			from = r.Index()
			seen, done, err = wired(r, portID, host)
			return err
		})
		return seen, done, err
	}
	for {
		seen, done, err := look()
		if done || err != nil {
			return seen, err
		}
		for event, err := range s.cfg.Store.Watch(ctx, model.Prefix, from) {
			if err != nil {
				return model.Observed{}, err
			}
			if concerns(event, portID) {
				break
			}
		}
		if ctx.Err() != nil {
			return model.Observed{}, errs.New(errs.Timeout, "port %s: the network agent of %s has not wired it yet: %w", portID, host, ctx.Err())
		}
	}
}

// concerns tells whether an event may have changed what is known of the port.
func concerns(event state.Event, portID string) bool {
	if event.Reset {
		return true
	}
	for _, c := range event.Changes {
		if c.Key == model.ObservedPorts.Prefix()+portID || c.Key == model.Ports.Prefix()+portID {
			return true
		}
	}
	return false
}

func wired(r state.Reader, portID, host string) (seen model.Observed, done bool, err error) {
	port, err := core.Port(r, portID)
	if err != nil {
		return seen, true, err
	}
	if port.BindingHost != host {
		return seen, true, errs.New(errs.Conflict, "port %s is bound to %q, not to %q", portID, port.BindingHost, host)
	}
	seen, there, err := model.Optional(model.ObservedPorts.Get(r, portID))
	if err != nil || !there || seen.Host != host {
		return seen, err != nil, err
	}
	if seen.Status == model.Faulted {
		return seen, true, errs.New(errs.Unavailable, "port %s: %s", portID, seen.Fault)
	}
	return seen, seen.Status == model.Wired, nil
}

// placeInterval is how often routers are looked for whose peer is lost, or cannot run them.
const placeInterval = 5 * time.Second

// Run gives routers whose peer is lost, or cannot run them, to another, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(placeInterval)
	defer tick.Stop()
	for {
		if err := s.place(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("place routers", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// place reads first, so that a cloud in which all is well costs nothing.
func (s *Service) place(ctx context.Context) error {
	lost := false
	err := s.cfg.Store.View(ctx, func(r state.Reader) (err error) {
		lost, err = s.core.Misplaced(r)
		return err
	})
	if err != nil || !lost {
		return err
	}
	moved := 0
	err = s.cfg.Store.Update(ctx, func(w state.Writer) (err error) {
		moved, err = s.core.Place(w)
		return err
	})
	if err == nil && moved > 0 {
		s.cfg.Logger.Info("routers have another peer now", "routers", moved)
	}
	return err
}
