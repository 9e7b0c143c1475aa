package api

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/scheduler/placement"
)

// unitMax is the largest number of anything.
const unitMax = math.MaxInt32

// inventoryBody is an inventory as clients send it; what they leave out has the API's default.
type inventoryBody struct {
	Class      string   `json:"resource_class,omitempty"`
	Generation *int64   `json:"resource_provider_generation,omitempty"`
	Total      *int64   `json:"total"`
	Reserved   *int64   `json:"reserved"`
	MinUnit    *int64   `json:"min_unit"`
	MaxUnit    *int64   `json:"max_unit"`
	StepSize   *int64   `json:"step_size"`
	Ratio      *float64 `json:"allocation_ratio"`
}

func (b *inventoryBody) inventory(minor int, class, provider string) (placement.Inventory, error) {
	i := placement.Inventory{MinUnit: 1, MaxUnit: unitMax, StepSize: 1, Ratio: 1}
	if b.Total == nil {
		return i, errs.New(errs.Invalid, "JSON does not validate: 'total' is a required property")
	}
	for _, f := range []struct {
		name string
		from *int64
		to   *int64
		min  int64
	}{{"total", b.Total, &i.Total, 1}, {"reserved", b.Reserved, &i.Reserved, 0}, {"min_unit", b.MinUnit, &i.MinUnit, 1}, {"max_unit", b.MaxUnit, &i.MaxUnit, 1}, {"step_size", b.StepSize, &i.StepSize, 1}} {
		if f.from == nil {
			continue
		}
		if *f.from < f.min || *f.from > unitMax {
			return i, errs.New(errs.Invalid, "JSON does not validate: %d is not in the range from %d to %d, for '%s'", *f.from, f.min, unitMax, f.name)
		}
		*f.to = *f.from
	}
	if b.Ratio != nil {
		if i.Ratio = *b.Ratio; !(i.Ratio > 0 && i.Ratio <= math.MaxFloat32) {
			return i, errs.New(errs.Invalid, "JSON does not validate: %g is no allocation_ratio", i.Ratio)
		}
	}
	if i.Reserved > i.Total || i.Reserved == i.Total && minor < 26 {
		return i, errs.New(errs.Invalid, "Unable to update inventory for resource provider %s: Invalid inventory for '%s' on resource provider '%s'. The reserved value is greater than or equal to total.",
			provider, class, provider)
	}
	return i, nil
}

func inventoryDocument(i placement.Inventory) document {
	return document{"total": i.Total, "reserved": i.Reserved, "min_unit": i.MinUnit, "max_unit": i.MaxUnit, "step_size": i.StepSize, "allocation_ratio": i.Ratio}
}

func (c *call) inventories(p placement.Provider) error {
	all := document{}
	for class, i := range p.Inventories {
		all[class] = inventoryDocument(i)
	}
	return c.json(http.StatusOK, document{"inventories": all, "resource_provider_generation": p.Generation})
}

func (c *call) inventory(status int, p placement.Provider, class string) error {
	d := inventoryDocument(p.Inventories[class])
	d["resource_provider_generation"] = p.Generation
	return c.json(status, d)
}

func showInventories(c *call) error {
	return c.view(func(r state.Reader) error {
		p, err := placement.FindProvider(r, c.path("uuid"))
		if err != nil {
			return err
		}
		return c.inventories(p)
	})
}

func showInventory(c *call) error {
	return c.view(func(r state.Reader) error {
		p, err := placement.FindProvider(r, c.path("uuid"))
		if err != nil {
			return err
		}
		if _, ok := p.Inventories[c.path("class")]; !ok {
			return errs.New(errs.NotFound, "No inventory of class %s for %s", c.path("class"), p.UUID)
		}
		return c.inventory(http.StatusOK, p, c.path("class"))
	})
}

// changeInventories alters the inventories of the provider of the path.
func (c *call) changeInventories(generation int64, fn func(w state.Writer, p *placement.Provider, all map[string]placement.Inventory) error) (now placement.Provider, err error) {
	err = c.update(func(w state.Writer) (err error) {
		now, err = placement.Change(w, c.path("uuid"), generation, func(p *placement.Provider) error {
			all := maps.Clone(p.Inventories)
			if all == nil {
				all = map[string]placement.Inventory{}
			}
			if err := fn(w, p, all); err != nil {
				return err
			}
			return p.ReplaceInventories(all)
		})
		return err
	})
	return now, err
}

