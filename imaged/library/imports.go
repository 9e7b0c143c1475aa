package library

import (
	"context"
	"io"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/imaged/inspect"
	"henge/imaged/model"
	"henge/internal/errs"
)

// Fetcher opens what a URL names. size is -1 when the other side does not say. Check tells whether a URL may be fetched at all, without touching the network.
type Fetcher interface {
	Check(url string) error
	Fetch(ctx context.Context, url string) (body io.ReadCloser, size int64, err error)
}

// The import methods.
const (
	GlanceDirect = "glance-direct"
	WebDownload  = "web-download"
)

// ImportMethods are those that this library offers.
func (l *Library) ImportMethods() []string {
	if l.Fetch == nil {
		return []string{GlanceDirect}
	}
	return []string{GlanceDirect, WebDownload}
}

// Import is a request to import data.
type Import struct {
	Method    string
	URI       string // of web-download
	RequestID string
}

// Import begins an import; how it goes on is seen in the image's status and in its tasks.
func (l *Library) Import(ctx context.Context, who *authn.Identity, id string, i Import) error {
	now := l.now()
	task := model.Task{ID: model.NewID(), ImageID: id, Owner: who.ProjectID, UserID: who.UserID, RequestID: i.RequestID, Status: taskProcessing, Method: i.Method,
		Created: now, Updated: now}
	if i.Method == GlanceDirect {
		return l.takeStaged(ctx, who, id, task)
	}
	if l.Fetch == nil {
		return errs.New(errs.Invalid, "The import method %s is not offered here.", i.Method)
	}
	if err := l.Fetch.Check(i.URI); err != nil {
		return err
	}
	select {
	case l.slots <- struct{}{}:
	default:
		return errs.New(errs.Unavailable, "Too many imports are under way; try again later.")
	}
	task.Input = map[string]string{"uri": i.URI}
	up, err := l.begin(ctx, who, id, begin{to: model.Importing, size: -1, formats: true, task: &task})
	if err != nil {
		<-l.slots
		return err
	}
	l.imports.Go(func() {
		defer func() { <-l.slots }()
		l.download(l.life, up, i.URI)
	})
	return nil
}

// download fetches and stores; the upload's end is the import's.
func (l *Library) download(ctx context.Context, up transfer, uri string) {
	body, size, err := l.Fetch.Fetch(ctx, uri)
	if err != nil {
		l.abandon(context.WithoutCancel(ctx), up.row, model.Queued, err.Error())
		return
	}
	defer body.Close()
	if up.most > 0 && size > up.most {
		l.abandon(context.WithoutCancel(ctx), up.row, model.Queued, "The image is larger than there is room for.")
		return
	}
	up.size = size
	if _, err := l.receive(ctx, up, body, model.Active); err != nil {
		l.Logger.Info("an import failed", "image", up.row.ImageID, "error", err)
	}
}

// takeStaged makes what was staged the image's data. It lies where it belongs already, so this is one transaction.
func (l *Library) takeStaged(ctx context.Context, who *authn.Identity, id string, task model.Task) error {
	err := l.update(ctx, func(w state.Writer) error {
		image, err := model.FindOwn(w, id, who)
		switch {
		case err != nil:
			return err
		case image.Status != model.Uploading || image.Data == nil:
			return errs.New(errs.Conflict, "Image needs to be staged before 'glance-direct' method can be used: it is %s.", image.Status)
		case image.DiskFormat == "" || image.ContainerFormat == "":
			return errs.New(errs.Invalid, "Properties disk_format, container_format must be set prior to saving data.")
		}
		if err := image.Move(model.Importing); err != nil {
			return err
		}
		if err := putTask(w, task); err != nil {
			return err
		}
		return l.judgeStaged(w, image, task)
	})
	if err == nil {
		l.sweepSoon()
	}
	return err
}

// judgeStaged ends an import of staged data: what was found when it came decides.
func (l *Library) judgeStaged(w state.Writer, image model.Image, task model.Task) error {
	why := ""
	found := inspect.Findings{Format: image.Data.Format, VirtualSize: image.Data.VirtualSize, Unsafe: image.Data.Unsafe}
	if err := found.Accept(image.DiskFormat); err != nil {
		why = err.Error()
		dead := model.Upload{ID: image.Data.UploadID, ImageID: image.ID, Dead: true}
		if err := model.Uploads.Put(w, dead.ID, dead); err != nil {
			return err
		}
		image.Data, image.Failure = nil, why
		if err := image.Move(model.Killed); err != nil {
			return err
		}
	} else if err := image.Move(model.Active); err != nil {
		return err
	}
	image.Updated = l.now()
	if err := endTask(w, task.ID, why, l.now()); err != nil {
		return err
	}
	return model.Images.Put(w, image.ID, image)
}
