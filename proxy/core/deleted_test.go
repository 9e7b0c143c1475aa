package core_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/core"
	"henge/proxy/reaper"
	"henge/storaged/server/servertest"
)

// reaped counts what a reaper does.
type reaped struct{ accounts, containers, objects atomic.Int64 }

func (r *reaped) Accounts()   { r.accounts.Add(1) }
func (r *reaped) Containers() { r.containers.Add(1) }
func (r *reaped) Objects()    { r.objects.Add(1) }

// ended is the projects that were deleted.
type ended struct{ ids []string }

func (e *ended) EndedProjects(context.Context, int) ([]string, error) {
	return slices.Clone(e.ids), nil
}

func (e *ended) SettleProject(_ context.Context, id string) error {
	e.ids = slices.DeleteFunc(e.ids, func(other string) bool { return other == id })
	return nil
}

const (
	reapDelay   = time.Hour
	reapReclaim = 24 * time.Hour
)

func reaperOf(s reaper.Store, now clock.Clock, projects *ended) (*reaper.Reaper, *reaped) {
	n := &reaped{}
	return reaper.New(reaper.Config{Store: s, Projects: projects, Mine: func(string) bool { return true }, Clock: now, Logger: slog.New(slog.DiscardHandler), Counters: n,
		Delay: reapDelay, ReclaimAge: reapReclaim}), n
}

func putIn(t *testing.T, s core.Service, account, container, name string) {
	t.Helper()
	_, err := s.PutContainer(t.Context(), account, container, core.PutContainer{})
	if err == nil {
		_, err = s.Put(t.Context(), core.Ref{Account: account, Container: container, Object: name}, core.PutRequest{Body: strings.NewReader("x"), Size: 1})
	}
	if err != nil {
		t.Fatalf("put %s/%s/%s: %v", account, container, name, err)
	}
}

