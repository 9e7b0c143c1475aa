package api

import (
	"time"

	"henge/imaged/model"
)

// document is a resource as the API shows it.
type document = map[string]any

// stamp is a time as Glance writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// orNull is null for "".
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// imageDocument is an image as clients see it: its own properties beside what every image has.
func imageDocument(i model.Image) document {
	d := document{}
	for name, value := range i.Properties {
		d[name] = value
	}
	self := "/v2/images/" + i.ID
	tags := i.Tags
	if tags == nil {
		tags = []string{}
	}
	for name, value := range (document{
		"id": i.ID, "name": i.Name, "owner": orNull(i.Owner), "status": i.Status, "visibility": i.Visibility, "protected": i.Protected, "os_hidden": i.Hidden,
		"disk_format": orNull(i.DiskFormat), "container_format": orNull(i.ContainerFormat), "min_disk": i.MinDisk, "min_ram": i.MinRAM, "tags": tags,
		"created_at": stamp(i.Created), "updated_at": stamp(i.Updated), "self": self, "file": self + "/file", "schema": "/v2/schemas/image",
		"size": nil, "virtual_size": nil, "checksum": nil, "os_hash_algo": nil, "os_hash_value": nil,
	}) {
		d[name] = value
	}
	if i.HasData() {
		d["size"], d["virtual_size"] = i.Data.Size, i.Data.VirtualSize
		d["checksum"], d["os_hash_algo"], d["os_hash_value"] = i.Data.MD5, "sha512", i.Data.SHA512
	}
	if i.Failure != "" {
		d["os_glance_failed_import"] = store
		d["os_glance_failure"] = i.Failure
	}
	if i.Status == model.Importing {
		d["os_glance_importing_to_stores"] = store
	}
	return d
}

// store is the name of the one place where images lie.
const store = "henge"
