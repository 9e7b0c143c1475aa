package errs

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
)

func TestKindOf(t *testing.T) {
	base := New(NotFound, "no container %q", "a")
	for _, c := range []struct {
		name string
		err  error
		want Kind
	}{
		{"own", base, NotFound},
		{"wrapped", fmt.Errorf("list: %w", base), NotFound},
		{"outermost wins", With(Unavailable, base), Unavailable},
		{"deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), Timeout},
		{"disk full", fmt.Errorf("write: %w", syscall.ENOSPC), NoSpace},
		{"unknown", errors.New("x"), Internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := KindOf(c.err); got != c.want {
				t.Fatalf("got %v, want %v", got, c.want)
			}
		})
	}
	if With(NotFound, nil) != nil || Is(nil, Internal) {
		t.Fatal("nil must stay nil")
	}
}

func TestEveryKindHasAName(t *testing.T) {
	for k := Internal; k <= Incomplete; k++ {
		if k.String() == "" || k.String()[0] == 'k' {
			t.Fatalf("kind %d has no name", k)
		}
	}
}
