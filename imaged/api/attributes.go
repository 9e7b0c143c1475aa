package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"henge/identity/authn"
	"henge/imaged/model"
	"henge/internal/errs"
	"henge/internal/limits"
)

// The formats that an image can say it has.
var (
	diskFormats      = []string{"ami", "ari", "aki", "vhd", "vmdk", "raw", "qcow2", "vdi", "iso"}
	containerFormats = []string{"ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"}
	visibilities     = []string{"community", "public", "private", "shared"}
)

// readOnly are the attributes that only the service sets; reserved are those that nobody may.
var (
	readOnly = []string{"created_at", "updated_at", "status", "checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size", "self", "file", "schema", "direct_url",
		"stores", "id"}
	reserved = []string{"deleted", "deleted_at", "is_public", "location"}
)

// nullable are the properties that may be null, and hold the id of another image.
var nullable = []string{"kernel_id", "ramdisk_id"}

var uuidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// number decodes a document without turning whole numbers into floating ones.
func number(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("there is more after it")
	}
	return nil
}

// mismatch is a value that the schema does not allow.
func mismatch(name, format string, args ...any) error {
	return errs.New(errs.Invalid, "Provided object does not match schema 'image': %s: %s", name, fmt.Sprintf(format, args...))
}

// isCore tells whether an attribute is one that every image has.
func isCore(name string) bool {
	return slices.Contains([]string{"name", "visibility", "protected", "os_hidden", "disk_format", "container_format", "min_disk", "min_ram", "tags", "owner"}, name)
}

// settable tells whether clients may touch an attribute: errs.Denied if not.
func settable(name string) error {
	switch {
	case slices.Contains(readOnly, name):
		return errs.New(errs.Denied, "Attribute '%s' is read-only.", name)
	case slices.Contains(reserved, name) || strings.HasPrefix(name, "os_glance_"):
		return errs.New(errs.Denied, "Attribute '%s' is reserved.", name)
	case name == "locations":
		return errs.New(errs.Denied, "It's not allowed to add, replace or remove locations if locations are invisible.")
	case name == "" || utf8.RuneCountInString(name) > 255 || strings.ContainsRune(name, 0):
		return errs.New(errs.Invalid, "The name of a property has 1 to 255 characters.")
	}
	return nil
}

// setter changes an image on behalf of somebody.
type setter struct {
	who   *authn.Identity
	image *model.Image
}

// set gives an attribute a value, as decoded by number.
func (s setter) set(name string, value any) error {
	i := s.image
	switch name {
	case "name":
		return setText(name, value, true, func(v *string) { i.Name = v })
	case "owner":
		return s.setOwner(value)
	case "visibility":
		return s.setVisibility(value)
	case "protected":
		return setBool(name, value, &i.Protected)
	case "os_hidden":
		return setBool(name, value, &i.Hidden)
	case "min_disk":
		return setCount(name, value, &i.MinDisk)
	case "min_ram":
		return setCount(name, value, &i.MinRAM)
	case "disk_format":
		return s.setFormat(name, value, diskFormats, &i.DiskFormat)
	case "container_format":
		return s.setFormat(name, value, containerFormats, &i.ContainerFormat)
	case "tags":
		return setTags(value, &i.Tags)
	}
	return s.setProperty(name, value)
}

func setText(name string, value any, null bool, set func(*string)) error {
	if value == nil && null {
		set(nil)
		return nil
	}
	text, ok := value.(string)
	switch {
	case !ok:
		return mismatch(name, "%s is not of type 'string'", shown(value))
	case utf8.RuneCountInString(text) > limits.ImageNameCharsMax:
		return mismatch(name, "it is longer than %d characters", limits.ImageNameCharsMax)
	case strings.ContainsRune(text, 0):
		return mismatch(name, "it holds a NUL character")
	}
	set(&text)
	return nil
}

func (s setter) setOwner(value any) error {
	owner := ""
	if err := setText("owner", value, true, func(v *string) {
		if v != nil {
			owner = *v
		}
	}); err != nil {
		return err
	}
	if owner != s.image.Owner && !model.Admin(s.who) {
		return errs.New(errs.Denied, "You are not permitted to create images owned by '%s', or to change the owner of an image.", owner)
	}
	s.image.Owner = owner
	return nil
}

