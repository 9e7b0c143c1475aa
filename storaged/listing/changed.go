package listing

import (
	"fmt"
	"maps"

	"go.etcd.io/bbolt"

	"henge/ring"
	"henge/storaged/peerapi"
)

// TakeChanged gives the containers whose counts have changed since they were taken last. Reported says what became of each.
func (s *Store) TakeChanged() []peerapi.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := make([]peerapi.Key, 0, len(s.changed))
	for h, key := range s.changed {
		keys = append(keys, key)
		s.reporting[h] = key
	}
	clear(s.changed)
	return keys
}

// Reported says that a container's account was told of its counts (or will be: it is queued), or that it was not: then the container counts as changed again.
func (s *Store) Reported(key peerapi.Key, told bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.reporting, key.Hash)
	if !told {
		s.changed[key.Hash] = key
	}
}

func (s *Store) loadChanged(tx *bbolt.Tx) error {
	b := tx.Bucket(bucketChanged)
	if b == nil {
		return nil
	}
	return b.ForEach(func(k, v []byte) error {
		var key peerapi.Key
		if err := decode(v, &key); err != nil {
			return fmt.Errorf("changed container %x: %w", k, err)
		}
		if len(k) == len(ring.Hash{}) {
			s.changed[ring.Hash(k)] = key
			s.noted[ring.Hash(k)] = true
		}
		return nil
	})
}

// unreported copies the containers that an account is still to be told of. It is taken after the rows are frozen, so that no row reaches the tree without
// its container being noted there or reported.
func (s *Store) unreported() map[ring.Hash]peerapi.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.changed)
	maps.Copy(all, s.reporting)
	return all
}

// saveChanged makes the tree's bucket hold what is unreported. noted is what it holds now; only differences are written.
func saveChanged(tx *bbolt.Tx, want map[ring.Hash]peerapi.Key, noted map[ring.Hash]bool) error {
	b := tx.Bucket(bucketChanged)
	for h := range noted {
		if _, ok := want[h]; !ok {
			if err := b.Delete(h[:]); err != nil {
				return fmt.Errorf("forget changed container: %w", err)
			}
		}
	}
	for h, key := range want {
		if noted[h] {
			continue
		}
		raw, err := encode(key)
		if err != nil {
			return err
		}
		if err := b.Put(h[:], raw); err != nil {
			return fmt.Errorf("note changed container: %w", err)
		}
	}
	return nil
}

// changedDiffers tells whether saveChanged has something to write.
func (s *Store) changedDiffers(want map[ring.Hash]peerapi.Key) bool {
	if len(want) != len(s.noted) {
		return true
	}
	for h := range want {
		if !s.noted[h] {
			return true
		}
	}
	return false
}
