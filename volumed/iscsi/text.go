package iscsi

import (
	"bytes"
	"strconv"
	"strings"

	"henge/internal/errs"
)

// Bounds of text: login and text requests may be continued, but not for ever.
const (
	textBytesMax  = 64 << 10
	textKeysMax   = 100
	keyBytesMax   = 63
	valueBytesMax = 8192
)

// pair is one key=value.
type pair struct{ key, value string }

// parseText takes a text data segment apart: key=value, each ended by a zero byte. A key twice is the sender's mistake (RFC 7143, 6.1).
func parseText(data []byte) ([]pair, error) {
	var pairs []pair
	seen := map[string]bool{}
	for part := range bytes.SplitSeq(data, []byte{0}) {
		if len(part) == 0 {
			continue
		}
		key, value, ok := strings.Cut(string(part), "=")
		switch {
		case !ok || key == "":
			return nil, errs.New(errs.Invalid, "text %.40q: want key=value", part)
		case len(key) > keyBytesMax || len(value) > valueBytesMax:
			return nil, errs.New(errs.Invalid, "key %.40q: too long", key)
		case seen[key]:
			return nil, errs.New(errs.Invalid, "key %s twice", key)
		case len(pairs) == textKeysMax:
			return nil, errs.New(errs.Invalid, "more than %d keys", textKeysMax)
		}
		seen[key] = true
		pairs = append(pairs, pair{key, value})
	}
	return pairs, nil
}

func appendText(data []byte, key, value string) []byte {
	data = append(data, key...)
	data = append(data, '=')
	data = append(data, value...)
	return append(data, 0)
}

// parseNumber reads a numerical value, decimal or 0x.
func parseNumber(text string, low, high uint64) (uint64, bool) {
	base, digits := 10, text
	if hex, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		base, digits = 16, hex
	}
	n, err := strconv.ParseUint(digits, base, 64)
	return n, err == nil && n >= low && n <= high
}
