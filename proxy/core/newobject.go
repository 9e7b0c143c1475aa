package core

import (
	"context"
	"io"
)

// NewObject makes an open Object of a function that reads ranges, for implementations of Service outside this package (coretest). end may be nil; otherwise it
// is called by each Close.
func NewObject(info Info, m *Manifest, read func(ctx context.Context, offset, length int64) (io.ReadCloser, error), end func() error) *Object {
	return &Object{Info: info, Manifest: m, source: funcSource{readRange: read, end: end}}
}

type funcSource struct {
	readRange func(ctx context.Context, offset, length int64) (io.ReadCloser, error)
	end       func() error
}

func (s funcSource) read(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	return s.readRange(ctx, offset, length)
}

func (s funcSource) close() error {
	if s.end == nil {
		return nil
	}
	return s.end()
}
