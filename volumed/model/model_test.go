package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"henge/cluster/state"
	"henge/internal/errs"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func alive(string) bool { return true }

// cloud is a store with the default type and some hosts.
func cloud(t testing.TB, hosts ...Host) *state.Memory {
	t.Helper()
	s := state.NewMemory()
	update(t, s, func(w state.Writer) error {
		for _, h := range hosts {
			if err := Hosts.Put(w, h.Peer, h); err != nil {
				return err
			}
		}
		return SeedTypes(w, noon)
	})
	return s
}

type fataler interface {
	Helper()
	Fatal(args ...any)
}

func update(t fataler, s *state.Memory, fn func(w state.Writer) error) {
	t.Helper()
	if err := try(s, fn); err != nil {
		t.Fatal(err)
	}
}

func try(s *state.Memory, fn func(w state.Writer) error) error {
	return s.Update(context.Background(), fn)
}

func host(peer string, freeGiB int64) Host {
	return Host{Peer: peer, Backend: "local", Zone: "nova", Total: 100 * GiB, Free: freeGiB * GiB}
}

func TestPlace(t *testing.T) {
	for _, tc := range []struct {
		name   string
		hosts  []Host
		volume Volume
		specs  map[string]string
		off    string // a disabled host
		alive  func(string) bool
		want   string // the host, or a part of the message
	}{
		{name: "most room", hosts: []Host{host("a", 10), host("b", 20)}, want: "b"},
		{name: "none", want: "no peer plays the role"},
		{name: "full", hosts: []Host{host("a", 0)}, want: "1 because it has not enough room"},
		{name: "too much promised", hosts: []Host{{Peer: "a", Zone: "nova", Total: GiB, Free: GiB}}, volume: Volume{GiB: 21}, want: "not enough room"},
		{name: "zone", hosts: []Host{host("a", 10), {Peer: "b", Zone: "z2", Total: GiB, Free: GiB}}, volume: Volume{Zone: "z2"}, want: "b"},
		{name: "no such zone", hosts: []Host{host("a", 10)}, volume: Volume{Zone: "z3"}, want: "not in the availability zone z3"},
		{name: "disabled", hosts: []Host{host("a", 10), host("b", 5)}, off: "a", want: "b"},
		{name: "down", hosts: []Host{host("a", 10), host("b", 5)}, alive: func(p string) bool { return p != "a" }, want: "b"},
		{name: "broken", hosts: []Host{{Peer: "a", Fault: "no disk"}}, want: "its backend failed: no disk"},
		{name: "spec", hosts: []Host{host("a", 10)}, specs: map[string]string{"volume_backend_name": "local", "thin_provisioning_support": "<is> True"}, want: "a"},
		{name: "scoped spec", hosts: []Host{host("a", 10)}, specs: map[string]string{"capabilities:vendor_name": "Other"}, want: "its vendor_name is not Other"},
		{name: "somebody else's spec", hosts: []Host{host("a", 10)}, specs: map[string]string{"other:thing": "x"}, want: "a"},
		{name: "zones of the type", hosts: []Host{host("a", 10)}, specs: map[string]string{zonesSpec: "z8, z9"}, want: "not in the availability zones"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := cloud(t, tc.hosts...)
			if tc.alive == nil {
				tc.alive = alive
			}
			update(t, s, func(w state.Writer) error {
				if err := Types.Put(w, "t", Type{ID: "t", Name: "t", Public: true, Specs: tc.specs}); err != nil {
					return err
				}
				return Switches.Put(w, "x"+tc.off, Switch{Peer: tc.off})
			})
			if tc.off != "" {
				update(t, s, func(w state.Writer) error { return Switches.Put(w, tc.off, Switch{Peer: tc.off, Disabled: true}) })
			}
			v := tc.volume
			v.ProjectID, v.TypeID, v.GiB = "p", "t", max(1, v.GiB)
			var made Volume
			var said []Message
			update(t, s, func(w state.Writer) (err error) {
				if made, err = CreateVolume(w, NewVolume{Volume: v, Alive: tc.alive}, noon); err != nil {
					return err
				}
				said, err = Collect(Messages.Where(w, "project", "p"), nil)
				return err
			})
			if made.Host == tc.want && made.Status == Creating && made.Task == Make {
				return
			}
			if made.Status != Error || len(said) != 1 || !strings.Contains(said[0].Text, tc.want) {
				t.Fatalf("%+v, %+v, want %q", made, said, tc.want)
			}
		})
	}
}

// volume makes one that is available.
func volume(t fataler, s *state.Memory) string {
	t.Helper()
	var id string
	update(t, s, func(w state.Writer) error {
		v, err := CreateVolume(w, NewVolume{Volume: Volume{ProjectID: "p", GiB: 1}, Alive: alive}, noon)
		if err != nil {
			return err
		}
		id, v.Status, v.Made, v.Task = v.ID, Available, true, Nothing
		return PutVolume(w, v, noon)
	})
	return id
}

