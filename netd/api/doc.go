// Package api is the Neutron v2 API over netd/core: who may do what, how bodies are read and resources shown, filters, sorting, pages, tags.
//
// A resource is a value of type resource: its table, how it is shown, and what create, update and delete do inside one transaction. Everything that all
// resources have in common (bulk requests, fields, filters, paging with links, revision numbers under If-Match, tags) is written once in this package.
package api
