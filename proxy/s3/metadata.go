package s3

import (
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/fault"
)

const (
	metaPrefix   = "x-object-meta-" // core's, which is Swift's
	amzMeta      = "x-amz-meta-"
	metaBytesMax = 2048 // S3's limit on user metadata
	// defaultContentType is what S3 stores when the client says nothing.
	defaultContentType = "binary/octet-stream"
)

// plainHeaders are kept as they come and given back as they are, by their names in core.
func plainHeaders() []string {
	return []string{"cache-control", "content-disposition", "content-encoding", "content-language", "expires"}
}

// metadata is what a request says of the object that it writes.
func metadata(h http.Header) (core.Metadata, error) {
	m := core.Metadata{ContentType: h.Get("Content-Type"), Meta: make(map[string]string)}
	if m.ContentType == "" {
		m.ContentType = defaultContentType
	}
	for _, name := range plainHeaders() {
		value := strings.Join(h.Values(name), ",")
		if name == "content-encoding" {
			value = withoutChunked(value)
		}
		if value != "" {
			m.Meta[name] = toUTF8(value)
		}
	}
	m.ContentType = toUTF8(m.ContentType)
	total := 0
	for name, values := range h {
		rest, ok := strings.CutPrefix(strings.ToLower(name), amzMeta)
		if !ok {
			continue
		}
		value := decodeWords(toUTF8(strings.Join(values, ",")))
		total += len(rest) + len(value)
		m.Meta[metaPrefix+rest] = value
	}
	if total > metaBytesMax || len(m.Meta) > limits.HeaderCountMax {
		return m, fault.New(fault.MetadataTooLarge).With("Size", strconv.Itoa(total)).With("MaxSizeAllowed", strconv.Itoa(metaBytesMax))
	}
	return m, nil
}

// withoutChunked takes the token aws-chunked, which is about the request and not the object, out of a Content-Encoding, and nothing else.
func withoutChunked(encoding string) string {
	if !strings.Contains(strings.ToLower(encoding), "aws-chunked") {
		return encoding
	}
	tokens := slices.DeleteFunc(strings.Split(encoding, ","), func(t string) bool {
		t = strings.TrimSpace(t)
		return t == "" || strings.EqualFold(t, "aws-chunked")
	})
	return strings.TrimSpace(strings.Join(tokens, ","))
}

// toUTF8 reads bytes that are not UTF-8 as Latin-1, which is what HTTP once said they are.
func toUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// decodeWords reads the form of RFC 2047, in which clients send what is not ASCII.
func decodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return s
	}
	if d, err := new(mime.WordDecoder).DecodeHeader(s); err == nil && utf8.ValidString(d) && !strings.ContainsAny(d, "\r\n\x00") {
		return d
	}
	return s
}

// encodeWords is the inverse: headers stay ASCII, as Amazon keeps them.
func encodeWords(s string) string {
	for i := range len(s) {
		if s[i] >= 0x7f || s[i] < ' ' && s[i] != '\t' {
			return mime.BEncoding.Encode("UTF-8", s)
		}
	}
	return s
}

// metadataHeaders writes an object's metadata into an answer.
func metadataHeaders(h http.Header, info core.Info) {
	if info.ContentType != "" {
		h.Set("Content-Type", info.ContentType)
	}
	for _, name := range plainHeaders() {
		if v := info.Meta[name]; v != "" {
			h.Set(name, v)
		}
	}
	for name, v := range info.Meta {
		if rest, ok := strings.CutPrefix(name, metaPrefix); ok {
			h[amzMeta+rest] = []string{encodeWords(v)} // in lower case as Amazon does: boto3 makes the keys of its Metadata from it as it comes
		}
	}
}

// sameMetadata makes a copy of an object's metadata for another object.
func sameMetadata(info core.Info) core.Metadata {
	m := core.Metadata{ContentType: info.ContentType, Meta: make(map[string]string, len(info.Meta))}
	maps.Copy(m.Meta, info.Meta)
	delete(m.Meta, "x-object-manifest") // the copy has the bytes, not the promise of them
	return m
}

// readsHeader tells whether a request header that begins with x-amz- is one that writing operations understand, or that changes nothing.
func readsHeader(name string) bool {
	switch name {
	case "x-amz-date", "x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer", "x-amz-user-agent", "x-amz-te", "x-amz-api-version",
		"x-amz-request-payer", "x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner", "x-amz-sdk-checksum-algorithm",
		"x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode", "x-amz-acl", "x-amz-storage-class", "x-amz-mp-object-size",
		"x-amz-copy-source", "x-amz-copy-source-range", "x-amz-copy-source-if-match", "x-amz-copy-source-if-none-match",
		"x-amz-copy-source-if-modified-since", "x-amz-copy-source-if-unmodified-since", "x-amz-metadata-directive", "x-amz-tagging-directive",
		"x-amz-object-ownership", "x-amz-bucket-object-lock-enabled", "x-amz-optional-object-attributes", "x-amz-object-attributes", "x-amz-id-2", "x-amz-request-id",
		"x-amz-security-token", "x-amz-bucket-namespace", "x-amz-max-parts", "x-amz-part-number-marker":
		return true
	}
	return strings.HasPrefix(name, amzMeta) || strings.HasPrefix(name, "x-amz-checksum-")
}

// checkHeaders refuses what a request asks for and we do not do: a header that is taken and ignored is a promise broken. Headers of other families
// (X-Backend-*, X-Object-Sysmeta-*, X-Container-*, ...) are never looked at, and so never reach core.
func (c *call) checkHeaders() error {
	for name, values := range c.r.Header {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, "x-amz-") || strings.HasPrefix(lower, amzMeta) {
			continue
		}
		switch {
		case c.op.write && !readsHeader(lower), strings.Contains(lower, "-server-side-encryption"), strings.HasPrefix(lower, "x-amz-object-lock"):
			return notImplemented(lower)
		case lower == "x-amz-storage-class" && values[0] != "STANDARD":
			return fault.New(fault.InvalidStorageClass).With("StorageClassRequested", values[0])
		case lower == "x-amz-acl" && values[0] != "private" && values[0] != "bucket-owner-full-control":
			return fault.Newf(fault.NotImplemented, "The canned ACL %q is not supported: only the owner's project has access.", values[0])
		case lower == "x-amz-expected-bucket-owner" && values[0] != c.owner(), lower == "x-amz-source-expected-bucket-owner" && values[0] != c.owner():
			return fault.New(fault.AccessDenied)
		case lower == "x-amz-bucket-object-lock-enabled" && !strings.EqualFold(values[0], "false"):
			return notImplemented(lower)
		case lower == "x-amz-bucket-namespace" && values[0] != "global":
			return notImplemented(lower)
		case lower == "x-amz-object-ownership" && values[0] != "BucketOwnerEnforced":
			return fault.Newf(fault.NotImplemented, "x-amz-object-ownership may only be BucketOwnerEnforced.")
		case lower == "x-amz-tagging-directive" && values[0] != "COPY":
			return notImplemented(lower)
		}
	}
	return nil
}

func notImplemented(what string) *fault.Error {
	return fault.New(fault.NotImplemented).With("Header", what)
}