// TestAttachments_AnyOrder does everything that servers do with a volume, in any order: whatever is refused, a volume never has two connections that count, epochs
// only grow, and it is in use exactly when an attachment says so.
func TestAttachments_AnyOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := cloud(t, host("a", 10))
		id := volume(r, s)
		epoch := uint64(0)
		r.Repeat(map[string]func(*rapid.T){
			"reserve": func(r *rapid.T) {
				server := rapid.SampledFrom([]string{"s1", "s2"}).Draw(r, "server")
				_ = try(s, func(w state.Writer) error {
					_, err := Reserve(w, Attachment{VolumeID: id, InstanceID: server, Mode: "rw"}, noon)
					return err
				})
			},
			"connect": func(r *rapid.T) {
				a := oneOf(r, s, id)
				_ = try(s, func(w state.Writer) error {
					_, err := Connect(w, a, map[string]string{"initiator": "iqn.2026-01.x:" + rapid.SampledFrom([]string{"1", "2"}).Draw(r, "host")}, "", noon)
					return err
				})
			},
			"complete": func(r *rapid.T) {
				a := oneOf(r, s, id)
				_ = try(s, func(w state.Writer) error { return Complete(w, a, noon) })
			},
			"detach": func(r *rapid.T) {
				a := oneOf(r, s, id)
				_ = try(s, func(w state.Writer) error { return Detach(w, a, noon) })
			},
			"begin": func(*rapid.T) { _ = try(s, func(w state.Writer) error { return BeginDetaching(w, id, noon) }) },
			"roll":  func(*rapid.T) { _ = try(s, func(w state.Writer) error { return RollDetaching(w, id, noon) }) },
			"delete": func(r *rapid.T) {
				err := try(s, func(w state.Writer) error {
					all, err := AttachmentsOf(w, id)
					if err != nil || len(all) == 0 {
						return errors.Join(err, errNotTried)
					}
					return DeleteVolume(w, id, false, false, noon)
				})
				if err == nil {
					r.Fatal("a volume with attachments is deleted")
				}
			},
			"": func(r *rapid.T) { epoch = invariants(r, s, id, epoch) },
		})
	})
}

var errNotTried = errors.New("not tried")

// oneOf is one of the attachments, or one that is not there.
func oneOf(r *rapid.T, s *state.Memory, volume string) string {
	ids := []string{"none"}
	update(r, s, func(w state.Writer) error {
		all, err := AttachmentsOf(w, volume)
		for _, a := range all {
			ids = append(ids, a.ID)
		}
		return err
	})
	slices.Sort(ids)
	return ids[rapid.IntRange(0, len(ids)-1).Draw(r, "attachment")]
}

func invariants(r *rapid.T, s *state.Memory, id string, before uint64) (epoch uint64) {
	update(r, s, func(w state.Writer) error {
		v, err := Volumes.Get(w, id)
		if err != nil {
			return err
		}
		all, err := AttachmentsOf(w, id)
		if err != nil {
			return err
		}
		seen := map[uint64]bool{}
		servers := map[string]bool{}
		for _, a := range all {
			servers[a.InstanceID] = true
			if c := a.Connection; c != nil && (seen[c.Epoch] || c.Epoch > v.Epoch) {
				return fmt.Errorf("epoch %d is there twice, or is from the future (%d)", c.Epoch, v.Epoch)
			} else if c != nil {
				seen[c.Epoch] = true
			}
		}
		inUse := v.Status == InUse || v.Status == Detaching
		switch {
		case len(servers) > 1:
			return fmt.Errorf("two servers have the volume: %+v", all)
		case v.Epoch < before:
			return fmt.Errorf("the epoch went from %d to %d", before, v.Epoch)
		case inUse != hasAttached(all):
			return fmt.Errorf("status %s with %+v", v.Status, all)
		case len(all) == 0 && v.Status != Available:
			return fmt.Errorf("status %s without attachments", v.Status)
		}
		epoch = v.Epoch
		return nil
	})
	return epoch
}

func TestMessages_AreBounded(t *testing.T) {
	s := cloud(t)
	update(t, s, func(w state.Writer) error {
		for i := range messagesMax + 5 {
			if err := Tell(w, Message{ProjectID: "p", Text: strings.Repeat("x", 2*textMax)}, noon.Add(time.Duration(i)*time.Second)); err != nil {
				return err
			}
		}
		return nil
	})
	update(t, s, func(w state.Writer) error {
		all, err := Collect(Messages.Where(w, "project", "p"), nil)
		if len(all) != messagesMax || len(all[0].Text) > textMax {
			t.Errorf("%d messages of %d bytes", len(all), len(all[0].Text))
		}
		return err
	})
	update(t, s, func(w state.Writer) error { return Tell(w, Message{ProjectID: "p"}, noon.Add(messageLife+time.Hour)) })
	update(t, s, func(w state.Writer) error {
		all, err := Collect(Messages.Where(w, "project", "p"), nil)
		if len(all) != 1 {
			t.Errorf("%d messages are left of those that have expired", len(all)-1)
		}
		return err
	})
}

func TestCheck(t *testing.T) {
	s := cloud(t, host("a", 10))
	volume(t, s)
	for _, tc := range []struct {
		claim Claim
		says  string
	}{
		{Claim{Volumes: 1, GiB: 1}, ""},
		{Claim{Volumes: 10, GiB: 1}, "VolumeLimitExceeded"},
		{Claim{GiB: 1000}, "VolumeSizeExceedsAvailableQuota"},
		{Claim{Snapshots: 11}, "SnapshotLimitExceeded"},
		{Claim{TypeID: "t", Volumes: 1}, "'volumes_fast'"},
	} {
		tc.claim.ProjectID = "p"
		err := try(s, func(w state.Writer) error {
			if err := Types.Put(w, "t", Type{ID: "t", Name: "fast"}); err != nil {
				return err
			}
			if err := Quotas.Put(w, "p", Quota{ID: "p", Limits: map[string]int64{"volumes_fast": 0}}); err != nil {
				return err
			}
			return Check(w, tc.claim)
		})
		if (err == nil) != (tc.says == "") || err != nil && (!errs.Is(err, errs.TooLarge) || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%+v: %v, want %q", tc.claim, err, tc.says)
		}
	}
}
