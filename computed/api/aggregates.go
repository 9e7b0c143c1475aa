package api

import (
	"net/http"
	"slices"
	"strconv"

	"henge/cluster/state"
	"henge/computed/hosts"
	"henge/computed/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func (c *call) aggregateDocument(a model.Aggregate) document {
	metadata := map[string]string{}
	for k, v := range a.Metadata {
		metadata[k] = v
	}
	if a.Zone != "" {
		metadata["availability_zone"] = a.Zone
	}
	d := document{"id": a.Number, "name": a.Name, "availability_zone": orNull(a.Zone), "hosts": orNone(a.Hosts), "metadata": metadata,
		"created_at": micros(a.Created), "updated_at": micros(a.Updated), "deleted": false, "deleted_at": nil}
	if c.at(41) {
		d["uuid"] = a.UUID
	}
	return d
}

func aggregateKey(number int) string { return strconv.Itoa(number) }

func (c *call) findAggregate(r state.Reader, id string) (model.Aggregate, error) {
	if n, err := strconv.Atoi(id); err != nil || strconv.Itoa(n) != id {
		return model.Aggregate{}, errs.New(errs.Invalid, "Invalid aggregate id %s: it is a number", shorten(id))
	}
	a, err := model.Aggregates.Get(r, id)
	if errs.Is(err, errs.NotFound) {
		err = errs.New(errs.NotFound, "Aggregate %s could not be found.", shorten(id))
	}
	return a, err
}

func listAggregates(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	docs := []document{}
	err := c.view(func(r state.Reader) error {
		for a, err := range model.Aggregates.All(r) {
			if err != nil {
				return err
			}
			docs = append(docs, c.aggregateDocument(a))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"aggregates": docs})
}

// aggregatesMax bounds the aggregates of a cloud.
const aggregatesMax = 1000

func createAggregate(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	f, err := c.body("aggregate")
	if err != nil {
		return err
	}
	a := model.Aggregate{UUID: model.NewUUID(), Created: c.Clock.Now()}
	f.Require("name")
	f.Text("name", &a.Name, openstack.Text{MinLength: 1})
	f.Text("availability_zone", &a.Zone, openstack.Text{Nullable: true})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	err = c.update(func(w state.Writer) error {
		a.Number = 1
		n := 0
		for other, err := range model.Aggregates.All(w) {
			if err != nil {
				return err
			}
			n++
			a.Number = max(a.Number, other.Number+1)
		}
		if n >= aggregatesMax {
			return errs.New(errs.Quota, "there are at most %d aggregates", aggregatesMax)
		}
		return c.putAggregate(w, a)
	})
	if err != nil {
		return err
	}
	d := c.aggregateDocument(a)
	delete(d, "hosts")
	delete(d, "metadata")
	return c.json(http.StatusOK, document{"aggregate": d})
}

func (c *call) putAggregate(w state.Writer, a model.Aggregate) error {
	err := model.Aggregates.Put(w, aggregateKey(a.Number), a)
	if errs.Is(err, errs.Exists) {
		return errs.New(errs.Conflict, "Aggregate %s already exists.", a.Name)
	}
	return err
}

func showAggregate(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	var a model.Aggregate
	if err := c.view(func(r state.Reader) (err error) { a, err = c.findAggregate(r, c.path("id")); return err }); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"aggregate": c.aggregateDocument(a)})
}

func (c *call) changeAggregate(change func(w state.Writer, a *model.Aggregate) error) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	var a model.Aggregate
	err := c.update(func(w state.Writer) (err error) {
		if a, err = c.findAggregate(w, c.path("id")); err != nil {
			return err
		}
		before := a.Hosts
		if err := change(w, &a); err != nil {
			return err
		}
		a.Updated = c.Clock.Now()
		if err := c.putAggregate(w, a); err != nil {
			return err
		}
		return c.reportZones(w, append(slices.Clone(before), a.Hosts...))
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"aggregate": c.aggregateDocument(a)})
}

// reportZones tells the scheduler which zone hosts are in now.
func (c *call) reportZones(w state.Writer, names []string) error {
	all, err := hosts.All(w)
	if err != nil {
		return err
	}
	for _, h := range all {
		if slices.Contains(names, h.Name) {
			if err := c.Scheduler.Report(w, h); err != nil {
				return err
			}
		}
	}
	return nil
}

