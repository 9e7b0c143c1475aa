package core

import (
	"errors"

	"henge/internal/errs"
)

var errNoContainer = errors.New("no such container")

func noContainer(account, container string) error {
	return errs.New(errs.NotFound, "%w: %s/%s", errNoContainer, account, container)
}

// IsNoContainer tells whether an errs.NotFound is about the container, and not about an object in it.
func IsNoContainer(err error) bool { return errors.Is(err, errNoContainer) }

func noObject(ref Ref) error {
	return errs.New(errs.NotFound, "no object %s/%s/%s", ref.Account, ref.Container, ref.Object)
}
