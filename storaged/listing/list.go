package listing

import (
	"strings"

	"go.etcd.io/bbolt"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// tombstonesMax is how many tombstones a page may hold beyond its limit, before it ends early.
const tombstonesMax = 1000

// List gives a page of rows; see peerapi.ListQuery. It costs what it returns, and a seek for each folder. A limit of 0 asks for the info alone.
func (s *Store) List(q peerapi.ListQuery) (peerapi.ListPage, error) {
	if q.Limit < 0 || q.Key.Account == "" || q.Key.Object != "" {
		return peerapi.ListPage{}, errs.New(errs.Invalid, "list: the key is not a container's or an account's, or the limit is negative")
	}
	q.Limit = min(q.Limit, limits.ListingMax)
	x, err := s.acquire(q.Key)
	if err != nil {
		return peerapi.ListPage{}, err
	}
	defer s.release(x)
	// The overlays are taken before the tree is looked at: a row on its way from one to the other is seen twice, never missed.
	info, active, frozen := x.snapshot()
	page := peerapi.ListPage{Info: info}
	if q.Limit == 0 {
		return page, nil
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		m := &merged{reverse: q.Reverse}
		if b := tx.Bucket(bucketIndexes).Bucket(q.Key.Hash[:]); b != nil {
			m.sources = append(m.sources, &treeSource{cursor: b.Cursor(), reverse: q.Reverse})
		}
		if frozen != nil {
			m.sources = append(m.sources, &overlaySource{tree: frozen, reverse: q.Reverse})
		}
		if active != nil {
			m.sources = append(m.sources, &overlaySource{tree: active, reverse: q.Reverse})
		}
		return fillPage(&page, m, q)
	})
	return page, treeError(err)
}

// bounds is what part of the names a query means, and where in it the walk begins.
type bounds struct {
	start string // where to begin; in reverse "" is the end
	open  bool   // start itself does not belong
	q     *peerapi.ListQuery
}

func boundsOf(q *peerapi.ListQuery) bounds {
	if q.Reverse {
		return reverseBounds(q)
	}
	b := bounds{start: q.Prefix, q: q}
	if q.From > b.start {
		b.start = q.From
	}
	if q.Marker != "" && q.Marker >= b.start {
		b.start, b.open = q.Marker, true
	}
	return b
}

func reverseBounds(q *peerapi.ListQuery) bounds {
	b := bounds{q: q}
	if after, ok := successor(q.Prefix); ok {
		b.start, b.open = after, true
	}
	if q.From != "" && (b.start == "" || q.From < b.start) {
		b.start, b.open = q.From, false
	}
	if q.Marker != "" && (b.start == "" || q.Marker <= b.start) {
		b.start, b.open = q.Marker, true
	}
	return b
}

// successor is the first name after all that begin with prefix; not ok when there is none.
func successor(prefix string) (string, bool) {
	for n := len(prefix); n > 0; n-- {
		if c := prefix[n-1]; c != 0xff {
			return prefix[:n-1] + string([]byte{c + 1}), true
		}
	}
	return "", false
}

// within tells whether a name that the walk came to still belongs.
func (b bounds) within(name string) bool {
	q := b.q
	if !strings.HasPrefix(name, q.Prefix) {
		return false
	}
	switch {
	case q.EndMarker == "":
		return true
	case q.Reverse:
		return name > q.EndMarker
	}
	return name < q.EndMarker
}

// folder is the prefix up to and with the first delimiter after the query's prefix; "" when there is none.
func folder(name string, q *peerapi.ListQuery) string {
	if q.Delimiter == "" {
		return ""
	}
	if i := strings.Index(name[len(q.Prefix):], q.Delimiter); i >= 0 {
		return name[:len(q.Prefix)+i+len(q.Delimiter)]
	}
	return ""
}

func fillPage(page *peerapi.ListPage, m *merged, q peerapi.ListQuery) error {
	b := boundsOf(&q)
	if err := m.seek(b.start, b.open); err != nil {
		return err
	}
	live, dead, last := 0, 0, ""
	for {
		r, ok := m.peek()
		if !ok || !b.within(r.Name) {
			return nil
		}
		if live == q.Limit || dead == q.Limit+tombstonesMax {
			page.More, page.End = true, last
			return nil
		}
		row, _, err := m.take()
		if err != nil {
			return err
		}
		last = row.Name
		if row.Deleted {
			dead++
			if isAccount(q.Key) || row.Timestamp > page.Info.Deleted {
				page.Rows = append(page.Rows, row)
			}
			continue
		}
		page.Rows = append(page.Rows, row)
		live++
		if f := folder(row.Name, &q); f != "" {
			if done, err := skip(m, f, q.Reverse); done || err != nil {
				return err
			}
		}
	}
}

// skip goes past a folder; done when nothing can follow.
func skip(m *merged, folder string, reverse bool) (done bool, err error) {
	if reverse {
		return false, m.seek(folder, true)
	}
	after, ok := successor(folder)
	if !ok {
		return true, nil
	}
	return false, m.seek(after, false)
}
