package core

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// An account that was deleted has a mark among its metadata, and answers nobody any more. That there is something to be removed is noted first, as the name of an (empty) object:
// a note without a mark is of a deletion that was never acknowledged.
const (
	metaDeleted      = "sys-deleted" // seconds since 1970
	deletedAccount   = ".deleted"
	deletedContainer = "accounts"
	accountsCached   = 10_000
	// goneTimeout is how long a request waits to hear whether its account was deleted. Without an answer it was not: objects do not depend on their account's listing.
	goneTimeout = limits.PeerRowTimeout
)

// DeletedAccount is an account whose contents are to be removed.
type DeletedAccount struct {
	Name  string
	Noted time.Time
}

type deletedKey struct{}

// IntoDeleted lets what is done under the context into accounts that were deleted: that is how they are emptied.
func IntoDeleted(ctx context.Context) context.Context {
	return context.WithValue(ctx, deletedKey{}, true)
}

// deletedAt is when an account was deleted; zero when it was not.
func deletedAt(info peerapi.IndexInfo) time.Time {
	v, ok := info.Meta[metaDeleted]
	if !ok || v.Value == "" || v.Timestamp <= info.Deleted {
		return time.Time{}
	}
	seconds, err := strconv.ParseInt(v.Value, 10, 64)
	if err != nil {
		seconds = v.Timestamp.Time().Unix() // it is a mark all the same
	}
	return time.Unix(seconds, 0)
}

func noAccount(account string) error {
	return errs.New(errs.NotFound, "account %s was deleted", account)
}

// DeleteAccount deletes an account with all that is in it: it answers nobody from now on, and its contents are removed later. errs.NotFound when there is none.
func (c *Core) DeleteAccount(ctx context.Context, account string) error {
	r, err := c.placeAccount(account)
	if err != nil {
		return err
	}
	info, err := c.readIndex(ctx, r)
	if err != nil {
		return err
	}
	if !info.Exists() || !deletedAt(info).IsZero() {
		return noAccount(account)
	}
	if err := c.noteDeleted(ctx, account); err != nil {
		return err
	}
	mark := map[string]string{metaDeleted: strconv.FormatInt(c.time.Now().Unix(), 10)}
	_, err = c.changeIndex(ctx, r, replicas{}, func(t clock.Timestamp) peerapi.IndexChange {
		return peerapi.IndexChange{Timestamp: t, Create: true, Meta: stamped(mark, t)}
	})
	c.accounts.put(account, err == nil)
	return err
}

func (c *Core) noteDeleted(ctx context.Context, account string) error {
	at := Ref{deletedAccount, deletedContainer, account}
	_, err := c.Put(ctx, at, PutRequest{})
	if !IsNoContainer(err) {
		return err
	}
	if _, err := c.PutContainer(ctx, deletedAccount, deletedContainer, PutContainer{}); err != nil {
		return err
	}
	_, err = c.Put(ctx, at, PutRequest{})
	return err
}

// DeletedAccounts gives the accounts that are to be emptied, those after a name; next is where to go on, "" at the end.
func (c *Core) DeletedAccounts(ctx context.Context, after string, limit int) (all []DeletedAccount, next string, err error) {
	page, err := c.ListObjects(ctx, deletedAccount, deletedContainer, ListOptions{Marker: after, Limit: limit})
	if IsNoContainer(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	for _, e := range page.Entries {
		all = append(all, DeletedAccount{e.Name, e.Timestamp.Time()})
	}
	if page.More {
		next = page.Next
	}
	return all, next, nil
}

// ForgetAccount ends the deletion of an account that is empty: nothing is known of it any more, and it may come to be anew. errs.Conflict when it is not empty.
func (c *Core) ForgetAccount(ctx context.Context, account string) error {
	r, err := c.placeAccount(account)
	if err != nil {
		return err
	}
	info, err := c.readIndex(ctx, r)
	if err != nil {
		return err
	}
	if !deletedAt(info).IsZero() {
		page, err := c.list(ctx, r, ListOptions{Limit: 1})
		if err != nil {
			return err
		}
		if len(page.Entries) > 0 {
			return errs.New(errs.Conflict, "account %s is not empty", account)
		}
		if err := c.deleteIndex(ctx, r, replicas{}, peerapi.Row{}); err != nil {
			return err
		}
	}
	err = c.Delete(ctx, Ref{deletedAccount, deletedContainer, account}, nil)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// gone tells whether an account was deleted, as far as is known: what is remembered may be limits.ContainerCacheTTL old.
func (c *Core) gone(ctx context.Context, account string) bool {
	if strings.HasPrefix(account, ".") || ctx.Value(deletedKey{}) != nil {
		return false
	}
	if gone, known := c.accounts.get(account); known {
		return gone
	}
	// One question for all who wait for the same.
	found, _, _ := c.flights.Do(nul+account, func() (any, error) { return c.askGone(context.WithoutCancel(ctx), account), nil })
	return found.(bool)
}

func (c *Core) askGone(ctx context.Context, account string) bool {
	ctx, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	gone := false
	r, err := c.placeAccount(account)
	if err == nil {
		var info peerapi.IndexInfo
		info, err = c.readIndex(ctx, r)
		gone = err == nil && !deletedAt(info).IsZero()
	}
	if err != nil {
		c.logger.LogAttrs(ctx, slog.LevelDebug, "it is not known whether an account was deleted", slog.String("account", account), slog.Any("error", err))
	}
	c.accounts.put(account, gone)
	return gone
}

// accountCache remembers which accounts were deleted and which were not, for limits.ContainerCacheTTL.
type accountCache struct {
	time clock.Clock

	mu  sync.Mutex // guards lru
	lru *simplelru.LRU[string, cachedAccount]
}

type cachedAccount struct {
	gone    bool
	expires time.Time
}

func newAccountCache(t clock.Clock) *accountCache {
	lru, err := simplelru.NewLRU[string, cachedAccount](accountsCached, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &accountCache{time: t, lru: lru}
}

func (a *accountCache) get(account string) (gone, known bool) {
	now := a.time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	entry, ok := a.lru.Get(account)
	return entry.gone, ok && now.Before(entry.expires)
}

func (a *accountCache) put(account string, gone bool) {
	expires := a.time.Now().Add(limits.ContainerCacheTTL)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lru.Add(account, cachedAccount{gone, expires})
}