func (s setter) setVisibility(value any) error {
	text, _ := value.(string)
	if !slices.Contains(visibilities, text) {
		return mismatch("visibility", "%s is not one of %s", shown(value), strings.Join(visibilities, ", "))
	}
	if text == string(model.Public) && s.image.Visibility != model.Public && !model.Admin(s.who) {
		return errs.New(errs.Denied, "You are not authorized to complete publicize_image action.")
	}
	s.image.Visibility = model.Visibility(text)
	return nil
}

func setBool(name string, value any, into *bool) error {
	b, ok := value.(bool)
	if !ok {
		return mismatch(name, "%s is not of type 'boolean'", shown(value))
	}
	*into = b
	return nil
}

// countMax is the largest number that Glance's database holds.
const countMax = 1<<31 - 1

func setCount(name string, value any, into *int64) error {
	n, ok := value.(json.Number)
	if !ok {
		return mismatch(name, "%s is not of type 'integer'", shown(value))
	}
	i, err := n.Int64()
	switch {
	case err != nil:
		return mismatch(name, "%s is not of type 'integer'", shown(value))
	case i < 0:
		return mismatch(name, "%d is less than the minimum of 0", i)
	case i > countMax:
		return mismatch(name, "%d is more than the maximum of %d", i, countMax)
	}
	*into = i
	return nil
}

func (s setter) setFormat(name string, value any, formats []string, into *string) error {
	text, ok := value.(string)
	if value != nil && (!ok || !slices.Contains(formats, text)) {
		return errs.New(errs.Invalid, "Invalid value '%s' for parameter '%s': allowed values are %s.", strings.Trim(shown(value), `"`), name, strings.Join(formats, ", "))
	}
	if text != *into && s.image.Status != model.Queued && s.image.Status != "" {
		return errs.New(errs.Denied, "Attribute %s can be only replaced for a queued image.", name)
	}
	*into = text
	return nil
}

func setTags(value any, into *[]string) error {
	list, ok := value.([]any)
	if !ok {
		return mismatch("tags", "%s is not of type 'array'", shown(value))
	}
	tags := []string{}
	for _, v := range list {
		tag, ok := v.(string)
		if !ok {
			return mismatch("tags", "%s is not of type 'string'", shown(v))
		}
		if err := checkTag(tag); err != nil {
			return err
		}
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	if len(tags) > limits.ImageTagsMax {
		return tooMany("tags", len(tags), limits.ImageTagsMax)
	}
	*into = tags
	return nil
}

func checkTag(tag string) error {
	if utf8.RuneCountInString(tag) > limits.ImageNameCharsMax || strings.ContainsRune(tag, 0) || tag == "" {
		return errs.New(errs.Invalid, "A tag has 1 to %d characters.", limits.ImageNameCharsMax)
	}
	return nil
}

func tooMany(what string, n, most int) error {
	return errs.New(errs.TooLarge, "The limit has been exceeded on the number of allowed image %s. Attempted: %d, Maximum: %d.", what, n, most)
}

func (s setter) setProperty(name string, value any) error {
	if err := settable(name); err != nil {
		return err
	}
	linked := slices.Contains(nullable, name)
	text, ok := value.(string)
	switch {
	case value == nil && linked:
		s.put(name, nil)
		return s.bounded()
	case !ok:
		return mismatch(name, "%s is not of type 'string'", shown(value))
	case linked && !uuidPattern.MatchString(text):
		return mismatch(name, "%s is not the id of an image", shown(value))
	case len(text) > limits.ImagePropertyBytes:
		return mismatch(name, "its value is longer than %d bytes", limits.ImagePropertyBytes)
	}
	s.put(name, &text)
	return s.bounded()
}

// put changes a copy: the old map may be a snapshot's.
func (s setter) put(name string, value *string) {
	properties := make(map[string]*string, len(s.image.Properties)+1)
	for k, v := range s.image.Properties {
		properties[k] = v
	}
	properties[name] = value
	s.image.Properties = properties
}

func (s setter) bounded() error {
	if n := len(s.image.Properties); n > limits.ImagePropertiesMax {
		return tooMany("properties", n, limits.ImagePropertiesMax)
	}
	return nil
}

// shown quotes what the client sent in a message, but not a megabyte of it.
func shown(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		return "it"
	}
	if len(raw) > 80 {
		return strings.ToValidUTF8(string(raw[:80]), "?") + "..."
	}
	return string(raw)
}
