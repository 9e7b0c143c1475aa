package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/errs"
	"henge/volumed/backend"
	"henge/volumed/images"
	"henge/volumed/model"
)

// Converter turns disk images of one format into another, in files of this peer.
type Converter interface {
	// Dir is a folder for files that are in the way of being converted. What a kill leaves there may be removed at the next start.
	Dir() string
	// VirtualSize is how many bytes the disk in an image has. errs.Invalid when the file is not of that format, or refers to other files.
	VirtualSize(ctx context.Context, path, format string) (int64, error)
	// Convert makes a file of one format from one of another.
	Convert(ctx context.Context, from, fromFormat, to, toFormat string) error
}

// service is whom the agent speaks for when it moves bytes that a user asked for: what the user may see was checked when he asked.
func service(v model.Volume) *authn.Identity {
	return &authn.Identity{UserID: v.UserID, ProjectID: v.ProjectID, Roles: []string{"admin", "member", "reader"}}
}

// isPlain tells formats whose bytes are the disk's.
func isPlain(format string) bool {
	switch format {
	case "raw", "iso", "ami", "aki", "ari", "":
		return true
	}
	return false
}

// fromImage makes a volume with the content of an image. What an attempt before left is thrown away.
func (a *Agent) fromImage(ctx context.Context, v model.Volume, size int64) (note func(*model.Volume), err error) {
	image, err := a.Images.Describe(ctx, service(v), v.ImageID)
	if err != nil {
		return nil, fmt.Errorf("find image %s: %w", v.ImageID, err)
	}
	if err := a.show(ctx, v, model.Downloading); err != nil {
		return nil, err
	}
	if err := a.Backend.Delete(ctx, v.ID); err != nil {
		return nil, err
	}
	if err := a.Backend.Create(ctx, v.ID, size); err != nil {
		return nil, err
	}
	if err := a.fill(ctx, v, image); err != nil {
		return nil, errors.Join(fmt.Errorf("copy image %s: %w", image.ID, err), a.Backend.Delete(context.WithoutCancel(ctx), v.ID))
	}
	described := Describe(image)
	return func(v *model.Volume) { v.Bootable, v.Image = true, described }, nil
}

// Describe is what a volume says of the image that it was made from.
func Describe(i images.Image) map[string]string {
	about := map[string]string{}
	maps.Copy(about, i.Properties)
	maps.Copy(about, map[string]string{"image_id": i.ID, "image_name": i.Name, "checksum": i.Checksum, "container_format": i.ContainerFormat, "disk_format": i.DiskFormat,
		"min_disk": strconv.FormatInt(i.MinDisk, 10), "min_ram": strconv.FormatInt(i.MinRAM, 10), "size": strconv.FormatInt(i.Size, 10)})
	return about
}

// show sets a passing status.
func (a *Agent) show(ctx context.Context, was model.Volume, status model.Status) error {
	return a.update(ctx, func(w state.Writer) error {
		v, there, err := model.Optional(model.Volumes.Get(w, was.ID))
		if err != nil || !there || v.Task != was.Task || v.Status == status {
			return err
		}
		v.Status = status
		return model.PutVolume(w, v, a.now())
	})
}

