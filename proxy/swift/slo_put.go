package swift

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

// sysManifestETag is where a static large object keeps the MD5 of its manifest as multipart-manifest=get shows it.
const sysManifestETag = "swift-manifest-etag"

// segmentHeadsMax is how many segments are looked at at a time.
const segmentHeadsMax = 8

// putSLO is PUT ?multipart-manifest=put: a static large object out of segments that are there.
func (q *request) putSLO() error {
	if !q.hasLength() {
		return status(http.StatusLengthRequired)
	}
	metadata, err := q.objectMetadata()
	if err != nil {
		return err
	}
	if metadata.Kind == peerapi.KindDLO {
		return text(http.StatusBadRequest, "X-Object-Manifest cannot be given with multipart-manifest=put")
	}
	check, err := writeCheck(q.r.Header)
	if err != nil {
		return err
	}
	body, err := q.readAll(limits.ManifestBytesMax, text(http.StatusRequestEntityTooLarge, "Manifest File > %d bytes", limits.ManifestBytesMax))
	if err != nil {
		return err
	}
	entries, err := parseSLO(body, "/"+q.container+"/"+q.object)
	if err != nil {
		return err
	}
	metadata.ContentType = q.contentType(metadata.ContentType)
	metadata.Kind = peerapi.KindSLO
	build := func(ctx context.Context) (core.Info, error) {
		return q.buildSLO(ctx, entries, core.PutRequest{Metadata: metadata, Check: check})
	}
	if isTrue(q.query.Get("heartbeat")) {
		return q.putSLOSlowly(build)
	}
	info, err := build(q.r.Context())
	if err != nil {
		return err
	}
	return q.created(info, `"`+info.ETag+`"`)
}

// putSLOSlowly answers 202 at once, keeps the connection alive, and tells the outcome in the body.
func (q *request) putSLOSlowly(build func(context.Context) (core.Info, error)) error {
	ctype, err := q.bulkType()
	if err != nil {
		return err
	}
	return q.withHeartbeat(http.StatusAccepted, ctype, func(ctx context.Context) string {
		info, err := build(ctx)
		r := bulkReport{ctype: ctype, root: "upload", status: http.StatusCreated}
		if err != nil {
			f := q.toFault(err)
			r.status, r.body = f.code, f.body
			if p := (*segmentProblems)(nil); errors.As(err, &p) {
				r.body, r.problems = "", p.list
			}
		} else {
			r.etag, r.modified = `"`+info.ETag+`"`, info.Modified.UTC().Format(http.TimeFormat)
		}
		return r.render()
	})
}

// segmentProblems is what is wrong with the segments of a manifest.
type segmentProblems struct {
	fault *fault
	list  [][2]string
}

func (p *segmentProblems) Error() string { return fmt.Sprintf("%d segments do not fit", len(p.list)) }
func (p *segmentProblems) Unwrap() error { return p.fault }

// buildSLO looks at all segments and writes the manifest.
func (q *request) buildSLO(ctx context.Context, entries []sloEntry, p core.PutRequest) (core.Info, error) {
	problems := make([]string, len(entries))
	if err := q.authorizeEntries(entries, problems); err != nil {
		return core.Info{}, err
	}
	segments, err := q.headSegments(ctx, entries, problems)
	if err != nil {
		return core.Info{}, err
	}
	var list [][2]string
	for i, problem := range problems {
		if problem != "" {
			list = append(list, [2]string{escapeName(entries[i].path()), problem})
		}
	}
	if len(list) > 0 {
		return core.Info{}, q.segmentFault(list)
	}
	m := &p.Metadata
	m.ETag = sloETag(segments)
	if want := bareETag(q.r.Header.Get("Etag")); want != "" && want != m.ETag {
		return core.Info{}, status(http.StatusUnprocessableEntity)
	}
	man := core.Manifest{Format: 1, Segments: segments}
	shown, err := renderManifest(man, false)
	if err != nil {
		return core.Info{}, err
	}
	m.System = map[string]string{sysManifestETag: md5Hex(shown)}
	var size int64
	for i := range segments {
		size += segments[i].Length
	}
	if err := q.checkQuota(size); err != nil {
		return core.Info{}, err
	}
	return q.h.Core.PutManifest(ctx, q.ref(), p, man)
}

