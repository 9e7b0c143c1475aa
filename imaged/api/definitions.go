package api

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"henge/cluster/state"
	"henge/imaged/model"
	"henge/internal/errs"
)

// definitionKind is one of the kinds of definitions in a namespace: the same calls for each of them.
type definitionKind struct {
	plural, label string
	names         func(n *model.Namespace) []string
	document      func(n *model.Namespace, name string) document
	// set puts one that a body describes; old is the one of that name, or none.
	set  func(n *model.Namespace, name string, fields map[string]any, now time.Time) error
	drop func(n *model.Namespace, name string)
}

var propertyKind = definitionKind{
	plural: "properties", label: "property",
	names: func(n *model.Namespace) []string { return slices.Sorted(maps.Keys(n.Properties)) },
	document: func(n *model.Namespace, name string) document {
		d := document(maps.Clone(n.Properties[name]))
		d["name"] = name
		return d
	},
	set: func(n *model.Namespace, name string, fields map[string]any, _ time.Time) error {
		for _, field := range []string{"title", "type"} {
			if text, err := word(fields, field, 500); err != nil || text == "" {
				return errs.New(errs.Invalid, "'%s' is a required property", field)
			}
		}
		kept := maps.Clone(fields)
		delete(kept, "name")
		n.Properties = with(n.Properties, name, kept)
		return nil
	},
	drop: func(n *model.Namespace, name string) { n.Properties = without(n.Properties, name) },
}

var objectKind = definitionKind{
	plural: "objects", label: "object",
	names: func(n *model.Namespace) []string { return slices.Sorted(maps.Keys(n.Objects)) },
	document: func(n *model.Namespace, name string) document {
		o := n.Objects[name]
		required, properties := o.Required, o.Properties
		if required == nil {
			required = []string{}
		}
		if properties == nil {
			properties = map[string]any{}
		}
		return document{"name": name, "description": o.Description, "required": required, "properties": properties, "created_at": stamp(o.Created), "updated_at": stamp(o.Updated),
			"self": namespacePath(n.Name) + "/objects/" + name, "schema": "/v2/schemas/metadefs/object"}
	},
	set: func(n *model.Namespace, name string, fields map[string]any, now time.Time) (err error) {
		o := model.Definition{Created: now, Updated: now}
		if old, there := n.Objects[name]; there {
			o.Created = old.Created
		}
		if o.Description, err = word(fields, "description", 10_000); err != nil {
			return err
		}
		list, ok := fields["required"].([]any)
		if fields["required"] != nil && !ok {
			return errs.New(errs.Invalid, "required: %s is not of type 'array'", shown(fields["required"]))
		}
		for _, v := range list {
			text, ok := v.(string)
			if !ok {
				return errs.New(errs.Invalid, "required: %s is not of type 'string'", shown(v))
			}
			o.Required = append(o.Required, text)
		}
		if o.Properties, ok = fields["properties"].(map[string]any); fields["properties"] != nil && !ok {
			return errs.New(errs.Invalid, "properties: %s is not of type 'object'", shown(fields["properties"]))
		}
		n.Objects = with(n.Objects, name, o)
		return nil
	},
	drop: func(n *model.Namespace, name string) { n.Objects = without(n.Objects, name) },
}

var tagKind = definitionKind{
	plural: "tags", label: "tag",
	names: func(n *model.Namespace) []string { return slices.Sorted(maps.Keys(n.Tags)) },
	document: func(n *model.Namespace, name string) document {
		return document{"name": name, "created_at": stamp(n.Tags[name].Created), "updated_at": stamp(n.Tags[name].Updated)}
	},
	set: func(n *model.Namespace, name string, _ map[string]any, now time.Time) error {
		d := model.Definition{Created: now, Updated: now}
		if old, there := n.Tags[name]; there {
			d.Created = old.Created
		}
		n.Tags = with(n.Tags, name, d)
		return nil
	},
	drop: func(n *model.Namespace, name string) { n.Tags = without(n.Tags, name) },
}

func (k definitionKind) count(n *model.Namespace) int { return len(k.names(n)) }

