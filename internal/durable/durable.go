// Package durable is the one place that knows how a whole small file is put on a disk so that a power cut leaves the old one or the new one, never half of one.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"henge/internal/vfs"
)

// suffix marks files that are being written. What a crash leaves under such a name may be removed.
const suffix = ".new"

// WriteFile puts data in a file of this name, in the place of one that may be there. When it returns nil the file is durable; after an error the old one or
// the new one is there. Two at a time for one name must not be.
func WriteFile(fsys vfs.FS, name string, data []byte) error {
	if err := fsys.Remove(name + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what a crash left: %w", err)
	}
	f, err := fsys.Create(name + suffix)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), fsys.Remove(name+suffix))
	}
	return Rename(fsys, name+suffix, name)
}

// Rename puts old in the place of new, durably.
func Rename(fsys vfs.FS, old, new string) error {
	if err := fsys.Rename(old, new); err != nil {
		return err
	}
	if err := fsys.SyncDir(path.Dir(new)); err != nil {
		return err
	}
	if path.Dir(old) != path.Dir(new) {
		return fsys.SyncDir(path.Dir(old))
	}
	return nil
}

// Mkdir makes a folder, and those above it that are missing up to root (which is there), durably.
func Mkdir(fsys vfs.FS, root, dir string) error {
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	for d := path.Clean(dir); d != path.Clean(root); d = path.Dir(d) {
		if d == path.Dir(d) {
			return fmt.Errorf("make %s: it is not inside %s", dir, root)
		}
		if err := fsys.SyncDir(path.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// ReadFile gives all bytes of a file that is not larger than sizeMax.
func ReadFile(fsys vfs.FS, name string, sizeMax int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := readAll(f, name, sizeMax)
	return b, errors.Join(err, f.Close())
}

func readAll(f vfs.File, name string, sizeMax int64) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > sizeMax {
		return nil, fmt.Errorf("read %s: %d bytes, more than %d", name, size, sizeMax)
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		return nil, fmt.Errorf("read %s: %d of %d bytes: %w", name, n, len(b), errors.Join(err, io.ErrUnexpectedEOF))
	}
	return b, nil
}
