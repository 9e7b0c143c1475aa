package model

import (
	"slices"

	"henge/internal/errs"
)

// next says which status may follow which.
var next = map[Status][]Status{
	Queued:      {Saving, Uploading, Importing, Deleted},
	Saving:      {Active, Killed, Queued, Deleted},
	Uploading:   {Importing, Queued, Killed, Deleted},
	Importing:   {Active, Killed, Queued, Deleted},
	Active:      {Deactivated, Deleted},
	Deactivated: {Active, Deleted},
	Killed:      {Deleted},
}

// Statuses are all that there are.
var Statuses = []Status{Queued, Saving, Uploading, Importing, Active, Deactivated, Killed, Deleted}

// Move gives an image another status: errs.Conflict when that cannot follow the one it has.
func (i *Image) Move(to Status) error {
	if !slices.Contains(next[i.Status], to) {
		return errs.New(errs.Conflict, "Image status transition from %s to %s is not allowed", i.Status, to)
	}
	i.Status = to
	return nil
}

// HasData tells whether there are bytes to be read.
func (i *Image) HasData() bool {
	return i.Data != nil && (i.Status == Active || i.Status == Deactivated)
}

// NameOf is the image's name, "" when it has none.
func (i *Image) NameOf() string {
	if i.Name == nil {
		return ""
	}
	return *i.Name
}
