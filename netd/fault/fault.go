// Package fault holds the network API's own errors: each has a type that clients tell apart by name, a message, and a kind that gives the HTTP status.
package fault

import (
	"errors"
	"fmt"

	"henge/internal/errs"
)

// Error is one of the API's errors. It always travels with a kind; see New.
type Error struct {
	Type    string // as Neutron names it, for example IpAddressInUse
	Message string
}

func (e *Error) Error() string { return e.Message }

// New makes an error of a kind with the API's type.
func New(kind errs.Kind, typ, format string, args ...any) error {
	return errs.With(kind, &Error{Type: typ, Message: fmt.Sprintf(format, args...)})
}

// Of finds the API's error in err's chain; nil if there is none.
func Of(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// Invalid is what a request that makes no sense gets.
func Invalid(format string, args ...any) error {
	return New(errs.Invalid, "InvalidInput", "Invalid input for operation: "+format+".", args...)
}

// BadRequest is what the routers' part of the API says instead.
func BadRequest(resource, format string, args ...any) error {
	return New(errs.Invalid, "BadRequest", "Bad "+resource+" request: "+format+".", args...)
}

// BadBody is what a body gets that is not what the attribute table asks for.
func BadBody(format string, args ...any) error {
	return New(errs.Invalid, "HTTPBadRequest", format, args...)
}

// Conflict is a request that the present state forbids.
func Conflict(typ, format string, args ...any) error { return New(errs.Conflict, typ, format, args...) }

// NotFound is a thing that is not there, or not for this caller.
func NotFound(typ, format string, args ...any) error { return New(errs.NotFound, typ, format, args...) }
