package api

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/scheduler/placement"
)

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$`)

const (
	providerNameMax   = 200
	perProviderMax    = 1000 // traits, aggregates and inventories of one provider
	consumersPerCall  = 1000
	providersPerClaim = 100
)

// checkUUID brings a UUID into the form with dashes.
func checkUUID(text string) (string, error) {
	if !uuidForm.MatchString(text) {
		return "", errs.New(errs.Invalid, "JSON does not validate: '%.60s' is not a 'uuid'", text)
	}
	plain := strings.ToLower(strings.ReplaceAll(text, "-", ""))
	return plain[:8] + "-" + plain[8:12] + "-" + plain[12:16] + "-" + plain[16:20] + "-" + plain[20:], nil
}

func (c *call) providerDocument(p placement.Provider) document {
	at := "/resource_providers/" + p.UUID
	links := []document{{"rel": "self", "href": at}, {"rel": "inventories", "href": at + "/inventories"}, {"rel": "usages", "href": at + "/usages"}}
	if c.minor >= 1 {
		links = append(links, document{"rel": "aggregates", "href": at + "/aggregates"})
	}
	if c.minor >= 6 {
		links = append(links, document{"rel": "traits", "href": at + "/traits"})
	}
	if c.minor >= 11 {
		links = append(links, document{"rel": "allocations", "href": at + "/allocations"})
	}
	d := document{"uuid": p.UUID, "name": p.Name, "generation": p.Generation, "links": links}
	if c.minor >= 14 {
		d["root_provider_uuid"], d["parent_provider_uuid"] = p.Root, nullable(p.Parent)
	}
	return d
}

func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func listProviders(c *call) error {
	query := c.r.URL.Query()
	allowed := map[string]int{"name": 0, "uuid": 0, "member_of": 3, "resources": 4, "in_tree": 14, "required": 18}
	for key := range query {
		if from, ok := allowed[key]; !ok || c.minor < from {
			return badQuery("Invalid query string parameters: Additional properties are not allowed ('%s' was unexpected)", key)
		}
	}
	want, err := c.parseGroup(query, "")
	if err != nil {
		return err
	}
	return c.view(func(r state.Reader) error {
		if err := want.check(r); err != nil {
			return err
		}
		tree := query.Get("in_tree")
		if tree != "" {
			p, err := placement.Providers.Get(r, tree)
			if err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
			if tree = p.Root; tree == "" {
				return c.json(http.StatusOK, document{"resource_providers": []document{}}) // an unknown provider is in no tree
			}
		}
		found := []document{}
		for p, err := range placement.Providers.All(r) {
			if err != nil {
				return err
			}
			if query.Has("name") && p.Name != query.Get("name") || query.Has("uuid") && p.UUID != query.Get("uuid") || tree != "" && p.Root != tree {
				continue
			}
			if want.allows(&p) && want.covers(&p) {
				found = append(found, c.providerDocument(p))
			}
		}
		return c.json(http.StatusOK, document{"resource_providers": found})
	})
}

type providerBody struct {
	Name   string  `json:"name"`
	UUID   string  `json:"uuid"`
	Parent *string `json:"parent_provider_uuid"`
}

func (c *call) readProvider() (in providerBody, err error) {
	if err = c.body(&in); err != nil {
		return in, err
	}
	if in.Name == "" || len(in.Name) > providerNameMax {
		return in, errs.New(errs.Invalid, "JSON does not validate: 'name' must have 1 to %d characters", providerNameMax)
	}
	if in.UUID != "" {
		if in.UUID, err = checkUUID(in.UUID); err != nil {
			return in, err
		}
	}
	if in.Parent != nil {
		if c.minor < 14 {
			return in, errs.New(errs.Invalid, "JSON does not validate: Additional properties are not allowed ('parent_provider_uuid' was unexpected)")
		}
		parent, err := checkUUID(*in.Parent)
		if err != nil {
			return in, err
		}
		in.Parent = &parent
	}
	return in, nil
}

func createProvider(c *call) error {
	in, err := c.readProvider()
	if err != nil {
		return err
	}
	if in.UUID == "" {
		in.UUID = placement.NewUUID()
	}
	parent := ""
	if in.Parent != nil {
		parent = *in.Parent
	}
	var made placement.Provider
	err = c.update(func(w state.Writer) (err error) {
		made, err = placement.CreateProvider(w, in.UUID, in.Name, parent)
		return err
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/resource_providers/"+in.UUID)
	if c.minor >= 20 {
		return c.json(http.StatusOK, c.providerDocument(made))
	}
	return c.none(http.StatusCreated)
}

func showProvider(c *call) error {
	return c.view(func(r state.Reader) error {
		p, err := placement.FindProvider(r, c.path("uuid"))
		if err != nil {
			return err
		}
		return c.json(http.StatusOK, c.providerDocument(p))
	})
}

func updateProvider(c *call) error {
	in, err := c.readProvider()
	if err != nil {
		return err
	}
	var now placement.Provider
	err = c.update(func(w state.Writer) (err error) {
		now, err = placement.UpdateProvider(w, c.path("uuid"), in.Name, in.Parent, c.minor >= 37)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, c.providerDocument(now))
}

func deleteProvider(c *call) error {
	if err := c.update(func(w state.Writer) error { return placement.DeleteProvider(w, c.path("uuid")) }); err != nil {
		return err
	}
	return c.none(http.StatusNoContent)
}

func showAggregates(c *call) error {
	return c.view(func(r state.Reader) error {
		p, err := placement.FindProvider(r, c.path("uuid"))
		if err != nil {
			return err
		}
		return c.aggregates(p)
	})
}

func (c *call) aggregates(p placement.Provider) error {
	d := document{"aggregates": append([]string{}, p.Aggregates...)}
	if c.minor >= 19 {
		d["resource_provider_generation"] = p.Generation
	}
	return c.json(http.StatusOK, d)
}

// replaceAggregates takes a bare list before 1.19, and the provider's generation with it from then on.
func replaceAggregates(c *call) error {
	var in struct {
		Aggregates []string `json:"aggregates"`
		Generation *int64   `json:"resource_provider_generation"`
	}
	generation := int64(-1)
	var err error
	if c.minor < 19 {
		err = c.body(&in.Aggregates)
	} else if err = c.body(&in); err == nil && (in.Generation == nil || in.Aggregates == nil) {
		err = errs.New(errs.Invalid, "JSON does not validate: 'aggregates' and 'resource_provider_generation' are required properties")
	} else if err == nil {
		generation = *in.Generation
	}
	if err != nil {
		return err
	}
	for i, a := range in.Aggregates {
		if in.Aggregates[i], err = checkUUID(a); err != nil {
			return err
		}
	}
	if len(in.Aggregates) > perProviderMax {
		return errs.New(errs.Invalid, "JSON does not validate: a provider has at most %d aggregates", perProviderMax)
	}
	slices.Sort(in.Aggregates)
	var now placement.Provider
	err = c.update(func(w state.Writer) (err error) {
		now, err = placement.Change(w, c.path("uuid"), generation, func(p *placement.Provider) error {
			p.Aggregates = slices.Compact(in.Aggregates)
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	return c.aggregates(now)
}

func showTraits(c *call) error {
	return c.view(func(r state.Reader) error {
		p, err := placement.FindProvider(r, c.path("uuid"))
		if err != nil {
			return err
		}
		return c.traits(p)
	})
}

func (c *call) traits(p placement.Provider) error {
	return c.json(http.StatusOK, document{"traits": append([]string{}, p.Traits...), "resource_provider_generation": p.Generation})
}

func replaceTraits(c *call) error {
	var in struct {
		Traits     []string `json:"traits"`
		Generation *int64   `json:"resource_provider_generation"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	if in.Generation == nil || in.Traits == nil || len(in.Traits) > perProviderMax {
		return errs.New(errs.Invalid, "JSON does not validate: 'traits' (at most %d) and 'resource_provider_generation' are required properties", perProviderMax)
	}
	slices.Sort(in.Traits)
	var now placement.Provider
	err := c.update(func(w state.Writer) (err error) {
		if err := knownTraits(w, in.Traits); err != nil {
			return err
		}
		now, err = placement.Change(w, c.path("uuid"), *in.Generation, func(p *placement.Provider) error {
			p.Traits = slices.Compact(in.Traits)
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	return c.traits(now)
}

func knownTraits(r state.Reader, traits []string) error {
	for _, name := range traits {
		ok, err := knownName(r, standardTraits, placement.Traits, name)
		if err != nil {
			return err
		}
		if !ok {
			return errs.New(errs.Invalid, "No such trait(s): %s.", name)
		}
	}
	return nil
}

func deleteTraits(c *call) error {
	err := c.update(func(w state.Writer) error {
		_, err := placement.Change(w, c.path("uuid"), -1, func(p *placement.Provider) error {
			p.Traits = nil
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	return c.none(http.StatusNoContent)
}
