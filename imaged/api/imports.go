package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/imaged/library"
	"henge/imaged/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func importInfo(c *call) error {
	return c.json(http.StatusOK, document{"import-methods": document{"description": "Import methods available.", "type": "array", "value": c.Library.ImportMethods()}})
}

// storesInfo: there is one store, as in Glance's default configuration, which answers just this.
func storesInfo(c *call) error {
	return errs.New(errs.NotFound, "Multi backend is not supported at this site.")
}

// usageInfo shows what the project has, and what it may have.
func usageInfo(c *call) error {
	var u model.Usage
	err := c.view(func(r state.Reader) (err error) {
		u, err = model.UsageOf(r, c.who.ProjectID)
		return err
	})
	if err != nil {
		return err
	}
	const mib = 1 << 20
	entry := func(usage, limit int64) document {
		if limit <= 0 {
			limit = -1
		}
		return document{"usage": usage, "limit": limit}
	}
	q := c.Library.Quotas
	return c.json(http.StatusOK, document{"usage": document{
		"image_size_total": entry(u.Bytes/mib, q.ProjectBytes/mib), "image_stage_total": entry(u.Staged/mib, q.ProjectBytes/mib),
		"image_count_total": entry(int64(u.Images), int64(q.ProjectImages)), "image_count_uploading": entry(int64(u.Uploading), -1)}})
}

// importImage begins an import.
func importImage(c *call) error {
	raw, err := openstack.ReadBody(c.w, c.r)
	if err != nil {
		return err
	}
	var body struct {
		Method struct {
			Name string `json:"name"`
			URI  string `json:"uri"`
		} `json:"method"`
		Stores []string `json:"stores"` // all_stores means the one that there is
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return errs.New(errs.Invalid, "The request body does not describe an import: %w", err)
	}
	methods := c.Library.ImportMethods()
	switch {
	case body.Method.Name == "":
		return errs.New(errs.Invalid, "Import request requires a 'method' with a 'name'.")
	case !slices.Contains(methods, body.Method.Name):
		return errs.New(errs.Invalid, "Unknown import method name '%.60s': this site has %s.", body.Method.Name, strings.Join(methods, ", "))
	case len(body.Stores) > 0:
		return errs.New(errs.Invalid, "Stores cannot be chosen: multi backend is not supported at this site.")
	case body.Method.Name == library.WebDownload && body.Method.URI == "":
		return errs.New(errs.Invalid, "The import method 'web-download' requires a 'uri'.")
	}
	err = c.Library.Import(c.context(), c.who, c.path("image"), library.Import{Method: body.Method.Name, URI: body.Method.URI,
		RequestID: c.w.Header().Get("X-Openstack-Request-Id")})
	if err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

func imageTasks(c *call) error {
	tasks, err := c.Library.Tasks(c.context(), c.who, c.path("image"))
	if err != nil {
		return err
	}
	list := []document{}
	for _, t := range tasks {
		method := document{"name": t.Method}
		for k, v := range t.Input {
			method[k] = v
		}
		var expires any
		if !t.Expires.IsZero() {
			expires = stamp(t.Expires)
		}
		list = append(list, document{"id": t.ID, "image_id": t.ImageID, "request_id": t.RequestID, "user_id": t.UserID, "owner": t.Owner, "type": "api_image_import",
			"status": t.Status, "message": t.Message, "created_at": stamp(t.Created), "updated_at": stamp(t.Updated), "expires_at": expires, "result": nil,
			"input": document{"image_id": t.ImageID, "import_req": document{"method": method}}, "self": "/v2/tasks/" + t.ID, "schema": "/v2/schemas/task"})
	}
	return c.json(http.StatusOK, document{"tasks": list})
}
