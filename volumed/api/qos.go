package api

import (
	"cmp"
	"maps"
	"net/http"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/volumed/model"
)

func qosDocument(q model.QoS) document {
	return document{"id": q.ID, "name": q.Name, "consumer": q.Consumer, "specs": orEmpty(q.Specs)}
}

var consumers = []string{"front-end", "back-end", "both"}

// readQoS takes what is said of a set: name and consumer apart, everything else is a spec.
func readQoS(f *openstack.Fields, q *model.QoS) (map[string]string, error) {
	if f.Has("consumer") {
		f.Text("consumer", &q.Consumer, openstack.Text{OneOf: consumers})
	}
	var raw map[string]any
	f.Extra(&raw)
	if err := f.Err(); err != nil {
		return nil, err
	}
	specs, err := checkTexts(raw)
	if err != nil {
		return nil, err
	}
	return specs, checkSpecs(specs)
}

func createQoS(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	f, err := c.body("qos_specs")
	if err != nil {
		return err
	}
	q := model.QoS{ID: model.NewID(), Consumer: "back-end", Created: c.now()}
	f.Require("name")
	f.Text("name", &q.Name, openstack.Text{MinLength: 1})
	if q.Specs, err = readQoS(f, &q); err != nil {
		return err
	}
	if err := c.update(func(w state.Writer) error { return model.QoSSpecs.Put(w, q.ID, q) }); err != nil {
		return named(err, "QoS specs", q.Name)
	}
	return c.json(http.StatusOK, document{"qos_specs": qosDocument(q), "links": c.links("qos-specs", q.ID)})
}

func (c *call) qos(r state.Reader) (model.QoS, error) {
	q, there, err := model.Optional(model.QoSSpecs.Get(r, c.path("qos")))
	if err == nil && !there {
		return q, errs.New(errs.NotFound, "No such qos spec %s.", c.path("qos"))
	}
	return q, err
}

func (c *call) readQoS() (q model.QoS, err error) {
	if err := c.admin(); err != nil {
		return q, err
	}
	err = c.view(func(r state.Reader) (err error) {
		q, err = c.qos(r)
		return err
	})
	return q, err
}

func showQoS(c *call) error {
	q, err := c.readQoS()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"qos_specs": qosDocument(q), "links": c.links("qos-specs", q.ID)})
}

func listQoS(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	l := listing[model.QoS]{id: func(q model.QoS) string { return q.ID },
		sorts: map[string]func(a, b model.QoS) int{"id": func(a, b model.QoS) int { return cmp.Compare(a.ID, b.ID) },
			"created_at": func(a, b model.QoS) int { return a.Created.Compare(b.Created) }, "name": func(a, b model.QoS) int { return cmp.Compare(a.Name, b.Name) }},
		texts: map[string]func(model.QoS) string{"id": func(q model.QoS) string { return q.ID }, "name": func(q model.QoS) string { return q.Name },
			"consumer": func(q model.QoS) string { return q.Consumer }}}
	var rows []model.QoS
	err := c.view(func(r state.Reader) (err error) {
		rows, err = model.Collect(model.QoSSpecs.All(r), nil)
		return err
	})
	if err != nil {
		return err
	}
	page, more, total, err := l.apply(c, rows)
	if err != nil {
		return err
	}
	var shown []document
	last := ""
	for _, q := range page {
		last = q.ID
		shown = append(shown, qosDocument(q))
	}
	return c.json(http.StatusOK, c.page("qos_specs", "qos-specs", shown, last, more, total))
}

// changeQoS works on the set of the path.
func (c *call) changeQoS(edit func(w state.Writer, q *model.QoS) error) error {
	if err := c.admin(); err != nil {
		return err
	}
	return c.update(func(w state.Writer) error {
		q, err := c.qos(w)
		if err != nil {
			return err
		}
		if err := edit(w, &q); err != nil {
			return err
		}
		return model.QoSSpecs.Put(w, q.ID, q)
	})
}

