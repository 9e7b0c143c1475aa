package volumed

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/vfs"
	"henge/volumed/agent"
	"henge/volumed/api"
	"henge/volumed/images"
	"henge/volumed/local"
)

// Config is what a peer's volumes need.
type Config struct {
	Store  state.Store
	Tokens authn.Tokens
	Clock  clock.Clock
	Logger *slog.Logger
	// Images makes volumes from images and the other way round; nil: there are none.
	Images images.Service

	Peer   string // this peer's id
	Zone   string // availability zone
	Portal string // where Targets listens, as initiators reach it: address and port
	// Dir holds the volumes of the backend local; its parent must be there.
	Dir string
	// ReserveBytes is room on its disk that volumes never take.
	ReserveBytes int64
	Targets      agent.Targets
	// Alive tells whether a peer is up, as far as this one knows.
	Alive func(peer string) bool

	// Grown tells a server that a volume of its grew; the server may be gone. nil: nobody is told.
	Grown func(ctx context.Context, serverID, volumeID string, gib int64) error

	PublicURL   func(*http.Request) string
	IdentityURL string
}

// Service is the volumes of one peer.
type Service struct {
	*Calls
	backend *local.Backend
	agent   *agent.Agent
	api     *api.Server
}

// backendName is what the built-in backend is called in hosts' names and in volume_backend_name.
const backendName = "local"

// New opens the volumes of this peer. Run makes them live.
func New(cfg Config) (*Service, error) {
	s := &Service{Calls: NewCalls(cfg)}
	cfg = s.cfg
	var err error
	if s.backend, err = local.Open(local.Config{FS: vfs.OS{}, Dir: cfg.Dir, Clock: cfg.Clock, Logger: cfg.Logger, ReserveBytes: cfg.ReserveBytes}); err != nil {
		return nil, err
	}
	convert, err := agent.NewQEMUImg(strings.TrimSuffix(cfg.Dir, "/") + "/conversions")
	if err != nil {
		return nil, err
	}
	s.agent = agent.New(agent.Config{Store: cfg.Store, Clock: cfg.Clock, Logger: cfg.Logger, Peer: cfg.Peer, Name: backendName, Zone: cfg.Zone, Portal: cfg.Portal,
		Backend: s.backend, Targets: cfg.Targets, Images: cfg.Images, Convert: convert, Grown: cfg.Grown})
	s.api = api.New(api.Config{Store: cfg.Store, Tokens: cfg.Tokens, Clock: cfg.Clock, Logger: cfg.Logger, Images: cfg.Images, Alive: cfg.Alive, Connections: s,
		PublicURL: cfg.PublicURL, IdentityURL: cfg.IdentityURL})
	return s, nil
}

// Handler is Cinder's API, from "/" on.
func (s *Service) Handler() http.Handler { return s.api }

// Run works until ctx ends; then it gives the volumes back.
func (s *Service) Run(ctx context.Context) error {
	err := s.agent.Run(ctx)
	if closed := s.backend.Close(); err == nil {
		err = closed
	}
	return err
}
