package library

import (
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"henge/imaged/inspect"
	"henge/internal/errs"
)

// examined reads an image's data through: it hashes, inspects and counts, and ends in an error when the data is refused.
type examined struct {
	body       io.Reader
	md5        hash.Hash
	sha512     hash.Hash
	inspector  *inspect.Inspector
	diskFormat string // "" takes any
	size, most int64
	failed     error // the first error that is the data's or the sender's, as against the store's
}

func examine(body io.Reader, diskFormat string, most int64) *examined {
	return &examined{body: body, md5: md5.New(), sha512: sha512.New(), inspector: inspect.New(), diskFormat: diskFormat, most: most}
}

// errRefused marks data that no repetition makes acceptable.
var errRefused = errors.New("refused")

// Read implements io.Reader.
func (e *examined) Read(p []byte) (int, error) {
	if e.failed != nil {
		return 0, e.failed
	}
	n, err := e.body.Read(p)
	e.size += int64(n)
	e.md5.Write(p[:n])
	e.sha512.Write(p[:n])
	_, _ = e.inspector.Write(p[:n])
	switch {
	case e.most > 0 && e.size > e.most:
		e.failed = errs.New(errs.TooLarge, "The image is larger than the %d bytes that there is room for.", e.most)
	case err != nil && !errors.Is(err, io.EOF):
		e.failed = errs.New(errs.Incomplete, "The image data ended early, after %d bytes: %w", e.size, err)
	case e.diskFormat != "":
		e.failed = refused(e.inspector.Early(e.diskFormat))
	}
	if e.failed != nil {
		return 0, e.failed
	}
	return n, err
}

// refused marks an error that is about what the data is.
func refused(err error) error {
	if err == nil {
		return nil
	}
	return errs.With(errs.KindOf(err), &refusedError{err})
}

type refusedError struct{ error }

func (e *refusedError) Unwrap() error        { return e.error }
func (e *refusedError) Is(target error) bool { return target == errRefused }

func (e *examined) sums() (md5Hex, sha512Hex string) {
	return hex.EncodeToString(e.md5.Sum(nil)), hex.EncodeToString(e.sha512.Sum(nil))
}
