package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"henge/internal/errs"
	"henge/ring"
)

// fileShelf is a builder file, with the ring file beside it.
type fileShelf struct{ path string }

func (s fileShelf) title() string { return s.path }

// ringPath is where the ring of a builder file goes: object.builder has object.ring beside it.
func (s fileShelf) ringPath() string { return strings.TrimSuffix(s.path, ".builder") + ".ring" }

func (s fileShelf) load(context.Context) (*ring.Builder, error) { return readBuilderFile(s.path) }

func (s fileShelf) create(_ context.Context, b *ring.Builder) error {
	if _, err := os.Lstat(s.path); err == nil {
		return errs.New(errs.Exists, "%s is there already", s.path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeWhole(s.path, b)
}

func (s fileShelf) change(ctx context.Context, fn func(*ring.Builder) error) error {
	b, err := s.load(ctx)
	if err != nil {
		return err
	}
	if err := fn(b); err != nil {
		return err
	}
	return writeWhole(s.path, b)
}

func (s fileShelf) save(ctx context.Context, b *ring.Builder, was uint64) (string, error) {
	now, err := s.load(ctx)
	if err != nil {
		return "", err
	}
	if now.Version() != was {
		return "", errs.New(errs.Conflict, "somebody changed %s meanwhile: try again", s.path)
	}
	r, err := b.Ring()
	if err != nil {
		return "", err
	}
	// The builder first: a ring without it could not be changed any more.
	if err := writeWhole(s.path, b); err != nil {
		return "", err
	}
	if err := writeWhole(s.ringPath(), r); err != nil {
		return "", err
	}
	return "written to " + s.ringPath(), nil
}

func (s fileShelf) published(context.Context) (*ring.Ring, error) {
	f, err := os.Open(s.ringPath())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := ring.ReadRing(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.ringPath(), err)
	}
	return r, nil
}

func readBuilderFile(path string) (*ring.Builder, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := ring.ReadBuilder(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// readAnyFile reads a builder file, or makes a builder from a ring file.
func readAnyFile(path string, minPartHours int, now time.Time) (*ring.Builder, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if ring.IsBuilder(raw) {
		return readBuilderFile(path)
	}
	r, err := ring.ReadRing(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ring.BuilderOf(r, minPartHours, now)
}

// writeWhole replaces a file: after a crash it has the old content or the new one, whole.
func writeWhole(path string, content io.WriterTo) (err error) {
	var buf bytes.Buffer
	if _, err := content.WriteTo(&buf); err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(buf.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
