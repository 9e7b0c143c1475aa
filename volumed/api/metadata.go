package api

import (
	"maps"
	"net/http"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/volumed/model"
)

// pocket is a dictionary of texts that belongs to something, with its own addresses: /metadata and /metadata/{key}.
type pocket struct {
	read  func(c *call, r state.Reader) (map[string]string, error)
	write func(c *call, w state.Writer, m map[string]string) error
}

var volumeMetadata = pocket{
	read: func(c *call, r state.Reader) (map[string]string, error) {
		v, err := c.volume(r, c.path("volume"))
		return v.Metadata, err
	},
	write: func(c *call, w state.Writer, m map[string]string) error {
		v, err := c.volume(w, c.path("volume"))
		if err != nil {
			return err
		}
		v.Metadata = m
		return model.PutVolume(w, v, c.now())
	},
}

var snapshotMetadata = pocket{
	read: func(c *call, r state.Reader) (map[string]string, error) {
		s, err := c.snapshot(r, c.path("snapshot"))
		return s.Metadata, err
	},
	write: func(c *call, w state.Writer, m map[string]string) error {
		s, err := c.snapshot(w, c.path("snapshot"))
		if err != nil {
			return err
		}
		s.Metadata = m
		return model.PutSnapshot(w, s, c.now())
	},
}

func (p pocket) routes(s *Server, path string) {
	s.bind(http.MethodGet, path, p.show)
	s.bind(http.MethodPost, path, func(c *call) error { return p.put(c, false) })
	s.bind(http.MethodPut, path, func(c *call) error { return p.put(c, true) })
	s.bind(http.MethodGet, path+"/{key}", p.showOne)
	s.bind(http.MethodPut, path+"/{key}", p.putOne)
	s.bind(http.MethodDelete, path+"/{key}", p.deleteOne)
}

func (p pocket) get(c *call) (m map[string]string, err error) {
	if err := c.reads(); err != nil {
		return nil, err
	}
	err = c.view(func(r state.Reader) (err error) {
		m, err = p.read(c, r)
		return err
	})
	return m, err
}

func (p pocket) show(c *call) error {
	m, err := p.get(c)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"metadata": orEmpty(m)})
}

func (p pocket) showOne(c *call) error {
	m, err := p.get(c)
	if err != nil {
		return err
	}
	value, ok := m[c.path("key")]
	if !ok {
		return errs.New(errs.NotFound, "There is no metadata item with the key %s.", c.path("key"))
	}
	return c.json(http.StatusOK, document{"meta": document{c.path("key"): value}})
}

// change writes what edit makes of the dictionary.
func (p pocket) change(c *call, edit func(m map[string]string) error) (m map[string]string, err error) {
	if err := c.writes(); err != nil {
		return nil, err
	}
	err = c.update(func(w state.Writer) error {
		old, err := p.read(c, w)
		if err != nil {
			return err
		}
		m = maps.Clone(orEmpty(old))
		if err := edit(m); err != nil {
			return err
		}
		if len(m) > metadataMax {
			return invalid("%d metadata items; at most %d are possible.", len(m), metadataMax)
		}
		return p.write(c, w, m)
	})
	return m, err
}

func (p pocket) put(c *call, replace bool) error {
	f, err := c.body("")
	if err != nil {
		return err
	}
	f.Require("metadata")
	given := texts(f, "metadata")
	if err := f.Err(); err != nil {
		return err
	}
	if given == nil {
		return invalid("metadata must be an object.")
	}
	m, err := p.change(c, func(m map[string]string) error {
		if replace {
			clear(m)
		}
		maps.Copy(m, given)
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"metadata": m})
}

func (p pocket) putOne(c *call) error {
	f, err := c.body("")
	if err != nil {
		return err
	}
	f.Require("meta")
	given := texts(f, "meta")
	if err := f.Err(); err != nil {
		return err
	}
	key := c.path("key")
	value, ok := given[key]
	if !ok || len(given) != 1 {
		return invalid("the body must have one item, and its key must be %s.", key)
	}
	_, err = p.change(c, func(m map[string]string) error {
		m[key] = value
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"meta": document{key: value}})
}

func (p pocket) deleteOne(c *call) error {
	_, err := p.change(c, func(m map[string]string) error {
		if _, ok := m[c.path("key")]; !ok {
			return errs.New(errs.NotFound, "There is no metadata item with the key %s.", c.path("key"))
		}
		delete(m, c.path("key"))
		return nil
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusOK)
}

func setImageMetadata(c *call, f *openstack.Fields) error {
	f.Require("metadata")
	given := texts(f, "metadata")
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	var all map[string]string
	err := c.change(func(w state.Writer, v model.Volume) error {
		all = maps.Clone(orEmpty(v.Image))
		maps.Copy(all, given)
		if len(all) > metadataMax {
			return invalid("%d metadata items; at most %d are possible.", len(all), metadataMax)
		}
		v.Image = all
		return model.PutVolume(w, v, c.now())
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"metadata": all})
}

func unsetImageMetadata(c *call, f *openstack.Fields) error {
	var key string
	f.Require("key")
	f.Text("key", &key, openstack.Text{MinLength: 1})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	err := c.change(func(w state.Writer, v model.Volume) error {
		if _, ok := v.Image[key]; !ok {
			return errs.New(errs.NotFound, "Volume %s has no image metadata with the key %s.", v.ID, key)
		}
		v.Image = maps.Clone(v.Image)
		delete(v.Image, key)
		return model.PutVolume(w, v, c.now())
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusOK)
}

func showImageMetadata(c *call, _ *openstack.Fields) error {
	var about map[string]string
	err := c.view(func(r state.Reader) error {
		v, err := c.volume(r, c.path("volume"))
		about = v.Image
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"metadata": orEmpty(about)})
}

// encryptionShown is GET /volumes/{id}/encryption: nothing is encrypted.
func encryptionShown(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	if err := c.view(func(r state.Reader) error { _, err := c.volume(r, c.path("volume")); return err }); err != nil {
		return err
	}
	switch key := c.path("key"); {
	case key == "":
		return c.json(http.StatusOK, document{"encryption_key_id": nil})
	case slices.Contains([]string{"provider", "cipher", "key_size", "control_location", "encryption_key_id"}, key):
		return c.json(http.StatusOK, nil)
	}
	return noRoute()
}
