// Package api answers Cinder's API, version 3, with its microversions. It checks what a request says and who asks, writes what is wished into the tables of
// volumed/model, and shows them; the work itself is done by volumed/agent on the peer that has the volume.
package api
