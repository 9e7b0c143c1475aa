package api

import (
	"net/http"
	"strings"

	"henge/cluster/state"
	"henge/imaged/model"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/internal/openstack"
)

// The media types of a patch: RFC 6902's form, and the older draft's.
const (
	patchV21 = "application/openstack-images-v2.1-json-patch"
	patchV20 = "application/openstack-images-v2.0-json-patch"
)

// change is one step of a patch.
type change struct {
	op    string // add, replace, remove
	name  string // of the attribute
	value any
	old   bool // in the older form, where add means that there was none
}

func patchImage(c *call) error {
	kind := mediaType(c.r.Header.Get("Content-Type"))
	if kind != patchV20 && kind != patchV21 {
		c.w.Header().Set("Accept-Patch", patchV21+", "+patchV20)
		c.faultStatus(http.StatusUnsupportedMediaType, "A patch is of the type "+patchV21+" or "+patchV20+".")
		return nil
	}
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	changes, err := parsePatch(raw, kind == patchV20)
	if err != nil {
		return err
	}
	var image model.Image
	err = c.update(func(w state.Writer) (err error) {
		if image, err = model.FindOwn(w, c.path("image"), c.who); err != nil {
			return err
		}
		for _, step := range changes {
			if err := step.apply(setter{c.who, &image}); err != nil {
				return err
			}
		}
		if len(changes) > 0 {
			image.Updated = c.Clock.Now().UTC()
		}
		return model.Images.Put(w, image.ID, image)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, imageDocument(image))
}

// parsePatch reads a patch in either form: errs.Invalid, or errs.Denied for attributes that are not the client's.
func parsePatch(raw []byte, old bool) ([]change, error) {
	var steps []map[string]any
	if err := number(raw, &steps); err != nil || steps == nil {
		return nil, errs.New(errs.Invalid, "Request body must be a JSON array of operation objects.")
	}
	if len(steps) > 2*(limits.ImagePropertiesMax+limits.ImageTagsMax) {
		return nil, errs.New(errs.Invalid, "The patch has %d operations; that is more than an image has attributes.", len(steps))
	}
	var changes []change
	for _, step := range steps {
		parse := parseStep
		if old {
			parse = parseOldStep
		}
		c, err := parse(step)
		if err != nil {
			return nil, err
		}
		if err := settable(c.name); err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// parseStep reads {"op": "replace", "path": "/name", "value": ...}.
func parseStep(step map[string]any) (change, error) {
	if step == nil {
		return change{}, errs.New(errs.Invalid, "Operations must be JSON objects.")
	}
	op, _ := step["op"].(string)
	path, ok := step["path"].(string)
	if !ok {
		return change{}, errs.New(errs.Invalid, "Unable to find 'path' in JSON Schema change")
	}
	return makeChange(op, path, step, false)
}

// parseOldStep reads {"replace": "/name", "value": ...}.
func parseOldStep(step map[string]any) (change, error) {
	for _, op := range []string{"add", "replace", "remove"} {
		if path, ok := step[op].(string); ok {
			return makeChange(op, path, step, true)
		}
	}
	return change{}, errs.New(errs.Invalid, "Operation objects must contain exactly one member named \"add\", \"remove\" or \"replace\", with a path.")
}

func makeChange(op, path string, step map[string]any, old bool) (change, error) {
	if op != "add" && op != "replace" && op != "remove" {
		return change{}, errs.New(errs.Invalid, "Operations must be \"add\", \"remove\" or \"replace\", not %.40q.", op)
	}
	name, err := parsePointer(path)
	if err != nil {
		return change{}, err
	}
	value, there := step["value"]
	if op != "remove" && !there {
		return change{}, errs.New(errs.Invalid, "Operation \"%s\" requires a member named \"value\".", op)
	}
	return change{op: op, name: name, value: value, old: old}, nil
}

// parsePointer reads a JSON pointer (RFC 6901) to an attribute; only locations have anything below them.
func parsePointer(path string) (string, error) {
	invalid := errs.New(errs.Invalid, "Invalid JSON pointer for this resource: %.100q", path)
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return "", errs.New(errs.Invalid, "Pointer %.100q does not start with \"/\".", path)
	}
	name, below, deeper := strings.Cut(rest, "/")
	if name == "" || deeper && (name != "locations" || strings.Contains(below, "/")) {
		return "", invalid
	}
	for i := 0; i < len(name); i++ {
		if name[i] == '~' && (i+1 == len(name) || name[i+1] != '0' && name[i+1] != '1') {
			return "", errs.New(errs.Invalid, "Pointer %.100q contains \"~\" not part of a recognized escape sequence.", path)
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~"), nil
}

// apply makes the change.
func (c change) apply(s setter) error {
	_, there := s.image.Properties[c.name]
	core := isCore(c.name)
	switch c.op {
	case "remove":
		if core {
			return errs.New(errs.Denied, "Property %s may not be removed.", c.name)
		}
		if !there {
			return errs.New(errs.Conflict, "Property %s does not exist.", c.name)
		}
		s.drop(c.name)
		return nil
	case "replace":
		if !core && !there {
			return errs.New(errs.Conflict, "Property %s does not exist.", c.name)
		}
	case "add":
		if c.old && (core || there) {
			return errs.New(errs.Conflict, "Property %s already present.", c.name)
		}
	}
	return s.set(c.name, c.value)
}

// drop removes a property, from a copy of the map.
func (s setter) drop(name string) {
	properties := make(map[string]*string, len(s.image.Properties))
	for k, v := range s.image.Properties {
		if k != name {
			properties[k] = v
		}
	}
	s.image.Properties = properties
}
