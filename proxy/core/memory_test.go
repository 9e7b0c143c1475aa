package core_test

import (
	"bytes"
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/core"
	"henge/ring"
	"henge/storaged/peerapi"
)

// call is one call of a device, for faults to choose by.
type call struct {
	peer, method string
	key          peerapi.Key
}

// memory is a cluster of devices that keep everything in maps, by the rules of peerapi. Its faults are decided by functions.
type memory struct {
	mu      sync.Mutex // guards the fields below
	devices map[peerapi.Target]*memDevice
	before  func(call) error // the call fails, and has no effect
	after   func(call) error // the call has its effect, and its answer is lost
	down    map[string]bool  // peers
	hidden  bool             // Up does not know yet
	calls   map[string]int
}

type memObject struct {
	record  *peerapi.Record
	data    []byte
	promise clock.Timestamp
	handoff *peerapi.Target
}

type memIndex struct {
	info peerapi.IndexInfo
	rows map[string]peerapi.Row
}

type memDevice struct {
	cluster *memory
	target  peerapi.Target

	mu      sync.Mutex // guards the fields below
	objects map[ring.Hash]*memObject
	indexes map[ring.Hash]*memIndex
	full    bool
	discard bool              // written streams are counted, not kept
	corrupt map[ring.Hash]int // reading fails after so many bytes
}

func newMemory(peers int) *memory {
	m := &memory{devices: map[peerapi.Target]*memDevice{}, down: map[string]bool{}, calls: map[string]int{}}
	for i := range peers {
		t := peerapi.Target{Peer: string(rune('a' + i)), Device: "d"}
		m.devices[t] = &memDevice{cluster: m, target: t, objects: map[ring.Hash]*memObject{}, indexes: map[ring.Hash]*memIndex{}, corrupt: map[ring.Hash]int{}}
	}
	return m
}

func (m *memory) Device(t peerapi.Target) peerapi.Device { return m.devices[t] }

func (m *memory) Up(t peerapi.Target) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hidden || !m.down[t.Peer]
}

func (m *memory) set(peer string, down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down[peer] = down
}

func (m *memory) faults(before, after func(call) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before, m.after = before, after
}

func (d *memDevice) enter(ctx context.Context, method string, key peerapi.Key) (leave func() error, err error) {
	m := d.cluster
	m.mu.Lock()
	m.calls[method]++
	down, before, after := m.down[d.target.Peer], m.before, m.after
	m.mu.Unlock()
	k := call{d.target.Peer, method, key}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if down {
		return nil, errs.New(errs.Unavailable, "peer %s is down", d.target.Peer)
	}
	if before != nil {
		if err := before(k); err != nil {
			return nil, err
		}
	}
	return func() error {
		if after != nil {
			return after(k)
		}
		return nil
	}, nil
}

func (d *memDevice) object(key peerapi.Key) *memObject {
	o := d.objects[key.Hash]
	if o == nil {
		o = &memObject{}
		d.objects[key.Hash] = o
	}
	return o
}

func (o *memObject) state() peerapi.State { return peerapi.State{Record: o.record, Promise: o.promise} }

func (d *memDevice) Head(ctx context.Context, key peerapi.Key) (peerapi.State, error) {
	leave, err := d.enter(ctx, "Head", key)
	if err != nil {
		return peerapi.State{}, err
	}
	d.mu.Lock()
	s := d.object(key).state()
	d.mu.Unlock()
	return s, leave()
}

