package volumed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/volumed/images"
	"henge/volumed/iscsi"
)

// people are who the tests are, by token.
var people = map[string]*authn.Identity{
	"admin":  {UserID: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ProjectID: "11111111111111111111111111111111", Roles: []string{"admin", "member", "reader"}},
	"member": {UserID: "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", ProjectID: "22222222222222222222222222222222", Roles: []string{"member", "reader"}},
	"reader": {UserID: "cccccccccccccccccccccccccccccccc", ProjectID: "22222222222222222222222222222222", Roles: []string{"reader"}},
	"other":  {UserID: "dddddddddddddddddddddddddddddddd", ProjectID: "33333333333333333333333333333333", Roles: []string{"member", "reader"}},
}

type tokens struct{}

func (tokens) Token(_ context.Context, token string) (*authn.Identity, error) {
	if id := people[token]; id != nil {
		return id, nil
	}
	return nil, errs.New(errs.Unauthenticated, "no such token")
}

// shelf is an image service of a few images in memory.
type shelf struct {
	mu     sync.Mutex // guards the fields below
	images map[string]images.Image
	data   map[string][]byte
	// hold, when set, is waited for by readers before the end of an image.
	hold chan struct{}
}

func (s *shelf) Describe(_ context.Context, _ *authn.Identity, id string) (images.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.images[id]
	if !ok {
		return i, errs.New(errs.NotFound, "no image %s", id)
	}
	return i, nil
}

func (s *shelf) Open(ctx context.Context, _ *authn.Identity, id string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, hold := s.data[id], s.hold
	if hold == nil {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(data[:len(data)/2]), &held{ctx, hold}, bytes.NewReader(data[len(data)/2:]))), nil
}

// held is a reader that ends when it is let go, or with an error when ctx does.
type held struct {
	ctx   context.Context
	leave chan struct{}
}

func (h *held) Read([]byte) (int, error) {
	select {
	case <-h.leave:
		return 0, io.EOF
	case <-h.ctx.Done():
		return 0, h.ctx.Err()
	}
}

func (s *shelf) Create(_ context.Context, _ *authn.Identity, i images.Image) (images.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i.ID, i.Status = fmt.Sprintf("00000000-0000-0000-0000-%012d", len(s.images)+1), "queued"
	s.images[i.ID] = i
	return i, nil
}

// keptMax is how much of an image the shelf keeps: a volume has a gibibyte, most of it zeros.
const keptMax = 8 << 20

func (s *shelf) Upload(_ context.Context, _ *authn.Identity, id string, body io.Reader, size int64) error {
	var data []byte
	total := int64(0)
	for buf := make([]byte, 1<<20); ; {
		n, err := body.Read(buf)
		total += int64(n)
		data = append(data, buf[:min(n, max(0, keptMax-len(data)))]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if total != size {
		return errs.New(errs.Incomplete, "%d of %d bytes", total, size)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[id]
	i.Status, i.Size = "active", total
	s.images[id], s.data[id] = i, data
	return nil
}

// hall is a peer with volumes, whose service may be stopped and started.
type hall struct {
	t       *testing.T
	dir     string
	store   state.Store
	shelf   *shelf
	portal  string
	reserve int64

	service *Service
	stop    func()
	url     string
}

func newHall(t *testing.T) *hall {
	t.Helper()
	h := &hall{t: t, dir: filepath.Join(t.TempDir(), "volumes"), store: state.NewMemory(), shelf: &shelf{images: map[string]images.Image{}, data: map[string][]byte{}}}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *hall) start() {
	h.t.Helper()
	address := h.portal
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.portal = ln.Addr().String()
	logger := slog.New(slog.NewTextHandler(testLog{h.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	target := iscsi.NewServer(iscsi.Config{Log: logger})
	h.service, err = New(Config{Store: h.store, Tokens: tokens{}, Clock: clock.System{}, Logger: logger, Images: h.shelf, Peer: "peer-1", Zone: "nova", Portal: h.portal, Dir: h.dir,
		ReserveBytes: h.reserve, Targets: Targets{target}, Alive: func(string) bool { return true }})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() {
		if err := target.Serve(ln); err != nil {
			h.t.Error(err)
		}
	})
	tasks.Go(func() {
		if err := h.service.Run(ctx); err != nil {
			h.t.Error(err)
		}
	})
	web := httptest.NewServer(h.service.Handler())
	h.url = web.URL
	h.stop = sync.OnceFunc(func() {
		web.Close()
		cancel()
		h.t.Log(errors.Join(target.Drain(context.Background()), target.Close()))
		tasks.Wait()
	})
	h.eventually("the peer describes itself", func() bool {
		found := false
		_ = h.store.View(context.Background(), func(r state.Reader) error {
			for range r.Scan("volume.hosts/") {
				found = true
			}
			return nil
		})
		return found
	})
}

// testLog writes to the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// patience bounds what a loaded machine may need.
const patience = 60 * time.Second

// eventually waits for a condition.
func (h *hall) eventually(what string, is func() bool) {
	h.t.Helper()
	deadline := time.After(patience)
	for tick := time.NewTicker(5 * time.Millisecond); !is(); {
		select {
		case <-deadline:
			h.t.Fatalf("in vain: %s", what)
		case <-tick.C:
		}
	}
}

// client is a gophercloud client for somebody, with a microversion.
func (h *hall) client(who, version string) *gophercloud.ServiceClient {
	provider := &gophercloud.ProviderClient{TokenID: who}
	return &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: h.url + "/v3/" + people[who].ProjectID + "/", Type: "volume", Microversion: version}
}

func (h *hall) exists(parts ...string) bool {
	_, err := os.Stat(filepath.Join(append([]string{h.dir}, parts...)...))
	return err == nil
}
