package listing

import (
	"maps"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// metaKeysMax bounds what clients can make one container's metadata grow to, removed headers included (they are kept until reclaimed).
const metaKeysMax = 1024

// The rules by which a container or account lives and dies. All of them merge: the result does not depend on the order in which changes come (but for First after a
// late delete, which then is the newest create).

// isAccount tells accounts from containers: accounts come to be by themselves, and no row is too old for them.
func isAccount(key peerapi.Key) bool { return key.Container == "" }

// create notes a PUT at ts.
func create(i *peerapi.IndexInfo, ts clock.Timestamp, policy uint8) {
	if ts <= i.Deleted {
		return
	}
	if !i.Exists() || i.First == 0 || ts < i.First {
		i.First, i.Policy = ts, policy
	}
	i.Created = max(i.Created, ts)
	i.Timestamp = max(i.Timestamp, ts)
}

// remove notes a DELETE at ts.
func remove(i *peerapi.IndexInfo, ts clock.Timestamp) {
	i.Deleted = max(i.Deleted, ts)
	i.Timestamp = max(i.Timestamp, ts)
	if i.First <= i.Deleted {
		i.First = 0
		if i.Created > i.Deleted {
			i.First = i.Created
		}
	}
	var kept map[string]peerapi.MetaValue
	for k, v := range i.Meta {
		if v.Timestamp > i.Deleted {
			if kept == nil {
				kept = map[string]peerapi.MetaValue{}
			}
			kept[k] = v
		}
	}
	i.Meta = kept
}

// restore takes back a deletion that ended the life begun at first: other replicas found the container not empty. It is the one rule that is not a merge; the journal
// keeps its place between the deletion and what came after.
func restore(i *peerapi.IndexInfo, c peerapi.IndexChange) {
	if i.Deleted >= c.Restores && i.Deleted < c.Timestamp {
		i.Deleted = c.Restores - 1
		create(i, c.Restores, c.Policy)
	}
}

// mergeMeta takes the newer values. The old map is left as it was, because pages given out share it.
func mergeMeta(i *peerapi.IndexInfo, meta map[string]peerapi.MetaValue) {
	cloned := false
	for k, v := range meta {
		old, had := i.Meta[k]
		older := had && (v.Timestamp < old.Timestamp || v.Timestamp == old.Timestamp && v.Value <= old.Value)
		if older || v.Timestamp <= i.Deleted {
			continue
		}
		if !cloned {
			if i.Meta = maps.Clone(i.Meta); i.Meta == nil {
				i.Meta = map[string]peerapi.MetaValue{}
			}
			cloned = true
		}
		i.Meta[k] = v
		i.Timestamp = max(i.Timestamp, v.Timestamp)
	}
}

// change applies an IndexChange that was found good, or that the journal gives back.
func change(i *peerapi.IndexInfo, c peerapi.IndexChange) {
	switch {
	case c.Delete:
		remove(i, c.Timestamp)
		return
	case c.Create:
		if c.Restores > 0 {
			restore(i, c)
		}
		create(i, c.Timestamp, c.Policy)
	case !i.Exists() && c.Created != 0:
		create(i, c.Created, c.CreatedPolicy)
	case !i.Exists() && isAccount(c.Key):
		create(i, c.Timestamp, 0)
	}
	if i.Exists() {
		mergeMeta(i, c.Meta)
	}
}

// judge says whether a change may be made, before it is journaled. note: it is refused, and yet to be remembered.
func judge(i peerapi.IndexInfo, c peerapi.IndexChange) (note bool, err error) {
	what := "container " + c.Key.Account + "/" + c.Key.Container
	if isAccount(c.Key) {
		what = "account " + c.Key.Account
	}
	switch {
	case len(c.Meta)+len(i.Meta) > 2*metaKeysMax || len(c.Meta) > metaKeysMax:
		return false, errs.New(errs.Invalid, "%s: more than %d metadata headers", what, metaKeysMax)
	case c.Create && c.Timestamp <= i.Deleted:
		return false, errs.New(errs.Conflict, "%s was deleted at %s, after %s", what, i.Deleted, c.Timestamp)
	case c.Create:
		return false, nil
	case c.Delete && i.Exists() && i.Count != 0:
		return false, errs.New(errs.Conflict, "%s is not empty: %d names", what, i.Count)
	case c.Delete && i.Exists() && c.Timestamp <= i.Created:
		return true, errs.New(errs.Conflict, "%s was made anew at %s, after %s", what, i.Created, c.Timestamp)
	case c.Delete && !i.Exists():
		return c.Timestamp > i.Deleted, errs.New(errs.NotFound, "there is no %s", what)
	case i.Exists() || c.Created > i.Deleted:
		return false, nil
	case isAccount(c.Key) && c.Timestamp > i.Deleted:
		return false, nil
	}
	return false, errs.New(errs.NotFound, "there is no %s", what)
}
