package history

import (
	"errors"
	"fmt"
	"strings"
)

// The shapes of a value, as its first letters: each is stored in another way.
const (
	Small   = "small-"  // in one record
	Large   = "large-"  // in a file of its own, streamed
	InParts = "parts-"  // a multipart upload, made visible by its completion
	padding = 200 << 10 // bytes that make a value large
)

// Shapes are all.
var Shapes = []string{Small, Large, InParts}

// Body is what is stored for a value.
func Body(value string) string {
	if strings.HasPrefix(value, Small) {
		return value
	}
	return value + "\n" + strings.Repeat(value, padding/len(value))
}

// ErrTorn: a body that nobody ever wrote.
var ErrTorn = errors.New("torn")

// Value is what a body stands for; ErrTorn if it is none that was ever written.
func Value(body string) (string, error) {
	value, _, _ := strings.Cut(body, "\n")
	if value == "" || body != Body(value) {
		return "", fmt.Errorf("%w: %d bytes that begin with %.40q", ErrTorn, len(body), body)
	}
	return value, nil
}
