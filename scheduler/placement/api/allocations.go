package api

import (
	"encoding/json"
	"net/http"
	"regexp"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/scheduler/placement"
)

// wanted is what a client wants a consumer to have.
type wanted struct {
	placement.Consumer
	checked    bool // the client said which generation it knows
	generation *int64
}

var typeForm = regexp.MustCompile(`^[A-Z0-9_]{1,255}$`)

// allocationBody is a consumer as clients send it; allocations are a list before 1.12, and an object by provider from then on.
type allocationBody struct {
	Allocations json.RawMessage     `json:"allocations"`
	ProjectID   string              `json:"project_id"`
	UserID      string              `json:"user_id"`
	Generation  json.RawMessage     `json:"consumer_generation"`
	Type        string              `json:"consumer_type"`
	Mappings    map[string][]string `json:"mappings"`
}

type resourcesBody struct {
	Provider *struct {
		UUID string `json:"uuid"`
	} `json:"resource_provider,omitempty"`
	Resources  map[string]int64 `json:"resources"`
	Generation *int64           `json:"generation"`
}

// readConsumer reads one consumer's body.
func (c *call) readConsumer(id string, raw []byte) (w wanted, err error) {
	if id, err = checkUUID(id); err != nil {
		return w, err
	}
	var in allocationBody
	if err := strict(raw, &in); err != nil {
		return w, err
	}
	w.Consumer = placement.Consumer{ID: id, ProjectID: in.ProjectID, UserID: in.UserID, Type: in.Type, Allocations: map[string]map[string]int64{}}
	if err := c.checkConsumer(&w, in); err != nil {
		return w, err
	}
	byProvider, err := c.splitAllocations(in.Allocations)
	if err != nil {
		return w, err
	}
	if len(byProvider) == 0 && c.minor < 28 && c.r.Method == http.MethodPut {
		return w, errs.New(errs.Invalid, "JSON does not validate: 'allocations' must not be empty")
	}
	for provider, r := range byProvider {
		uuid, err := checkUUID(provider)
		if err != nil {
			return w, err
		}
		if len(r.Resources) == 0 || len(r.Resources) > perProviderMax {
			return w, errs.New(errs.Invalid, "JSON does not validate: 'resources' of provider %s must not be empty", uuid)
		}
		for class, amount := range r.Resources {
			if amount < 1 || amount > unitMax {
				return w, errs.New(errs.Invalid, "JSON does not validate: %d is less than the minimum of 1, for '%s'", amount, class)
			}
		}
		w.Allocations[uuid] = r.Resources
	}
	return w, nil
}

// checkConsumer looks at what belongs to the consumer itself.
func (c *call) checkConsumer(w *wanted, in allocationBody) error {
	if c.minor >= 8 && (in.ProjectID == "" || in.UserID == "" || len(in.ProjectID) > 255 || len(in.UserID) > 255) {
		return errs.New(errs.Invalid, "JSON does not validate: 'project_id' and 'user_id' are required properties of 1 to 255 characters")
	}
	switch {
	case c.minor >= 28 && in.Generation == nil:
		return errs.New(errs.Invalid, "JSON does not validate: 'consumer_generation' is a required property")
	case c.minor < 28 && in.Generation != nil:
		return errs.New(errs.Invalid, "JSON does not validate: Additional properties are not allowed ('consumer_generation' was unexpected)")
	case in.Generation != nil:
		w.checked = true
		if err := json.Unmarshal(in.Generation, &w.generation); err != nil {
			return errs.New(errs.Invalid, "JSON does not validate: 'consumer_generation' must be an integer or null")
		}
	}
	switch {
	case c.minor >= 38 && !typeForm.MatchString(in.Type):
		return errs.New(errs.Invalid, "JSON does not validate: 'consumer_type' is a required property, of the form ^[A-Z0-9_]+$")
	case c.minor < 38 && in.Type != "":
		return errs.New(errs.Invalid, "JSON does not validate: Additional properties are not allowed ('consumer_type' was unexpected)")
	case c.minor < 34 && in.Mappings != nil:
		return errs.New(errs.Invalid, "JSON does not validate: Additional properties are not allowed ('mappings' was unexpected)")
	}
	if w.Type == "" {
		w.Type = "unknown"
	}
	return nil
}

