package computed

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"

	"golang.org/x/sys/unix"

	"henge/cluster/state"
	"henge/computed/agent"
	"henge/computed/api"
	"henge/computed/console"
	"henge/computed/hypervisor"
	"henge/computed/images"
	"henge/computed/metadata"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
)

// Config is what compute needs on one peer.
type Config struct {
	Store     state.Store
	Tokens    authn.Tokens
	Clock     clock.Clock
	Logger    *slog.Logger
	Images    neighbour.Images
	Networks  neighbour.Networks
	Volumes   neighbour.Volumes
	Scheduler neighbour.Scheduler
	Alive     func(peer string) bool
	// Remote reads the console log of a guest of another host; nil on a single peer.
	Remote func(ctx context.Context, host, serverID string, bytesMax int) ([]byte, error)

	// Driver runs guests here; nil when this peer serves the API alone.
	Driver hypervisor.Driver
	Host   model.Host // ID, Name, Address, ConsoleURL, Zone, Initiator
	Dir    string
	// ImageBytesMax bounds the cache of base images; 0: only the disk does.
	ImageBytesMax int64
}

// Service is compute on one peer.
type Service struct {
	cfg      Config
	api      *api.Server
	agent    *agent.Agent // nil without a driver
	metadata *metadata.Service
	console  *console.Server
}

// New makes the service. The API serves at once; Run works on the guests.
func New(cfg Config) (*Service, error) {
	s := &Service{cfg: cfg}
	s.metadata = metadata.New(metadata.Config{Store: cfg.Store, Logger: cfg.Logger, Floating: s.floating})
	s.api = api.New(api.Config{Store: cfg.Store, Tokens: cfg.Tokens, Clock: cfg.Clock, Logger: cfg.Logger, Images: cfg.Images, Networks: cfg.Networks, Volumes: cfg.Volumes,
		Scheduler: cfg.Scheduler, Alive: cfg.Alive, Peer: s})
	if cfg.Driver == nil {
		return s, nil
	}
	cache, err := images.New(images.Config{Dir: cfg.Dir, BytesMax: cfg.ImageBytesMax})
	if err != nil {
		return nil, err
	}
	s.agent = agent.New(agent.Config{Store: cfg.Store, Clock: cfg.Clock, Logger: cfg.Logger, Host: cfg.Host, Dir: cfg.Dir, Driver: cfg.Driver, Disks: cache, Images: cfg.Images,
		Networks: cfg.Networks, Volumes: cfg.Volumes, Scheduler: cfg.Scheduler, Space: s.space, Metadata: s.metadata.Files})
	s.console = console.New(console.Config{Store: cfg.Store, Clock: cfg.Clock, Logger: cfg.Logger, Socket: cfg.Driver.Screen})
	return s, nil
}

// floating is a floating IP of one of the ports.
func (s *Service) floating(ctx context.Context, portIDs []string) (string, error) {
	ports, err := s.cfg.Networks.Ports(ctx, portIDs)
	for _, id := range portIDs {
		if p := ports[id]; p != nil && len(p.FloatingIPs) > 0 {
			return p.FloatingIPs[0].IP, err
		}
	}
	return "", err
}

// space is that of the file system under the guests' files.
func (s *Service) space() (totalGiB, freeGiB int) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.cfg.Dir, &st); err != nil {
		return 0, 0
	}
	block := uint64(st.Bsize)
	return int(st.Blocks * block >> 30), int(st.Bavail * block >> 30)
}

// Handler is Nova's API, from "/" on.
func (s *Service) Handler() http.Handler { return s.api }

// MetadataHandler is the metadata service on its own port, for a signing proxy.
func (s *Service) MetadataHandler() http.Handler { return s.metadata.Handler() }

// ConsoleHandler serves the consoles of this host's guests; nil without a driver.
func (s *Service) ConsoleHandler() http.Handler {
	if s.console == nil {
		return nil
	}
	return s.console
}

// ServeGuest answers a guest that the network service has recognised.
func (s *Service) ServeGuest(w http.ResponseWriter, r *http.Request, portID, deviceID, projectID string) {
	s.metadata.ServeGuest(w, r, portID, deviceID, projectID)
}

// Run works on this host's guests until ctx ends; they run on after it.
func (s *Service) Run(ctx context.Context) error {
	if s.agent == nil {
		<-ctx.Done()
		return nil
	}
	return s.agent.Run(ctx)
}

// ConsoleLog reads the end of a guest's console log, wherever it runs.
func (s *Service) ConsoleLog(ctx context.Context, host, serverID string, bytesMax int) ([]byte, error) {
	if s.agent != nil && host == s.cfg.Host.ID {
		return s.LocalConsoleLog(serverID, bytesMax)
	}
	if s.cfg.Remote == nil {
		return nil, errs.New(errs.Unavailable, "the host of the server cannot be reached")
	}
	return s.cfg.Remote(ctx, host, serverID, bytesMax)
}

// LocalConsoleLog reads the end of the console log of a guest of this host; one that has written nothing yet has none.
func (s *Service) LocalConsoleLog(serverID string, bytesMax int) ([]byte, error) {
	if s.agent == nil {
		return nil, errs.New(errs.NotFound, "this peer runs no guests")
	}
	raw, err := tail(s.agent.ConsoleLog(serverID), bytesMax)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return raw, err
}

// tail reads the last bytes of a file.
func tail(path string, bytesMax int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	n := min(info.Size(), int64(bytesMax))
	buf := make([]byte, n)
	got, err := f.ReadAt(buf, info.Size()-n)
	if got == int(n) {
		err = nil
	}
	return buf[:got], err
}

// Seed makes the flavors of a new cloud, those of DevStack. Once an operator has removed or changed one, it stays so.
func Seed(ctx context.Context, store state.Store, clock clock.Clock) error {
	const key = "flavors-seeded"
	return store.Update(ctx, func(w state.Writer) error {
		if _, there, err := model.Optional(model.Secrets.Get(w, key)); err != nil || there {
			return err
		}
		for _, f := range []model.Flavor{
			{ID: "42", Name: "m1.nano", VCPUs: 1, RAMMiB: 128, DiskGiB: 1}, {ID: "84", Name: "m1.micro", VCPUs: 1, RAMMiB: 192, DiskGiB: 1},
			{ID: "1", Name: "m1.tiny", VCPUs: 1, RAMMiB: 512, DiskGiB: 1}, {ID: "2", Name: "m1.small", VCPUs: 1, RAMMiB: 2048, DiskGiB: 20},
			{ID: "3", Name: "m1.medium", VCPUs: 2, RAMMiB: 4096, DiskGiB: 40}, {ID: "4", Name: "m1.large", VCPUs: 4, RAMMiB: 8192, DiskGiB: 80},
			{ID: "5", Name: "m1.xlarge", VCPUs: 8, RAMMiB: 16384, DiskGiB: 160},
		} {
			f.RxTx, f.Public, f.Created = 1, true, clock.Now()
			if err := model.Flavors.Put(w, f.ID, f); err != nil {
				return err
			}
		}
		return model.Secrets.Put(w, key, "yes")
	})
}