func updateQoS(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	f, err := c.body("qos_specs")
	if err != nil {
		return err
	}
	given := model.QoS{}
	specs, err := readQoS(f, &given)
	if err != nil {
		return err
	}
	err = c.changeQoS(func(_ state.Writer, q *model.QoS) error {
		q.Consumer = cmp.Or(given.Consumer, q.Consumer)
		q.Specs = maps.Clone(orEmpty(q.Specs))
		maps.Copy(q.Specs, specs)
		if len(q.Specs) > metadataMax {
			return invalid("%d specs; at most %d are possible.", len(q.Specs), metadataMax)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"qos_specs": specs})
}

func deleteQoSKeys(c *call) error {
	f, err := c.body("")
	if err != nil {
		return err
	}
	var keys []string
	f.Require("keys")
	f.Texts("keys", &keys, openstack.Text{MinLength: 1}, metadataMax)
	if err := f.Err(); err != nil {
		return err
	}
	err = c.changeQoS(func(_ state.Writer, q *model.QoS) error {
		q.Specs = maps.Clone(orEmpty(q.Specs))
		for _, key := range keys {
			if _, ok := q.Specs[key]; !ok {
				return invalid("QoS specs %s has no spec with key %s.", q.ID, key)
			}
			delete(q.Specs, key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

// typesWith are the types that a set is associated with.
func typesWith(r state.Reader, qosID string) ([]model.Type, error) {
	return model.Collect(model.Types.All(r), func(t model.Type) bool { return t.QoSID == qosID })
}

func deleteQoS(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	force := isTrue(c.r.URL.Query().Get("force"))
	err := c.update(func(w state.Writer) error {
		q, err := c.qos(w)
		if err != nil {
			return err
		}
		types, err := typesWith(w, q.ID)
		if err != nil {
			return err
		}
		if len(types) > 0 && !force {
			return errs.New(errs.Invalid, "QoS Specs %s is still associated with entities.", q.ID)
		}
		if err := detachTypes(w, types); err != nil {
			return err
		}
		return model.QoSSpecs.Delete(w, q.ID)
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

func detachTypes(w state.Writer, types []model.Type) error {
	for _, t := range types {
		t.QoSID = ""
		if err := model.Types.Put(w, t.ID, t); err != nil {
			return err
		}
	}
	return nil
}

func qosAssociations(c *call) error {
	q, err := c.readQoS()
	if err != nil {
		return err
	}
	shown := []document{}
	err = c.view(func(r state.Reader) error {
		types, err := typesWith(r, q.ID)
		for _, t := range types {
			shown = append(shown, document{"association_type": "volume_type", "name": t.Name, "id": t.ID})
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"qos_associations": shown})
}

func associateQoS(c *call) error {
	return c.associate(func(w state.Writer, q model.QoS, t model.Type) error {
		if t.QoSID != "" && t.QoSID != q.ID {
			return invalid("Type %s is already associated with another qos specs: %s.", t.ID, t.QoSID)
		}
		t.QoSID = q.ID
		return model.Types.Put(w, t.ID, t)
	})
}

func disassociateQoS(c *call) error {
	return c.associate(func(w state.Writer, q model.QoS, t model.Type) error {
		if t.QoSID != q.ID {
			return nil
		}
		t.QoSID = ""
		return model.Types.Put(w, t.ID, t)
	})
}

func (c *call) associate(change func(w state.Writer, q model.QoS, t model.Type) error) error {
	if err := c.admin(); err != nil {
		return err
	}
	id := c.r.URL.Query().Get("vol_type_id")
	if id == "" {
		return invalid("Volume Type id must not be None.")
	}
	err := c.update(func(w state.Writer) error {
		q, err := c.qos(w)
		if err != nil {
			return err
		}
		t, err := c.typeByID(w, id)
		if err != nil {
			return err
		}
		return change(w, q, t)
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

func disassociateAll(c *call) error {
	err := c.changeQoS(func(w state.Writer, q *model.QoS) error {
		types, err := typesWith(w, q.ID)
		if err != nil {
			return err
		}
		return detachTypes(w, types)
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}
