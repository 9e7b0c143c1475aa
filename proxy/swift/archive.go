package swift

import (
	"archive/tar"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"unicode/utf8"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
)

// extractArchive is PUT ?extract-archive=tar|tar.gz|tar.bz2: each regular file in the archive becomes an object below the path.
func (q *request) extractArchive() error {
	ctype, err := q.bulkType()
	if err != nil {
		return err
	}
	format := q.query.Get("extract-archive")
	if format != "tar" && format != "tar.gz" && format != "tar.bz2" {
		return text(http.StatusBadRequest, "Unsupported archive format")
	}
	if !q.hasLength() {
		return status(http.StatusLengthRequired)
	}
	want := toWrite
	if q.container == "" {
		want = toOwn
	}
	if err := q.authorize(q.account, q.container, want); err != nil {
		return err
	}
	metadata, err := q.objectMetadata()
	if err != nil {
		return err
	}
	x := &extraction{q: q, metadata: metadata, made: make(map[string]error),
		report: bulkReport{ctype: ctype, root: "extract", status: http.StatusCreated, counts: map[string]int{"Number Files Created": 0}}}
	if err := x.run(format); err != nil {
		if q.body.err != nil { // the client's connection: nobody reads a report
			return q.body.err
		}
		x.report.status, x.report.body = http.StatusBadRequest, "Invalid Tar File: "+err.Error()
		if f := (*fault)(nil); errors.As(err, &f) {
			x.report.status, x.report.body = f.code, f.body
		}
	} else if len(x.report.problems) == 0 && x.report.counts["Number Files Created"] == 0 {
		x.report.status, x.report.body = http.StatusBadRequest, "Invalid Tar File: No Valid Files"
	}
	return q.answerText(http.StatusOK, ctype, x.report.render())
}

// extraction is one archive being unpacked.
type extraction struct {
	q        *request
	metadata core.Metadata
	made     map[string]error // containers that were asked for
	report   bulkReport
}

func (x *extraction) run(format string) error {
	var r io.Reader = x.q.wantBody(limits.ObjectBytesMax)
	switch format {
	case "tar.gz":
		gz, err := gzip.NewReader(r)
		if err != nil {
			return fmt.Errorf("open gzip: %w", err)
		}
		r = gz
	case "tar.bz2":
		r = bzip2.NewReader(r)
	}
	archive := tar.NewReader(r)
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if head.Typeflag != tar.TypeReg {
			continue
		}
		if err := x.file(head, archive); err != nil {
			return err
		}
	}
}

// file stores one file. Only an error that ends the whole is returned; others go into the report.
func (x *extraction) file(head *tar.Header, body io.Reader) error {
	full := strings.TrimLeft(strings.TrimPrefix(head.Name, "./"), "/")
	if x.q.object != "" {
		full = strings.TrimRight(x.q.object, "/") + "/" + full
	}
	if x.q.container != "" { // names are never cleaned: a ".." must not lead out of the container that the client may write to
		full = x.q.container + "/" + full
	}
	container, object, ok := strings.Cut(full, "/")
	if !ok || object == "" {
		return nil // a file beside the containers has no place, as in Swift
	}
	code := 0
	switch {
	case !utf8.ValidString(full):
		code = http.StatusPreconditionFailed
	case len(container) > limits.ContainerNameBytesMax || len(object) > limits.ObjectNameBytesMax:
		code = http.StatusBadRequest
	case head.Size > limits.ObjectBytesMax:
		code = http.StatusRequestEntityTooLarge
	}
	if code == 0 {
		err := x.container(container)
		if err == nil {
			_, err = x.q.h.Core.Put(x.q.r.Context(), core.Ref{Account: x.q.account, Container: container, Object: object},
				core.PutRequest{Body: body, Size: head.Size, Metadata: x.metadataOf(head, object)})
		}
		if err == nil {
			x.report.counts["Number Files Created"]++
			return nil
		}
		if x.q.body.err != nil {
			return err
		}
		code = x.q.toFault(err).code
		if code == http.StatusUnauthorized {
			return err // it will not get better
		}
	}
	if code >= 500 {
		x.report.status = http.StatusBadGateway
	} else if x.report.status == http.StatusCreated {
		x.report.status = http.StatusBadRequest
	}
	x.report.problems = append(x.report.problems, [2]string{escapeName(full), statusLine(code)})
	if len(x.report.problems) >= bulkFailuresMax {
		return text(http.StatusBadRequest, "Maximum failed extractions exceeded")
	}
	return nil
}

// container makes a container that is not there, once. Only who owns the account may.
func (x *extraction) container(name string) error {
	err, known := x.made[name]
	if known {
		return err
	}
	if len(x.made) >= limits.BulkDeleteMax {
		return text(http.StatusBadRequest, "More than %d containers to create from tar.", limits.BulkDeleteMax)
	}
	_, err = x.q.h.Core.Container(x.q.r.Context(), x.q.account, name, false)
	if errs.Is(err, errs.NotFound) {
		if err = x.q.authorize(x.q.account, name, toOwn); err == nil {
			_, err = x.q.h.Core.PutContainer(x.q.r.Context(), x.q.account, name, core.PutContainer{})
		}
	}
	x.made[name] = err
	return err
}

// metadataOf is the request's metadata, the type by the file's name, and what the archive itself says (as Swift reads extended attributes).
func (x *extraction) metadataOf(head *tar.Header, object string) core.Metadata {
	m := x.metadata
	m.Meta = maps.Clone(m.Meta)
	m.ContentType = guessType(object)
	const attr = "SCHILY.xattr.user."
	for key, value := range head.PAXRecords {
		name, ok := strings.CutPrefix(key, attr)
		switch {
		case !ok || len(value) > limits.MetaValueBytesMax || !utf8.ValidString(value) || strings.ContainsAny(value, "\r\n\x00"):
		case name == "mime_type":
			m.ContentType = value
		case strings.HasPrefix(name, "meta.") && len(name) <= limits.MetaNameBytesMax && isToken(name) && len(m.Meta) < limits.MetaCountMax:
			m.Meta["x-object-meta-"+strings.ToLower(name[len("meta."):])] = value
		}
	}
	return m
}

// isToken tells whether s can be (the end of) a header's name.
func isToken(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) < 0 && len(s) > len("meta.")
}
