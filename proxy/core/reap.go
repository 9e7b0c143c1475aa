package core

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// Parts that belong to no object any more are deleted later, by whichever proxy comes to it. What is to be looked at is the name of an (empty) object:
//
//	DUE REASON 00 ACCOUNT 00 CONTAINER 00 UPLOAD 00 KEY      DUE: 16 hex digits of nanoseconds since 1970; REASON: one letter
//
// An entry says "look", not "delete": what the upload's object is at that time decides. So an entry too many does no harm, and neither do two proxies at the same one.
// Of an upload that was completed, the entry is there for the parts that the object is not made of. Should the object be another by then, somebody may still be
// reading it: it is looked at again later.
//
// Sets of fragments are queued in the same way: UPLOAD is the set's name then, with the time of the record that named it.
const (
	reapContainer = "reap"
	reapPolicy    = "" // the default
	// graceReplaced leaves readers of a replaced object the time to end.
	graceReplaced = time.Hour
	// graceEnded leaves completions under way, which are bounded by deciding, the time to be seen.
	graceEnded = 10 * time.Minute
	// sweepInterval is how often the queue is looked at.
	sweepInterval = time.Minute

	reasonCompleted = "c"
	reasonAborted   = "a"
	reasonReplaced  = "r"
	sweepPage       = 200
	// scanInterval is how often all parts are looked at, for those whose entry was lost in a crash.
	scanInterval = 24 * time.Hour
)

// reapLater makes sure that the parts of an upload are looked at.
func (c *Core) reapLater(ctx context.Context, ref Ref, id, reason string) error {
	grace := graceEnded
	if reason == reasonReplaced {
		grace = graceReplaced
	}
	name := strings.Join([]string{fmt.Sprintf("%016x", c.time.Now().Add(grace).UnixNano()) + reason, ref.Account, ref.Container, id, ref.Object}, nul)
	at := Ref{uploadAccount, reapContainer, name}
	_, err := c.Put(ctx, at, PutRequest{})
	if IsNoContainer(err) {
		if _, err := c.PutContainer(ctx, uploadAccount, reapContainer, PutContainer{Policy: reapPolicy}); err != nil {
			return err
		}
		_, err = c.Put(ctx, at, PutRequest{})
	}
	return err
}

// giveUp is for the parts of versions that a write replaced. An entry that cannot be written is made up for by the scan.
func (c *Core) giveUp(ctx context.Context, w *write, old []ended) {
	seen := ""
	for _, r := range old {
		if r.upload == seen {
			continue
		}
		seen = r.upload
		k, id := w.r.key, r.upload
		if _, _, err := peerapi.ParseFragmentSet(id); err == nil {
			id += "." + r.at.String()
		}
		if err := c.reapLater(ctx, Ref{k.Account, k.Container, k.Object}, id, reasonReplaced); err != nil {
			c.logger.LogAttrs(ctx, slog.LevelWarn, "replaced parts are not queued for deletion", slog.String("upload", r.upload), slog.Any("error", err))
		}
	}
}

// Run does what goes on in the background until ctx ends: it deletes parts that belong to no object.
func (c *Core) Run(ctx context.Context) error {
	// By chance, so that the proxies of a cluster do not all look at the same moment.
	sweep := time.NewTimer(rand.N(sweepInterval))
	defer sweep.Stop()
	scan := time.NewTimer(scanInterval/2 + rand.N(scanInterval/2))
	defer scan.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.life.Done():
			return nil
		case <-sweep.C:
			if n, err := c.Sweep(ctx); err != nil {
				c.logger.LogAttrs(ctx, slog.LevelWarn, "sweep of unneeded parts", slog.Int("done", n), slog.Any("error", err))
			}
			sweep.Reset(sweepInterval/2 + rand.N(sweepInterval))
		case <-scan.C:
			if err := c.Scan(ctx); err != nil {
				c.logger.LogAttrs(ctx, slog.LevelWarn, "scan for unneeded parts", slog.Any("error", err))
			}
			scan.Reset(scanInterval)
		}
	}
}