func updateAggregate(c *call) error {
	f, err := c.body("aggregate")
	if err != nil {
		return err
	}
	name, zone, hasZone := "", "", f.Has("availability_zone")
	f.Text("name", &name, openstack.Text{MinLength: 1})
	f.Text("availability_zone", &zone, openstack.Text{Nullable: true})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	return c.changeAggregate(func(_ state.Writer, a *model.Aggregate) error {
		if name != "" {
			a.Name = name
		}
		if hasZone {
			a.Zone = zone
		}
		return nil
	})
}

func deleteAggregate(c *call) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	err := c.update(func(w state.Writer) error {
		a, err := c.findAggregate(w, c.path("id"))
		if err != nil {
			return err
		}
		if len(a.Hosts) > 0 {
			return errs.New(errs.Conflict, "Cannot remove aggregate %d: it has hosts.", a.Number)
		}
		return model.Aggregates.Delete(w, aggregateKey(a.Number))
	})
	if err != nil {
		return err
	}
	return c.empty(http.StatusOK)
}

func aggregateAction(c *call) error {
	f, err := c.body("")
	if err != nil {
		return err
	}
	names := f.Names()
	if len(names) != 1 {
		return errs.New(errs.Invalid, "the body names one action: add_host, remove_host or set_metadata")
	}
	inner := f.Object(names[0])
	host, metadata := "", map[string]any{}
	inner.Text("host", &host, openstack.Text{MinLength: 1})
	inner.Map("metadata", &metadata)
	inner.None()
	if err := f.Err(); err != nil {
		return err
	}
	return c.changeAggregate(func(w state.Writer, a *model.Aggregate) error {
		switch names[0] {
		case "add_host":
			return addHost(w, a, host)
		case "remove_host":
			if !slices.Contains(a.Hosts, host) {
				return errs.New(errs.NotFound, "Cannot remove host %s in aggregate %d: it is not in it", shorten(host), a.Number)
			}
			a.Hosts = slices.DeleteFunc(slices.Clone(a.Hosts), func(h string) bool { return h == host })
			return nil
		case "set_metadata":
			return setAggregateMetadata(a, metadata)
		}
		return errs.New(errs.Invalid, "There is no such action: %s", shorten(names[0]))
	})
}

func addHost(w state.Writer, a *model.Aggregate, host string) error {
	all, err := hosts.All(w)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(h model.Host) bool { return h.Name == host }) {
		return errs.New(errs.NotFound, "Compute host %s could not be found.", shorten(host))
	}
	if slices.Contains(a.Hosts, host) {
		return errs.New(errs.Conflict, "Aggregate %d already has host %s.", a.Number, host)
	}
	for other, err := range model.Aggregates.All(w) {
		if err != nil {
			return err
		}
		if other.Number != a.Number && other.Zone != "" && a.Zone != "" && other.Zone != a.Zone && slices.Contains(other.Hosts, host) {
			return errs.New(errs.Conflict, "Cannot add host %s in aggregate %d: it is in the availability zone %s", host, a.Number, other.Zone)
		}
	}
	a.Hosts = append(slices.Clone(a.Hosts), host)
	return nil
}

func setAggregateMetadata(a *model.Aggregate, metadata map[string]any) error {
	merged := map[string]string{}
	for k, v := range a.Metadata {
		merged[k] = v
	}
	for k, v := range metadata {
		s, ok := v.(string)
		switch {
		case v == nil:
			delete(merged, k)
			continue
		case !ok || k == "" || len(k) > metadataTextMax || len(s) > metadataTextMax:
			return errs.New(errs.Invalid, "Invalid input for field 'metadata': '%s' and its value are texts of at most %d characters", shorten(k), metadataTextMax)
		case k == "availability_zone":
			a.Zone = s
			continue
		}
		merged[k] = s
	}
	if len(merged) > metadataItemsMax {
		return errs.New(errs.Quota, "an aggregate has at most %d items of metadata", metadataItemsMax)
	}
	a.Metadata = merged
	return nil
}
