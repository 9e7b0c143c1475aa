package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"henge/cluster/state"
	"henge/imaged/model"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/internal/openstack"
)

func (s *Server) metadefRoutes(bind binder) {
	const ns = "/metadefs/namespaces"
	bind(http.MethodGet, "/metadefs/resource_types", listResourceTypes)
	bind(http.MethodGet, ns, listNamespaces)
	bind(http.MethodPost, ns, createNamespace)
	bind(http.MethodGet, ns+"/{ns}", showNamespace)
	bind(http.MethodPut, ns+"/{ns}", updateNamespace)
	bind(http.MethodDelete, ns+"/{ns}", deleteNamespace)
	bind(http.MethodGet, ns+"/{ns}/resource_types", listAssociations)
	bind(http.MethodPost, ns+"/{ns}/resource_types", createAssociation)
	bind(http.MethodDelete, ns+"/{ns}/resource_types/{name}", deleteAssociation)
	for _, k := range []definitionKind{propertyKind, objectKind, tagKind} {
		bind(http.MethodGet, ns+"/{ns}/"+k.plural, k.list)
		bind(http.MethodPost, ns+"/{ns}/"+k.plural, k.create)
		bind(http.MethodDelete, ns+"/{ns}/"+k.plural, k.clear)
		bind(http.MethodGet, ns+"/{ns}/"+k.plural+"/{name}", k.show)
		bind(http.MethodPut, ns+"/{ns}/"+k.plural+"/{name}", k.update)
		bind(http.MethodDelete, ns+"/{ns}/"+k.plural+"/{name}", k.remove)
	}
	bind(http.MethodPost, ns+"/{ns}/tags/{name}", createTagByName)
}

// resourceTypes are the types that Glance knows from the start.
var resourceTypes = []string{"OS::Cinder::Volume", "OS::Glance::Image", "OS::Nova::Aggregate", "OS::Nova::Flavor", "OS::Nova::Server", "OS::Trove::Instance"}

// namespaceBytesMax bounds a namespace with all that is in it: it is one value of the state.
const namespaceBytesMax = 1 << 20

// namespaceID is a namespace's place in its table: its name may hold what an id must not.
func namespaceID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// namespace finds the namespace of the request.
func (c *call) namespace(r state.Reader) (model.Namespace, error) {
	name := c.path("ns")
	return model.FindNamespace(r, namespaceID(name), name, c.who)
}

// definer is for what only administrators may do, as in Glance's default policy.
func (c *call) definer() error {
	if model.Admin(c.who) {
		return nil
	}
	return errs.New(errs.Denied, "You are not authorized to change metadata definitions.")
}

// changeNamespace runs a change of the request's namespace. change may look at the old one, and changes a copy.
func (c *call) changeNamespace(change func(n *model.Namespace) error) (n model.Namespace, err error) {
	if err := c.definer(); err != nil {
		return n, err
	}
	err = c.update(func(w state.Writer) error {
		if n, err = c.namespace(w); err != nil {
			return err
		}
		if err := change(&n); err != nil {
			return err
		}
		n.Updated = c.Clock.Now().UTC()
		return c.putNamespace(w, n)
	})
	return n, err
}

func (c *call) putNamespace(w state.Writer, n model.Namespace) error {
	for what, entries := range map[string]int{"properties": len(n.Properties), "objects": len(n.Objects), "tags": len(n.Tags), "resource types": len(n.Associations)} {
		if entries > limits.MetadefEntriesMax {
			return errs.New(errs.TooLarge, "A namespace may have %d %s.", limits.MetadefEntriesMax, what)
		}
	}
	if raw, err := json.Marshal(n); err != nil || len(raw) > namespaceBytesMax {
		return errs.New(errs.TooLarge, "A namespace with all that is in it may have %d bytes.", namespaceBytesMax)
	}
	return model.Namespaces.Put(w, namespaceID(n.Name), n)
}

