package vfs

import (
	"io"
	"unsafe"
)

// FS is a file system. Names are paths with slashes. All methods are safe for concurrent use. Errors are those of package os: errors.Is(err, fs.ErrNotExist),
// syscall.ENOSPC and so on hold.
//
// Nothing is durable by itself: a file's bytes are after its Sync or SyncData, its name (and a rename, and a removal) after SyncDir of the folder it is in.
type FS interface {
	// Create makes a file that must not be there, open for reading and writing.
	Create(name string) (File, error)
	// Open opens a file for reading.
	Open(name string) (File, error)
	// OpenWrite opens a file that is there for reading and writing.
	OpenWrite(name string) (File, error)
	// Rename puts old in the place of new, at once: whoever looks sees one or the other.
	Rename(old, new string) error
	// Remove takes a name away, or an empty folder. Whoever has the file open keeps it.
	Remove(name string) error
	// MkdirAll makes a folder and those above it that are missing.
	MkdirAll(dir string) error
	// List gives the names in a folder, sorted.
	List(dir string) ([]string, error)
	// Stat tells of a file.
	Stat(name string) (Info, error)
	// SyncDir makes the names in a folder durable.
	SyncDir(dir string) error
	// Space tells how much room there is where dir lies.
	Space(dir string) (Space, error)
	// Lock takes a lock that one process holds at a time, until the result is closed or the process dies; it makes the file. errs.Conflict when it is held.
	Lock(name string) (io.Closer, error)
}

// File is an open file. Reads and writes at different places may run at the same time.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes bytes and size durable. After an error nothing is known of what was written since the last Sync that succeeded: do not try again.
	Sync() error
	// SyncData is Sync without what a reader does not need (times).
	SyncData() error
	// Begin starts to write n bytes at off out, without waiting: a later Sync has less to do. A hint.
	Begin(off, n int64)
	// Truncate sets the size.
	Truncate(size int64) error
	// Direct makes ReadAt and WriteAt go past the page cache from now on, or through it again. Their offset, length and memory must then be multiples of
	// DirectBytes (see Aligned), or they fail with EINVAL. What is written so is no more durable than else. errs.Unsupported where the file system cannot.
	Direct(on bool) error
	// Allocate reserves room for the first size bytes; the file's size grows to it, and the new bytes read as zeros. A file system that cannot answers nil.
	Allocate(size int64) error
	// Punch gives the room of n bytes at off back; they read as zeros afterwards. The file's size stays. A file system that cannot gets zeros written.
	Punch(off, n int64) error
	// Size is the file's size.
	Size() (int64, error)
}

// DirectBytes is what direct reads and writes are aligned to: in the file and in memory.
const DirectBytes = 4096

// Aligned tells whether b may be read or written directly at an aligned offset.
func Aligned(b []byte) bool {
	return len(b)%DirectBytes == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(b)))%DirectBytes == 0
}

// AlignedBytes makes a slice of n bytes that begins where direct reads and writes may.
func AlignedBytes(n int) []byte {
	b := make([]byte, n+DirectBytes)
	from := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (DirectBytes - 1)
	return b[from : from+n : from+n]
}

// Info tells of a file or folder.
type Info struct {
	Size int64
	Dir  bool
}

// Space is the room of a file system, in bytes. Free is what an ordinary user may still write.
type Space struct {
	Size int64
	Free int64
}