func (d *memDevice) Open(ctx context.Context, key peerapi.Key, at clock.Timestamp, r peerapi.Range) (peerapi.State, io.ReadCloser, error) {
	leave, err := d.enter(ctx, "Open", key)
	if err != nil {
		return peerapi.State{}, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.object(key)
	if err := leave(); err != nil {
		return peerapi.State{}, nil, err
	}
	if o.record == nil || o.record.Deleted || at != 0 && o.record.Timestamp != at {
		return o.state(), nil, errs.New(errs.NotFound, "not here")
	}
	data := o.data[r.Offset:]
	if r.Length >= 0 && r.Length < int64(len(data)) {
		data = data[:r.Length]
	}
	body := io.Reader(bytes.NewReader(data))
	if n, ok := d.corrupt[key.Hash]; ok {
		good := min(max(n-int(r.Offset), 0), len(data))
		body = io.MultiReader(bytes.NewReader(data[:good]), errReader{errs.New(errs.Corrupt, "checksum of %s", d.target.Peer)})
	}
	return o.state(), io.NopCloser(body), nil
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

type memWriter struct {
	d    *memDevice
	key  peerapi.Key
	data []byte
	ctx  context.Context
}

func (d *memDevice) Create(ctx context.Context, key peerapi.Key, size int64) (peerapi.Writer, error) {
	leave, err := d.enter(ctx, "Create", key)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	full := d.full
	d.mu.Unlock()
	if full {
		return nil, errs.New(errs.NoSpace, "%s is full", d.target.Peer)
	}
	return &memWriter{d: d, key: key, ctx: ctx}, leave()
}

func (w *memWriter) Write(p []byte) (int, error) {
	leave, err := w.d.enter(w.ctx, "Write", w.key)
	if err != nil {
		return 0, err
	}
	if !w.d.discard {
		w.data = append(w.data, p...)
	}
	return len(p), leave()
}

func (w *memWriter) Commit(ctx context.Context, c peerapi.Commit) (peerapi.Outcome, error) {
	return w.d.Commit(ctx, c, w.data)
}

func (w *memWriter) Close() error { return nil }

// accept applies the rules of the register.
func (o *memObject) accept(c *peerapi.Commit, data []byte) peerapi.Outcome {
	have := peerapi.State{Record: o.record}.Timestamp()
	t := c.Record.Timestamp
	ok := t > have && t > o.promise
	if c.Accept {
		ok = o.promise == t && have < t
	}
	if !ok {
		return peerapi.Outcome{Newest: max(have, o.promise)}
	}
	out := peerapi.Outcome{Accepted: true}
	if o.record != nil && o.record.Upload != "" {
		out.Replaced, out.ReplacedAt = o.record.Upload, o.record.Timestamp
	}
	rec := c.Record
	if o.promise < t {
		o.promise = 0 // a record says as much
	}
	o.record, o.data, o.handoff = &rec, data, c.Handoff
	return out
}

func (d *memDevice) Commit(ctx context.Context, c peerapi.Commit, data []byte) (peerapi.Outcome, error) {
	leave, err := d.enter(ctx, "Commit", c.Record.Key)
	if err != nil {
		return peerapi.Outcome{}, err
	}
	d.mu.Lock()
	if d.full && !c.Record.Deleted {
		d.mu.Unlock()
		return peerapi.Outcome{}, errs.New(errs.NoSpace, "%s is full", d.target.Peer)
	}
	out := d.object(c.Record.Key).accept(&c, bytes.Clone(data))
	d.mu.Unlock()
	d.tell(ctx, &c, &out)
	return out, leave()
}

// tell merges the row into the listings that the commit names.
func (d *memDevice) tell(ctx context.Context, c *peerapi.Commit, out *peerapi.Outcome) {
	if !out.Accepted {
		return
	}
	r := &c.Record
	row := peerapi.Row{Name: r.Key.Object, Timestamp: r.Timestamp, Deleted: r.Deleted, Size: r.Size, ETag: r.ETag, ContentType: r.ContentType, Kind: r.Kind}
	for _, t := range c.Listing {
		err := d.cluster.Device(t).Merge(ctx, peerapi.Merge{Key: c.ContainerKey, Rows: []peerapi.Row{row}, Created: c.ContainerCreated, Policy: c.ContainerPolicy})
		switch {
		case err == nil:
			out.Listed++
		case errs.Is(err, errs.NotFound):
			out.Gone = true
		default:
			out.Queued++
		}
	}
}

func (d *memDevice) Restamp(ctx context.Context, from clock.Timestamp, c peerapi.Commit) (peerapi.Outcome, error) {
	leave, err := d.enter(ctx, "Restamp", c.Record.Key)
	if err != nil {
		return peerapi.Outcome{}, err
	}
	d.mu.Lock()
	o := d.object(c.Record.Key)
	var out peerapi.Outcome
	if o.record == nil || o.record.Timestamp != from {
		out = peerapi.Outcome{Missing: true, Newest: max(o.state().Timestamp(), o.promise)}
	} else {
		out = o.accept(&c, o.data)
	}
	d.mu.Unlock()
	d.tell(ctx, &c, &out)
	return out, leave()
}

func (d *memDevice) Prepare(ctx context.Context, key peerapi.Key, ballot clock.Timestamp) (peerapi.Outcome, peerapi.State, error) {
	leave, err := d.enter(ctx, "Prepare", key)
	if err != nil {
		return peerapi.Outcome{}, peerapi.State{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.object(key)
	s := o.state()
	newest := max(s.Timestamp(), s.Promise)
	if ballot <= newest {
		return peerapi.Outcome{Newest: newest}, s, leave()
	}
	o.promise = ballot
	return peerapi.Outcome{Accepted: true}, o.state(), leave()
}

func (d *memDevice) index(key peerapi.Key) *memIndex {
	x := d.indexes[key.Hash]
	if x == nil {
		x = &memIndex{rows: map[string]peerapi.Row{}, info: peerapi.IndexInfo{Meta: map[string]peerapi.MetaValue{}}}
		d.indexes[key.Hash] = x
	}
	return x
}

func (x *memIndex) describe() peerapi.IndexInfo {
	info := x.info
	info.Meta = maps.Clone(info.Meta)
	info.Count, info.Bytes = 0, 0
	for _, r := range x.rows {
		if !r.Deleted && r.Timestamp > info.Deleted {
			info.Count++
			info.Bytes += r.Size
		}
	}
	return info
}

func (d *memDevice) Index(ctx context.Context, key peerapi.Key) (peerapi.IndexInfo, error) {
	leave, err := d.enter(ctx, "Index", key)
	if err != nil {
		return peerapi.IndexInfo{}, err
	}
	d.mu.Lock()
	info := d.index(key).describe()
	d.mu.Unlock()
	return info, leave()
}

func (x *memIndex) create(t clock.Timestamp, policy uint8) {
	if !x.info.Exists() && t > x.info.Deleted {
		x.info.First, x.info.Policy = t, policy
	}
	x.info.Created = max(x.info.Created, t)
	x.info.Timestamp = max(x.info.Timestamp, t)
}

func (d *memDevice) ChangeIndex(ctx context.Context, c peerapi.IndexChange) (peerapi.IndexOutcome, error) {
	leave, err := d.enter(ctx, "ChangeIndex", c.Key)
	if err != nil {
		return peerapi.IndexOutcome{}, err
	}
	d.mu.Lock()
	x := d.index(c.Key)
	out := peerapi.IndexOutcome{Existed: x.info.Exists()}
	switch {
	case c.Create:
		x.create(c.Timestamp, c.Policy)
	case c.Delete && x.describe().Count > 0:
		err = errs.New(errs.Conflict, "not empty")
	case c.Delete:
		x.info.Deleted, x.info.Timestamp = max(x.info.Deleted, c.Timestamp), max(x.info.Timestamp, c.Timestamp)
		if !out.Existed {
			err = errs.New(errs.NotFound, "none")
		}
	case !out.Existed && c.Created > x.info.Deleted:
		x.create(c.Created, c.CreatedPolicy)
	case !out.Existed:
		err = errs.New(errs.NotFound, "none")
	}
	if err != nil {
		d.mu.Unlock()
		return out, err
	}
	for k, v := range c.Meta {
		if v.Timestamp > x.info.Meta[k].Timestamp {
			x.info.Meta[k] = v
			x.info.Timestamp = max(x.info.Timestamp, v.Timestamp)
		}
	}
	d.mu.Unlock()
	for _, t := range c.Listing {
		row := peerapi.Row{Name: c.Key.Container, Timestamp: c.Timestamp, Deleted: c.Delete, Policy: c.Policy}
		if d.cluster.Device(t).Merge(ctx, peerapi.Merge{Key: c.AccountKey, Rows: []peerapi.Row{row}}) == nil {
			out.Listed++
		} else {
			out.Queued++
		}
	}
	return out, leave()
}

func (d *memDevice) Merge(ctx context.Context, m peerapi.Merge) error {
	leave, err := d.enter(ctx, "Merge", m.Key)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.index(m.Key)
	if !x.info.Exists() {
		switch {
		case m.Key.Container == "":
			x.create(m.Rows[0].Timestamp, 0)
		case m.Created > x.info.Deleted:
			x.create(m.Created, m.Policy)
		default:
			return errs.New(errs.NotFound, "container is not here")
		}
	}
	for _, r := range m.Rows {
		if old, ok := x.rows[r.Name]; !ok || r.Supersedes(old) {
			x.rows[r.Name] = r
		}
	}
	return leave()
}

func (d *memDevice) List(ctx context.Context, q peerapi.ListQuery) (peerapi.ListPage, error) {
	leave, err := d.enter(ctx, "List", q.Key)
	if err != nil {
		return peerapi.ListPage{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.index(q.Key).list(q), leave()
}

// list is the contract of ListPage in its plainest form.
func (x *memIndex) list(q peerapi.ListQuery) peerapi.ListPage {
	before := func(a, b string) bool { return a != b && (a < b) != q.Reverse }
	var names []string
	for n := range x.rows {
		if strings.HasPrefix(n, q.Prefix) && (q.Marker == "" || before(q.Marker, n)) && (q.From == "" || !before(n, q.From)) && (q.EndMarker == "" || before(n, q.EndMarker)) {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	if q.Reverse {
		slices.Reverse(names)
	}
	p := peerapi.ListPage{Info: x.describe()}
	live, taken, tombstones := 0, "", 0
	for i, n := range names {
		folder := ""
		if q.Delimiter != "" {
			if k := strings.Index(n[len(q.Prefix):], q.Delimiter); k >= 0 {
				folder = n[:len(q.Prefix)+k+len(q.Delimiter)]
			}
		}
		if folder != "" && folder == taken {
			continue
		}
		if live == q.Limit || tombstones == 3 {
			p.More, p.End = true, names[i-1]
			return p
		}
		r := x.rows[n]
		p.Rows = append(p.Rows, r)
		if r.Deleted {
			tombstones++
			continue
		}
		live++
		taken = folder
	}
	return p
}

// Repair is none of core's business.
func (d *memDevice) Sums(context.Context, peerapi.SumsQuery) (peerapi.Sums, error) {
	return peerapi.Sums{}, errs.New(errs.Unsupported, "sums")
}

func (d *memDevice) Marks(context.Context, peerapi.MarksQuery) (peerapi.Marks, error) {
	return peerapi.Marks{}, errs.New(errs.Unsupported, "marks")
}

func (d *memDevice) Indexes(context.Context, peerapi.IndexesQuery) (peerapi.Indexes, error) {
	return peerapi.Indexes{}, errs.New(errs.Unsupported, "indexes")
}

func (d *memDevice) Usage(context.Context) (peerapi.Usage, error) { return peerapi.Usage{}, nil }

// memRing places every name on the first peers of the cluster, turned by its hash.
type memRing struct {
	targets  []peerapi.Target
	replicas int
}

func (r memRing) Partition(h ring.Hash) ring.Partition { return ring.Partition(h[0]) }

func (r memRing) Primaries(p ring.Partition, dst []peerapi.Target) []peerapi.Target {
	for i := range r.replicas {
		dst = append(dst, r.targets[(int(p)+i)%len(r.targets)])
	}
	return dst
}

func (r memRing) Handoffs(p ring.Partition) iter.Seq[peerapi.Target] {
	return func(yield func(peerapi.Target) bool) {
		for i := r.replicas; i < len(r.targets); i++ {
			if !yield(r.targets[(int(p)+i)%len(r.targets)]) {
				return
			}
		}
	}
}

type memRings struct{ ring memRing }

func (r memRings) Account() core.Ring   { return r.ring }
func (r memRings) Container() core.Ring { return r.ring }
func (r memRings) Object(policy uint8) core.Ring {
	if policy > 1 {
		return nil
	}
	return r.ring
}
func (r memRings) Policies() []core.Policy {
	return []core.Policy{{Index: 0, Name: "gold", Default: true, Replicas: 3}, {Index: 1, Name: "silver", Aliases: []string{"argent"}, Replicas: 3}}
}
func (r memRings) Secret() ring.Secret { return ring.Secret{1, 2, 3} }

func (m *memory) rings(replicas int) memRings {
	r := memRing{replicas: replicas}
	for i := range len(m.devices) {
		r.targets = append(r.targets, peerapi.Target{Peer: string(rune('a' + i)), Device: "d"})
	}
	return memRings{r}
}

// proxy makes a Core over the cluster, as one of several.
func (m *memory) proxy(t testing.TB, number uint16, now clock.Clock) *core.Core {
	t.Helper()
	c, err := core.New(core.Config{Rings: m.rings(3), Devices: m, Clock: clock.NewHybrid(now, number), Time: now,
		Distance: func(peerapi.Target) int { return int(number) % 2 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// skewed is a clock that is wrong by a constant.
type skewed time.Duration

func (s skewed) Now() time.Time { return time.Now().Add(time.Duration(s)) }
