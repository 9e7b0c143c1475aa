package guests

import (
	"context"
	"io"

	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/imaged"
	images "henge/imaged/model"
	"henge/internal/errs"
)

// Images shows the image service to compute.
type Images struct{ *imaged.Service }

func (g Images) Describe(ctx context.Context, who *authn.Identity, id string) (neighbour.Image, error) {
	image, err := g.Image(ctx, who, id)
	if err != nil {
		return neighbour.Image{}, err
	}
	d := neighbour.Image{Image: model.Image{ID: image.ID, Format: image.DiskFormat, MinDiskGiB: int(image.MinDisk), MinRAMMiB: int(image.MinRAM), Properties: map[string]string{}},
		Status: string(image.Status), Container: image.ContainerFormat}
	if image.Name != nil {
		d.Name = *image.Name
	}
	if image.Data != nil {
		d.Bytes, d.Hash = image.Data.Size, image.Data.SHA512
	}
	for k, v := range image.Properties {
		if v != nil {
			d.Properties[k] = *v
		}
	}
	return d, nil
}

func (g Images) Open(ctx context.Context, who *authn.Identity, id string) (io.ReadCloser, error) {
	content, err := g.Service.Open(ctx, who, id)
	if err != nil {
		return nil, err
	}
	return content.Read(ctx, 0, content.Image.Data.Size)
}

func (g Images) Create(ctx context.Context, who *authn.Identity, n neighbour.NewImage) (string, error) {
	draft := images.Image{Name: &n.Name, DiskFormat: n.Format, ContainerFormat: "bare", MinDisk: int64(n.MinDiskGiB), MinRAM: int64(n.MinRAMMiB), Properties: map[string]*string{}}
	for k, v := range n.Properties {
		draft.Properties[k] = &v
	}
	image, err := g.Service.Create(ctx, who, draft)
	return image.ID, err
}

func (g Images) Upload(ctx context.Context, who *authn.Identity, id string, bytes io.Reader) error {
	_, err := g.Service.Upload(ctx, who, id, bytes, -1)
	return err
}

func (g Images) Delete(ctx context.Context, who *authn.Identity, id string) error {
	err := g.Service.Delete(ctx, who, id)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}
