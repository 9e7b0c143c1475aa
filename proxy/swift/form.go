package swift

import (
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
)

const (
	formFieldBytesMax = 4096 // of one field's value, as in Swift
	formFieldsMax     = 100
)

// isForm tells whether a browser's form is posted to a container (FormPost). It brings its own signature; a token beside it counts for nothing.
func (q *request) isForm() bool {
	if q.r.Method != http.MethodPost || q.container == "" || q.grant != nil {
		return false
	}
	kind, _, err := mime.ParseMediaType(q.r.Header.Get("Content-Type"))
	return err == nil && kind == "multipart/form-data"
}

// form is a form as far as it was read. The fields stand before the files.
type form struct {
	q      *request
	fields map[string]string
	files  int
	signed bool // the signature was checked
}

func formFault(code int, message string) *fault { return text(code, "FormPost: %s", title(message)) }

// title writes each word with a capital, as Swift's form answers have it.
func title(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		first := !inWord
		inWord = unicode.IsLetter(r)
		if first {
			return unicode.ToUpper(r)
		}
		return r
	}, s)
}

// postForm stores the files of a form below the path.
func (q *request) postForm() error {
	if !strings.HasPrefix(q.account, accountPrefix) {
		return q.denied()
	}
	_, params, err := mime.ParseMediaType(q.r.Header.Get("Content-Type"))
	if err != nil || params["boundary"] == "" {
		return formFault(http.StatusBadRequest, "no boundary")
	}
	f := &form{q: q, fields: make(map[string]string)}
	outcome := f.read(multipart.NewReader(q.wantBody(limits.ObjectBytesMax), params["boundary"]))
	if q.body.err != nil {
		return q.body.err
	}
	if outcome != nil && f.fields["redirect"] == "" || outcome != nil && !f.signed {
		return outcome // never redirect to where only a form without a signature asks
	}
	return f.answer(outcome)
}

// read takes the form apart. Its error is a fault.
func (f *form) read(r *multipart.Reader) error {
	for {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return formFault(http.StatusBadRequest, "invalid multipart body")
		}
		if name := fileName(part); name != "" {
			err = f.file(part, name)
		} else {
			err = f.field(part)
		}
		if err != nil {
			return err
		}
	}
	if f.files == 0 {
		return formFault(http.StatusBadRequest, "no files to process")
	}
	return nil
}

// fileName is the whole name that the browser gives a file, folders included; "" for a field.
func fileName(part *multipart.Part) string {
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil {
		return ""
	}
	return params["filename"]
}

func (f *form) field(part *multipart.Part) error {
	b, err := io.ReadAll(io.LimitReader(part, formFieldBytesMax+1))
	if err != nil {
		return formFault(http.StatusBadRequest, "invalid multipart body")
	}
	if len(b) > formFieldBytesMax || len(f.fields) == formFieldsMax {
		return formFault(http.StatusBadRequest, "too many or too long fields")
	}
	f.fields[part.FormName()] = strings.TrimRight(string(b), "\r\n")
	return nil
}

// number reads a field that must be one; "" is 0.
func (f *form) number(name string) (int64, error) {
	v := f.fields[name]
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, formFault(http.StatusBadRequest, name+" not an integer")
	}
	return n, nil
}

// file stores one file, the signature checked first.
func (f *form) file(part *multipart.Part, name string) error {
	q := f.q
	sizeMax, err := f.number("max_file_size")
	if err != nil {
		return err
	}
	filesMax, err := f.number("max_file_count")
	if err != nil {
		return err
	}
	if !f.signed {
		if err := f.verify(sizeMax, filesMax); err != nil {
			return err
		}
		f.signed = true
	}
	if f.files++; int64(f.files) > filesMax {
		return formFault(http.StatusBadRequest, "max file count exceeded")
	}
	object := q.object + name
	if !utf8.ValidString(object) || strings.IndexByte(object, 0) >= 0 {
		return text(http.StatusPreconditionFailed, "Invalid UTF8 or contains NULL")
	}
	if len(object) > limits.ObjectNameBytesMax {
		return text(http.StatusBadRequest, "Object name length of %d longer than %d", len(object), limits.ObjectNameBytesMax)
	}
	p := core.PutRequest{Size: -1, Body: &capped{r: part, left: min(sizeMax, limits.ObjectBytesMax)}}
	if p.Metadata, err = f.metadata(part, object); err != nil {
		return err
	}
	if err := q.checkQuota(0); err != nil {
		return err
	}
	_, err = q.h.Core.Put(q.r.Context(), core.Ref{Account: q.account, Container: q.container, Object: object}, p)
	return err
}

// metadata is what the form says of its files.
func (f *form) metadata(part *multipart.Part, object string) (core.Metadata, error) {
	m := core.Metadata{ContentType: f.fields["content-type"], Meta: make(map[string]string)}
	if m.ContentType == "" {
		m.ContentType = part.Header.Get("Content-Type")
	}
	if m.ContentType == "" {
		m.ContentType = guessType(object)
	}
	if !utf8.ValidString(m.ContentType) {
		return m, text(http.StatusBadRequest, "Invalid Content-Type")
	}
	now := f.q.h.Clock.Now().Unix()
	at, err := f.number("x_delete_at")
	if err != nil {
		return m, err
	}
	after, err := f.number("x_delete_after")
	if err != nil {
		return m, err
	}
	if after != 0 {
		at = now + after
	}
	if at != 0 && at <= now {
		return m, formFault(http.StatusBadRequest, "x_delete_at in past")
	}
	m.DeleteAt = at
	return m, nil
}

// verify checks the signature over the path and the bounds that the form states.
func (f *form) verify(sizeMax, filesMax int64) error {
	expires, err := f.number("expires")
	if err != nil {
		return err
	}
	if expires < f.q.h.Clock.Now().Unix() {
		return formFault(http.StatusUnauthorized, "form expired")
	}
	account, container, err := f.q.tempKeys()
	if err != nil {
		return err
	}
	signature, _, ok := parseTempURL(url.Values{"temp_url_sig": {f.fields["signature"]}, "temp_url_expires": {"0"}})
	message := fmt.Sprintf("%s\n%s\n%d\n%d\n%d", f.q.r.URL.Path, f.fields["redirect"], sizeMax, filesMax, expires)
	if !ok || !signature.matches(message, account) && !signature.matches(message, container) {
		return formFault(http.StatusUnauthorized, "invalid signature")
	}
	return nil
}

// answer sends the browser to where the form says, with the outcome, or tells it.
func (f *form) answer(outcome error) error {
	code, message := http.StatusCreated, ""
	if outcome != nil {
		fault := f.q.toFault(outcome)
		code, message = fault.code, strings.TrimPrefix(fault.body, "FormPost: ")
	}
	to := f.fields["redirect"]
	if to == "" {
		return f.q.answerText(code, "text/plain; charset=UTF-8", statusLine(code)+"\r\nFormPost: "+message)
	}
	separator := "?"
	if strings.Contains(to, "?") {
		separator = "&"
	}
	to += separator + url.Values{"status": {strconv.Itoa(code)}, "message": {message}}.Encode()
	f.q.header("Location", to)
	return f.q.answerText(http.StatusSeeOther, "text/html; charset=UTF-8",
		`<html><body><p><a href="`+html.EscapeString(to)+`">Click to continue...</a></p></body></html>`)
}

// capped fails when more than left bytes come.
type capped struct {
	r    io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, errs.With(errs.TooLarge, formFault(http.StatusRequestEntityTooLarge, "max_file_size exceeded"))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = errs.New(errs.Incomplete, "read the form: %w", err)
	}
	return n, err
}
