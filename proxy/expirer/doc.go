// Package expirer removes objects whose X-Delete-At has come. They answer 404 from that moment on without it; it frees their space and takes them out of listings.
//
// Every peer reads, of its own devices' listings, the rows that are due, in the order of their time, and deletes the objects through the proxy's core under the condition
// that their DeleteAt is still that of the row. Nothing is kept but what the listings hold, so that it may be killed anywhere. See docs/decisions/0040.
package expirer
