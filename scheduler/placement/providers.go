package placement

import (
	"maps"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
)

// CreateProvider makes a provider without inventory, below a parent ("": a root). errs.Exists when name or UUID is taken.
func CreateProvider(w state.Writer, uuid, name, parent string) (Provider, error) {
	p := Provider{UUID: uuid, Name: name, Parent: parent, Root: uuid}
	if _, err := Providers.Get(w, uuid); err == nil {
		return p, Coded(errs.Exists, CodeDuplicateName, "Conflicting resource provider uuid: %s already exists.", uuid)
	}
	if parent != "" {
		above, err := Providers.Get(w, parent)
		if errs.Is(err, errs.NotFound) {
			return p, errs.New(errs.Invalid, "Unable to create resource provider %q, %s: parent provider UUID '%s' does not exist.", name, uuid, parent)
		} else if err != nil {
			return p, err
		}
		p.Root = above.Root
	}
	err := Providers.Put(w, uuid, p)
	if errs.Is(err, errs.Exists) {
		return p, Coded(errs.Exists, CodeDuplicateName, "Conflicting resource provider name: %s already exists.", name)
	}
	return p, err
}

// UpdateProvider renames a provider and, when it has no parent yet (or move says that it may have another), puts it below one.
func UpdateProvider(w state.Writer, uuid, name string, parent *string, move bool) (Provider, error) {
	p, err := FindProvider(w, uuid)
	if err != nil {
		return p, err
	}
	p.Name = name
	if parent != nil && *parent != p.Parent {
		if p.Parent != "" && !move {
			return p, errs.New(errs.Invalid, "Unable to save resource provider '%s': re-parenting a provider is not currently allowed.", uuid)
		}
		if err := reparent(w, &p, *parent); err != nil {
			return p, err
		}
	}
	err = Providers.Put(w, uuid, p)
	if errs.Is(err, errs.Exists) {
		return p, Coded(errs.Exists, CodeDuplicateName, "Conflicting resource provider name: %s already exists.", name)
	}
	return p, err
}

// reparent moves a provider with all that is below it into another tree.
func reparent(w state.Writer, p *Provider, parent string) error {
	tree, err := Tree(w, p.Root)
	if err != nil {
		return err
	}
	below := descendants(tree, p.UUID)
	root := p.UUID
	if parent != "" {
		above, err := Providers.Get(w, parent)
		switch {
		case errs.Is(err, errs.NotFound):
			return errs.New(errs.Invalid, "Unable to save resource provider '%s': parent provider UUID '%s' does not exist.", p.UUID, parent)
		case err != nil:
			return err
		case parent == p.UUID || slices.ContainsFunc(below, func(d Provider) bool { return d.UUID == parent }):
			return errs.New(errs.Invalid, "Unable to save resource provider '%s': creating loop in the provider tree is not allowed.", p.UUID)
		}
		root = above.Root
	}
	p.Parent, p.Root = parent, root
	for _, d := range below {
		d.Root = root
		if err := Providers.Put(w, d.UUID, d); err != nil {
			return err
		}
	}
	return nil
}

func descendants(tree []Provider, uuid string) (below []Provider) {
	for _, p := range tree {
		if p.Parent == uuid {
			below = append(append(below, p), descendants(tree, p.UUID)...)
		}
	}
	return below
}

// Tree gives all providers under a root, itself included.
func Tree(r state.Reader, root string) (all []Provider, err error) {
	for p, err := range Providers.Where(r, "root", root) {
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// FindProvider finds one; errs.NotFound in the API's words.
func FindProvider(r state.Reader, uuid string) (Provider, error) {
	p, err := Providers.Get(r, uuid)
	if errs.Is(err, errs.NotFound) {
		return p, Coded(errs.NotFound, CodeUndefined, "No resource provider with uuid %s found", uuid)
	}
	return p, err
}

// DeleteProvider removes a provider of which nobody has anything, and that has none below it.
func DeleteProvider(w state.Writer, uuid string) error {
	p, err := FindProvider(w, uuid)
	if err != nil {
		return err
	}
	tree, err := Tree(w, p.Root)
	if err != nil {
		return err
	}
	if len(descendants(tree, uuid)) > 0 {
		return Coded(errs.Conflict, CodeCannotDeleteParent, "Unable to delete parent resource provider %s: It has child resource providers.", uuid)
	}
	if len(p.Used) > 0 {
		return Coded(errs.Conflict, CodeProviderInUse, "Unable to delete resource provider %s: Resource provider has allocations.", uuid)
	}
	return Providers.Delete(w, uuid)
}

// Change alters a provider whose generation is still the one given (negative: whatever it is), and counts it up. errs.Conflict, placement.concurrent_update, when it is another.
func Change(w state.Writer, uuid string, generation int64, fn func(p *Provider) error) (Provider, error) {
	p, err := FindProvider(w, uuid)
	if err != nil {
		return p, err
	}
	if generation >= 0 && generation != p.Generation {
		return p, Coded(errs.Conflict, CodeConcurrentUpdate, "resource provider generation conflict: actual generation is %d and the one given is %d", p.Generation, generation)
	}
	if err := fn(&p); err != nil {
		return p, err
	}
	p.Generation++
	return p, Providers.Put(w, uuid, p)
}

// ReplaceInventories gives a provider other inventories. What is taken of cannot go.
func (p *Provider) ReplaceInventories(inventories map[string]Inventory) error {
	var gone []string
	for class := range p.Used {
		if _, ok := inventories[class]; !ok {
			gone = append(gone, class)
		}
	}
	if slices.Sort(gone); len(gone) > 0 {
		return Coded(errs.Conflict, CodeInventoryInUse, "Inventory for '%s' on resource provider '%s' in use.", gone[0], p.UUID)
	}
	p.Inventories = maps.Clone(inventories)
	return nil
}