// bodyObject reads a JSON object.
func (c *call) bodyObject() (map[string]any, error) {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, errs.New(errs.Invalid, "The request body must be a JSON object.")
	}
	return fields, nil
}

// word takes a string out of a body; "" when it is absent or null.
func word(fields map[string]any, name string, charsMax int) (string, error) {
	value, ok := fields[name].(string)
	switch {
	case fields[name] == nil:
		return "", nil
	case !ok:
		return "", errs.New(errs.Invalid, "%s: %s is not of type 'string'", name, shown(fields[name]))
	case utf8.RuneCountInString(value) > charsMax:
		return "", errs.New(errs.Invalid, "%s: it is longer than %d characters", name, charsMax)
	}
	return value, nil
}

// named takes a name, which must be there.
func named(fields map[string]any, field string) (string, error) {
	name, err := word(fields, field, 80)
	if err == nil && (name == "" || strings.ContainsAny(name, "/\x00")) {
		err = errs.New(errs.Invalid, "'%s' is a required property: 1 to 80 characters without a slash.", field)
	}
	return name, err
}

func namespacePath(n string) string { return "/v2/metadefs/namespaces/" + n }

func associationDocuments(n model.Namespace) []document {
	list := []document{}
	for _, name := range slices.Sorted(maps.Keys(n.Associations)) {
		list = append(list, associationDocument(name, n.Associations[name]))
	}
	return list
}

func associationDocument(name string, a model.Association) document {
	d := document{"name": name, "created_at": stamp(a.Created), "updated_at": stamp(a.Updated)}
	if a.Prefix != "" {
		d["prefix"] = a.Prefix
	}
	if a.PropertiesTarget != "" {
		d["properties_target"] = a.PropertiesTarget
	}
	return d
}

func namespaceDocument(n model.Namespace) document {
	return document{"namespace": n.Name, "display_name": n.DisplayName, "description": n.Description, "visibility": n.Visibility, "protected": n.Protected, "owner": n.Owner,
		"created_at": stamp(n.Created), "updated_at": stamp(n.Updated), "self": namespacePath(n.Name), "schema": "/v2/schemas/metadefs/namespace",
		"resource_type_associations": associationDocuments(n)}
}

