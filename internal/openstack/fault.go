package openstack

import (
	"encoding/json"
	"net/http"
	"strconv"

	"henge/internal/errs"
)

// Status is the HTTP status of an error of a kind in the OpenStack APIs.
func Status(kind errs.Kind) int {
	switch kind {
	case errs.NotFound:
		return http.StatusNotFound
	case errs.Exists, errs.Conflict:
		return http.StatusConflict
	case errs.Precondition:
		return http.StatusPreconditionFailed
	case errs.Invalid, errs.BadDigest, errs.Incomplete:
		return http.StatusBadRequest
	case errs.Denied, errs.Quota:
		return http.StatusForbidden
	case errs.Unauthenticated:
		return http.StatusUnauthorized
	case errs.TooLarge:
		return http.StatusRequestEntityTooLarge
	case errs.Unavailable, errs.NoSpace:
		return http.StatusServiceUnavailable
	case errs.Timeout:
		return http.StatusGatewayTimeout
	case errs.Unsupported:
		return http.StatusNotImplemented
	default:
		return http.StatusInternalServerError
	}
}

// Message is what a client may read of an error: its text, or, where the cause is ours alone, only which request to ask about.
func Message(err error, requestID string) string {
	switch errs.KindOf(err) {
	case errs.Internal, errs.Corrupt:
		return "An unexpected error prevented the server from fulfilling your request (" + requestID + ")."
	default:
		return err.Error()
	}
}

// WriteJSON answers with a JSON document. A client that has gone away is not an error of ours.
func WriteJSON(w http.ResponseWriter, status int, document any) {
	raw, err := json.Marshal(document)
	if err != nil {
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	WriteEncoded(w, status, raw)
}

// WriteEncoded answers with a JSON document that is encoded already. It says how long it is: so it goes out in fewer pieces.
func WriteEncoded(w http.ResponseWriter, status int, raw []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}
