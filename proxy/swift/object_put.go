package swift

import (
	"net/http"
	"strconv"
	"strings"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

// putObject is PUT in all its forms.
func (q *request) putObject() error {
	if err := q.authorize(q.account, q.container, toWrite); err != nil {
		return err
	}
	copying := q.r.Header.Get("X-Copy-From") != ""
	switch {
	case q.query.Get("multipart-manifest") == "put" && copying:
		return text(http.StatusMethodNotAllowed, "Multipart Manifest PUTs cannot be COPY requests")
	case q.query.Get("multipart-manifest") == "put":
		return q.putSLO()
	case copying:
		return q.copyInto()
	}
	p, err := q.putRequest()
	if err != nil {
		return err
	}
	if err := q.checkQuota(p.Size); err != nil {
		return err
	}
	info, err := q.h.Core.Put(q.r.Context(), q.ref(), p)
	if err != nil {
		return err
	}
	return q.created(info, info.ETag)
}

// putRequest checks all that can be checked before a byte of the body is asked for.
func (q *request) putRequest() (core.PutRequest, error) {
	p := core.PutRequest{Size: q.r.ContentLength}
	if q.r.ContentLength > limits.ObjectBytesMax {
		return p, text(http.StatusRequestEntityTooLarge, "Your request is too large.")
	}
	if !q.hasLength() {
		return p, text(http.StatusLengthRequired, "Missing Content-Length header.")
	}
	var err error
	if p.Metadata, err = q.objectMetadata(); err != nil {
		return p, err
	}
	p.Metadata.ContentType = q.contentType(p.Metadata.ContentType)
	if p.Check, err = writeCheck(q.r.Header); err != nil {
		return p, err
	}
	p.Body = q.wantBody(limits.ObjectBytesMax)
	if want := bareETag(q.r.Header.Get("Etag")); want != "" {
		p.Finish = func(sum string, _ int64, _ *core.Metadata) error {
			if !strings.EqualFold(sum, want) {
				return errs.New(errs.BadDigest, "the bytes have MD5 %s, not %s", sum, want)
			}
			return nil
		}
	}
	return p, nil
}

// contentType is the type as sent, or guessed from the name when none was, or when that is asked for.
func (q *request) contentType(sent string) string {
	if sent == "" || isTrue(q.r.Header.Get("X-Detect-Content-Type")) {
		return guessType(q.object)
	}
	return sent
}

// created answers a PUT.
func (q *request) created(info core.Info, etag string) error {
	q.header("Etag", etag)
	q.header("Last-Modified", info.Modified.UTC().Format(http.TimeFormat))
	return q.answerHTML(http.StatusCreated)
}

// postObject replaces an object's metadata.
func (q *request) postObject() error {
	if err := q.authorize(q.account, q.container, toWrite); err != nil {
		return err
	}
	sent, err := q.objectMetadata()
	if err != nil {
		return err
	}
	_, err = q.h.Core.UpdateMeta(q.r.Context(), q.ref(), func(now core.Info) (core.Metadata, error) {
		m := sent
		m.System, m.ETag, m.Kind = now.System, now.ETag, now.Kind
		if m.ContentType == "" {
			m.ContentType = now.ContentType
		}
		switch _, dynamic := m.Meta["x-object-manifest"]; {
		case dynamic && now.Kind == peerapi.KindPlain:
			m.Kind = peerapi.KindDLO
		case !dynamic && now.Kind == peerapi.KindDLO:
			m.Kind = peerapi.KindPlain
		}
		return m, nil
	})
	if err != nil {
		return err
	}
	return q.answerHTML(http.StatusAccepted)
}

// deleteObject is DELETE; with multipart-manifest=delete the segments of a static large object go first.
func (q *request) deleteObject() error {
	if err := q.authorize(q.account, q.container, toWrite); err != nil {
		return err
	}
	if q.query.Get("multipart-manifest") == "delete" {
		return q.deleteSLO()
	}
	if v := q.r.Header.Get("X-If-Delete-At"); v != "" {
		return q.deleteExpiring(v)
	}
	check, err := writeCheck(q.r.Header)
	if err != nil {
		return err
	}
	if err := q.h.Core.Delete(q.r.Context(), q.ref(), check); err != nil {
		return err
	}
	return q.answerHTML(http.StatusNoContent)
}

// deleteExpiring is a DELETE that counts only while the object has that X-Delete-At.
func (q *request) deleteExpiring(v string) error {
	at, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err != nil {
		return text(http.StatusBadRequest, "Bad X-If-Delete-At header value")
	}
	err = q.h.Core.DeleteExpiring(q.r.Context(), q.ref(), at)
	if errs.Is(err, errs.Precondition) {
		return text(http.StatusPreconditionFailed, "X-If-Delete-At and X-Delete-At do not match")
	}
	if err != nil {
		return err
	}
	return q.answerHTML(http.StatusNoContent)
}