func (c *call) splitAllocations(raw json.RawMessage) (map[string]resourcesBody, error) {
	by := map[string]resourcesBody{}
	if c.minor >= 12 {
		if raw == nil {
			return nil, errs.New(errs.Invalid, "JSON does not validate: 'allocations' is a required property")
		}
		if err := strict(raw, &by); err != nil {
			return nil, err
		}
	} else {
		var list []resourcesBody
		if err := strict(raw, &list); err != nil {
			return nil, err
		}
		for _, one := range list {
			if one.Provider == nil {
				return nil, errs.New(errs.Invalid, "JSON does not validate: 'resource_provider' is a required property")
			}
			by[one.Provider.UUID] = one
		}
	}
	if len(by) > providersPerClaim {
		return nil, errs.New(errs.Invalid, "JSON does not validate: allocations of at most %d providers", providersPerClaim)
	}
	return by, nil
}

func (c *call) readConsumers(bodies map[string]json.RawMessage) (all []wanted, err error) {
	for id, raw := range bodies {
		w, err := c.readConsumer(id, raw)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

// checkGeneration compares the generation that the client knows with the consumer's. A new consumer has none.
func (w *wanted) checkGeneration(r state.Reader) error {
	old, err := placement.Consumers.Get(r, w.ID)
	there := err == nil
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	switch {
	case there && w.ProjectID == "":
		w.ProjectID, w.UserID = old.ProjectID, old.UserID
	case !w.checked:
		return nil
	case there && (w.generation == nil || *w.generation != old.Generation):
		return placement.Coded(errs.Conflict, placement.CodeConcurrentUpdate, "consumer generation conflict - expected %d but got %s", old.Generation, shown(w.generation))
	case !there && w.generation != nil:
		return placement.Coded(errs.Conflict, placement.CodeConcurrentUpdate, "consumer generation conflict - expected null but got %d", *w.generation)
	}
	return nil
}

func shown(n *int64) string {
	if n == nil {
		return "None"
	}
	raw, _ := json.Marshal(*n) // a number
	return string(raw)
}

// claim makes the consumers have what they want: what goes away first, so that things can be handed over.
func claim(w state.Writer, all []wanted) error {
	for i := range all {
		if err := all[i].checkGeneration(w); err != nil {
			return err
		}
		for _, resources := range all[i].Allocations {
			for class := range resources {
				if err := knownClass(w, class); err != nil {
					return err
				}
			}
		}
	}
	for _, emptied := range []bool{true, false} {
		for _, one := range all {
			if (len(one.Allocations) == 0) != emptied {
				continue
			}
			if err := placement.Claim(w, one.Consumer); err != nil {
				return err
			}
		}
	}
	return nil
}

func putAllocations(c *call) error {
	var raw json.RawMessage
	if err := c.body(&raw); err != nil {
		return err
	}
	one, err := c.readConsumer(c.path("consumer"), raw)
	if err != nil {
		return err
	}
	if err := c.update(func(w state.Writer) error { return claim(w, []wanted{one}) }); err != nil {
		return err
	}
	return c.none(http.StatusNoContent)
}

func postAllocations(c *call) error {
	var bodies map[string]json.RawMessage
	if err := c.body(&bodies); err != nil {
		return err
	}
	if len(bodies) == 0 || len(bodies) > consumersPerCall {
		return errs.New(errs.Invalid, "JSON does not validate: 1 to %d consumers", consumersPerCall)
	}
	all, err := c.readConsumers(bodies)
	if err != nil {
		return err
	}
	if err := c.update(func(w state.Writer) error { return claim(w, all) }); err != nil {
		return err
	}
	return c.none(http.StatusNoContent)
}

func showAllocations(c *call) error {
	return c.view(func(r state.Reader) error {
		consumer, err := placement.Consumers.Get(r, c.path("consumer"))
		if errs.Is(err, errs.NotFound) {
			return c.json(http.StatusOK, document{"allocations": document{}})
		}
		if err != nil {
			return err
		}
		all := document{}
		for uuid, resources := range consumer.Allocations {
			p, err := placement.Providers.Get(r, uuid)
			if err != nil {
				return err
			}
			all[uuid] = document{"generation": p.Generation, "resources": resources}
		}
		d := document{"allocations": all}
		if c.minor >= 12 {
			d["project_id"], d["user_id"] = consumer.ProjectID, consumer.UserID
		}
		if c.minor >= 28 {
			d["consumer_generation"] = consumer.Generation
		}
		if c.minor >= 38 {
			d["consumer_type"] = consumer.Type
		}
		return c.json(http.StatusOK, d)
	})
}

func deleteAllocations(c *call) error {
	id := c.path("consumer")
	err := c.update(func(w state.Writer) error {
		if _, err := placement.Consumers.Get(w, id); errs.Is(err, errs.NotFound) {
			return errs.New(errs.NotFound, "No allocations for consumer '%s'", id)
		} else if err != nil {
			return err
		}
		return placement.Release(w, id)
	})
	if err != nil {
		return err
	}
	return c.none(http.StatusNoContent)
}

func providerAllocations(c *call) error {
	return c.view(func(r state.Reader) error {
		p, err := placement.FindProvider(r, c.path("uuid"))
		if err != nil {
			return err
		}
		all := document{}
		for h, err := range placement.Holdings.Where(r, "provider", p.UUID) {
			if err != nil {
				return err
			}
			consumer, err := placement.Consumers.Get(r, h.Consumer)
			if err != nil {
				return err
			}
			one := document{"resources": consumer.Allocations[p.UUID]}
			if c.minor >= 28 {
				one["consumer_generation"] = consumer.Generation
			}
			all[h.Consumer] = one
		}
		return c.json(http.StatusOK, document{"allocations": all, "resource_provider_generation": p.Generation})
	})
}

// usages sums what a project (and one of its users) holds; from 1.38 on by the consumers' type. A reader may ask for his own project.
func usages(c *call) error {
	query := c.r.URL.Query()
	project, user := query.Get("project_id"), query.Get("user_id")
	if project == "" {
		return placement.Coded(errs.Invalid, placement.CodeMissingQueryValue, "Invalid query string parameters: 'project_id' is a required property")
	}
	if !c.who.HasRole("admin", "service") && !(c.who.ProjectID == project && c.who.HasRole("reader", "member")) {
		return errs.New(errs.Denied, "Policy does not allow placement:usages to be performed.")
	}
	byType := map[string]map[string]int64{}
	err := c.view(func(r state.Reader) error {
		for consumer, err := range placement.Consumers.Where(r, "project", project) {
			if err != nil {
				return err
			}
			if user != "" && consumer.UserID != user {
				continue
			}
			kind := ""
			if c.minor >= 38 {
				want := query.Get("consumer_type")
				if want != "" && want != "all" && want != consumer.Type {
					continue
				}
				if kind = consumer.Type; want == "all" {
					kind = "all"
				}
			}
			if byType[kind] == nil {
				byType[kind] = map[string]int64{}
			}
			if c.minor >= 38 {
				byType[kind]["consumer_count"]++
			}
			for _, resources := range consumer.Allocations {
				for class, amount := range resources {
					byType[kind][class] += amount
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c.minor >= 38 {
		return c.json(http.StatusOK, document{"usages": byType})
	}
	sum := byType[""]
	if sum == nil {
		sum = map[string]int64{}
	}
	return c.json(http.StatusOK, document{"usages": sum})
}
