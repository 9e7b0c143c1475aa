package model

import (
	"time"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/internal/errs"
)

// Namespace is a set of metadata definitions: which properties there are, for clients that offer them. It is one row with all that is in it.
type Namespace struct {
	Name         string                    `json:"name"`
	DisplayName  string                    `json:"display_name,omitempty"`
	Description  string                    `json:"description,omitempty"`
	Visibility   Visibility                `json:"visibility"` // public or private
	Protected    bool                      `json:"protected,omitempty"`
	Owner        string                    `json:"owner"`
	Created      time.Time                 `json:"created"`
	Updated      time.Time                 `json:"updated"`
	Associations map[string]Association    `json:"associations,omitempty"` // by resource type
	Properties   map[string]map[string]any `json:"properties,omitempty"`   // JSON schemas
	Objects      map[string]Definition     `json:"objects,omitempty"`
	Tags         map[string]Definition     `json:"tags,omitempty"`
}

// Association says that a namespace is about a type of resource.
type Association struct {
	Prefix           string    `json:"prefix,omitempty"`
	PropertiesTarget string    `json:"target,omitempty"`
	Created          time.Time `json:"created"`
	Updated          time.Time `json:"updated"`
}

// Definition is an object (a group of properties) or a tag.
type Definition struct {
	Description string         `json:"description,omitempty"`
	Required    []string       `json:"required,omitempty"`
	Properties  map[string]any `json:"properties,omitempty"`
	Created     time.Time      `json:"created"`
	Updated     time.Time      `json:"updated"`
}

// Namespaces are the metadata definitions. The id is a hash of the name (NamespaceID), which may hold any character.
var Namespaces = state.NewTable[Namespace](Prefix + "namespaces")

// FindNamespace gives a namespace to one who may see it.
func FindNamespace(r state.Reader, id, name string, who *authn.Identity) (Namespace, error) {
	n, there, err := Optional(Namespaces.Get(r, id))
	if err != nil {
		return n, err
	}
	if !there || !n.Seen(who) {
		return n, errs.New(errs.NotFound, "Metadata definition namespace=%s was not found.", name)
	}
	return n, nil
}

// Seen tells whether an identity may see a namespace.
func (n *Namespace) Seen(who *authn.Identity) bool {
	return n.Visibility == Public || Admin(who) || who.ProjectID != "" && n.Owner == who.ProjectID
}
