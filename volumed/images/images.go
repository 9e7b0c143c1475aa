// Package images is what volumed asks of the image service: to make volumes from images, and images from volumes. cmd/henge plugs it in.
package images

import (
	"context"
	"io"

	"henge/identity/authn"
	"henge/internal/errs"
)

// Image describes an image.
type Image struct {
	ID, Name, Status, Owner, Visibility   string
	DiskFormat, ContainerFormat, Checksum string
	MinDisk, MinRAM, Size, VirtualSize    int64 // GiB, MiB, bytes, bytes
	Protected                             bool
	Properties                            map[string]string
}

// Service is the image service, seen from here.
type Service interface {
	// Describe finds an image that the caller may see; errs.NotFound.
	Describe(ctx context.Context, who *authn.Identity, id string) (Image, error)
	// Open gives the bytes of an active image. errs.Denied when it is deactivated.
	Open(ctx context.Context, who *authn.Identity, id string) (io.ReadCloser, error)
	// Create makes the record of an image, queued.
	Create(ctx context.Context, who *authn.Identity, draft Image) (Image, error)
	// Upload gives a queued image its data.
	Upload(ctx context.Context, who *authn.Identity, id string, body io.Reader, size int64) error
}

// None is a Service without images.
type None struct{}

var errNone = errs.New(errs.Unavailable, "there is no image service on this peer")

// Describe implements Service.
func (None) Describe(context.Context, *authn.Identity, string) (Image, error) {
	return Image{}, errNone
}

// Open implements Service.
func (None) Open(context.Context, *authn.Identity, string) (io.ReadCloser, error) {
	return nil, errNone
}

// Create implements Service.
func (None) Create(context.Context, *authn.Identity, Image) (Image, error) { return Image{}, errNone }

// Upload implements Service.
func (None) Upload(context.Context, *authn.Identity, string, io.Reader, int64) error { return errNone }