// all are the definitions as their lists show them: properties by name, the others in a list.
func (k definitionKind) all(n *model.Namespace) any {
	list, byName := []document{}, document{}
	for _, name := range k.names(n) {
		list = append(list, k.document(n, name))
		byName[name] = k.document(n, name)
	}
	if k.plural == "properties" {
		return byName
	}
	return list
}

func (k definitionKind) missing(n *model.Namespace, name string) error {
	return errs.New(errs.NotFound, "Metadata definition %s=%s was not found in namespace=%s.", k.label, name, n.Name)
}

// put takes one out of a body. old is the name that it had, "" if it is new; a new name must be free.
func (k definitionKind) put(n *model.Namespace, old string, fields map[string]any, now time.Time) (document, error) {
	name, err := named(fields, "name")
	if err != nil {
		return nil, err
	}
	if old != "" && !slices.Contains(k.names(n), old) {
		return nil, k.missing(n, old)
	}
	if name != old && slices.Contains(k.names(n), name) {
		return nil, errs.New(errs.Exists, "A metadata definition %s with name=%s already exists in namespace=%s.", k.label, name, n.Name)
	}
	if err := k.set(n, name, fields, now); err != nil {
		return nil, err
	}
	if old != "" && old != name {
		k.drop(n, old)
	}
	return k.document(n, name), nil
}

func (k definitionKind) list(c *call) error {
	var n model.Namespace
	err := c.view(func(r state.Reader) (err error) {
		n, err = c.namespace(r)
		return err
	})
	if err != nil {
		return err
	}
	answer := document{k.plural: k.all(&n)}
	if k.plural != "properties" {
		answer["first"], answer["schema"] = namespacePath(n.Name)+"/"+k.plural, "/v2/schemas/metadefs/"+k.plural
	}
	return c.json(http.StatusOK, answer)
}

// create makes one; of tags, which are made together, all of a list in place of those that there are.
func (k definitionKind) create(c *call) error {
	fields, err := c.bodyObject()
	if err != nil {
		return err
	}
	if k.plural == "tags" {
		return createTags(c, fields)
	}
	var d document
	_, err = c.changeNamespace(func(n *model.Namespace) (err error) {
		d, err = k.put(n, "", fields, c.Clock.Now().UTC())
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, d)
}

func createTags(c *call, fields map[string]any) error {
	if _, ok := fields["tags"].([]any); !ok {
		return errs.New(errs.Invalid, "Expected tags in the form: {\"tags\": [{\"name\": \"...\"}]}")
	}
	n, err := c.changeNamespace(func(n *model.Namespace) error {
		n.Tags = nil
		return c.fillContents(n, map[string]any{"tags": fields["tags"]}, c.Clock.Now().UTC())
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, document{"tags": tagKind.all(&n)})
}

func createTagByName(c *call) error {
	var d document
	_, err := c.changeNamespace(func(n *model.Namespace) (err error) {
		d, err = tagKind.put(n, "", map[string]any{"name": c.path("name")}, c.Clock.Now().UTC())
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, d)
}

func (k definitionKind) show(c *call) error {
	var d document
	err := c.view(func(r state.Reader) error {
		n, err := c.namespace(r)
		if err != nil {
			return err
		}
		name := c.path("name")
		if !slices.Contains(k.names(&n), name) {
			return k.missing(&n, name)
		}
		d = k.document(&n, name)
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, d)
}

func (k definitionKind) update(c *call) error {
	fields, err := c.bodyObject()
	if err != nil {
		return err
	}
	var d document
	_, err = c.changeNamespace(func(n *model.Namespace) (err error) {
		d, err = k.put(n, c.path("name"), fields, c.Clock.Now().UTC())
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, d)
}

func (k definitionKind) remove(c *call) error {
	name := c.path("name")
	_, err := c.changeNamespace(func(n *model.Namespace) error {
		if !slices.Contains(k.names(n), name) {
			return k.missing(n, name)
		}
		k.drop(n, name)
		return nil
	})
	if err != nil {
		return err
	}
	return c.none()
}

// clear removes all of a namespace's definitions of the kind.
func (k definitionKind) clear(c *call) error {
	_, err := c.changeNamespace(func(n *model.Namespace) error {
		for _, name := range k.names(n) {
			k.drop(n, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.none()
}
