package imaged

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/imaged/api"
	"henge/imaged/library"
	"henge/imaged/model"
	"henge/internal/clock"
	"henge/proxy/core"
)

// Config is what the service needs. Store, Objects, Tokens, Clock, Logger and Peer must be there.
type Config struct {
	Store   state.Store
	Objects core.Service
	Tokens  authn.Tokens
	Clock   clock.Clock
	Logger  *slog.Logger
	Peer    string // this peer's name in the cluster
	Quotas  Quotas
	// Fetch opens URLs for imports by web-download; nil: that is not offered.
	Fetch library.Fetcher
	// PublicURL is the root of this API as clients see it; nil: http or https and the request's Host.
	PublicURL func(*http.Request) string
	// IdentityURL is where clients get tokens, for the answer to those who have none.
	IdentityURL string
}

// Quotas bound what clients can store; 0 is no bound.
type Quotas = library.Quotas

// Image is an image's record.
type Image = model.Image

// Content is an image's data, open for reading by range.
type Content = library.Content

// Service is the image service of one peer. Safe for concurrent use.
type Service struct {
	library *library.Library
	api     *api.Server
}

// New makes the service. Run does its upkeep.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Objects == nil || cfg.Tokens == nil || cfg.Clock == nil || cfg.Logger == nil || cfg.Peer == "" {
		return nil, errors.New("imaged: Store, Objects, Tokens, Clock, Logger and Peer are needed")
	}
	l := library.New(library.Config{Store: cfg.Store, Objects: cfg.Objects, Clock: cfg.Clock, Logger: cfg.Logger, Quotas: cfg.Quotas, Peer: cfg.Peer, Fetch: cfg.Fetch})
	return &Service{library: l, api: api.New(api.Config{Store: cfg.Store, Library: l, Tokens: cfg.Tokens, Clock: cfg.Clock, Logger: cfg.Logger, PublicURL: cfg.PublicURL,
		IdentityURL: cfg.IdentityURL})}, nil
}

// Handler is Glance's API, from "/" on.
func (s *Service) Handler() http.Handler { return s.api }

// Run does the upkeep until ctx ends: what died with its peer is taken back, and what was deleted is removed.
func (s *Service) Run(ctx context.Context) error { return s.library.Run(ctx) }

// Image describes an image to one who may see it; errs.NotFound to others.
func (s *Service) Image(ctx context.Context, who *authn.Identity, id string) (Image, error) {
	return s.library.Find(ctx, who, id)
}

// Open finds an image's data; see library.Open for the kinds of errors. Content.Read gives its bytes by range, as often as it is asked.
func (s *Service) Open(ctx context.Context, who *authn.Identity, id string) (*Content, error) {
	return s.library.Open(ctx, who, id)
}

// Create makes the record of an image out of a draft: name, formats, min_disk, min_ram, visibility, properties. The rest is set here.
func (s *Service) Create(ctx context.Context, who *authn.Identity, draft Image) (Image, error) {
	if draft.Visibility == "" {
		draft.Visibility = model.Private
	}
	return s.library.Create(ctx, who, draft)
}

// Upload gives a queued image its data: body, read to its end. size is how many bytes it has, or -1. When it returns nil the image is active; else it has no data, and its
// status tells whether another try makes sense.
func (s *Service) Upload(ctx context.Context, who *authn.Identity, id string, body io.Reader, size int64) (Image, error) {
	return s.library.Upload(ctx, who, id, body, size)
}

// Delete deletes an image.
func (s *Service) Delete(ctx context.Context, who *authn.Identity, id string) error {
	return s.library.Delete(ctx, who, id)
}
