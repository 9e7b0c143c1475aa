package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/engine"
	"henge/storaged/listing"
	"henge/storaged/peerapi"
)

// Counters count what happens, for metrics. They must not block.
type Counters interface {
	Queued(rows int)       // listing updates that could not be delivered at once
	Delivered(rows int)    // queued ones that were delivered later
	FlushFailed(err error) // listings could not be written to the tree
}

// NoCounters count nothing.
type NoCounters struct{}

// Queued is Counters'.
func (NoCounters) Queued(int) {}

// Delivered is Counters'.
func (NoCounters) Delivered(int) {}

// FlushFailed is Counters'.
func (NoCounters) FlushFailed(error) {}

// Config is what a Server needs.
type Config struct {
	Self     string            // the peer's id
	Devices  map[string]string // the folders of its devices, by name
	Open     func(name, dir string) (engine.Engine, error)
	Clock    clock.Clock
	Log      *slog.Logger
	Accounts Accounts // nil: accounts are told of containers made and deleted, not of their counts
	Counters Counters // nil: NoCounters
	// AwayMax is how long a device may have been away and still speak for what it holds: less than the age at which tombstones are reclaimed. 0: limits.AwayMax.
	AwayMax time.Duration
	// JudgeLater: devices that begin empty answer nobody before Judge. Otherwise they count as new.
	JudgeLater bool
	Listing    listing.Config                // the numbers only; Path, Journal, Clock and Log are set here
	Connect    func(*Server) peerapi.Devices // makes the way to all devices, this server's own included (Server.Local)
}

// Server is a storage peer: its devices, open.
type Server struct {
	cfg    Config
	cancel context.CancelFunc
	closed sync.Once

	mu      sync.Mutex // guards the fields below
	devices map[string]*open
	failed  map[string]error
}

// open is a device with what runs on it.
type open struct {
	local    *Local
	updater  *updater
	reporter *reporter
}

// New opens the devices. One that fails to open is reported and left out; the others serve. It fails when there are devices and none opens.
func New(cfg Config) (*Server, error) {
	if cfg.Counters == nil {
		cfg.Counters = NoCounters{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{cfg: cfg, cancel: cancel, devices: map[string]*open{}, failed: map[string]error{}}
	var mu sync.Mutex // guards s's maps while the devices open, all at once
	var opening sync.WaitGroup
	for name, dir := range cfg.Devices {
		opening.Go(func() {
			local, err := s.open(name, dir)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.failed[name] = err
				cfg.Log.Error("a device does not open", "device", name, "folder", dir, "error", err)
				return
			}
			s.devices[name] = &open{local: local}
		})
	}
	opening.Wait()
	if len(cfg.Devices) > 0 && len(s.devices) == 0 {
		cancel()
		return nil, fmt.Errorf("open the devices of %s: %w", cfg.Self, errors.Join(slices.Collect(maps.Values(s.failed))...))
	}
	devices := cfg.Connect(s)
	for _, d := range s.devices {
		d.local.devices = devices
	}
	for _, d := range s.devices {
		d.updater = newUpdater(ctx, d.local, cfg.Log)
		d.reporter = newReporter(ctx, d.local, cfg.Accounts, cfg.Log)
	}
	return s, nil
}

func (s *Server) open(name, dir string) (*Local, error) {
	e, err := s.cfg.Open(name, dir)
	if err != nil {
		return nil, err
	}
	c := s.cfg.Listing
	c.Path, c.Journal, c.Clock, c.Log = filepath.Join(dir, "listing.db"), e.Journal(), s.cfg.Clock, s.cfg.Log.With("device", name)
	c.FlushFailed = s.cfg.Counters.FlushFailed
	away := s.cfg.AwayMax
	if away == 0 {
		away = limits.AwayMax
	}
	st, err := openStanding(dir, s.cfg.Clock, away, e.Usage().Objects == 0)
	if err == nil && !s.cfg.JudgeLater {
		err = st.judge(false)
	}
	if err != nil {
		return nil, fmt.Errorf("open device %s: %w", name, errors.Join(err, e.Close()))
	}
	// Rows of the journal alone are not all that was listed: what else there was must come from others.
	_, missing := os.Stat(c.Path)
	if now, judged := st.get(); judged && now == peerapi.Joined && errors.Is(missing, fs.ErrNotExist) && e.Usage().Objects > 0 {
		if err := st.set(peerapi.Filling); err != nil {
			return nil, fmt.Errorf("open device %s: %w", name, errors.Join(err, e.Close()))
		}
	}
	store, err := listing.Open(c)
	if err != nil {
		return nil, fmt.Errorf("open device %s: %w", name, errors.Join(err, e.Close()))
	}
	return &Local{self: peerapi.Target{Peer: s.cfg.Self, Device: name}, engine: e, standing: st, listing: store, counters: s.cfg.Counters, clock: s.cfg.Clock}, nil
}

// Judge decides on the devices that began empty: holds says of each whether the rings say that it should hold something. Those are being filled then, and answer only
// repair; the others take part. It may be called again.
func (s *Server) Judge(holds func(device string) bool) error {
	var all error
	for _, l := range s.Locals() {
		all = errors.Join(all, l.standing.judge(holds(l.self.Device)))
	}
	return all
}

// Locals are the devices that are open, by name.
func (s *Server) Locals() []*Local {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Local, 0, len(s.devices))
	for _, d := range s.devices {
		all = append(all, d.local)
	}
	slices.SortFunc(all, func(a, b *Local) int { return strings.Compare(a.self.Device, b.self.Device) })
	return all
}

// Local finds one of the devices that are open.
func (s *Server) Local(name string) (peerapi.Device, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.devices[name]; ok {
		return d.local, true
	}
	return nil, false
}

// PeerUp says that a peer is back: what is queued for it is delivered now.
func (s *Server) PeerUp(peer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		d.updater.peerUp(peer)
	}
}

// DeviceHealth is how one device does.
type DeviceHealth struct {
	Name  string
	Usage peerapi.Usage
	Error error // why it is not open; nil when it is
}

// Health tells of every device, by name.
func (s *Server) Health(ctx context.Context) []DeviceHealth {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []DeviceHealth
	for name, d := range s.devices {
		u, err := d.local.Usage(ctx)
		if now, judged := d.local.Standing(); err == nil && judged && now != peerapi.Joined {
			err = errs.New(errs.Unavailable, "%s", now)
		}
		all = append(all, DeviceHealth{Name: name, Usage: u, Error: err})
	}
	for name, err := range s.failed {
		all = append(all, DeviceHealth{Name: name, Error: err})
	}
	slices.SortFunc(all, func(a, b DeviceHealth) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Close stops the updaters, writes the listings out and closes the engines. Calls to devices answer errs.Unavailable afterwards.
func (s *Server) Close() error {
	var err error
	s.closed.Do(func() {
		s.mu.Lock()
		devices := s.devices
		s.devices = map[string]*open{}
		s.mu.Unlock()
		s.cancel()
		var closing sync.WaitGroup
		failed := make(chan error, len(devices))
		for name, d := range devices {
			closing.Go(func() {
				if err := d.close(); err != nil {
					failed <- fmt.Errorf("close device %s: %w", name, err)
				}
			})
		}
		closing.Wait()
		close(failed)
		for one := range failed {
			err = errors.Join(err, one)
		}
	})
	return err
}

func (d *open) close() error {
	d.updater.done.Wait()
	d.reporter.done.Wait()
	return errors.Join(d.local.listing.Close(), d.local.engine.Close())
}