func createInventory(c *call) error {
	var in inventoryBody
	if err := c.body(&in); err != nil {
		return err
	}
	i, err := in.inventory(c.minor, in.Class, c.path("uuid"))
	if err != nil {
		return err
	}
	generation := int64(-1)
	if in.Generation != nil {
		generation = *in.Generation
	}
	now, err := c.changeInventories(generation, func(w state.Writer, p *placement.Provider, all map[string]placement.Inventory) error {
		if err := knownClass(w, in.Class); err != nil {
			return err
		}
		if _, there := all[in.Class]; there {
			return placement.Coded(errs.Conflict, placement.CodeUndefined, "Inventory of %s already exists on resource provider %s.", in.Class, p.UUID)
		}
		all[in.Class] = i
		return nil
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/resource_providers/"+now.UUID+"/inventories/"+in.Class)
	return c.inventory(http.StatusCreated, now, in.Class)
}

func replaceInventories(c *call) error {
	var in struct {
		Generation  *int64                   `json:"resource_provider_generation"`
		Inventories map[string]inventoryBody `json:"inventories"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	if in.Generation == nil || in.Inventories == nil || len(in.Inventories) > perProviderMax {
		return errs.New(errs.Invalid, "JSON does not validate: 'inventories' and 'resource_provider_generation' are required properties")
	}
	read, err := c.readInventories(in.Inventories, c.path("uuid"))
	if err != nil {
		return err
	}
	now, err := c.changeInventories(*in.Generation, func(w state.Writer, _ *placement.Provider, all map[string]placement.Inventory) error {
		clear(all)
		maps.Copy(all, read)
		for class := range read {
			if err := knownClass(w, class); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.inventories(now)
}

func (c *call) readInventories(in map[string]inventoryBody, provider string) (map[string]placement.Inventory, error) {
	read := map[string]placement.Inventory{}
	for class, body := range in {
		i, err := body.inventory(c.minor, class, provider)
		if err != nil {
			return nil, err
		}
		read[class] = i
	}
	return read, nil
}

func updateInventory(c *call) error {
	class := c.path("class")
	var in inventoryBody
	if err := c.body(&in); err != nil {
		return err
	}
	i, err := in.inventory(c.minor, class, c.path("uuid"))
	if err != nil {
		return err
	}
	if in.Generation == nil {
		return errs.New(errs.Invalid, "JSON does not validate: 'resource_provider_generation' is a required property")
	}
	now, err := c.changeInventories(*in.Generation, func(w state.Writer, p *placement.Provider, all map[string]placement.Inventory) error {
		if _, there := all[class]; !there {
			return errs.New(errs.Invalid, "Unable to update inventory: No inventory record for resource class %s on provider %s.", class, p.UUID)
		}
		all[class] = i
		return nil
	})
	if err != nil {
		return err
	}
	return c.inventory(http.StatusOK, now, class)
}

func deleteInventory(c *call) error {
	_, err := c.changeInventories(-1, func(_ state.Writer, p *placement.Provider, all map[string]placement.Inventory) error {
		if _, there := all[c.path("class")]; !there {
			return errs.New(errs.NotFound, "No inventory of class %s found for delete: provider %s.", c.path("class"), p.UUID)
		}
		delete(all, c.path("class"))
		return nil
	})
	if err != nil {
		return err
	}
	return c.none(http.StatusNoContent)
}

func deleteInventories(c *call) error {
	_, err := c.changeInventories(-1, func(_ state.Writer, _ *placement.Provider, all map[string]placement.Inventory) error {
		clear(all)
		return nil
	})
	if err != nil {
		return err
	}
	return c.none(http.StatusNoContent)
}

func providerUsages(c *call) error {
	return c.view(func(r state.Reader) error {
		p, err := placement.FindProvider(r, c.path("uuid"))
		if err != nil {
			return err
		}
		used := document{}
		for class := range p.Inventories {
			used[class] = p.Used[class]
		}
		return c.json(http.StatusOK, document{"usages": used, "resource_provider_generation": p.Generation})
	})
}

// reshape changes inventories and allocations together: all of it, or nothing.
func reshape(c *call) error {
	var in struct {
		Inventories map[string]struct {
			Generation  *int64                   `json:"resource_provider_generation"`
			Inventories map[string]inventoryBody `json:"inventories"`
		} `json:"inventories"`
		Allocations map[string]json.RawMessage `json:"allocations"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	if in.Inventories == nil || in.Allocations == nil || len(in.Allocations) > consumersPerCall || len(in.Inventories) > consumersPerCall {
		return errs.New(errs.Invalid, "JSON does not validate: 'inventories' and 'allocations' are required properties, of at most %d items", consumersPerCall)
	}
	wants, err := c.readConsumers(in.Allocations)
	if err != nil {
		return err
	}
	err = c.update(func(w state.Writer) error {
		final := map[string]map[string]placement.Inventory{}
		for uuid, body := range in.Inventories {
			if body.Generation == nil {
				return errs.New(errs.Invalid, "JSON does not validate: 'resource_provider_generation' is a required property")
			}
			read, err := c.readInventories(body.Inventories, uuid)
			if err != nil {
				return err
			}
			// First what there was and what there will be, so that the allocations can move from one to the other.
			if _, err := placement.Change(w, uuid, *body.Generation, func(p *placement.Provider) error {
				both := maps.Clone(p.Inventories)
				if both == nil {
					both = map[string]placement.Inventory{}
				}
				maps.Copy(both, read)
				p.Inventories = both
				return nil
			}); err != nil {
				return err
			}
			final[uuid] = read
		}
		// Everything is given back before anything is taken: in between nothing is counted twice.
		for _, want := range wants {
			if err := want.checkGeneration(w); err != nil {
				return err
			}
			if err := placement.Release(w, want.ID); err != nil {
				return err
			}
		}
		for _, want := range wants {
			if err := placement.Claim(w, want.Consumer); err != nil {
				return err
			}
		}
		for uuid, read := range final {
			if _, err := placement.Change(w, uuid, -1, func(p *placement.Provider) error { return p.ReplaceInventories(read) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.none(http.StatusNoContent)
}
