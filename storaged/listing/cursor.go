package listing

import (
	"github.com/google/btree"
	"go.etcd.io/bbolt"

	"henge/storaged/peerapi"
)

// source is an ordered run of rows that can be entered anywhere.
type source interface {
	// seek goes to the first row at or after name (at or before it, in reverse); past name itself when open.
	seek(name string, open bool) error
	// head is the row it stands at; ok is false at the end.
	head() (r *peerapi.Row, ok bool)
	next() error
}

// merged is several sources as one: of rows with one name the superseding one counts.
type merged struct {
	sources []source
	reverse bool
}

func (m *merged) seek(name string, open bool) error {
	for _, s := range m.sources {
		if err := s.seek(name, open); err != nil {
			return err
		}
	}
	return nil
}

// take gives the next row and goes on past its name.
func (m *merged) take() (row peerapi.Row, ok bool, err error) {
	r, ok := m.peek()
	if !ok {
		return row, false, nil
	}
	row = *r
	for _, s := range m.sources {
		if h, has := s.head(); has && h.Name == row.Name {
			if err := s.next(); err != nil {
				return row, false, err
			}
		}
	}
	return row, true, nil
}

func (m *merged) peek() (*peerapi.Row, bool) {
	var best *peerapi.Row
	for _, s := range m.sources {
		r, ok := s.head()
		switch {
		case !ok:
		case best == nil, m.before(r.Name, best.Name), r.Name == best.Name && r.Supersedes(*best):
			best = r
		}
	}
	return best, best != nil
}

func (m *merged) before(a, b string) bool {
	if m.reverse {
		return a > b
	}
	return a < b
}

// overlaySource reads an overlay nobody writes any more, a few rows at a time.
type overlaySource struct {
	tree    *btree.BTreeG[peerapi.Row]
	reverse bool
	buf     []peerapi.Row
	at      int
	more    bool
}

const overlayChunk = 64

func (o *overlaySource) fill(name string, open bool, from bool) {
	o.buf, o.at, o.more = o.buf[:0], 0, false
	take := func(r peerapi.Row) bool {
		if open && r.Name == name {
			return true
		}
		if len(o.buf) == overlayChunk {
			o.more = true
			return false
		}
		o.buf = append(o.buf, r)
		return true
	}
	pivot := peerapi.Row{Name: name}
	switch {
	case !o.reverse:
		o.tree.AscendGreaterOrEqual(pivot, take)
	case !from:
		o.tree.Descend(take)
	default:
		o.tree.DescendLessOrEqual(pivot, take)
	}
}

// seek: in reverse, "" is the very end.
func (o *overlaySource) seek(name string, open bool) error {
	o.fill(name, open, name != "")
	return nil
}

func (o *overlaySource) head() (*peerapi.Row, bool) {
	if o.at >= len(o.buf) {
		return nil, false
	}
	return &o.buf[o.at], true
}

func (o *overlaySource) next() error {
	o.at++
	if o.at == len(o.buf) && o.more {
		o.fill(o.buf[o.at-1].Name, true, true)
	}
	return nil
}

// treeSource reads an index's bucket. It is good for as long as its transaction.
type treeSource struct {
	cursor  *bbolt.Cursor
	reverse bool
	row     peerapi.Row
	ok      bool
	words   words
	key     []byte // scratch
}

func (t *treeSource) seek(name string, open bool) error {
	t.key = appendRowKey(t.key[:0], name)
	switch {
	case !t.reverse:
		k, v := t.cursor.Seek(t.key)
		if open && k != nil && string(k) == string(t.key) {
			k, v = t.cursor.Next()
		}
		return t.set(k, v)
	case name == "":
		return t.set(t.cursor.Last())
	}
	k, v := t.cursor.Seek(t.key)
	switch {
	case k == nil:
		k, v = t.cursor.Last()
	case string(k) != string(t.key) || open:
		k, v = t.cursor.Prev()
	}
	return t.set(k, v)
}

// set decodes the row the cursor stands at. The info's key comes before all rows.
func (t *treeSource) set(k, v []byte) (err error) {
	t.ok = len(k) > 1 && k[0] == 1
	if t.ok {
		t.row, err = decodeRow(string(k[1:]), v, &t.words)
	}
	return err
}

func (t *treeSource) head() (*peerapi.Row, bool) { return &t.row, t.ok }

func (t *treeSource) next() error {
	if t.reverse {
		return t.set(t.cursor.Prev())
	}
	return t.set(t.cursor.Next())
}
