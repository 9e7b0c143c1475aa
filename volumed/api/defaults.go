package api

import (
	"net/http"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/volumed/model"
)

func defaultTypeDocument(d model.DefaultType) document {
	return document{"project_id": d.ProjectID, "volume_type_id": d.TypeID}
}

func listDefaultTypes(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	shown := []document{}
	err := c.view(func(r state.Reader) error {
		for d, err := range model.DefaultTypes.All(r) {
			if err != nil {
				return err
			}
			shown = append(shown, defaultTypeDocument(d))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"default_types": shown})
}

func (c *call) defaultType(r state.Reader) (model.DefaultType, error) {
	d, there, err := model.Optional(model.DefaultTypes.Get(r, c.path("target")))
	if err == nil && !there {
		return d, errs.New(errs.NotFound, "Default type for project %s not found.", c.path("target"))
	}
	return d, err
}

func showDefaultType(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	var d model.DefaultType
	err := c.view(func(r state.Reader) (err error) {
		d, err = c.defaultType(r)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"default_type": defaultTypeDocument(d)})
}

func setDefaultType(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	f, err := c.body("default_type")
	if err != nil {
		return err
	}
	var typ string
	f.Require("volume_type")
	f.Text("volume_type", &typ, openstack.Text{MinLength: 1})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	d := model.DefaultType{ProjectID: c.path("target")}
	err = c.update(func(w state.Writer) error {
		t, err := c.volumeType(w, typ)
		if err != nil {
			return err
		}
		d.TypeID = t.ID
		return model.DefaultTypes.Put(w, d.ProjectID, d)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"default_type": defaultTypeDocument(d)})
}

func unsetDefaultType(c *call) error {
	if err := c.admin(); err != nil {
		return err
	}
	err := c.update(func(w state.Writer) error {
		if _, err := c.defaultType(w); err != nil {
			return err
		}
		return model.DefaultTypes.Delete(w, c.path("target"))
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusNoContent)
}

// listFilters tells what lists can be filtered by.
func listFilters(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	names := map[string][]string{"volume": filterNames(volumesListing(scene{})), "snapshot": filterNames(snapshotsListing), "volume_type": filterNames(typesListing),
		"message": {"resource_uuid", "resource_type", "event_id", "request_id", "message_level"}, "attachment": {"volume_id", "status", "instance_id", "attach_status"},
		"pool": {"name"}}
	shown := []document{}
	for resource, filters := range names {
		if asked := c.r.URL.Query().Get("resource"); asked == "" || asked == resource {
			shown = append(shown, document{"resource": resource, "filters": filters})
		}
	}
	return c.json(http.StatusOK, document{"resource_filters": shown})
}

func filterNames[T any](l listing[T]) []string {
	var names []string
	for name := range l.texts {
		names = append(names, name)
	}
	for name := range l.filters {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
