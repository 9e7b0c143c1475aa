package swift

import (
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"henge/internal/limits"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

// headerBytesMax is Swift's max_header_size.
const headerBytesMax = 8192

// objectHeaders are the headers, besides X-Object-Meta-*, that are kept with an object and given back.
var objectHeaders = [...]string{"content-disposition", "content-encoding", "cache-control", "content-language", "expires", "x-robots-tag", "x-object-manifest"}

// userMeta collects the headers that begin with x-KIND-meta-, by lower-case name, and holds them against Swift's limits.
func userMeta(h http.Header, kind string) (map[string]string, error) {
	prefix := "x-" + kind + "-meta-"
	meta := make(map[string]string)
	count, size := 0, 0
	for name, values := range h {
		value := strings.Join(values, ",")
		if len(value) > headerBytesMax {
			return nil, text(http.StatusBadRequest, "Header value too long: %s", name[:min(len(name), limits.MetaNameBytesMax)])
		}
		name = metaName(name)
		key, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if err := checkMeta(kind, prefix, key, value); err != nil {
			return nil, err
		}
		meta[name] = value
		count++
		size += len(key) + len(value)
	}
	if err := checkTotals(count, size); err != nil {
		return nil, err
	}
	return meta, nil
}

// metaName is a header's name as metadata goes by: lower case, and hyphens for underscores, as WSGI servers make of them.
func metaName(header string) string {
	return strings.ReplaceAll(strings.ToLower(header), "_", "-")
}

// checkMeta checks one header, with Swift's texts.
func checkMeta(kind, prefix, key, value string) error {
	switch {
	case key == "":
		return text(http.StatusBadRequest, "Metadata name cannot be empty")
	case kind != "object" && (!utf8.ValidString(key) || !utf8.ValidString(value)):
		return text(http.StatusBadRequest, "Metadata must be valid UTF-8")
	case len(key) > limits.MetaNameBytesMax:
		return text(http.StatusBadRequest, "Metadata name too long: %s%s", prefix, key)
	case len(value) > limits.MetaValueBytesMax:
		return text(http.StatusBadRequest, "Metadata value longer than %d: %s%s", limits.MetaValueBytesMax, prefix, key)
	}
	return nil
}

func checkTotals(count, size int) error {
	if count > limits.MetaCountMax {
		return text(http.StatusBadRequest, "Too many metadata items; max %d", limits.MetaCountMax)
	}
	if size > limits.MetaTotalBytesMax {
		return text(http.StatusBadRequest, "Total metadata too large; max %d", limits.MetaTotalBytesMax)
	}
	return nil
}

// checkMerged holds what a container or account would have after change against the totals.
func checkMerged(have, change map[string]string, kind string) error {
	prefix := "x-" + kind + "-meta-"
	count, size := 0, 0
	add := func(name, value string) {
		if key, ok := strings.CutPrefix(name, prefix); ok && value != "" {
			count++
			size += len(key) + len(value)
		}
	}
	for name, value := range have {
		if _, changed := change[name]; !changed {
			add(name, value)
		}
	}
	for name, value := range change {
		add(name, value)
	}
	return checkTotals(count, size)
}

// metaChange collects what a PUT or POST changes of a container or account: X-KIND-Meta-*, and X-Remove-KIND-Meta-* as "".
func metaChange(h http.Header, kind string) (map[string]string, error) {
	change := make(map[string]string)
	for name := range h {
		name = metaName(name)
		if rest, ok := strings.CutPrefix(name, "x-remove-"+kind+"-meta-"); ok && rest != "" {
			change["x-"+kind+"-meta-"+rest] = ""
		}
	}
	set, err := userMeta(h, kind)
	if err != nil {
		return nil, err
	}
	for name, value := range set {
		change[name] = value
	}
	return change, nil
}

// objectMetadata reads what the request says of an object: X-Object-Meta-*, the kept headers, X-Delete-At or -After. ContentType is as sent, perhaps "".
func (q *request) objectMetadata() (core.Metadata, error) {
	h := q.r.Header
	meta, err := userMeta(h, "object")
	if err != nil {
		return core.Metadata{}, err
	}
	for _, name := range objectHeaders {
		if v := h.Get(name); v != "" {
			meta[name] = v
		}
	}
	m := core.Metadata{Meta: meta, ContentType: h.Get("Content-Type")}
	if !utf8.ValidString(m.ContentType) {
		return m, text(http.StatusBadRequest, "Invalid Content-Type")
	}
	if m.DeleteAt, err = q.deleteAt(); err != nil {
		return m, err
	}
	if v, ok := meta["x-object-manifest"]; ok {
		if _, err := parseObjectManifest(v); err != nil {
			return m, err
		}
		m.Kind = peerapi.KindDLO
	}
	if h.Get("X-Symlink-Target") != "" {
		return m, text(http.StatusNotImplemented, "Symbolic links are not supported")
	}
	return m, nil
}

// deleteAt reads X-Delete-After, or X-Delete-At; 0 without either.
func (q *request) deleteAt() (int64, error) {
	now := q.h.Clock.Now().Unix()
	if v := q.r.Header.Get("X-Delete-After"); v != "" {
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil {
			return 0, text(http.StatusBadRequest, "Non-integer X-Delete-After")
		}
		if n <= 0 || now+n <= now {
			return 0, text(http.StatusBadRequest, "X-Delete-After in past")
		}
		return now + n, nil
	}
	v := q.r.Header.Get("X-Delete-At")
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err != nil {
		return 0, text(http.StatusBadRequest, "Non-integer X-Delete-At")
	}
	if n <= now {
		return 0, text(http.StatusBadRequest, "X-Delete-At in past")
	}
	return n, nil
}

// isTrue is Swift's config_true_value, as its headers and parameters use it.
func isTrue(v string) bool {
	switch strings.ToLower(v) {
	case "true", "1", "yes", "on", "t", "y":
		return true
	}
	return false
}
