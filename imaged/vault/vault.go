package vault

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
)

// Where the segments lie.
const (
	Account   = ".henge-images"
	Container = "images"
)

// Vault writes, reads and removes sets of segments. Safe for concurrent use.
type Vault struct {
	objects      core.Service
	segmentBytes int64
	made         atomic.Bool // the container is there
}

// New makes a vault that writes segments of the given size; 0 is limits.ImageSegmentBytes.
func New(objects core.Service, segmentBytes int64) *Vault {
	if segmentBytes <= 0 {
		segmentBytes = limits.ImageSegmentBytes
	}
	return &Vault{objects: objects, segmentBytes: segmentBytes}
}

// SegmentBytes is the size of all segments but the last.
func (v *Vault) SegmentBytes() int64 { return v.segmentBytes }

func ref(upload string, number int64) core.Ref {
	return core.Ref{Account: Account, Container: Container, Object: fmt.Sprintf("%s/%08d", upload, number)}
}

// ensure makes the container when it is not there.
func (v *Vault) ensure(ctx context.Context) error {
	if v.made.Load() {
		return nil
	}
	if _, err := v.objects.PutContainer(ctx, Account, Container, core.PutContainer{}); err != nil {
		return fmt.Errorf("make the container of images: %w", err)
	}
	v.made.Store(true)
	return nil
}

// Write reads body to its end into segments of the upload. Each is durable before the next is begun; before each, next is asked whether to go on. On an error the
// segments written so far are left: Remove takes them away.
func (v *Vault) Write(ctx context.Context, upload string, body io.Reader, next func() error) error {
	if err := v.ensure(ctx); err != nil {
		return err
	}
	in := bufio.NewReaderSize(body, limits.CopyBufferBytes)
	for number := int64(0); ; number++ {
		if _, err := in.Peek(1); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := next(); err != nil {
			return err
		}
		segment := core.PutRequest{Body: io.LimitReader(in, v.segmentBytes), Size: -1, Metadata: core.Metadata{ContentType: "application/octet-stream"}}
		_, err := v.objects.Put(ctx, ref(upload, number), segment)
		if errs.Is(err, errs.NotFound) { // somebody removed the container: the next upload makes it anew
			v.made.Store(false)
			err = errs.With(errs.Unavailable, err)
		}
		if err != nil {
			return fmt.Errorf("store segment %d: %w", number, err)
		}
	}
}

// removePage is how many names are asked for at a time.
const removePage = 1000

// Remove takes away all segments of an upload. Repeating it does no harm; nil means that none was left.
func (v *Vault) Remove(ctx context.Context, upload string) error {
	prefix := upload + "/"
	for marker := ""; ; {
		page, err := v.objects.ListObjects(ctx, Account, Container, core.ListOptions{Prefix: prefix, Marker: marker, Limit: removePage})
		if errs.Is(err, errs.NotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list the segments of %s: %w", upload, err)
		}
		for _, entry := range page.Entries {
			name := core.Ref{Account: Account, Container: Container, Object: entry.Name}
			if err := v.objects.Delete(ctx, name, nil); err != nil && !errs.Is(err, errs.NotFound) {
				return fmt.Errorf("remove segment %s: %w", entry.Name, err)
			}
			marker = entry.Name
		}
		if !page.More {
			return nil
		}
	}
}