// fill copies an image's content into a volume.
func (a *Agent) fill(ctx context.Context, v model.Volume, image images.Image) (err error) {
	leave, err := a.copies.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	body, err := a.Images.Open(ctx, service(v), image.ID)
	if err != nil {
		return err
	}
	defer body.Close()
	device, err := a.Backend.Open(ctx, v.ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	if isPlain(image.DiskFormat) {
		return fillFrom(ctx, device, body)
	}
	return a.fillConverted(ctx, device, body, v.ID, image)
}

// copyChunk is how much is moved at a time; what of it is all zeros, by zeroChunk, is left out.
const (
	copyChunk = 1 << 20
	zeroChunk = 64 << 10
)

// fillFrom writes what it reads to the beginning of a device.
func fillFrom(ctx context.Context, d backend.Device, from io.Reader) error {
	buf := make([]byte, copyChunk)
	for off := int64(0); ; {
		n, err := io.ReadFull(from, buf)
		if over := off + int64(n) - d.Size(); over > 0 {
			return errs.New(errs.Invalid, "the image is larger than the volume of %d bytes", d.Size())
		}
		if err := writeSparse(ctx, d, buf[:n], off); err != nil {
			return err
		}
		off += int64(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return d.Flush(ctx)
		case err != nil:
			return fmt.Errorf("read the image at %d: %w", off, err)
		}
	}
}

// writeSparse writes p but for stretches of zeros, which are there already in a new volume.
func writeSparse(ctx context.Context, d backend.Device, p []byte, off int64) error {
	for at := 0; at < len(p); {
		end := at
		for end < len(p) && !isZero(p[end:min(end+zeroChunk, len(p))]) {
			end = min(end+zeroChunk, len(p))
		}
		if end > at {
			if err := d.WriteAt(ctx, p[at:end], off+int64(at)); err != nil {
				return err
			}
			at = end
			continue
		}
		at = min(at+zeroChunk, len(p))
	}
	return nil
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// fillConverted takes the way over files: the image as it is, then the disk in it, then the volume.
func (a *Agent) fillConverted(ctx context.Context, d backend.Device, body io.Reader, id string, image images.Image) error {
	if stats, err := a.Backend.Stats(ctx); err != nil {
		return err
	} else if need := image.Size + max(image.VirtualSize, image.Size); stats.Free < min(need, image.Size*3) {
		return errs.New(errs.NoSpace, "%d bytes are free for the image and the disk in it; its file alone has %d", stats.Free, image.Size)
	}
	source, disk := filepath.Join(a.Convert.Dir(), id+".image"), filepath.Join(a.Convert.Dir(), id+".raw")
	defer os.Remove(source)
	defer os.Remove(disk)
	if err := download(ctx, source, body); err != nil {
		return err
	}
	size, err := a.Convert.VirtualSize(ctx, source, image.DiskFormat)
	if err != nil {
		return err
	}
	if size > d.Size() {
		return errs.New(errs.Invalid, "the disk in the image has %d bytes: more than the volume's %d", size, d.Size())
	}
	if err := a.Convert.Convert(ctx, source, image.DiskFormat, disk, "raw"); err != nil {
		return err
	}
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	return fillSparse(ctx, d, f)
}

// download puts a body into a file of this peer.
func download(ctx context.Context, path string, body io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, &ending{ctx, body}, make([]byte, copyChunk))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("keep the image for a while: %w", err)
	}
	return nil
}

// ending is a reader that ends with a context.
type ending struct {
	ctx  context.Context
	from io.Reader
}

func (e *ending) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.from.Read(p)
}

// reimage puts an image in the place of what a volume holds.
func (a *Agent) reimage(ctx context.Context, v model.Volume) outcome {
	o := outcome{action: model.ActionCopyImage}
	note, err := a.fromImage(ctx, v, v.GiB*model.GiB)
	o.failed = err
	o.apply = func(v *model.Volume) {
		v.Status = model.Available
		if err != nil {
			v.Status, v.Made = model.Error, false
			return
		}
		note(v)
	}
	return o
}

// upload makes an image's data of a volume.
func (a *Agent) upload(ctx context.Context, v model.Volume) outcome {
	o := outcome{action: model.ActionCopyToImage, failed: a.send(ctx, v)}
	o.apply = func(v *model.Volume) { v.Status, v.Before, v.Upload = v.Before, "", nil }
	return o
}

func (a *Agent) send(ctx context.Context, v model.Volume) (err error) {
	leave, err := a.copies.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	device, err := a.Backend.Open(ctx, v.ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	if v.Upload.Format == "raw" {
		return a.Images.Upload(ctx, service(v), v.Upload.ImageID, &deviceReader{ctx: ctx, device: device}, device.Size())
	}
	disk, image := filepath.Join(a.Convert.Dir(), v.ID+".raw"), filepath.Join(a.Convert.Dir(), v.ID+".image")
	defer os.Remove(disk)
	defer os.Remove(image)
	if err := saveSparse(ctx, device, disk); err != nil {
		return err
	}
	if err := a.Convert.Convert(ctx, disk, "raw", image, v.Upload.Format); err != nil {
		return err
	}
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return a.Images.Upload(ctx, service(v), v.Upload.ImageID, f, info.Size())
}

// deviceReader reads a device from its beginning to its end.
type deviceReader struct {
	ctx    context.Context
	device backend.Device
	off    int64
}

func (r *deviceReader) Read(p []byte) (int, error) {
	n := min(int64(len(p)), r.device.Size()-r.off)
	if n == 0 {
		return 0, io.EOF
	}
	if err := r.device.ReadAt(r.ctx, p[:n], r.off); err != nil {
		return 0, err
	}
	r.off += n
	return int(n), nil
}

// gate bounds how many copies are under way.
type gate chan struct{}

func (g gate) enter(ctx context.Context) (leave func(), err error) {
	select {
	case g <- struct{}{}:
		return func() { <-g }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
