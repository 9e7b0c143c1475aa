package core

import (
	"context"
	"strconv"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// Account describes an account.
func (c *Core) Account(ctx context.Context, account string) (AccountInfo, error) {
	r, err := c.placeAccount(account)
	if err != nil {
		return AccountInfo{}, err
	}
	info, err := c.readIndex(ctx, r)
	if err != nil {
		return AccountInfo{}, err
	}
	out := AccountInfo{Exists: info.Exists(), Timestamp: info.First, Containers: info.Count, Objects: info.Objects, Bytes: info.Bytes, Meta: liveMeta(info)}
	if out.Timestamp == 0 {
		out.Timestamp = info.Created
	}
	out.Deleted = deletedAt(info)
	return out, nil
}

// UpdateAccount merges metadata; the account comes to be if it was not.
func (c *Core) UpdateAccount(ctx context.Context, account string, meta map[string]string) error {
	r, err := c.placeAccount(account)
	if err != nil {
		return err
	}
	info, err := c.readIndex(ctx, r) // to be later than whatever was there
	if err != nil {
		return err
	}
	if !deletedAt(info).IsZero() {
		return noAccount(account)
	}
	_, err = c.changeIndex(ctx, r, replicas{}, func(t clock.Timestamp) peerapi.IndexChange {
		return peerapi.IndexChange{Timestamp: t, Create: true, Meta: stamped(meta, t)}
	})
	return err
}

// ListContainers gives a page of an account's containers.
func (c *Core) ListContainers(ctx context.Context, account string, o ListOptions) (Listing, error) {
	if c.gone(ctx, account) {
		return Listing{}, nil
	}
	r, err := c.placeAccount(account)
	if err != nil {
		return Listing{}, err
	}
	return c.list(ctx, r, o)
}

// findContainer gives a container that exists, perhaps from the cache.
func (c *Core) findContainer(ctx context.Context, account, container string, fresh bool) (peerapi.IndexInfo, error) {
	if c.gone(ctx, account) {
		return peerapi.IndexInfo{}, noContainer(account, container)
	}
	name := containerName{account, container}
	info, ok, epoch := c.containers.get(name)
	if ok && !fresh {
		return info, nil
	}
	if fresh {
		return c.fetchContainer(ctx, name, epoch)
	}
	// One question for all who wait for the same. It does not end with the one who happened to ask first.
	key := account + "/" + container + "\x00" + strconv.FormatUint(epoch, 10)
	ch := c.flights.DoChan(key, func() (any, error) { return c.fetchContainer(context.WithoutCancel(ctx), name, epoch) })
	select {
	case r := <-ch:
		if r.Err != nil {
			return peerapi.IndexInfo{}, r.Err
		}
		return r.Val.(peerapi.IndexInfo), nil
	case <-ctx.Done():
		return peerapi.IndexInfo{}, ctx.Err()
	}
}

func (c *Core) fetchContainer(ctx context.Context, name containerName, epoch uint64) (peerapi.IndexInfo, error) {
	r, err := c.placeContainer(name.account, name.container)
	if err != nil {
		return peerapi.IndexInfo{}, err
	}
	info, err := c.readIndex(ctx, r)
	if err != nil {
		return peerapi.IndexInfo{}, err
	}
	if !info.Exists() {
		return info, noContainer(name.account, name.container)
	}
	c.containers.put(name, info, epoch)
	return info, nil
}

// Container describes a container.
func (c *Core) Container(ctx context.Context, account, container string, fresh bool) (ContainerInfo, error) {
	info, err := c.findContainer(ctx, account, container, fresh)
	if err != nil {
		return ContainerInfo{}, err
	}
	p, err := c.policy(info.Policy)
	if err != nil {
		return ContainerInfo{}, err
	}
	created := info.First
	if created == 0 {
		created = info.Created
	}
	return ContainerInfo{Created: created, Changed: info.Timestamp, Objects: info.Count, Bytes: info.Bytes, Policy: p, Meta: liveMeta(info)}, nil
}

// choosePolicy finds the policy of a container to be made (current does not exist) or checks it against that of one that is there.
func (c *Core) choosePolicy(account, name string, current peerapi.IndexInfo) (uint8, error) {
	for _, p := range c.rings.Policies() {
		switch {
		case name != "" && !p.Named(name):
		case current.Exists():
			if name != "" && p.Index != current.Policy {
				return 0, errs.New(errs.Conflict, "the container has another storage policy than %s", name)
			}
			return current.Policy, nil
		case name != "" && p.Deprecated && account != uploadAccount: // parts go where their bucket's objects go
			return 0, errs.New(errs.Invalid, "storage policy %s is deprecated", name)
		case name != "" || p.Default:
			return p.Index, nil
		}
	}
	if name == "" {
		return 0, errs.New(errs.Unavailable, "no default storage policy is known here")
	}
	return 0, errs.New(errs.Invalid, "there is no storage policy %q", name)
}

// PutContainer makes a container, or merges metadata into one that is there.
func (c *Core) PutContainer(ctx context.Context, account, container string, p PutContainer) (bool, error) {
	if c.gone(ctx, account) {
		return false, noAccount(account)
	}
	r, err := c.placeContainer(account, container)
	if err != nil {
		return false, err
	}
	parent, err := c.placeAccount(account)
	if err != nil {
		return false, err
	}
	current, err := c.readIndex(ctx, r)
	if err != nil {
		return false, err
	}
	if current.Exists() && p.MustMake {
		return false, errs.New(errs.Exists, "container %s/%s exists", account, container)
	}
	policy, err := c.choosePolicy(account, p.Policy, current)
	if err != nil {
		return false, err
	}
	defer c.containers.drop(containerName{account, container})
	done, err := c.changeIndex(ctx, r, parent, func(t clock.Timestamp) peerapi.IndexChange {
		return peerapi.IndexChange{Timestamp: t, Create: true, Policy: policy, Meta: stamped(p.Meta, t)}
	})
	if err != nil {
		return false, err
	}
	row := peerapi.Row{Name: container, Timestamp: done.at, Policy: policy}
	if current.Exists() {
		row.Count, row.Size, row.Counted = current.Count, current.Bytes, done.at
	}
	return !current.Exists(), c.enlist(ctx, parent, done.listed, peerapi.Merge{Rows: []peerapi.Row{row}})
}

// UpdateContainer merges metadata; "" removes.
func (c *Core) UpdateContainer(ctx context.Context, account, container string, meta map[string]string) error {
	if c.gone(ctx, account) {
		return noContainer(account, container)
	}
	r, err := c.placeContainer(account, container)
	if err != nil {
		return err
	}
	current, err := c.readIndex(ctx, r)
	if err != nil {
		return err
	}
	if !current.Exists() {
		return noContainer(account, container)
	}
	defer c.containers.drop(containerName{account, container})
	_, err = c.changeIndex(ctx, r, replicas{}, func(t clock.Timestamp) peerapi.IndexChange {
		return peerapi.IndexChange{Timestamp: t, Meta: stamped(meta, t), Created: current.First, CreatedPolicy: current.Policy}
	})
	return err
}

// DeleteContainer deletes an empty container, with the multipart uploads that were under way in it.
func (c *Core) DeleteContainer(ctx context.Context, account, container string) error {
	if c.gone(ctx, account) {
		return noContainer(account, container)
	}
	r, err := c.placeContainer(account, container)
	if err != nil {
		return err
	}
	parent, err := c.placeAccount(account)
	if err != nil {
		return err
	}
	current, err := c.readIndex(ctx, r)
	if err != nil {
		return err
	}
	if !current.Exists() {
		return noContainer(account, container)
	}
	// A replica's own count may be behind, either way; what two replicas' rows say together is true.
	page, err := c.list(ctx, r, ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	if len(page.Entries) > 0 {
		return errs.New(errs.Conflict, "container %s/%s is not empty", account, container)
	}
	defer c.containers.drop(containerName{account, container})
	if err := c.deleteIndex(ctx, r, parent, peerapi.Row{Name: container, Deleted: true, Policy: current.Policy}); err != nil {
		return err
	}
	return c.endUploads(ctx, account, container)
}

// deleteIndex deletes a container or account at a majority of its replicas. A replica refuses when it holds live rows. If too few agree, those that did
// are told that it exists after all.
func (c *Core) deleteIndex(ctx context.Context, r, parent replicas, row peerapi.Row) error {
	before, err := c.readIndex(ctx, r)
	if err != nil {
		return err
	}
	done, err := c.changeIndex(ctx, r, parent, func(t clock.Timestamp) peerapi.IndexChange { return peerapi.IndexChange{Timestamp: t, Delete: true} })
	if err == nil {
		if len(parent.targets) == 0 {
			return nil
		}
		row.Timestamp = done.at
		return c.enlist(ctx, parent, done.listed, peerapi.Merge{Rows: []peerapi.Row{row}})
	}
	conflicts, missing := 0, 0
	for _, a := range done.replies {
		switch {
		case errs.Is(a.err, errs.Conflict):
			conflicts++
		case errs.Is(a.err, errs.NotFound):
			missing++ // it had none, and remembers the deletion
		}
	}
	if conflicts == 0 && done.accepted > 0 && done.accepted+missing >= r.majority() {
		return nil
	}
	if conflicts == 0 {
		return err
	}
	if done.accepted > 0 {
		if undo := c.restore(ctx, r, parent, before); undo != nil {
			return errs.New(errs.Unavailable, "undo a refused deletion: %w", undo)
		}
	}
	return errs.New(errs.Conflict, "%s/%s is not empty: %w", r.key.Account, r.key.Container, err)
}

// restore makes a container again as it was before a deletion that only some replicas took.
func (c *Core) restore(ctx context.Context, r, parent replicas, before peerapi.IndexInfo) error {
	_, err := c.changeIndex(ctx, r, parent, func(t clock.Timestamp) peerapi.IndexChange {
		return peerapi.IndexChange{Timestamp: t, Create: true, Policy: before.Policy, Meta: stamped(liveMeta(before), t), Restores: before.First}
	})
	return err
}
