package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"henge/internal/clock"
)

// offsetInterval is how often a wrong clock looks how wrong it is to be.
const offsetInterval = 100 * time.Millisecond

// wrongClock is the machine's clock, moved by the duration that a file says, now and whenever it changes until ctx ends. The laboratory makes clocks jump with it.
func wrongClock(ctx context.Context, path string) (clock.Clock, error) {
	c := clock.NewShifted(clock.System{})
	if err := readOffset(c, path); err != nil {
		return nil, err
	}
	go func() {
		tick := time.NewTicker(offsetInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = readOffset(c, path) // the offset stays what it was
			}
		}
	}()
	return c, nil
}

func readOffset(c *clock.Shifted, path string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	offset, err := time.ParseDuration(strings.TrimSpace(string(raw)))
	if err != nil {
		return fmt.Errorf("the clock's offset in %s: %w", path, err)
	}
	c.Set(offset)
	return nil
}
