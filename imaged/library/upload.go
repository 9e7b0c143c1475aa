package library

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/imaged/model"
	"henge/internal/errs"
)

const (
	beatInterval   = 10 * time.Second
	abandonTimeout = 30 * time.Second
)

var errLost = errs.New(errs.Conflict, "The image was deleted during its upload, or the upload was given up for dead.")

// Upload gives a queued image its data: body, read to its end. size is how many bytes are announced, or -1. The image is active when it returns nil. Else it is queued
// again, or, when the data was refused for what it is, killed; and no data is left.
func (l *Library) Upload(ctx context.Context, who *authn.Identity, id string, body io.Reader, size int64) (model.Image, error) {
	up, err := l.begin(ctx, who, id, begin{to: model.Saving, size: size, formats: true})
	if err != nil {
		return model.Image{}, err
	}
	return l.receive(ctx, up, body, model.Active)
}

// Stage is Upload for an import: the image is uploading when it returns nil.
func (l *Library) Stage(ctx context.Context, who *authn.Identity, id string, body io.Reader, size int64) (model.Image, error) {
	up, err := l.begin(ctx, who, id, begin{to: model.Uploading, size: size})
	if err != nil {
		return model.Image{}, err
	}
	return l.receive(ctx, up, body, model.Uploading)
}

// begin says how an upload begins.
type begin struct {
	to      model.Status
	size    int64
	formats bool // they must be set
	task    *model.Task
}

// transfer is an upload under way.
type transfer struct {
	row   model.Upload
	image model.Image
	size  int64 // announced, or -1
	most  int64 // room
}

// begin takes the image for one upload: whoever comes second gets errs.Conflict.
func (l *Library) begin(ctx context.Context, who *authn.Identity, id string, b begin) (transfer, error) {
	up := transfer{size: b.size, row: model.Upload{ID: model.NewID(), ImageID: id, Peer: l.run, Since: l.now()}}
	err := l.update(ctx, func(w state.Writer) (err error) {
		image, err := model.FindOwn(w, id, who)
		if err != nil {
			return err
		}
		if b.formats && (image.DiskFormat == "" || image.ContainerFormat == "") {
			return errs.New(errs.Invalid, "Properties disk_format, container_format must be set prior to saving data.")
		}
		if up.most, err = l.room(w, image.Owner, b.size); err != nil {
			return err
		}
		if err := image.Move(b.to); err != nil {
			return err
		}
		image.UploadID, image.Failure, image.Updated = up.row.ID, "", l.now()
		up.image = image
		if b.task != nil {
			up.row.TaskID = b.task.ID
			if err := putTask(w, *b.task); err != nil {
				return err
			}
		}
		if err := model.Uploads.Put(w, up.row.ID, up.row); err != nil {
			return err
		}
		return model.Images.Put(w, image.ID, image)
	})
	return up, err
}

// room is how large an image of the project may be now; 0 is any size. errs.TooLarge when that is less than announced.
func (l *Library) room(r state.Reader, project string, size int64) (int64, error) {
	most := l.Quotas.ImageBytes
	if most > 0 && size > most {
		return 0, errs.New(errs.TooLarge, "The image has %d bytes; %d are allowed.", size, most)
	}
	if l.Quotas.ProjectBytes <= 0 {
		return most, nil
	}
	u, err := model.UsageOf(r, project)
	if err != nil {
		return 0, err
	}
	left := l.Quotas.ProjectBytes - u.Bytes - u.Staged
	if left <= 0 || size > left {
		return 0, errs.New(errs.TooLarge, "The project's images have %d bytes; %d are allowed.", u.Bytes+u.Staged, l.Quotas.ProjectBytes)
	}
	if most <= 0 || left < most {
		most = left
	}
	return most, nil
}

// receive writes the data and ends the upload, one way or the other.
func (l *Library) receive(ctx context.Context, up transfer, body io.Reader, to model.Status) (model.Image, error) {
	data, err := l.write(ctx, up, body)
	// From here on the client may go: the upload is ended in order all the same.
	ctx = context.WithoutCancel(ctx)
	if err == nil {
		var image model.Image
		if image, err = l.finish(ctx, up, data, to); err == nil {
			return image, nil
		}
	}
	back := model.Queued
	if errors.Is(err, errRefused) {
		back = model.Killed
	}
	l.abandon(ctx, up.row, back, err.Error())
	return model.Image{}, err
}

