package main

import (
	"context"
	"io"

	"henge/identity/authn"
	"henge/imaged"
	imagemodel "henge/imaged/model"
	"henge/volumed/images"
)

// volumeImages shows the image service to the volumes.
type volumeImages struct{ *imaged.Service }

var _ images.Service = volumeImages{}

// Describe implements images.Service.
func (s volumeImages) Describe(ctx context.Context, who *authn.Identity, id string) (images.Image, error) {
	i, err := s.Image(ctx, who, id)
	if err != nil {
		return images.Image{}, err
	}
	return describeImage(i), nil
}

func describeImage(i imaged.Image) images.Image {
	d := images.Image{ID: i.ID, Status: string(i.Status), Owner: i.Owner, Visibility: string(i.Visibility), DiskFormat: i.DiskFormat, ContainerFormat: i.ContainerFormat,
		MinDisk: i.MinDisk, MinRAM: i.MinRAM, Protected: i.Protected, Properties: map[string]string{}}
	if i.Name != nil {
		d.Name = *i.Name
	}
	if i.Data != nil {
		d.Size, d.VirtualSize, d.Checksum = i.Data.Size, i.Data.VirtualSize, i.Data.MD5
	}
	for name, value := range i.Properties {
		if value != nil {
			d.Properties[name] = *value
		}
	}
	return d
}

// Open implements images.Service.
func (s volumeImages) Open(ctx context.Context, who *authn.Identity, id string) (io.ReadCloser, error) {
	i, err := s.Image(ctx, who, id)
	if err != nil {
		return nil, err
	}
	content, err := s.Service.Open(ctx, who, id)
	if err != nil {
		return nil, err
	}
	size := int64(0)
	if i.Data != nil {
		size = i.Data.Size
	}
	return content.Read(ctx, 0, size)
}

// Create implements images.Service.
func (s volumeImages) Create(ctx context.Context, who *authn.Identity, draft images.Image) (images.Image, error) {
	i := imaged.Image{Name: &draft.Name, DiskFormat: draft.DiskFormat, ContainerFormat: draft.ContainerFormat, MinDisk: draft.MinDisk, MinRAM: draft.MinRAM,
		Visibility: imagemodel.Visibility(draft.Visibility), Protected: draft.Protected, Properties: map[string]*string{}}
	for name, value := range draft.Properties {
		i.Properties[name] = &value
	}
	made, err := s.Service.Create(ctx, who, i)
	return describeImage(made), err
}

// Upload implements images.Service.
func (s volumeImages) Upload(ctx context.Context, who *authn.Identity, id string, body io.Reader, size int64) error {
	_, err := s.Service.Upload(ctx, who, id, body, size)
	return err
}
