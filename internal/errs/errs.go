// Package errs gives errors a kind, so that each protocol can turn any error into its own words in one table.
//
// A kind is attached once, where it becomes known; the layers above only add what they alone know, with
// fmt.Errorf and %w. Kinds cross the wire between peers (package rpc), so their numbers never change.
package errs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Kind says what sort of thing went wrong, in words that all the parts share.
type Kind uint8

// The kinds. Their numbers are part of the peer protocol: append, never reorder.
const (
	Internal        Kind = iota // a bug, or a cause that nobody classified
	NotFound                    // the thing named is not there
	Exists                      // the thing to be made is there already
	Conflict                    // somebody else's concurrent change won, or the state forbids it (a container not empty)
	Precondition                // a condition that the client stated does not hold
	Invalid                     // the request makes no sense, and never will
	Denied                      // known, and not allowed
	Unauthenticated             // not known, or no longer
	Quota                       // more than was granted
	NoSpace                     // the disks are full up to what is held back for deletes
	Corrupt                     // bytes do not match their checksum
	Unavailable                 // too few peers answered; the same request may work later
	Timeout                     // a deadline passed
	Unsupported                 // understood, and not built
	TooLarge                    // over a stated limit
	BadDigest                   // the bytes received are not those that the client described
	Incomplete                  // the client stopped sending before it was done
)

var names = [...]string{"internal", "not found", "exists", "conflict", "precondition failed", "invalid", "denied",
	"unauthenticated", "over quota", "no space", "corrupt", "unavailable", "timed out", "unsupported", "too large", "bad digest", "incomplete"}

// String gives the kind in words.
func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

type kinded struct {
	kind Kind
	err  error
}

func (e *kinded) Error() string { return e.err.Error() }
func (e *kinded) Unwrap() error { return e.err }

// New makes an error of a kind. The format is fmt.Errorf's, %w included.
func New(kind Kind, format string, args ...any) error {
	return &kinded{kind: kind, err: fmt.Errorf(format, args...)}
}

// With attaches a kind to err, over any kind that it had. With(k, nil) is nil.
func With(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &kinded{kind: kind, err: err}
}

// KindOf finds the outermost kind in err's chain. Errors of the standard library that mean one of ours are
// recognised; everything else is Internal. KindOf(nil) is Internal too: ask only of errors.
func KindOf(err error) Kind {
	var k *kinded
	switch {
	case errors.As(err, &k):
		return k.kind
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Unavailable
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return NoSpace
	case errors.Is(err, fs.ErrNotExist):
		return NotFound
	case errors.Is(err, fs.ErrExist):
		return Exists
	}
	return Internal
}

// Is tells whether err is of the kind. Is(nil, k) is false.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
