package engine

import "context"

func (s *Store) wantCompaction() {
	select {
	case s.compactWanted <- struct{}{}:
	default:
	}
}

func (s *Store) compactLoop(ctx context.Context) { <-ctx.Done() }
