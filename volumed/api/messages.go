package api

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/volumed/model"
)

func (c *call) messageDocument(m model.Message) document {
	return document{"id": m.ID, "request_id": m.RequestID, "message_level": m.Level, "created_at": showTime(m.Created), "guaranteed_until": showTime(m.Expires),
		"resource_type": m.ResourceType, "resource_uuid": m.ResourceID, "event_id": "VOLUME_" + m.ResourceType + "_" + m.Action + "_" + m.Detail, "user_message": m.Text,
		"links": c.links("messages", m.ID)}
}

func (c *call) message(r state.Reader) (model.Message, error) {
	m, there, err := model.Optional(model.Messages.Get(r, c.path("message")))
	if err == nil && (!there || !c.owns(m.ProjectID) || m.Expires.Before(c.now())) {
		return m, errs.New(errs.NotFound, "Message %s could not be found.", c.path("message"))
	}
	return m, err
}

func showMessage(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	var m model.Message
	err := c.view(func(r state.Reader) (err error) {
		m, err = c.message(r)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"message": c.messageDocument(m)})
}

func deleteMessage(c *call) error {
	if err := c.writes(); err != nil {
		return err
	}
	err := c.update(func(w state.Writer) error {
		m, err := c.message(w)
		if err != nil {
			return err
		}
		return model.Messages.Delete(w, m.ID)
	})
	if err != nil {
		return err
	}
	return c.status(http.StatusNoContent)
}

func listMessages(c *call) error {
	if err := c.reads(); err != nil {
		return err
	}
	l := listing[model.Message]{id: func(m model.Message) string { return m.ID },
		sorts: map[string]func(a, b model.Message) int{"id": func(a, b model.Message) int { return cmp.Compare(a.ID, b.ID) },
			"created_at":    func(a, b model.Message) int { return a.Created.Compare(b.Created) },
			"resource_type": func(a, b model.Message) int { return cmp.Compare(a.ResourceType, b.ResourceType) },
			"resource_uuid": func(a, b model.Message) int { return cmp.Compare(a.ResourceID, b.ResourceID) },
			"request_id":    func(a, b model.Message) int { return cmp.Compare(a.RequestID, b.RequestID) },
			"message_level": func(a, b model.Message) int { return cmp.Compare(a.Level, b.Level) },
			"event_id":      func(a, b model.Message) int { return cmp.Compare(a.ResourceType+a.Action, b.ResourceType+b.Action) }},
		texts: map[string]func(model.Message) string{"resource_type": func(m model.Message) string { return m.ResourceType },
			"resource_uuid": func(m model.Message) string { return m.ResourceID }, "request_id": func(m model.Message) string { return m.RequestID },
			"message_level": func(m model.Message) string { return m.Level }},
		filters: map[string]func(model.Message, string) (bool, error){
			"event_id": func(m model.Message, value string) (bool, error) {
				return strings.HasSuffix(value, m.Action+"_"+m.Detail), nil
			},
			"created_at": func(m model.Message, value string) (bool, error) {
				return atTime(func() *time.Time { return &m.Created }, value)
			}},
	}
	now := c.now()
	var rows []model.Message
	err := c.view(func(r state.Reader) (err error) {
		rows, err = visible(c, r, model.Messages)
		return err
	})
	if err != nil {
		return err
	}
	rows, err = keep(rows, func(m model.Message) (bool, error) { return m.Expires.After(now), nil })
	if err != nil {
		return err
	}
	page, more, total, err := l.apply(c, rows)
	if err != nil {
		return err
	}
	var shown []document
	last := ""
	for _, m := range page {
		last = m.ID
		shown = append(shown, c.messageDocument(m))
	}
	return c.json(http.StatusOK, c.page("messages", "messages", shown, last, more, total))
}