// Sweep works off what is due in the queue, and gives how many uploads it looked at. One that cannot be dealt with now stays for the next time.
func (c *Core) Sweep(ctx context.Context) (int, error) {
	ctx = IntoDeleted(ctx) // what is needed there stays until its account is emptied
	now := fmt.Sprintf("%016x", c.time.Now().UnixNano())
	o := ListOptions{EndMarker: now, Limit: sweepPage}
	done := 0
	var last error
	for ctx.Err() == nil {
		page, err := c.ListObjects(ctx, uploadAccount, reapContainer, o)
		if IsNoContainer(err) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
		for _, e := range page.Entries {
			field := strings.SplitN(e.Name, nul, 5)
			if len(field) != 5 || len(field[0]) != 17 {
				last = errs.New(errs.Corrupt, "reap entry %q", e.Name)
				continue
			}
			err := c.reap(ctx, Ref{field[1], field[2], field[4]}, field[3], field[0][16:])
			if err == nil {
				err = c.Delete(ctx, Ref{uploadAccount, reapContainer, e.Name}, nil)
			}
			if err != nil && !errs.Is(err, errs.NotFound) {
				last = err
				continue
			}
			done++
		}
		if !page.More {
			break
		}
		o.Marker = page.Next
	}
	return done, last
}

// reap deletes an upload's parts, but for those that its object is made of. An upload under way keeps all.
func (c *Core) reap(ctx context.Context, ref Ref, id, reason string) error {
	if set, ended, ok := strings.Cut(id, "."); ok {
		return c.reapFragments(ctx, ref, set, ended)
	}
	err := c.underWay(ctx, ref, id)
	if err == nil {
		return nil
	}
	if !errs.Is(err, errs.NotFound) {
		return err
	}
	needed, current := map[string]bool{}, false
	o, err := c.Open(ctx, ref, OpenOptions{})
	switch {
	case err == nil:
		if o.Info.Upload == id && o.Manifest != nil {
			current = true
			for _, s := range o.Manifest.Segments {
				needed[s.Object] = true
			}
		}
		_ = o.Close() // it was read
	case !errs.Is(err, errs.NotFound):
		return err
	}
	if !current && reason == reasonCompleted {
		return c.reapLater(ctx, ref, id, reasonReplaced)
	}
	var names []string
	err = c.storedParts(ctx, ref, id, 0, func(p storedPart) bool {
		if !needed[p.name] {
			names = append(names, p.name)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		at := Ref{uploadAccount, uploadContainer(ref.Account, ref.Container), name}
		if err := c.Delete(ctx, at, nil); err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
	}
	return nil
}

// Scan looks at every part there is, for those whose entry in the queue was lost.
func (c *Core) Scan(ctx context.Context) error {
	ctx = IntoDeleted(ctx)
	o := ListOptions{Limit: pagesMax}
	for {
		page, err := c.ListContainers(ctx, uploadAccount, o)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if account, container, ok := uploadOwner(e.Name); ok {
				if err := c.scanContainer(ctx, e.Name, account, container); err != nil && !IsNoContainer(err) {
					return err
				}
			}
		}
		if !page.More {
			return nil
		}
		o.Marker = page.Next
	}
}

func (c *Core) scanContainer(ctx context.Context, name, account, container string) error {
	o := ListOptions{Prefix: partPrefix, Limit: 1}
	for {
		page, err := c.ListObjects(ctx, uploadAccount, name, o)
		if err != nil || len(page.Entries) == 0 {
			return err
		}
		// One part tells of its upload; then on behind all of that upload's parts.
		part := page.Entries[0].Name
		for range 2 {
			part = part[:max(strings.LastIndex(part, nul), 0)]
		}
		i := strings.LastIndex(part, nul)
		if i < 1 {
			o.Marker = page.Entries[0].Name
			continue
		}
		key, id := part[len(partPrefix):i], part[i+1:]
		if at, err := strconv.ParseInt(id[:min(16, len(id))], 16, 64); err == nil && c.time.Now().Sub(time.Unix(0, at)) > graceReplaced {
			if err := c.reapOld(ctx, Ref{account, container, key}, id); err != nil {
				return err
			}
		}
		o.Marker = part + afterUploads
	}
}

// reapOld queues an upload whose object is another, so that its readers have their time.
func (c *Core) reapOld(ctx context.Context, ref Ref, id string) error {
	if err := c.underWay(ctx, ref, id); !errs.Is(err, errs.NotFound) {
		return err
	}
	r, err := c.Open(ctx, ref, OpenOptions{HeadOnly: true, Raw: true})
	if err == nil && r.Info.Kind == peerapi.KindMultipart && r.Info.Upload == id {
		return nil
	}
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	return c.reapLater(ctx, ref, id, reasonReplaced)
}
