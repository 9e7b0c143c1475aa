package listing

import (
	"bytes"
	"slices"

	"go.etcd.io/bbolt"

	"henge/ring"
	"henge/storaged/peerapi"
)

// All gives containers and accounts in the order of their hashes, those after a hash, at most limit; more tells whether there are others behind them.
func (s *Store) All(after ring.Hash, limit int) (all []peerapi.Index, more bool, err error) {
	keys, err := s.keys(after, limit+1)
	if err != nil {
		return nil, false, err
	}
	if more = len(keys) > limit; more {
		keys = keys[:limit]
	}
	for _, key := range keys {
		info, err := s.Info(key)
		if err != nil {
			return nil, false, err
		}
		all = append(all, peerapi.Index{Key: key, Info: info})
	}
	return all, more, nil
}

// keys gives the keys of the next indexes, of memory and tree together. Memory is looked at first: an index on its way to the tree is found twice, never missed.
func (s *Store) keys(after ring.Hash, limit int) ([]peerapi.Key, error) {
	var keys []peerapi.Key
	s.mu.Lock()
	for h, x := range s.indexes {
		if bytes.Compare(h[:], after[:]) > 0 {
			keys = append(keys, x.key)
		}
	}
	s.mu.Unlock()
	err := s.db.View(func(tx *bbolt.Tx) error {
		top := tx.Bucket(bucketIndexes)
		c := top.Cursor()
		k, _ := c.Seek(after[:])
		for n := 0; k != nil && n < limit; k, _ = c.Next() {
			if bytes.Equal(k, after[:]) {
				continue
			}
			var have stored
			if err := decode(top.Bucket(k).Get(keyInfo), &have); err != nil {
				return err
			}
			keys = append(keys, have.Key)
			n++
		}
		return nil
	})
	if err != nil {
		return nil, treeError(err)
	}
	slices.SortFunc(keys, func(a, b peerapi.Key) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	keys = slices.CompactFunc(keys, func(a, b peerapi.Key) bool { return a.Hash == b.Hash })
	return keys[:min(len(keys), limit)], nil
}
