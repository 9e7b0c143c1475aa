package scheduler

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/errs"
	"henge/scheduler/placement"
	"henge/scheduler/placement/api"
)

// Ratios say how much more is promised of a resource than there is, and what is held back for the host itself.
type Ratios struct {
	CPU, RAM, Disk  float64
	ReservedRAMMiB  int64
	ReservedDiskGiB int64
	ReservedVCPUs   int64
}

// DefaultRatios are Nova's.
func DefaultRatios() Ratios { return Ratios{CPU: 16, RAM: 1, Disk: 1, ReservedRAMMiB: 512} }

// Config is what the scheduler stands on.
type Config struct {
	Store  state.Store
	Tokens authn.Tokens
	Logger *slog.Logger
	Chain  ChainConfig
	Ratios Ratios
	// Alive tells whether a peer is seen by the others. Nil: all are.
	Alive func(peer string) bool
	// IdentityURL is where a client without a token is sent.
	IdentityURL string
}

// Service places servers, and serves the Placement API. Safe for concurrent use.
type Service struct {
	cfg   Config
	chain *Chain
	api   http.Handler

	view *view

	mu    sync.Mutex // guards known
	known map[string]*knownHost
}

// New makes the scheduler; errs.Invalid names a filter or weigher that there is not, or a ratio that makes no sense.
func New(cfg Config) (*Service, error) {
	chain, err := NewChain(cfg.Chain)
	if err != nil {
		return nil, err
	}
	if cfg.Ratios.CPU <= 0 || cfg.Ratios.RAM <= 0 || cfg.Ratios.Disk <= 0 {
		return nil, errs.New(errs.Invalid, "allocation ratios must be greater than 0")
	}
	if cfg.Alive == nil {
		cfg.Alive = func(string) bool { return true }
	}
	s := &Service{cfg: cfg, chain: chain, known: map[string]*knownHost{}, view: newView()}
	s.api = api.New(api.Config{Store: cfg.Store, Tokens: cfg.Tokens, Logger: cfg.Logger, IdentityURL: cfg.IdentityURL})
	return s, nil
}

// Handler is the Placement API.
func (s *Service) Handler() http.Handler { return s.api }

// refreshesMax is how often one Place looks again because what it chose from was out of date, before it reads everything in the transaction.
const refreshesMax = 32

// Place chooses a host for a server and claims what it needs, in the caller's transaction; a claim that the server had is moved. It gives the host's id. Without a host: a
// NoValidHostError, errs.Unavailable.
//
// The choice is made from a snapshot that the transaction does not depend on; only the chosen host's rows are read in it. So requests that end on different hosts do not disturb each
// other, and one that was chosen from old news is chosen again.
func (s *Service) Place(ctx context.Context, w state.Writer, r Request) (hostID string, err error) {
	if err := r.resolve(w); err != nil {
		return "", err
	}
	hosts, err := s.news(ctx)
	if err != nil {
		return "", err
	}
	for range refreshesMax {
		best := s.chain.best(hosts, &r)
		if best == nil {
			break // by what may be old news: asked again below
		}
		now, err := s.host(w, best.ID)
		if err != nil {
			return "", err
		}
		if now != nil && *now == *best {
			return now.ID, claim(w, now, &r)
		}
		hosts = replace(hosts, best.ID, now)
	}
	if hosts, err = s.hosts(w); err != nil {
		return "", err
	}
	left, err := s.chain.Select(hosts, &r)
	if err != nil {
		return "", err
	}
	return left[0].ID, claim(w, left[0], &r)
}

// news are the hosts as they were a moment ago.
func (s *Service) news(ctx context.Context) (hosts []*HostState, err error) {
	if hosts, ok := s.view.current(); ok {
		return hosts, nil
	}
	err = s.cfg.Store.View(ctx, func(snapshot state.Reader) error {
		hosts, err = s.hosts(snapshot)
		return err
	})
	return hosts, err
}

// replace puts another state in a host's place; nil takes it out.
func replace(hosts []*HostState, id string, now *HostState) []*HostState {
	var all []*HostState
	for _, h := range hosts {
		switch {
		case h.ID != id:
			all = append(all, h)
		case now != nil:
			all = append(all, now)
		}
	}
	return all
}

func claim(w state.Writer, h *HostState, r *Request) error {
	wanted := map[string]int64{}
	for class, amount := range map[string]int64{placement.VCPU: r.VCPUs, placement.Memory: r.RAMMiB, placement.Disk: r.DiskGiB} {
		if amount > 0 {
			wanted[class] = amount
		}
	}
	return placement.Claim(w, placement.Consumer{ID: r.ServerID, ProjectID: r.ProjectID, UserID: r.UserID, Type: "INSTANCE",
		Allocations: map[string]map[string]int64{h.ProviderID: wanted}})
}

// Release gives back what a server has, in the caller's transaction. Nothing claimed is no error.
func (s *Service) Release(w state.Writer, serverID string) error {
	return placement.Release(w, serverID)
}

// resolve finds out on which providers the servers are that the request names.
func (r *Request) resolve(reader state.Reader) error {
	providers := func(servers []string, add func(provider string)) error {
		for _, id := range servers {
			if id == r.ServerID {
				continue
			}
			of, err := placement.ProvidersOf(reader, id)
			if err != nil {
				return err
			}
			for _, p := range of {
				add(p)
			}
		}
		return nil
	}
	r.sameHost, r.differentHost, r.members = map[string]bool{}, map[string]bool{}, map[string]int{}
	if err := providers(r.SameHost, func(p string) { r.sameHost[p] = true }); err != nil {
		return err
	}
	if err := providers(r.DifferentHost, func(p string) { r.differentHost[p] = true }); err != nil || r.Group == nil {
		return err
	}
	return providers(r.Group.Members, func(p string) { r.members[p]++ })
}
