package api

import (
	"net/http"

	"henge/internal/errs"
)

// loose is a schema that says what there is, and leaves the rest open.
func loose(name string, required []string, properties document) document {
	return document{"name": name, "additionalProperties": false, "required": required, "properties": properties}
}

func dates(d document) document {
	d["created_at"] = fixed(document{"type": "string", "description": "Date and time of creation", "format": "date-time"})
	d["updated_at"] = fixed(document{"type": "string", "description": "Date and time of the last modification", "format": "date-time"})
	return d
}

func namespaceSchema() document {
	return loose("namespace", []string{"namespace"}, dates(document{"namespace": document{"type": "string", "description": "The unique namespace text.", "maxLength": 80},
		"display_name": text("The user friendly name for the namespace."), "description": document{"type": "string", "maxLength": 500},
		"visibility": oneOf("Scope of namespace accessibility.", []string{"public", "private"}), "protected": kind("boolean", "If true, namespace will not be deletable."),
		"owner": text("Owner of the namespace."), "self": kind("string", "Its address"), "schema": kind("string", "The schema"),
		"resource_type_associations": document{"type": "array", "items": associationSchema()}, "properties": kind("object", "Definitions of properties"),
		"objects": document{"type": "array", "items": objectSchema()}, "tags": document{"type": "array", "items": tagSchema()}}))
}

func associationSchema() document {
	return loose("resource_type_association", []string{"name"}, dates(document{"name": document{"type": "string", "maxLength": 80},
		"prefix": document{"type": "string", "maxLength": 80}, "properties_target": document{"type": "string", "maxLength": 80}}))
}

func objectSchema() document {
	return loose("object", []string{"name"}, dates(document{"name": document{"type": "string", "maxLength": 80}, "description": kind("string", "What it is"),
		"required": document{"type": "array", "items": document{"type": "string"}}, "properties": kind("object", "JSON schemas of its properties, by name"),
		"self": kind("string", "Its address"), "schema": kind("string", "The schema")}))
}

func propertySchema() document {
	d := loose("property", []string{"name", "title", "type"}, document{"name": document{"type": "string", "maxLength": 80}, "title": kind("string", "For people"),
		"description": kind("string", "What it is"), "type": oneOf("Its type", []string{"array", "boolean", "integer", "number", "object", "string", "null"}),
		"enum": document{"type": "array"}, "default": document{}, "operators": document{"type": "array", "items": document{"type": "string"}}})
	d["additionalProperties"] = true
	return d
}

func tagSchema() document {
	return loose("tag", []string{"name"}, dates(document{"name": document{"type": "string", "maxLength": 80}}))
}

func showMetadefSchema(c *call) error {
	schemas := map[string]func() document{
		"namespace": namespaceSchema, "namespaces": func() document { return collection("namespaces", namespaceSchema()) },
		"resource_type": associationSchema, "resource_types": func() document { return collection("resource_type_associations", associationSchema()) },
		"object": objectSchema, "objects": func() document { return collection("objects", objectSchema()) },
		"property": propertySchema, "properties": func() document {
			d := collection("properties", propertySchema())
			d["properties"].(document)["properties"] = document{"type": "object", "additionalProperties": propertySchema()}
			return d
		},
		"tag": tagSchema, "tags": func() document { return collection("tags", tagSchema()) },
	}
	schema := schemas[c.path("name")]
	if schema == nil {
		return errs.New(errs.NotFound, "There is no schema %.60q.", c.path("name"))
	}
	return c.json(http.StatusOK, schema())
}
