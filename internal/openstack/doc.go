// Package openstack is what the OpenStack APIs share: bodies read with bounds and checked field by field, pages with markers, version documents,
// and the HTTP status of each kind of error. Each API writes its faults in its own shape.
package openstack
