package rings

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/ring"
)

// LoadBuilder takes a ring's builder out of the state; errs.NotFound when there is none.
func LoadBuilder(ctx context.Context, store state.Store, name string) (*ring.Builder, error) {
	var b *ring.Builder
	err := store.View(ctx, func(r state.Reader) (err error) {
		b, err = getBuilder(r, name)
		return err
	})
	return b, err
}

// CreateBuilder puts a new ring's builder into the state; errs.Exists when there is one of the name.
func CreateBuilder(ctx context.Context, store state.Store, name string, b *ring.Builder) error {
	return store.Update(ctx, func(w state.Writer) error {
		if _, there := w.Get(builderPrefix + name); there {
			return errs.New(errs.Exists, "there is a ring %q already", name)
		}
		return putBuilder(w, name, b)
	})
}

// ChangeBuilder changes a builder in one transaction. fn may run several times, each time on a fresh builder; when it returns an error nothing is
// written. For quick changes: what takes long (a rebalance) goes between LoadBuilder and SaveBuilder. errs.NotFound when there is no such ring.
func ChangeBuilder(ctx context.Context, store state.Store, name string, fn func(*ring.Builder) error) error {
	return store.Update(ctx, func(w state.Writer) error {
		b, err := getBuilder(w, name)
		if err != nil {
			return err
		}
		if err := fn(b); err != nil {
			return err
		}
		return putBuilder(w, name, b)
	})
}

// SaveBuilder puts back a builder that was at version was when it was loaded, and publishes its ring when publish is set. errs.Conflict when somebody changed the
// builder meanwhile; nothing is written then.
func SaveBuilder(ctx context.Context, store state.Store, name string, b *ring.Builder, was uint64, publish bool) error {
	var published []byte
	if publish {
		var err error
		if published, err = encodeRing(name, b); err != nil {
			return err
		}
	}
	return store.Update(ctx, func(w state.Writer) error {
		current, err := getBuilder(w, name)
		if err != nil {
			return err
		}
		if current.Version() != was {
			return errs.New(errs.Conflict, "somebody changed the %s ring meanwhile (version %d, it was %d): try again", name, current.Version(), was)
		}
		if publish {
			w.Put(ringPrefix+name, published)
		}
		return putBuilder(w, name, b)
	})
}

// Put writes a builder and its ring whatever was there: for the first start of a cluster, and for loading a builder file. It is for use inside a larger Update.
func Put(w state.Writer, name string, b *ring.Builder) error {
	published, err := encodeRing(name, b)
	if err != nil {
		return err
	}
	w.Put(ringPrefix+name, published)
	return putBuilder(w, name, b)
}

// GetBuilder is LoadBuilder inside a larger View or Update.
func GetBuilder(r state.Reader, name string) (*ring.Builder, error) { return getBuilder(r, name) }

// PublishedRing reads the ring that is published under the name; errs.NotFound.
func PublishedRing(r state.Reader, name string) (*ring.Ring, error) {
	raw, ok := r.Get(ringPrefix + name)
	if !ok {
		return nil, errs.New(errs.NotFound, "no %s ring is published", name)
	}
	published, err := ring.ReadRing(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("read the %s ring: %w", name, err)
	}
	return published, nil
}

func getBuilder(r state.Reader, name string) (*ring.Builder, error) {
	raw, ok := r.Get(builderPrefix + name)
	if !ok {
		return nil, errs.New(errs.NotFound, "there is no ring %q", name)
	}
	b, err := ring.ReadBuilder(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("read the builder of the %s ring: %w", name, err)
	}
	return b, nil
}

func putBuilder(w state.Writer, name string, b *ring.Builder) error {
	if err := CheckName(name); err != nil {
		return err
	}
	var buf bytes.Buffer
	if _, err := b.WriteTo(&buf); err != nil {
		return fmt.Errorf("encode the builder of the %s ring: %w", name, err)
	}
	if buf.Len() > limits.StateValueBytesMax {
		return errs.New(errs.TooLarge, "the builder of the %s ring has %d bytes, more than %d", name, buf.Len(), limits.StateValueBytesMax)
	}
	w.Put(builderPrefix+name, buf.Bytes())
	return nil
}

func encodeRing(name string, b *ring.Builder) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	r, err := b.Ring()
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if _, err := r.WriteTo(&buf); err != nil {
		return nil, fmt.Errorf("encode the %s ring: %w", name, err)
	}
	if buf.Len() > limits.StateValueBytesMax {
		return nil, errs.New(errs.TooLarge, "the %s ring has %d bytes, more than %d", name, buf.Len(), limits.StateValueBytesMax)
	}
	return buf.Bytes(), nil
}

// Secret is the secret of the cluster's hashes. The first call in a cluster's life makes it from random; it never changes after.
func Secret(ctx context.Context, store state.Store, random io.Reader) (ring.Secret, error) {
	var secret, fresh ring.Secret
	read := func(r state.Reader) error {
		raw, ok := r.Get(secretKey)
		if !ok {
			return errs.New(errs.NotFound, "the cluster has no secret for its hashes yet")
		}
		if len(raw) != len(secret) {
			return errs.New(errs.Corrupt, "the secret of the hashes has %d bytes", len(raw))
		}
		secret = ring.Secret(raw)
		return nil
	}
	if err := store.View(ctx, read); !errs.Is(err, errs.NotFound) {
		return secret, err
	}
	if _, err := io.ReadFull(random, fresh[:]); err != nil {
		return secret, fmt.Errorf("make the secret of the hashes: %w", err)
	}
	err := store.Update(ctx, func(w state.Writer) error {
		err := read(w)
		if errs.Is(err, errs.NotFound) { // nobody else was first
			secret = fresh
			w.Put(secretKey, fresh[:])
			return nil
		}
		return err
	})
	return secret, err
}

// Names are the rings that have a builder in the state, in order.
func Names(ctx context.Context, store state.Store) ([]string, error) {
	var names []string
	err := store.View(ctx, func(r state.Reader) error {
		names = nil
		for key := range r.Scan(builderPrefix) {
			names = append(names, strings.TrimPrefix(key, builderPrefix))
		}
		return nil
	})
	return names, err
}
