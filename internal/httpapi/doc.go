// Package httpapi is what all our HTTP servers share: time-outs, header limits, a bound on requests under way, request ids, access logs, metrics.
// It knows nothing of any dialect.
package httpapi