func listNamespaces(c *call) error {
	page, err := openstack.ParsePage(c.r.URL.Query())
	if err != nil {
		return err
	}
	var all []model.Namespace
	err = c.view(func(r state.Reader) error {
		for n, err := range model.Namespaces.All(r) {
			if err != nil {
				return err
			}
			if n.Seen(c.who) && c.wanted(n) {
				all = append(all, n)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b model.Namespace) int { return strings.Compare(a.Name, b.Name) })
	all, more := openstack.Cut(page, all, limits.ImagesPageMax, func(n model.Namespace) string { return n.Name })
	list := []document{}
	for _, n := range all {
		list = append(list, namespaceDocument(n))
	}
	answer := document{"namespaces": list, "first": "/v2/metadefs/namespaces" + firstQuery(c.r.URL.Query()), "schema": "/v2/schemas/metadefs/namespaces"}
	if more {
		answer["next"] = "/v2/metadefs/namespaces?" + page.Next(c.r.URL.Query(), all[len(all)-1].Name)
	}
	return c.json(http.StatusOK, answer)
}

// wanted applies the filters of a list: visibility, and resource_types with commas.
func (c *call) wanted(n model.Namespace) bool {
	query := c.r.URL.Query()
	if v := query.Get("visibility"); v != "" && v != string(n.Visibility) {
		return false
	}
	if types := query.Get("resource_types"); types != "" {
		return slices.ContainsFunc(strings.Split(types, ","), func(name string) bool { _, there := n.Associations[name]; return there })
	}
	return true
}

// fillNamespace takes a namespace's own attributes out of a body.
func (c *call) fillNamespace(n *model.Namespace, fields map[string]any) (err error) {
	if n.Name, err = named(fields, "namespace"); err != nil {
		return err
	}
	for field, into := range map[string]*string{"display_name": &n.DisplayName, "description": &n.Description} {
		if *into, err = word(fields, field, 500); err != nil {
			return err
		}
	}
	visibility, err := word(fields, "visibility", 80)
	if err != nil {
		return err
	}
	switch visibility {
	case "":
		n.Visibility = model.Private
	case string(model.Public), string(model.Private):
		n.Visibility = model.Visibility(visibility)
	default:
		return errs.New(errs.Invalid, "visibility: %s is not one of public, private", shown(visibility))
	}
	n.Protected = false
	if value, there := fields["protected"]; there {
		if err := setBool("protected", value, &n.Protected); err != nil {
			return err
		}
	}
	if n.Owner == "" {
		n.Owner = c.who.ProjectID
	}
	if fields["owner"] != nil {
		n.Owner, err = word(fields, "owner", 255)
	}
	return err
}

// fillContents takes the definitions that a body may bring along.
func (c *call) fillContents(n *model.Namespace, fields map[string]any, now time.Time) error {
	each := func(field string, take func(map[string]any) error) error {
		list, ok := fields[field].([]any)
		if fields[field] != nil && !ok {
			return errs.New(errs.Invalid, "%s: %s is not of type 'array'", field, shown(fields[field]))
		}
		for _, item := range list {
			entry, ok := item.(map[string]any)
			if !ok {
				return errs.New(errs.Invalid, "%s: %s is not of type 'object'", field, shown(item))
			}
			if err := take(entry); err != nil {
				return err
			}
		}
		return nil
	}
	if err := each("resource_type_associations", func(e map[string]any) error { _, err := associate(n, e, now); return err }); err != nil {
		return err
	}
	if err := each("objects", func(e map[string]any) error { _, err := objectKind.put(n, "", e, now); return err }); err != nil {
		return err
	}
	if err := each("tags", func(e map[string]any) error { _, err := tagKind.put(n, "", e, now); return err }); err != nil {
		return err
	}
	properties, _ := fields["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		entry, _ := properties[name].(map[string]any)
		if entry == nil {
			return errs.New(errs.Invalid, "properties: %s is not of type 'object'", shown(properties[name]))
		}
		entry["name"] = name
		if _, err := propertyKind.put(n, "", entry, now); err != nil {
			return err
		}
	}
	return nil
}

func createNamespace(c *call) error {
	if err := c.definer(); err != nil {
		return err
	}
	fields, err := c.bodyObject()
	if err != nil {
		return err
	}
	now := c.Clock.Now().UTC()
	n := model.Namespace{Created: now, Updated: now}
	if err := c.fillNamespace(&n, fields); err != nil {
		return err
	}
	if err := c.fillContents(&n, fields, now); err != nil {
		return err
	}
	err = c.update(func(w state.Writer) error {
		count := 0
		for other, err := range model.Namespaces.All(w) {
			if err != nil {
				return err
			}
			if count++; other.Name == n.Name {
				return errs.New(errs.Exists, "The metadata definition namespace=%s already exists.", n.Name)
			}
		}
		if count >= limits.MetadefNamespacesMax {
			return errs.New(errs.TooLarge, "There are %d namespaces already.", count)
		}
		return c.putNamespace(w, n)
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.PublicURL(c.r)+namespacePath(n.Name))
	return c.json(http.StatusCreated, namespaceDocument(n))
}

func showNamespace(c *call) error {
	var n model.Namespace
	err := c.view(func(r state.Reader) (err error) {
		n, err = c.namespace(r)
		return err
	})
	if err != nil {
		return err
	}
	d := namespaceDocument(n)
	for _, k := range []definitionKind{propertyKind, objectKind, tagKind} {
		if k.count(&n) > 0 {
			d[k.plural] = k.all(&n)
		}
	}
	return c.json(http.StatusOK, d)
}

// updateNamespace replaces a namespace's own attributes. Its name, which the definitions hang on, may change too.
func updateNamespace(c *call) error {
	fields, err := c.bodyObject()
	if err != nil {
		return err
	}
	if err := c.definer(); err != nil {
		return err
	}
	var n model.Namespace
	err = c.update(func(w state.Writer) error {
		if n, err = c.namespace(w); err != nil {
			return err
		}
		old := n.Name
		if err := c.fillNamespace(&n, fields); err != nil {
			return err
		}
		if n.Name != old {
			if _, there, err := model.Optional(model.Namespaces.Get(w, namespaceID(n.Name))); err != nil {
				return err
			} else if there {
				return errs.New(errs.Exists, "The metadata definition namespace=%s already exists.", n.Name)
			}
			if err := model.Namespaces.Delete(w, namespaceID(old)); err != nil {
				return err
			}
		}
		n.Updated = c.Clock.Now().UTC()
		return c.putNamespace(w, n)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, namespaceDocument(n))
}

func deleteNamespace(c *call) error {
	if err := c.definer(); err != nil {
		return err
	}
	err := c.update(func(w state.Writer) error {
		n, err := c.namespace(w)
		if err != nil {
			return err
		}
		if n.Protected {
			return errs.New(errs.Denied, "Metadata definition namespace %s is protected and cannot be deleted.", n.Name)
		}
		return model.Namespaces.Delete(w, namespaceID(n.Name))
	})
	if err != nil {
		return err
	}
	return c.none()
}

func listResourceTypes(c *call) error {
	names := map[string]bool{}
	for _, name := range resourceTypes {
		names[name] = true
	}
	err := c.view(func(r state.Reader) error {
		for n, err := range model.Namespaces.All(r) {
			if err != nil {
				return err
			}
			for name := range n.Associations {
				names[name] = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	list := []document{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		list = append(list, document{"name": name})
	}
	return c.json(http.StatusOK, document{"resource_types": list})
}

// associate adds an association that a body describes.
func associate(n *model.Namespace, fields map[string]any, now time.Time) (document, error) {
	name, err := named(fields, "name")
	if err != nil {
		return nil, err
	}
	a := model.Association{Created: now, Updated: now}
	if a.Prefix, err = word(fields, "prefix", 80); err != nil {
		return nil, err
	}
	if a.PropertiesTarget, err = word(fields, "properties_target", 80); err != nil {
		return nil, err
	}
	if _, there := n.Associations[name]; there {
		return nil, errs.New(errs.Exists, "The metadata definition resource-type association of resource-type=%s to namespace=%s already exists.", name, n.Name)
	}
	n.Associations = with(n.Associations, name, a)
	return associationDocument(name, a), nil
}

func listAssociations(c *call) error {
	var n model.Namespace
	err := c.view(func(r state.Reader) (err error) {
		n, err = c.namespace(r)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"resource_type_associations": associationDocuments(n)})
}

func createAssociation(c *call) error {
	fields, err := c.bodyObject()
	if err != nil {
		return err
	}
	var d document
	_, err = c.changeNamespace(func(n *model.Namespace) (err error) {
		d, err = associate(n, fields, c.Clock.Now().UTC())
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, d)
}

func deleteAssociation(c *call) error {
	name := c.path("name")
	_, err := c.changeNamespace(func(n *model.Namespace) error {
		if _, there := n.Associations[name]; !there {
			return errs.New(errs.NotFound, "The metadata definition resource-type association of resource-type=%s to namespace=%s was not found.", name, n.Name)
		}
		n.Associations = without(n.Associations, name)
		return nil
	})
	if err != nil {
		return err
	}
	return c.none()
}

// with and without change a copy: the old map may be a snapshot's.
func with[T any](old map[string]T, name string, value T) map[string]T {
	all := make(map[string]T, len(old)+1)
	maps.Copy(all, old)
	all[name] = value
	return all
}

func without[T any](old map[string]T, name string) map[string]T {
	all := maps.Clone(old)
	delete(all, name)
	return all
}
