package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"henge/internal/errs"
	"henge/proxy/s3/fault"
)

const namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// document builds an XML document. A listing of a thousand keys is written straight into one buffer: encoding/xml would take most of the time that a listing has.
type document struct {
	b []byte
}

// newDocument starts a document whose outermost element is root; finish closes it.
func newDocument(root string) *document {
	d := &document{b: make([]byte, 0, 1024)}
	d.b = append(d.b, xml.Header...)
	d.b = append(d.b, '<')
	d.b = append(d.b, root...)
	d.b = append(d.b, ` xmlns="`+namespace+`">`...)
	return d
}

func (d *document) open(name string) {
	d.b = append(d.b, '<')
	d.b = append(d.b, name...)
	d.b = append(d.b, '>')
}

func (d *document) close(name string) {
	d.b = append(d.b, '<', '/')
	d.b = append(d.b, name...)
	d.b = append(d.b, '>')
}

func (d *document) text(name, value string) {
	d.open(name)
	d.b = appendEscaped(d.b, value)
	d.close(name)
}

// some writes an element unless value is "".
func (d *document) some(name, value string) {
	if value != "" {
		d.text(name, value)
	}
}

func (d *document) number(name string, n int64) {
	d.open(name)
	d.b = strconv.AppendInt(d.b, n, 10)
	d.close(name)
}

func (d *document) flag(name string, v bool) {
	d.open(name)
	d.b = strconv.AppendBool(d.b, v)
	d.close(name)
}

func (d *document) time(name string, t time.Time) {
	d.open(name)
	d.b = t.UTC().AppendFormat(d.b, "2006-01-02T15:04:05.000Z")
	d.close(name)
}

func (d *document) etag(value string) { d.text("ETag", `"`+value+`"`) }

// appendEscaped writes text. Control characters, which XML 1.0 forbids even so, are written as references, as Amazon does: clients that ask for
// encoding-type=url never meet them.
func appendEscaped(b []byte, s string) []byte {
	plain := 0
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		var by string
		switch {
		case c == '<':
			by = "&lt;"
		case c == '>':
			by = "&gt;"
		case c == '&':
			by = "&amp;"
		case c == '"':
			by = "&quot;"
		case c < ' ' || c == 0x7f || c == 0xfffe || c == 0xffff:
			by = "&#x" + strconv.FormatInt(int64(c), 16) + ";"
		case c == utf8.RuneError && n == 1:
			by = "\uFFFD"
		}
		if by != "" {
			b = append(b, s[plain:i]...)
			b = append(b, by...)
			plain = i + n
		}
		i += n
	}
	return append(b, s[plain:]...)
}

// send closes root and answers 200 with the document.
func (d *document) send(w http.ResponseWriter, root string) error {
	d.close(root)
	h := w.Header()
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(len(d.b)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(d.b) // the client that left does not read an error either
	return nil
}

// depthMax is how deep elements of a request may lie in one another; none of the API's goes deeper than six.
const depthMax = 16

// parse reads a request's XML into v. Documents with DTDs, too deep ones, and anything after the outermost element are refused.
func parse(body []byte, v any) error {
	if err := checkShape(body); err != nil {
		return err
	}
	if err := xml.Unmarshal(body, v); err != nil {
		return fault.Wrap(fault.MalformedXML, err)
	}
	return nil
}

func checkShape(body []byte) error {
	d := xml.NewDecoder(bytes.NewReader(body))
	depth, roots := 0, 0
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fault.Wrap(fault.MalformedXML, err)
		}
		switch token.(type) {
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			depth++
		case xml.EndElement:
			depth--
		case xml.Directive:
			return fault.New(fault.MalformedXML)
		}
		if depth > depthMax || depth < 0 || roots > 1 {
			return fault.New(fault.MalformedXML)
		}
	}
	if depth != 0 || roots != 1 {
		return fault.New(fault.MalformedXML)
	}
	return nil
}

// readDocument reads a whole XML body of at most limit bytes, checked against what the request says of it.
func (c *call) readDocument(limit int64, needsDigest bool) ([]byte, error) {
	p, err := c.openPayload(0)
	if err != nil {
		return nil, err
	}
	if needsDigest && !p.digested() {
		return nil, fault.Newf(fault.InvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	if p.size > limit {
		return nil, fault.Newf(fault.MalformedXML, "The body may have at most %d bytes.", limit)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(p, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, fault.Newf(fault.MalformedXML, "The body may have at most %d bytes.", limit)
	}
	if p.size >= 0 && int64(b.Len()) != p.size {
		return nil, errs.New(errs.Incomplete, "body has %d bytes, not %d", b.Len(), p.size)
	}
	return b.Bytes(), p.checkMD5(b.Bytes())
}
