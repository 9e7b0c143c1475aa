package state

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"henge/internal/errs"
)

// Table is a typed view of the keys under one prefix: rows of T, as JSON, by id. The zero index set is fine; see Index.
// A Table has no state of its own: it is safe to keep in a package variable.
type Table[T any] struct {
	name    string
	indexes []column[T]
}

type column[T any] struct {
	name   string
	unique bool
	key    func(T) string // "" leaves the row out of this index
}

// NewTable names a table; its keys are "name/id". The name is part of the stored format.
func NewTable[T any](name string) Table[T] { return Table[T]{name: name} }

// Index adds a secondary index that is kept in the same transaction as the row. When unique, Put of a second row with the same key is errs.Exists.
func (t Table[T]) Index(name string, unique bool, key func(T) string) Table[T] {
	t.indexes = append(t.indexes[:len(t.indexes):len(t.indexes)], column[T]{name, unique, key})
	return t
}

// Prefix is what a Watch on the whole table watches: rows only, no index entries.
func (t Table[T]) Prefix() string { return t.name + "/" }

// Decode turns a watched Change back into its id and row. Deleted changes give the zero row.
func (t Table[T]) Decode(c Change) (id string, row T, err error) {
	id = strings.TrimPrefix(c.Key, t.Prefix())
	if c.Deleted {
		return id, row, nil
	}
	err = json.Unmarshal(c.Value, &row)
	return id, row, err
}

// Get finds a row; errs.NotFound if there is none.
func (t Table[T]) Get(r Reader, id string) (T, error) {
	var row T
	raw, ok := r.Get(t.Prefix() + id)
	if !ok {
		return row, errs.New(errs.NotFound, "no %s %q", strings.TrimSuffix(t.name, "s"), id)
	}
	if err := json.Unmarshal(raw, &row); err != nil {
		return row, errs.New(errs.Corrupt, "decode %s %q: %w", t.name, id, err)
	}
	return row, nil
}

// Put writes a row under id, over one that may be there, and keeps the indexes.
func (t Table[T]) Put(w Writer, id string, row T) error {
	if id == "" || strings.ContainsAny(id, "/\x00") {
		return errs.New(errs.Invalid, "%s: %q cannot be an id", t.name, id)
	}
	raw, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encode %s %q: %w", t.name, id, err)
	}
	if err := t.unindex(w, id); err != nil {
		return err
	}
	for _, c := range t.indexes {
		key := c.key(row)
		if key == "" {
			continue
		}
		if c.unique {
			for taken := range w.Scan(t.indexPrefix(c.name, key)) {
				return errs.New(errs.Exists, "%s: %s %q is taken (by %s)", t.name, c.name, key, taken[strings.LastIndexByte(taken, '\x00')+1:])
			}
		}
		w.Put(t.indexPrefix(c.name, key)+id, nil)
	}
	w.Put(t.Prefix()+id, raw)
	return nil
}

// Delete removes a row and its index entries; errs.NotFound if there is none.
func (t Table[T]) Delete(w Writer, id string) error {
	if _, ok := w.Get(t.Prefix() + id); !ok {
		return errs.New(errs.NotFound, "no %s %q", strings.TrimSuffix(t.name, "s"), id)
	}
	if err := t.unindex(w, id); err != nil {
		return err
	}
	w.Delete(t.Prefix() + id)
	return nil
}

func (t Table[T]) unindex(w Writer, id string) error {
	old, err := t.Get(w, id)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, c := range t.indexes {
		if key := c.key(old); key != "" {
			w.Delete(t.indexPrefix(c.name, key) + id)
		}
	}
	return nil
}

// All yields the rows by id, in order. A row that cannot be decoded ends it with its error.
func (t Table[T]) All(r Reader) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for key, raw := range r.Scan(t.Prefix()) {
			var row T
			if err := json.Unmarshal(raw, &row); err != nil {
				yield(row, errs.New(errs.Corrupt, "decode %s: %w", key, err))
				return
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// Where yields the rows whose key in the named index is key, by id.
func (t Table[T]) Where(r Reader, index, key string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		prefix := t.indexPrefix(index, key)
		for entry := range r.Scan(prefix) {
			row, err := t.Get(r, entry[len(prefix):])
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// Count counts the rows whose key in the named index is key, without reading them.
func (t Table[T]) Count(r Reader, index, key string) int {
	n := 0
	for range r.Scan(t.indexPrefix(index, key)) {
		n++
	}
	return n
}

// First is the first row of Where; errs.NotFound if there is none.
func (t Table[T]) First(r Reader, index, key string) (T, error) {
	for row, err := range t.Where(r, index, key) {
		return row, err
	}
	var none T
	return none, errs.New(errs.NotFound, "no %s with %s %q", strings.TrimSuffix(t.name, "s"), index, key)
}

// indexPrefix cannot be a prefix of another key's, because no key holds a NUL.
func (t Table[T]) indexPrefix(index, key string) string {
	return "index\x00" + t.name + "\x00" + index + "\x00" + strings.ReplaceAll(key, "\x00", "\x01") + "\x00"
}
