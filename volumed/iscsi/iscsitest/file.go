package iscsitest

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// File is a store in a sparse file: the plainest there is, to measure the target by.
type File struct {
	file *os.File
	size int64
}

// OpenFile opens a file as a store. It is the caller's to close.
func OpenFile(file *os.File) (*File, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return &File{file, info.Size()}, nil
}

// Size is part of iscsi.Store.
func (f *File) Size() int64 { return f.size }

// ReadAt is part of iscsi.Store.
func (f *File) ReadAt(_ context.Context, p []byte, off int64) error {
	_, err := f.file.ReadAt(p, off)
	return err
}

// WriteAt is part of iscsi.Store.
func (f *File) WriteAt(_ context.Context, p []byte, off int64) error {
	_, err := f.file.WriteAt(p, off)
	return err
}

// Flush is part of iscsi.Store.
func (f *File) Flush(context.Context) error { return f.file.Sync() }

// Unmap is part of iscsi.Store.
func (f *File) Unmap(_ context.Context, off, n int64) error {
	return unix.Fallocate(int(f.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// WriteZeroes is part of iscsi.Store.
func (f *File) WriteZeroes(ctx context.Context, off, n int64) error { return f.Unmap(ctx, off, n) }
