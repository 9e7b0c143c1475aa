package swift

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
)

const (
	bulkFailuresMax  = 1000 // after which a bulk request stops
	bulkWorkersMax   = 8    // deletes under way at a time
	heartbeatSeconds = 10   // between the spaces that keep a connection alive
	bulkLineBytesMax = 3 * (limits.ObjectNameBytesMax + limits.ContainerNameBytesMax + 2)
)

// bulkTypes are the forms of a bulk answer.
var bulkTypes = []string{"text/plain", "application/json", "application/xml", "text/xml"}

func (q *request) bulkType() (string, error) {
	ctype := bestMatch(q.r.Header.Get("Accept"), bulkTypes)
	if ctype == "" {
		return "", status(http.StatusNotAcceptable)
	}
	return ctype, nil
}

// bulkReport is the answer to a bulk request, which is told in its body alone.
type bulkReport struct {
	ctype    string
	root     string // of the XML
	status   int    // 0: not told
	body     string
	etag     string
	modified string
	counts   map[string]int // "Number Deleted" and the like
	problems [][2]string    // name, percent-encoded, and status
}

func deleteCounts() map[string]int { return map[string]int{"Number Deleted": 0, "Number Not Found": 0} }

// fields are what the report says, by the names that Swift gives them.
func (r *bulkReport) fields() map[string]any {
	f := make(map[string]any)
	if r.status != 0 {
		f["Response Status"], f["Response Body"] = statusLine(r.status), r.body
	}
	if r.etag != "" {
		f["Etag"], f["Last Modified"] = r.etag, r.modified
	}
	for name, n := range r.counts {
		f[name] = n
	}
	return f
}

// render gives the report as JSON, XML or text.
func (r *bulkReport) render() string {
	fields := r.fields()
	if r.ctype == "application/json" {
		fields["Errors"] = r.problems
		if r.problems == nil {
			fields["Errors"] = [][2]string{}
		}
		b, err := json.Marshal(fields)
		if err != nil {
			return "{}" // strings and numbers always marshal
		}
		return string(b)
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	value := func(name string) string {
		if n, ok := fields[name].(int); ok {
			return strconv.Itoa(n)
		}
		s, _ := fields[name].(string)
		return s
	}
	var b strings.Builder
	if !strings.HasSuffix(r.ctype, "/xml") {
		for _, name := range names {
			b.WriteString(name + ": " + value(name) + "\n")
		}
		b.WriteString("Errors:\n")
		for _, p := range r.problems {
			b.WriteString(p[0] + ", " + p[1] + "\n")
		}
		return b.String()
	}
	element := func(name, value string) {
		b.WriteString("<" + name + ">")
		_ = xml.EscapeText(&b, []byte(value)) // a strings.Builder does not fail
		b.WriteString("</" + name + ">")
	}
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<" + r.root + ">\n")
	for _, name := range names {
		element(strings.ToLower(strings.ReplaceAll(name, " ", "_")), value(name))
		b.WriteByte('\n')
	}
	b.WriteString("<errors>\n")
	for _, p := range r.problems {
		b.WriteString("<object>")
		element("name", p[0])
		element("status", p[1])
		b.WriteString("</object>\n")
	}
	b.WriteString("</errors>\n</" + r.root + ">\n")
	return b.String()
}

// withHeartbeat answers with a status at once, works, keeps the connection alive with spaces meanwhile, and ends with what work says. work reads no body. An XML
// report would be broken by spaces before it, so that one is sent none.
func (q *request) withHeartbeat(code int, ctype string, work func(context.Context) string) error {
	q.header("Content-Type", ctype)
	q.begin(code)
	done := make(chan string, 1)
	go func() { done <- work(q.r.Context()) }()
	beat := time.NewTicker(heartbeatSeconds * time.Second)
	defer beat.Stop()
	flush := http.NewResponseController(q.w)
	separator := ""
	for {
		select {
		case <-beat.C:
			if strings.HasSuffix(ctype, "/xml") {
				continue
			}
			separator = "\r\n\r\n"
			_, err := io.WriteString(q.w, " ")
			if err == nil {
				err = flush.Flush()
			}
			if err != nil && !errors.Is(err, http.ErrNotSupported) {
				<-done // work must not outlive the request
				return errs.New(errs.Incomplete, "write to the client: %w", err)
			}
		case body := <-done:
			if _, err := io.WriteString(q.w, separator+body); err != nil {
				return errs.New(errs.Incomplete, "write to the client: %w", err)
			}
			return nil
		}
	}
}

func (q *request) isBulkDelete() bool {
	return q.query.Has("bulk-delete") && (q.r.Method == http.MethodPost || q.r.Method == http.MethodDelete)
}

// bulkDelete deletes what the lines of the body name: container/object, or container, percent-encoded.
func (q *request) bulkDelete() error {
	ctype, err := q.bulkType()
	if err != nil {
		return err
	}
	if q.container != "" && q.object != "" {
		return status(http.StatusNotFound)
	}
	if !strings.HasPrefix(q.account, accountPrefix) || q.id == nil && q.grant == nil {
		return q.denied() // each name is asked for; a stranger is not even heard
	}
	r := bulkReport{ctype: ctype, root: "delete", status: http.StatusOK, counts: deleteCounts()}
	names, err := q.bulkNames()
	if q.body != nil && q.body.err != nil {
		return q.body.err
	}
	return q.withHeartbeat(http.StatusOK, ctype, func(ctx context.Context) string {
		if err != nil {
			f := q.toFault(err)
			r.status, r.body = f.code, f.body
			return r.render()
		}
		q.deleteAll(ctx, names, &r)
		if r.status == http.StatusOK && len(r.problems) == 0 && r.counts["Number Deleted"]+r.counts["Number Not Found"] == 0 {
			r.status, r.body = http.StatusBadRequest, "Invalid bulk delete."
		}
		return r.render()
	})
}

// bulkNames reads the lines.
func (q *request) bulkNames() ([]string, error) {
	if !q.hasLength() {
		return nil, status(http.StatusLengthRequired)
	}
	if t := q.r.Header.Get("Content-Type"); t != "" && !strings.HasPrefix(t, "text/plain") {
		return nil, status(http.StatusNotAcceptable)
	}
	return readNames(q.wantBody(limits.BulkDeleteMax * (bulkLineBytesMax + 2)))
}

// readNames reads percent-encoded names, one a line.
func readNames(r io.Reader) ([]string, error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 4096), bulkLineBytesMax)
	var names []string
	for scanner.Scan() {
		line := strings.TrimSpace(scanner.Text())
		if line == "" {
			continue
		}
		if len(names) == limits.BulkDeleteMax {
			return nil, text(http.StatusRequestEntityTooLarge, "Maximum Bulk Deletes: %d per request", limits.BulkDeleteMax)
		}
		if plain, err := url.PathUnescape(line); err == nil {
			line = plain
		}
		names = append(names, strings.TrimLeft(line, "/"))
	}
	if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, text(http.StatusBadRequest, "Invalid File Name")
	} else if err != nil {
		return nil, err
	}
	return names, nil
}

