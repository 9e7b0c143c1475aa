package placement

import (
	"errors"
	"maps"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
)

// Codes of errors, as the Placement API names them.
const (
	CodeUndefined          = "placement.undefined_code"
	CodeConcurrentUpdate   = "placement.concurrent_update"
	CodeInventoryInUse     = "placement.inventory.inuse"
	CodeDuplicateName      = "placement.duplicate_name"
	CodeProviderInUse      = "placement.resource_provider.inuse"
	CodeProviderNotFound   = "placement.resource_provider.not_found"
	CodeCannotDeleteParent = "placement.resource_provider.cannot_delete_parent"
	CodeBadQuery           = "placement.query.bad_value"
	CodeDuplicateQueryKey  = "placement.query.duplicate_key"
	CodeMissingQueryValue  = "placement.query.missing_value"
)

// CodedError is an error with the API's name for it.
type CodedError struct {
	Code string
	err  error
}

func (e *CodedError) Error() string { return e.err.Error() }
func (e *CodedError) Unwrap() error { return e.err }

// Coded makes an error of a kind with a code.
func Coded(kind errs.Kind, code, format string, args ...any) error {
	return &CodedError{code, errs.New(kind, format, args...)}
}

// CodeOf is the code of an error.
func CodeOf(err error) string {
	var coded *CodedError
	if errors.As(err, &coded) {
		return coded.Code
	}
	return CodeUndefined
}

// Claim gives a consumer what it asks for in place of what it has: all of it, or nothing. An empty request takes the consumer away. errs.Conflict when a provider
// has not enough left, errs.Invalid when it has none of the class or does not give such an amount. The consumer's generation grows; the providers' too.
func Claim(w state.Writer, want Consumer) error {
	old, err := Consumers.Get(w, want.ID)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	there := err == nil
	if !there && len(want.Allocations) == 0 {
		return nil
	}
	touched := slices.Sorted(maps.Keys(want.Allocations))
	for id := range old.Allocations {
		if !slices.Contains(touched, id) {
			touched = append(touched, id)
		}
	}
	for _, id := range touched {
		if err := move(w, id, want.ID, old.Allocations[id], want.Allocations[id]); err != nil {
			return err
		}
	}
	if len(want.Allocations) == 0 {
		return Consumers.Delete(w, want.ID)
	}
	if there {
		want.Generation = old.Generation + 1
	} else {
		want.Generation = 1
	}
	return Consumers.Put(w, want.ID, want)
}

// Release takes away what a consumer has. Nothing claimed is no error.
func Release(w state.Writer, consumerID string) error { return Claim(w, Consumer{ID: consumerID}) }

// move changes what one consumer has of one provider.
func move(w state.Writer, providerID, consumerID string, had, want map[string]int64) error {
	p, err := Providers.Get(w, providerID)
	if errs.Is(err, errs.NotFound) {
		if len(want) == 0 {
			return nil
		}
		return errs.New(errs.Invalid, "Allocation for resource provider '%s' that does not exist.", providerID)
	}
	if err != nil {
		return err
	}
	used := maps.Clone(p.Used)
	if used == nil {
		used = map[string]int64{}
	}
	for class, amount := range had {
		if used[class] -= amount; used[class] <= 0 {
			delete(used, class)
		}
	}
	for class, amount := range want {
		if err := p.fits(class, amount, used[class]); err != nil {
			return err
		}
		used[class] += amount
	}
	p.Used = used
	p.Generation++
	if err := Providers.Put(w, p.UUID, p); err != nil {
		return err
	}
	return hold(w, providerID, consumerID, len(want) > 0)
}

func hold(w state.Writer, providerID, consumerID string, held bool) error {
	id := providerID + "." + consumerID
	if held {
		return Holdings.Put(w, id, Holding{providerID, consumerID})
	}
	if err := Holdings.Delete(w, id); err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	return nil
}

// fits says why the provider cannot give an amount beside what is used, or nil.
func (p *Provider) fits(class string, amount, used int64) error {
	inventory, ok := p.Inventories[class]
	switch {
	case !ok:
		return errs.New(errs.Conflict, "Unable to allocate inventory: Inventory for '%s' on resource provider '%s' invalid.", class, p.UUID)
	case !inventory.Takes(amount):
		return errs.New(errs.Conflict, "Unable to allocate inventory: Unable to create allocation for '%s' on resource provider '%s'. "+
			"The requested amount would violate inventory constraints.", class, p.UUID)
	case used+amount > inventory.Capacity():
		return errs.New(errs.Conflict, "Unable to allocate inventory: Unable to create allocation for '%s' on resource provider '%s'. "+
			"The requested amount would exceed the capacity.", class, p.UUID)
	}
	return nil
}

// Has tells whether the provider could give an amount of a class now.
func (p *Provider) Has(class string, amount int64) bool {
	return p.fits(class, amount, p.Used[class]) == nil
}

// SetInventory makes the provider (under its name, if there is none yet) have exactly these inventories and traits. It writes nothing when that is so already. An inventory may shrink below
// what is taken: no more is given then.
func SetInventory(w state.Writer, uuid, name string, inventories map[string]Inventory, traits []string) error {
	p, err := Providers.Get(w, uuid)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	traits = slices.Sorted(slices.Values(traits))
	if err == nil && p.Name == name && maps.Equal(p.Inventories, inventories) && slices.Equal(p.Traits, traits) {
		return nil
	}
	p.UUID, p.Name, p.Root, p.Inventories, p.Traits = uuid, name, uuid, inventories, traits
	p.Generation++
	return Providers.Put(w, uuid, p)
}

// ProvidersOf are the providers of which a consumer has something.
func ProvidersOf(r state.Reader, consumerID string) ([]string, error) {
	c, err := Consumers.Get(r, consumerID)
	if errs.Is(err, errs.NotFound) {
		return nil, nil
	}
	return slices.Sorted(maps.Keys(c.Allocations)), err
}