// write stores the data, and tells what it is.
func (l *Library) write(ctx context.Context, up transfer, body io.Reader) (model.Data, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.enter(up.row.ID, cancel)
	defer l.leave(up.row.ID)
	go l.beat(ctx, up.row.ID, cancel)
	in := examine(body, up.image.DiskFormat, up.most)
	err := l.vault.Write(ctx, up.row.ID, in, func() error { return context.Cause(ctx) })
	switch {
	case in.failed != nil:
		return model.Data{}, in.failed
	case err != nil && errors.Is(context.Cause(ctx), errLost):
		return model.Data{}, errLost
	case err != nil:
		return model.Data{}, err
	case up.size >= 0 && in.size != up.size:
		return model.Data{}, errs.New(errs.Incomplete, "%d bytes of image data were announced, and %d came.", up.size, in.size)
	}
	found := in.inspector.Findings()
	if up.image.DiskFormat != "" {
		if err := found.Accept(up.image.DiskFormat); err != nil {
			return model.Data{}, refused(err)
		}
	}
	data := model.Data{UploadID: up.row.ID, SegmentBytes: l.vault.SegmentBytes(), Size: in.size, Format: found.Format, VirtualSize: found.VirtualSize, Unsafe: found.Unsafe}
	data.MD5, data.SHA512 = in.sums()
	return data, nil
}

func (l *Library) enter(id string, cancel context.CancelCauseFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active[id] = cancel
}

func (l *Library) leave(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.active, id)
}

// beat tells the other peers that the upload lives, and stops it when they have given it up, or the image was deleted.
func (l *Library) beat(ctx context.Context, id string, stop context.CancelCauseFunc) {
	tick := time.NewTicker(beatInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := l.update(ctx, func(w state.Writer) error {
			row, err := living(w, id)
			if err != nil {
				return err
			}
			row.Beat++
			return model.Uploads.Put(w, id, row)
		})
		switch {
		case errors.Is(err, errLost):
			stop(errLost)
			return
		case err != nil && ctx.Err() == nil:
			l.Logger.Warn("tell that an upload lives", "upload", id, "error", err) // without a leader the data still flows
		}
	}
}

// living is the row of an upload that may go on; errLost otherwise.
func living(r state.Reader, id string) (model.Upload, error) {
	row, there, err := model.Optional(model.Uploads.Get(r, id))
	if err == nil && (!there || row.Dead) {
		err = errLost
	}
	return row, err
}

// finish gives the image its data, in the transaction that ends the upload.
func (l *Library) finish(ctx context.Context, up transfer, data model.Data, to model.Status) (image model.Image, err error) {
	err = l.update(ctx, func(w state.Writer) error {
		if _, err := living(w, up.row.ID); err != nil {
			return err
		}
		image, err = model.Images.Get(w, up.row.ImageID)
		if errs.Is(err, errs.NotFound) || err == nil && image.UploadID != up.row.ID {
			return errLost
		}
		if err != nil {
			return err
		}
		if _, err := l.room(w, image.Owner, data.Size); err != nil {
			return err
		}
		if to != image.Status { // what was staged stays uploading
			if err := image.Move(to); err != nil {
				return err
			}
		}
		image.Data, image.UploadID, image.Failure, image.Updated = &data, "", "", l.now()
		if err := endTask(w, up.row.TaskID, "", l.now()); err != nil {
			return err
		}
		if err := model.Uploads.Delete(w, up.row.ID); err != nil {
			return err
		}
		return model.Images.Put(w, image.ID, image)
	})
	return image, err
}

// abandon gives an upload up: the image goes back, the segments go away. What it cannot do now the sweep does later.
func (l *Library) abandon(ctx context.Context, row model.Upload, back model.Status, why string) {
	ctx, cancel := context.WithTimeout(ctx, abandonTimeout)
	defer cancel()
	if err := l.giveUp(ctx, row, back, why); err != nil {
		l.Logger.Warn("give an upload up", "upload", row.ID, "image", row.ImageID, "error", err)
		return
	}
	err := l.vault.Remove(ctx, row.ID)
	if err == nil {
		err = l.forget(ctx, row.ID)
	}
	if err != nil {
		l.Logger.Warn("remove what an upload left; the next sweep tries again", "upload", row.ID, "image", row.ImageID, "error", err)
	}
}

// giveUp marks the upload dead and gives the image its status back.
func (l *Library) giveUp(ctx context.Context, row model.Upload, back model.Status, why string) error {
	return l.update(ctx, func(w state.Writer) error {
		if err := l.condemn(w, row.ID); err != nil {
			return err
		}
		if err := endTask(w, row.TaskID, why, l.now()); err != nil {
			return err
		}
		image, there, err := model.Optional(model.Images.Get(w, row.ImageID))
		if err != nil || !there || image.UploadID != row.ID {
			return err
		}
		if err := image.Move(back); err != nil {
			return fmt.Errorf("after a failed upload: %w", err)
		}
		image.UploadID, image.Failure, image.Updated = "", why, l.now()
		return model.Images.Put(w, image.ID, image)
	})
}

// forget drops the row of an upload whose segments are gone.
func (l *Library) forget(ctx context.Context, id string) error {
	return l.update(ctx, func(w state.Writer) error {
		if _, there, err := model.Optional(model.Uploads.Get(w, id)); err != nil || !there {
			return err
		}
		return model.Uploads.Delete(w, id)
	})
}
