package library

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/imaged/model"
	"henge/imaged/vault"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
)

// Quotas bound what clients can store. 0 is no bound.
type Quotas struct {
	ImageBytes    int64 // one image
	ProjectImages int   // images of one project
	ProjectBytes  int64 // their data together
}

// Config is what a Library needs. Store, Objects, Clock and Logger must be there.
type Config struct {
	Store   state.Store
	Objects core.Service
	Clock   clock.Clock
	Logger  *slog.Logger
	Quotas  Quotas
	// Peer is this peer's name in the cluster.
	Peer string
	// Fetch opens what a URL names, for imports by web-download. Nil: that is not offered.
	Fetch Fetcher
	// SegmentBytes is the size of an object of image data; 0 is limits.ImageSegmentBytes.
	SegmentBytes int64
}

// Library is the images of a cloud, as one peer works on them. Safe for concurrent use.
type Library struct {
	Config
	vault *vault.Vault
	run   string // names this process among all that ever ran on the peer

	mu      sync.Mutex                         // guards active and seen
	active  map[string]context.CancelCauseFunc // uploads of this process, by id
	seen    map[string]heard                   // uploads of others
	wake    chan struct{}
	imports sync.WaitGroup
	slots   chan struct{} // imports under way
	life    context.Context
	end     context.CancelFunc
}

// New makes a library. Run does its upkeep.
func New(cfg Config) *Library {
	l := &Library{
		Config: cfg, vault: vault.New(cfg.Objects, cfg.SegmentBytes), run: cfg.Peer + "/" + model.NewID(), active: map[string]context.CancelCauseFunc{}, seen: map[string]heard{},
		wake: make(chan struct{}, 1), slots: make(chan struct{}, limits.ImageImportsMax),
	}
	l.life, l.end = context.WithCancel(context.Background())
	return l
}

// update runs a transaction.
func (l *Library) update(ctx context.Context, fn func(state.Writer) error) error {
	return l.Store.Update(ctx, fn)
}

// now is the time as records hold it.
func (l *Library) now() time.Time { return l.Clock.Now().UTC().Truncate(time.Microsecond) }

// Create makes the record of an image, queued. The draft's id, if it has one, must be free (errs.Exists); its owner is who's project unless it is set.
func (l *Library) Create(ctx context.Context, who *authn.Identity, draft model.Image) (model.Image, error) {
	image := draft
	if image.ID == "" {
		image.ID = model.NewID()
	}
	if image.Owner == "" {
		image.Owner = who.ProjectID
	}
	image.Status, image.Created = model.Queued, l.now()
	image.Updated = image.Created
	err := l.update(ctx, func(w state.Writer) error {
		if _, there, err := model.Optional(model.Images.Get(w, image.ID)); err != nil {
			return err
		} else if there {
			return errs.New(errs.Exists, "Image ID %s already exists!", image.ID)
		}
		if err := l.roomForImage(w, image.Owner); err != nil {
			return err
		}
		return model.Images.Put(w, image.ID, image)
	})
	return image, err
}

func (l *Library) roomForImage(r state.Reader, project string) error {
	if l.Quotas.ProjectImages <= 0 {
		return nil
	}
	u, err := model.UsageOf(r, project)
	if err != nil {
		return err
	}
	if u.Images >= l.Quotas.ProjectImages {
		return errs.New(errs.TooLarge, "The project has %d images; %d are allowed.", u.Images, l.Quotas.ProjectImages)
	}
	return nil
}

// Find gives an image to one who may see it; errs.NotFound to others.
func (l *Library) Find(ctx context.Context, who *authn.Identity, id string) (image model.Image, err error) {
	err = l.Store.View(ctx, func(r state.Reader) (err error) {
		image, err = model.Find(r, id, who)
		return err
	})
	return image, err
}

// Delete deletes an image: its record at once, its data soon after. errs.Denied when it is protected.
func (l *Library) Delete(ctx context.Context, who *authn.Identity, id string) error {
	err := l.update(ctx, func(w state.Writer) error {
		image, err := model.FindOwn(w, id, who)
		if err != nil {
			return err
		}
		if image.Protected {
			return errs.New(errs.Denied, "Image %s is protected and cannot be deleted.", id)
		}
		if err := image.Move(model.Deleted); err != nil {
			return err
		}
		if image.UploadID != "" {
			if err := l.condemn(w, image.UploadID); err != nil {
				return err
			}
		}
		// Nobody writes to these segments any more: they need no grace, hence no time.
		return model.DropImage(w, image, model.Upload{})
	})
	if err == nil {
		l.sweepSoon()
	}
	return err
}

// condemn marks an upload dead: whoever is at it stops, and the sweep removes its segments.
func (l *Library) condemn(w state.Writer, upload string) error {
	row, there, err := model.Optional(model.Uploads.Get(w, upload))
	if err != nil || !there || row.Dead {
		return err
	}
	row.Dead, row.Since = true, l.now()
	return model.Uploads.Put(w, upload, row)
}

// Content is the data of an image, open for reading.
type Content struct {
	Image model.Image
	vault *vault.Vault
}

// Read gives length bytes from offset; see vault.Read.
func (c *Content) Read(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	d := c.Image.Data
	return c.vault.Read(ctx, vault.Set{Upload: d.UploadID, SegmentBytes: d.SegmentBytes, Size: d.Size}, offset, length)
}

// Open finds the data of an image: errs.NotFound when there is no image, errs.Conflict when it has no data (yet), errs.Denied when it is deactivated, unless for an
// administrator.
func (l *Library) Open(ctx context.Context, who *authn.Identity, id string) (*Content, error) {
	image, err := l.Find(ctx, who, id)
	if err != nil {
		return nil, err
	}
	if !image.HasData() {
		return nil, errs.New(errs.Conflict, "Image %s is %s: it has no data to be read.", id, image.Status)
	}
	if image.Status == model.Deactivated && !model.Admin(who) {
		return nil, errs.New(errs.Denied, "The requested image has been deactivated. Image data download is forbidden.")
	}
	return &Content{Image: image, vault: l.vault}, nil
}