func reap(t *testing.T, r *reaper.Reaper) {
	t.Helper()
	if err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestReaper_EmptiesWhatWasDeleted(t *testing.T) {
	c := servertest.NewCluster(t, 4, 1)
	now := clock.NewManual(time.Now())
	s, other := overCluster(t, c, 1, now, ""), overCluster(t, c, 2, now, "")
	for i := range 12 {
		putIn(t, s, "AUTH_gone", fmt.Sprint("c", i%3), fmt.Sprint("o", i))
	}
	putIn(t, s, "AUTH_stays", "c", "o")
	if _, err := other.Container(t.Context(), "AUTH_gone", "c0", false); err != nil {
		t.Fatal(err)
	}
	projects := &ended{ids: []string{"gone", "never-wrote"}}
	r, n := reaperOf(s, now, projects)
	reap(t, r)
	if n.accounts.Load() != 1 || len(projects.ids) != 0 {
		t.Fatalf("%d accounts deleted, projects left: %v", n.accounts.Load(), projects.ids)
	}
	now.Advance(10 * time.Second) // what the other proxy remembers is over
	for _, proxy := range []*core.Core{s, other} {
		_, err := proxy.Open(t.Context(), core.Ref{Account: "AUTH_gone", Container: "c0", Object: "o0"}, core.OpenOptions{})
		wantKind(t, err, errs.NotFound)
		_, err = proxy.PutContainer(t.Context(), "AUTH_gone", "new", core.PutContainer{})
		wantKind(t, err, errs.NotFound)
	}
	reap(t, r)
	if n.objects.Load() != 0 {
		t.Fatalf("%d objects were removed before the delay was over", n.objects.Load())
	}
	now.Advance(reapDelay)
	reap(t, r)
	if n.objects.Load() != 12 || n.containers.Load() != 3 {
		t.Fatalf("%d objects and %d containers were removed, want 12 and 3", n.objects.Load(), n.containers.Load())
	}
	if info, err := s.Account(t.Context(), "AUTH_gone"); err != nil || info.Deleted.IsZero() {
		t.Fatalf("an emptied account: %+v, %v", info, err)
	}
	now.Advance(reapReclaim + time.Minute)
	reap(t, r)
	if all, _, err := s.DeletedAccounts(t.Context(), "", 10); err != nil || len(all) != 0 {
		t.Fatalf("still to be emptied: %v, %v", all, err)
	}
	putIn(t, s, "AUTH_gone", "anew", "o")
	if l, err := s.ListContainers(t.Context(), "AUTH_gone", core.ListOptions{Limit: 10}); err != nil || names(l) != "anew" {
		t.Fatalf("%v, %v", l.Entries, err)
	}
	if _, err := s.Open(t.Context(), core.Ref{Account: "AUTH_stays", Container: "c", Object: "o"}, core.OpenOptions{HeadOnly: true}); err != nil {
		t.Fatal(err)
	}
}

// dying is a store whose process is killed before its n-th deletion.
type dying struct {
	*core.Core
	left atomic.Int64
}

var errKilled = errors.New("killed")

func (d *dying) Delete(ctx context.Context, ref core.Ref, check core.Check) error {
	if d.left.Add(-1) < 0 {
		return errKilled
	}
	return d.Core.Delete(ctx, ref, check)
}

func (d *dying) DeleteContainer(ctx context.Context, account, container string) error {
	if d.left.Add(-1) < 0 {
		return errKilled
	}
	return d.Core.DeleteContainer(ctx, account, container)
}

// TestReaper_KilledAnywhere: whenever it ends, another one goes on, and in the end all is gone.
func TestReaper_KilledAnywhere(t *testing.T) {
	c := servertest.NewCluster(t, 3, 1)
	now := clock.NewManual(time.Now())
	s := overCluster(t, c, 1, now, "")
	for i := range 6 {
		putIn(t, s, "AUTH_gone", fmt.Sprint("c", i%2), fmt.Sprint("o", i))
	}
	if err := s.DeleteAccount(t.Context(), "AUTH_gone"); err != nil {
		t.Fatal(err)
	}
	now.Advance(reapDelay + time.Second)
	kills := 0
	for ; ; kills++ {
		d := &dying{Core: s}
		d.left.Store(1)
		r, _ := reaperOf(d, now, &ended{})
		err := r.Sweep(t.Context())
		if err == nil {
			break
		}
		if !errors.Is(err, errKilled) || kills > 20 {
			t.Fatalf("after %d kills: %v", kills, err)
		}
	}
	if kills < 6 {
		t.Errorf("it was killed %d times only", kills)
	}
	l, err := s.ListContainers(core.IntoDeleted(t.Context()), "AUTH_gone", core.ListOptions{Limit: 10})
	if err != nil || len(l.Entries) != 0 {
		t.Fatalf("left: %v, %v", l.Entries, err)
	}
}

// TestDeletedAccount_KeepsItsPartsUntilItIsEmptied: the collector of parts that no object needs looks into deleted accounts, too.
func TestDeletedAccount_KeepsItsPartsUntilItIsEmptied(t *testing.T) {
	c := servertest.NewCluster(t, 3, 1)
	now := clock.NewManual(time.Now())
	s := overCluster(t, c, 1, now, "")
	mustMake(t, s, "c")
	up, err := s.CreateUpload(t.Context(), ref("big"), core.Metadata{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := s.PutPart(t.Context(), ref("big"), up.ID, 1, core.PutRequest{Body: strings.NewReader("hello"), Size: 5})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CompleteUpload(t.Context(), ref("big"), up.ID, core.CompleteUpload{Parts: []core.Part{part}}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteAccount(t.Context(), "acc"); err != nil {
		t.Fatal(err)
	}
	for range 3 { // its entry, and those that entries leave for later
		now.Advance(2 * time.Hour)
		if _, err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	body, err := read(core.IntoDeleted(t.Context()), s, ref("big"))
	if err != nil || string(body) != "hello" {
		t.Fatalf("read %q, %v", body, err)
	}
}
