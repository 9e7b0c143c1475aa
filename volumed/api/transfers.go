package api

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/openstack"
	"henge/volumed/model"
)

// transferPath is where the client found the transfers: they have two addresses.
func (c *call) transferPath() string {
	if strings.HasPrefix(c.r.URL.Path, "/os-volume-transfer") {
		return "os-volume-transfer"
	}
	return "volume-transfers"
}

func (c *call) transferSummary(t model.Transfer) document {
	return document{"id": t.ID, "volume_id": t.VolumeID, "name": orNull(t.Name), "links": c.links(c.transferPath(), t.ID)}
}

func (c *call) transferDocument(t model.Transfer) document {
	d := c.transferSummary(t)
	d["created_at"] = showTime(t.Created)
	if c.version >= sinceTransfers {
		d["no_snapshots"] = t.NoSnapshots
	}
	if c.version >= sinceTransferShown {
		d["source_project_id"], d["destination_project_id"], d["accepted"] = t.FromProject, orNull(t.ToProject), t.Accepted
	}
	return d
}

func hashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func createTransfer(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	f, err := c.body("transfer")
	if err != nil {
		return err
	}
	key := strings.ToLower(rand.Text()[:16])
	t := model.Transfer{ID: model.NewID(), FromProject: c.who.ProjectID, KeyHash: hashKey(key), Created: c.now()}
	f.Require("volume_id")
	f.Text("volume_id", &t.VolumeID, openstack.Text{MinLength: 1})
	f.Text("name", &t.Name, openstack.Text{Nullable: true})
	if c.version >= sinceTransfers {
		boolean(f, "no_snapshots", &t.NoSnapshots)
	}
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if !model.IsID(t.VolumeID) {
		return invalid("volume_id '%.60s' is not a UUID.", t.VolumeID)
	}
	err = c.update(func(w state.Writer) error {
		v, err := c.volume(w, t.VolumeID)
		if err != nil {
			return err
		}
		t.FromProject = v.ProjectID
		snapshots, err := model.Collect(model.Snapshots.Where(w, "volume", v.ID), nil)
		switch {
		case err != nil:
			return err
		case v.Status != model.Available:
			return invalid("status must be available: volume %s is %s.", v.ID, v.Status)
		case len(snapshots) > 0 && c.version < sinceTransfers:
			return invalid("volume %s has snapshots; microversion 3.55 transfers them too.", v.ID)
		case len(snapshots) > 0 && t.NoSnapshots:
			return invalid("volume %s has snapshots, which cannot stay behind.", v.ID)
		}
		v.Status = model.Awaiting
		if err := model.PutVolume(w, v, c.now()); err != nil {
			return err
		}
		return model.Transfers.Put(w, t.ID, t)
	})
	if err != nil {
		return err
	}
	d := c.transferDocument(t)
	d["auth_key"] = key
	return c.json(http.StatusAccepted, document{"transfer": d})
}

func (c *call) transfer(r state.Reader, anybody bool) (model.Transfer, error) {
	t, there, err := model.Optional(model.Transfers.Get(r, c.path("transfer")))
	if err == nil && (!there || !anybody && !c.owns(t.FromProject)) {
		return t, errs.New(errs.NotFound, "Transfer %s could not be found.", c.path("transfer"))
	}
	return t, err
}

func showTransfer(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	var t model.Transfer
	err := c.view(func(r state.Reader) (err error) {
		t, err = c.transfer(r, false)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"transfer": c.transferDocument(t)})
}

func listTransfers(c *call) error       { return c.listTransfers(c.transferSummary) }
func listTransfersDetail(c *call) error { return c.listTransfers(c.transferDocument) }

func (c *call) listTransfers(show func(model.Transfer) document) error {
	if err := c.reads(); err != nil {
		return err
	}
	l := listing[model.Transfer]{id: func(t model.Transfer) string { return t.ID },
		sorts: map[string]func(a, b model.Transfer) int{"id": func(a, b model.Transfer) int { return cmp.Compare(a.ID, b.ID) },
			"created_at": func(a, b model.Transfer) int { return a.Created.Compare(b.Created) }, "name": func(a, b model.Transfer) int { return cmp.Compare(a.Name, b.Name) }},
		texts: map[string]func(model.Transfer) string{"id": func(t model.Transfer) string { return t.ID }, "name": func(t model.Transfer) string { return t.Name },
			"volume_id": func(t model.Transfer) string { return t.VolumeID }}}
	var rows []model.Transfer
	err := c.view(func(r state.Reader) (err error) {
		rows, err = visible(c, r, model.Transfers)
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
	for _, t := range page {
		last = t.ID
		shown = append(shown, show(t))
	}
	return c.json(http.StatusOK, c.page("transfers", c.transferPath(), shown, last, more, total))
}

func deleteTransfer(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	err := c.update(func(w state.Writer) error {
		t, err := c.transfer(w, false)
		if err != nil {
			return err
		}
		v, there, err := model.Optional(model.Volumes.Get(w, t.VolumeID))
		if err != nil {
			return err
		}
		if there && v.Status == model.Awaiting {
			v.Status = model.Available
			if err := model.PutVolume(w, v, c.now()); err != nil {
				return err
			}
		}
		return model.Transfers.Delete(w, t.ID)
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusAccepted)
}

func acceptTransfer(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	f, err := c.body("accept")
	if err != nil {
		return err
	}
	var key string
	f.Require("auth_key")
	f.Text("auth_key", &key, openstack.Text{MinLength: 1})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	var t model.Transfer
	err = c.update(func(w state.Writer) (err error) {
		if t, err = c.transfer(w, true); err != nil {
			return err
		}
		if subtle.ConstantTimeCompare([]byte(hashKey(key)), []byte(t.KeyHash)) != 1 {
			return invalid("Attempt to transfer %s with invalid auth key.", t.ID)
		}
		return c.handOver(w, t)
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusAccepted, document{"transfer": c.transferSummary(t)})
}

// handOver gives a volume and its snapshots to the caller's project, if its quota allows.
func (c *call) handOver(w state.Writer, t model.Transfer) error {
	v, err := model.Volumes.Get(w, t.VolumeID)
	if err != nil {
		return err
	}
	if v.Status != model.Awaiting {
		return invalid("volume %s is %s, and not awaiting a transfer.", v.ID, v.Status)
	}
	snapshots, err := model.Collect(model.Snapshots.Where(w, "volume", v.ID), nil)
	if err != nil {
		return err
	}
	claim := model.Claim{ProjectID: c.who.ProjectID, TypeID: v.TypeID, Volumes: 1, GiB: v.GiB, VolumeGiB: v.GiB, Snapshots: int64(len(snapshots))}
	for _, s := range snapshots {
		claim.GiB += s.GiB
	}
	if err := model.Check(w, claim); err != nil {
		return err
	}
	for _, s := range snapshots {
		s.ProjectID, s.UserID = c.who.ProjectID, c.who.UserID
		if err := model.PutSnapshot(w, s, c.now()); err != nil {
			return err
		}
	}
	v.ProjectID, v.UserID, v.Status = c.who.ProjectID, c.who.UserID, model.Available
	if err := model.PutVolume(w, v, c.now()); err != nil {
		return err
	}
	return model.Transfers.Delete(w, t.ID)
}
