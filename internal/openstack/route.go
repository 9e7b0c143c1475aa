package openstack

import "net/http"

// HostURL is the root of an API as the client of a request named it, without a slash at the end.
func HostURL(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// Methods gives those of REST's methods with which serves says that there is a handler for the request's address: an address that is known with
// other methods is answered 405, one that is known with none 404.
func Methods(r *http.Request, serves func(*http.Request) bool) []string {
	var known []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		if other.Method = method; serves(other) {
			known = append(known, method)
		}
	}
	return known
}
