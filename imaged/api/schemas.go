package api

import (
	"net/http"

	"henge/internal/errs"
)

// text is the schema of a string; readOnly attributes are the service's.
func text(description string) document {
	return document{"type": "string", "description": description, "maxLength": 255}
}

func textOrNull(description string) document {
	d := text(description)
	d["type"] = []string{"null", "string"}
	return d
}

func oneOf(description string, values []string) document {
	return document{"type": "string", "description": description, "enum": values}
}

// oneOfOrNull lets an attribute be unset.
func oneOfOrNull(description string, values []string) document {
	all := []any{nil}
	for _, v := range values {
		all = append(all, v)
	}
	return document{"type": []string{"null", "string"}, "description": description, "enum": all}
}

func kind(name, description string) document {
	return document{"type": name, "description": description}
}

func count(description string) document {
	return document{"type": "integer", "description": description, "minimum": 0, "maximum": countMax}
}

// fixed marks an attribute as the service's.
func fixed(d document) document {
	d["readOnly"] = true
	return d
}

const uuidSchema = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"

func id(description string) document {
	return document{"type": "string", "description": description, "pattern": uuidSchema}
}

func idOrNull(description string) document {
	d := id(description)
	d["type"] = []string{"null", "string"}
	return d
}

func imageSchema() document {
	unset := func(name, description string) document { return fixed(kindOrNull(name, description)) }
	loose := func(description string) document {
		return document{"type": "string", "description": description, "is_base": false}
	}
	linked := func(description string) document {
		d := idOrNull(description)
		d["is_base"] = false
		return d
	}
	return document{"name": "image", "links": imageLinks, "additionalProperties": document{"type": "string"}, "properties": document{
		"id": id("An identifier for the image"), "name": textOrNull("Descriptive name for the image"),
		"status":     fixed(oneOf("Status of the image", []string{"queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated"})),
		"visibility": oneOf("Scope of image accessibility", visibilities),
		"protected":  kind("boolean", "If true, image will not be deletable."), "os_hidden": kind("boolean", "If true, image will not appear in default image list response."),
		"checksum":      unset("string", "md5 hash of image contents."),
		"os_hash_algo":  unset("string", "Algorithm to calculate the os_hash_value"),
		"os_hash_value": unset("string", "Hexdigest of the image contents using the algorithm specified by the os_hash_algo"),
		"owner":         textOrNull("Owner of the image"),
		"size":          unset("integer", "Size of image file in bytes"), "virtual_size": unset("integer", "Virtual size of image in bytes"),
		"container_format": oneOfOrNull("Format of the container", containerFormats), "disk_format": oneOfOrNull("Format of the disk", diskFormats),
		"created_at": fixed(text("Date and time of image registration")), "updated_at": fixed(text("Date and time of the last image modification")),
		"tags":    document{"type": "array", "description": "List of strings related to the image", "items": document{"type": "string", "maxLength": 255}},
		"min_ram": count("Amount of ram (in MB) required to boot image."), "min_disk": count("Amount of disk space (in GB) required to boot image."),
		"self": fixed(text("An image self url")), "file": fixed(text("An image file url")), "schema": fixed(text("An image schema url")),
		"kernel_id":     linked("ID of image stored in Glance that should be used as the kernel when booting an AMI-style image."),
		"ramdisk_id":    linked("ID of image stored in Glance that should be used as the ramdisk when booting an AMI-style image."),
		"instance_uuid": loose("Metadata which can be used to record which instance this image is associated with. (Informational only, does not create an instance snapshot.)"),
		"architecture":  loose("Operating system architecture as specified in https://docs.openstack.org/python-glanceclient/latest/cli/property-keys.html"),
		"os_distro":     loose("Common name of operating system distribution as specified in https://docs.openstack.org/python-glanceclient/latest/cli/property-keys.html"),
		"os_version":    loose("Operating system version as specified by the distributor."),
		"description":   loose("A human-readable string describing this image."),
	}}
}

func kindOrNull(name, description string) document {
	return document{"type": []string{"null", name}, "description": description}
}

var imageLinks = []document{{"rel": "self", "href": "{self}"}, {"rel": "enclosure", "href": "{file}"}, {"rel": "describedby", "href": "{schema}"}}

func memberSchema() document {
	return document{"name": "member", "properties": document{
		"member_id": text("An identifier for the image member (tenantId)"), "image_id": id("An identifier for the image"),
		"created_at": text("Date and time of image member creation"), "updated_at": text("Date and time of last modification of image member"),
		"status": oneOf("The status of this image member", memberStatuses), "schema": fixed(text("The schema of a member"))}}
}

func taskSchema() document {
	return document{"name": "task", "properties": document{
		"id": id("An identifier for the task"), "type": oneOf("The type of task represented by this content", []string{"api_image_import"}),
		"status": oneOf("The current status of this task", []string{"pending", "processing", "success", "failure"}),
		"input":  kindOrNull("object", "The parameters required by task, JSON blob"), "result": kindOrNull("object", "The result of current task, JSON blob"),
		"owner": text("An identifier for the owner of this task"), "message": text("Human-readable informative message only included when appropriate (usually on failure)"),
		"image_id": text("Image associated with the task"), "request_id": text("Human-readable informative request-id"), "user_id": text("User associated with the task"),
		"expires_at": textOrNull("Datetime when this resource would be subject to removal"), "created_at": text("Datetime when this resource was created"),
		"updated_at": text("Datetime when this resource was updated"), "self": fixed(text("A task self url")), "schema": fixed(text("A task schema url"))}}
}

// collection is the schema of a page of something.
func collection(name string, item document) document {
	return document{"name": name, "properties": document{
		name: document{"type": "array", "items": item}, "first": kind("string", "The first page"), "next": kind("string", "The next page"), "schema": kind("string", "The schema")},
		"links": []document{{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, {"rel": "describedby", "href": "{schema}"}}}
}

func showSchema(c *call) error {
	schemas := map[string]func() document{
		"image": imageSchema, "images": func() document { return collection("images", imageSchema()) },
		"member": memberSchema, "members": func() document {
			return document{"name": "members", "properties": document{"members": document{"type": "array", "items": memberSchema()}, "schema": kind("string", "The schema")},
				"links": []document{{"rel": "describedby", "href": "{schema}"}}}
		},
		"task": taskSchema, "tasks": func() document { return collection("tasks", taskSchema()) },
	}
	make := schemas[c.path("name")]
	if make == nil {
		return errs.New(errs.NotFound, "There is no schema %.60q.", c.path("name"))
	}
	return c.json(http.StatusOK, make())
}