func md5Hex(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// segmentFault is 400 with the list of what is wrong, as the client likes it.
func (q *request) segmentFault(list [][2]string) error {
	ctype := bestMatch(q.r.Header.Get("Accept"), bulkTypes)
	if ctype == "" {
		ctype = bulkTypes[0]
	}
	r := bulkReport{ctype: ctype, root: "upload", problems: list}
	return &segmentProblems{list: list, fault: &fault{code: http.StatusBadRequest, body: r.render(), ctype: ctype}}
}

// authorizeEntries sees to it that the client may read what it refers to.
func (q *request) authorizeEntries(entries []sloEntry, problems []string) error {
	asked := make(map[string]string)
	for i := range entries {
		e := &entries[i]
		if e.data != nil {
			continue
		}
		problem, known := asked[e.container]
		if !known {
			if err := q.authorize(q.account, e.container, toRead); err != nil {
				f := q.toFault(err)
				if f.code >= 500 {
					return err
				}
				problem = statusLine(f.code)
			}
			asked[e.container] = problem
		}
		problems[i] = problem
	}
	return nil
}

// headSegments looks at the segments, some at a time; what is wrong with one goes to problems.
func (q *request) headSegments(ctx context.Context, entries []sloEntry, problems []string) ([]core.Segment, error) {
	segments := make([]core.Segment, len(entries))
	failures := make([]error, len(entries))
	slots := make(chan struct{}, segmentHeadsMax)
	var wg sync.WaitGroup
	for i := range entries {
		e := &entries[i]
		switch {
		case problems[i] != "":
		case e.data != nil:
			segments[i] = core.Segment{ETag: md5Hex(e.data), Size: e.size, Length: e.size, Data: e.data}
		default:
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				segments[i], problems[i], failures[i] = q.headSegment(ctx, e)
			})
		}
	}
	wg.Wait()
	for _, err := range failures {
		if err != nil {
			return nil, err
		}
	}
	return segments, nil
}

// headSegment looks at one segment.
func (q *request) headSegment(ctx context.Context, e *sloEntry) (s core.Segment, problem string, err error) {
	o, err := q.h.Core.Open(ctx, core.Ref{Account: q.account, Container: e.container, Object: e.object}, core.OpenOptions{HeadOnly: true})
	if errs.Is(err, errs.NotFound) {
		return s, statusLine(http.StatusNotFound), nil
	}
	if err != nil {
		return s, "", err
	}
	info := o.Info
	if err := o.Close(); err != nil {
		return s, "", err
	}
	s = core.Segment{Account: q.account, Container: e.container, Object: e.object, ETag: info.ETag, Size: info.Size, Length: info.Size,
		SLO: info.Kind == peerapi.KindSLO || info.Kind == peerapi.KindMultipart, Type: info.ContentType, Modified: info.Timestamp}
	switch {
	case e.size >= 0 && e.size != info.Size:
		return s, "Size Mismatch", nil
	case e.etag != "" && !strings.EqualFold(e.etag, info.ETag):
		return s, "Etag Mismatch", nil
	case info.Size == 0:
		return s, "Too small; each segment must be at least 1 byte.", nil
	case !e.ranged:
		return s, "", nil
	}
	part, ok := e.part.of(info.Size)
	if !ok {
		return s, "Unsatisfiable Range", nil
	}
	s.Offset, s.Length = part.offset, part.length
	return s, "", nil
}

// rangeOf is a segment's range as manifests spell it; "" for the whole.
func rangeOf(s *core.Segment) string {
	if s.Length == s.Size || s.Object == "" {
		return ""
	}
	return strconv.FormatInt(s.Offset, 10) + "-" + strconv.FormatInt(s.Offset+s.Length-1, 10)
}

// sloETag is the MD5 of the segments' ETags, ranges included, as Swift has it.
func sloETag(segments []core.Segment) string {
	sum := md5.New()
	for i := range segments {
		s := &segments[i]
		_, _ = io.WriteString(sum, s.ETag)
		if r := rangeOf(s); r != "" {
			_, _ = io.WriteString(sum, ":"+r+";")
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// shownSegment is a segment as multipart-manifest=get shows it.
type shownSegment struct {
	Name         string `json:"name,omitempty"`
	Hash         string `json:"hash"`
	Bytes        int64  `json:"bytes"`
	ContentType  string `json:"content_type,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	Range        string `json:"range,omitempty"`
	SubSLO       bool   `json:"sub_slo,omitempty"`
	Data         []byte `json:"data,omitempty"`
}

// rawSegment is a segment as it was sent, so that it can be sent again.
type rawSegment struct {
	Path  string `json:"path,omitempty"`
	ETag  string `json:"etag,omitempty"`
	Size  int64  `json:"size_bytes,omitempty"`
	Range string `json:"range,omitempty"`
	Data  []byte `json:"data,omitempty"`
}

// renderManifest is the body of multipart-manifest=get. The same manifest always gives the same bytes.
func renderManifest(man core.Manifest, raw bool) ([]byte, error) {
	var all any
	if raw {
		list := make([]rawSegment, len(man.Segments))
		for i := range man.Segments {
			if s := &man.Segments[i]; s.Object == "" {
				list[i] = rawSegment{Data: s.Data}
			} else {
				list[i] = rawSegment{Path: "/" + s.Container + "/" + s.Object, ETag: s.ETag, Size: s.Size, Range: rangeOf(s)}
			}
		}
		all = list
	} else {
		list := make([]shownSegment, len(man.Segments))
		for i := range man.Segments {
			s := &man.Segments[i]
			list[i] = shownSegment{Hash: s.ETag, Bytes: s.Size, Data: s.Data}
			if s.Object != "" {
				list[i] = shownSegment{Name: "/" + s.Container + "/" + s.Object, Hash: s.ETag, Bytes: s.Size, ContentType: s.Type,
					LastModified: isoTime(clock.Timestamp(s.Modified)), Range: rangeOf(s), SubSLO: s.SLO}
			}
		}
		all = list
	}
	b, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return b, nil
}
