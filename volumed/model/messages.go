package model

import (
	"time"

	"henge/cluster/state"
)

// Actions and details of messages, as Cinder numbers them. Clients look them up by number; the text is what people read.
const (
	ActionSchedule    = "001"
	ActionAttach      = "002"
	ActionCopyToImage = "003"
	ActionUpdate      = "004"
	ActionCopyImage   = "005"
	ActionUnmanage    = "006"
	ActionExtend      = "007"
	ActionCreateFrom  = "008"
	ActionSnapDelete  = "010"
	ActionSnapUpdate  = "011"
	ActionRevert      = "015"
	ActionDelete      = "018"
	ActionSnapCreate  = "019"

	DetailUnknown = "001"
	DetailNoRoom  = "007"
	DetailBackend = "003"
)

const (
	messageLife = 30 * 24 * time.Hour
	// messagesMax bounds the messages of one project; the oldest go.
	messagesMax = 200
	textMax     = 2048
)

var actionTexts = map[string]string{
	ActionSchedule: "schedule allocate volume", ActionAttach: "attach volume", ActionCopyToImage: "copy volume to image", ActionUpdate: "update attachment",
	ActionCopyImage: "copy image to volume", ActionExtend: "extend volume", ActionCreateFrom: "create volume from backend storage", ActionSnapDelete: "delete snapshot",
	ActionRevert: "revert to snapshot", ActionDelete: "delete volume", ActionSnapCreate: "create snapshot",
}

// Tell writes a message for a project's users. text is the cause.
func Tell(w state.Writer, m Message, now time.Time) error {
	m.ID, m.Level, m.Created, m.Expires = NewID(), "ERROR", now, now.Add(messageLife)
	if len(m.Text) > textMax {
		m.Text = m.Text[:textMax]
	}
	if action := actionTexts[m.Action]; action != "" {
		m.Text = action + ": " + m.Text
	}
	if err := trimMessages(w, m.ProjectID, now); err != nil {
		return err
	}
	return Messages.Put(w, m.ID, m)
}

// trimMessages removes what has expired, and the oldest where there are too many.
func trimMessages(w state.Writer, projectID string, now time.Time) error {
	all, err := Collect(Messages.Where(w, "project", projectID), nil)
	if err != nil {
		return err
	}
	oldest := -1
	for i, m := range all {
		if m.Expires.Before(now) {
			if err := Messages.Delete(w, m.ID); err != nil {
				return err
			}
		} else if oldest < 0 || m.Created.Before(all[oldest].Created) {
			oldest = i
		}
	}
	if len(all) >= messagesMax && oldest >= 0 {
		return Messages.Delete(w, all[oldest].ID)
	}
	return nil
}
