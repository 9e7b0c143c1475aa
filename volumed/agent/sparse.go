package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"henge/volumed/backend"
)

// fillSparse writes a file to a device, but for its holes.
func fillSparse(ctx context.Context, d backend.Device, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	buf := make([]byte, copyChunk)
	for off := int64(0); off < info.Size(); {
		from, to, err := nextData(f, off, info.Size())
		if err != nil {
			return err
		}
		for off = from; off < to; {
			n, err := f.ReadAt(buf[:min(copyChunk, to-off)], off)
			if err != nil && !errors.Is(err, io.EOF) || n == 0 {
				return fmt.Errorf("read the disk of the image at %d: %w", off, err)
			}
			if err := writeSparse(ctx, d, buf[:n], off); err != nil {
				return err
			}
			off += int64(n)
		}
	}
	return d.Flush(ctx)
}

// nextData finds the next stretch of a file that is no hole; from is size when there is none. Where the file system cannot tell, all is data.
func nextData(f *os.File, off, size int64) (from, to int64, err error) {
	from, err = unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return off, size, nil
	case err != nil:
		return 0, 0, fmt.Errorf("look for data: %w", err)
	}
	to, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
	return from, to, err
}

// saveSparse puts a device's content into a file, with holes where nothing is.
func saveSparse(ctx context.Context, d backend.Device, path string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size := d.Size()
	if err := f.Truncate(size); err != nil {
		return err
	}
	buf := make([]byte, copyChunk)
	for off := int64(0); off < size; {
		allocated, n, err := d.Extent(ctx, off, size-off)
		if err != nil {
			return err
		}
		for end := off + n; allocated && off < end; {
			p := buf[:min(copyChunk, end-off)]
			if err := d.ReadAt(ctx, p, off); err != nil {
				return err
			}
			if _, err := f.WriteAt(p, off); err != nil {
				return err
			}
			off += int64(len(p))
		}
		if !allocated {
			off += n
		}
	}
	return nil
}