// deleteAll deletes the names, and counts into r. Objects go several at a time; a container waits for all that were named before it.
func (q *request) deleteAll(ctx context.Context, names []string, r *bulkReport) {
	for len(names) > 0 {
		n := slices.IndexFunc(names, func(name string) bool { return !strings.Contains(strings.TrimRight(name, "/"), "/") })
		switch {
		case n < 0:
			n = min(len(names), bulkFailuresMax)
		case n == 0:
			n = 1
		default:
			n = min(n, bulkFailuresMax)
		}
		q.deleteSome(ctx, names[:n], r)
		if len(r.problems) >= bulkFailuresMax {
			r.status, r.body = http.StatusBadRequest, "Max delete failures exceeded"
			return
		}
		names = names[n:]
	}
}

// deleteSome deletes names that need not wait for one another.
func (q *request) deleteSome(ctx context.Context, names []string, r *bulkReport) {
	results := make([]error, len(names))
	slots := make(chan struct{}, bulkWorkersMax)
	var wg sync.WaitGroup
	allowed := make(map[string]error)
	for i, name := range names {
		container, object, _ := strings.Cut(name, "/")
		if results[i] = q.mayDelete(container, object, allowed); results[i] != nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if object == "" {
				results[i] = q.h.Core.DeleteContainer(ctx, q.account, container)
			} else {
				results[i] = q.h.Core.Delete(ctx, core.Ref{Account: q.account, Container: container, Object: object}, nil)
			}
		})
	}
	wg.Wait()
	for i, err := range results {
		q.count(names[i], err, r)
	}
}

// mayDelete checks a name, and whether the client may delete it. allowed remembers the answers by container.
func (q *request) mayDelete(container, object string, allowed map[string]error) error {
	if name := container + object; !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0 {
		return status(http.StatusPreconditionFailed)
	}
	if len(container) > limits.ContainerNameBytesMax || len(object) > limits.ObjectNameBytesMax || container == "" {
		return status(http.StatusBadRequest)
	}
	key, want := container+"/", toWrite
	if object == "" {
		key, want = container, toOwn
	}
	err, known := allowed[key]
	if !known {
		err = q.authorize(q.account, container, want)
		allowed[key] = err
	}
	return err
}

// count adds one outcome to the report.
func (q *request) count(name string, err error, r *bulkReport) {
	if err == nil {
		r.counts["Number Deleted"]++
		return
	}
	f := q.toFault(err)
	if f.code == http.StatusNotFound {
		r.counts["Number Not Found"]++
		return
	}
	if f.code >= 500 {
		r.status = http.StatusBadGateway
	} else if r.status == http.StatusOK {
		r.status = http.StatusBadRequest
	}
	r.problems = append(r.problems, [2]string{escapeName(name), statusLine(f.code)})
}
