package dispersion

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/storaged/peerapi"
)

// Report is how the copies in one ring's partitions are spread.
type Report struct {
	Ring       string `json:"ring"`
	Partitions int    `json:"partitions"` // of the ring
	Items      int    `json:"items"`      // containers or objects that were looked for
	Expected   int    `json:"copies_expected"`
	Found      int    `json:"copies_found"` // at devices where they belong
	// Missing counts the items by how many of their copies are not where they belong.
	Missing    map[int]int `json:"missing"`
	OutOfPlace int         `json:"copies_out_of_place"` // at devices that stand in for others
	// Silent counts the copies that were asked for of devices that did not answer, by device.
	Silent map[string]int `json:"silent,omitempty"`
}

// Percent is the share of the copies that are where they belong.
func (r Report) Percent() float64 {
	if r.Expected == 0 {
		return 100
	}
	return 100 * float64(r.Found) / float64(r.Expected)
}

// Whole tells whether every copy was found where it belongs, and no other.
func (r Report) Whole() bool { return r.Found == r.Expected && r.OutOfPlace == 0 }

// Report looks for every copy of what was put there. errs.NotFound when nothing was.
func (d *Dispersion) Report(ctx context.Context) ([]Report, error) {
	var all []Report
	for _, r := range d.cfg.Rings() {
		names, err := d.names(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("list what lies in the %s ring: %w", r.Name, err)
		}
		if len(names) == 0 {
			return nil, errs.New(errs.NotFound, "nothing lies in the %s ring to be looked for: populate it first", r.Name)
		}
		t := &tally{Report: Report{Ring: r.Name, Partitions: r.Partitions, Items: len(names), Missing: map[int]int{}, Silent: map[string]int{}}}
		if err := each(ctx, names, func(name string) error { return d.look(ctx, r, d.place(r, name), t) }); err != nil {
			return nil, err
		}
		all = append(all, t.Report)
	}
	return all, nil
}

// names lists what was put into a ring.
func (d *Dispersion) names(ctx context.Context, r Ring) (names []string, err error) {
	o := core.ListOptions{Limit: pageNames, Prefix: containerPrefix}
	if r.Policy != nil {
		o.Prefix = objectPrefix
	}
	for {
		var page core.Listing
		if r.Policy == nil {
			page, err = d.cfg.Core.ListContainers(ctx, account, o)
		} else {
			page, err = d.cfg.Core.ListObjects(ctx, account, r.container(), o)
		}
		if core.IsNoContainer(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, e := range page.Entries {
			names = append(names, e.Name)
		}
		if !page.More {
			return names, nil
		}
		o.Marker = page.Next
	}
}

type tally struct {
	mu sync.Mutex // guards Report
	Report
}

// held is what a device says of a copy.
type held struct {
	there bool
	coded *peerapi.Coded // of an erasure-coded object's record
}

func (d *Dispersion) ask(ctx context.Context, t peerapi.Target, k peerapi.Key) (held, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.PeerCallTimeout)
	defer cancel()
	device := d.cfg.Devices.Device(t)
	if k.Object == "" {
		info, err := device.Index(ctx, k)
		return held{there: info.Exists()}, err
	}
	st, err := device.Head(ctx, k)
	h := held{there: st.Exists()}
	if h.there {
		h.coded = st.Record.Coded
	}
	return h, err
}

// look looks for the copies of one item. Of an erasure-coded object the fragments are its copies.
func (d *Dispersion) look(ctx context.Context, r Ring, k peerapi.Key, t *tally) error {
	primaries := r.Ring.Primaries(k.Partition, nil)
	var standIns []peerapi.Target
	for h := range r.Ring.Handoffs(k.Partition) {
		if len(standIns) == len(primaries) {
			break
		}
		standIns = append(standIns, h)
	}
	if coded := d.record(ctx, primaries, k); coded != nil {
		k = peerapi.FragmentKey(d.cfg.Secret, k, coded.Set)
	}
	found, silent := d.count(ctx, primaries, k)
	misplaced, _ := d.count(ctx, standIns, k) // those that are down tell nothing of copies that should not be there
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Expected += len(primaries)
	t.Found += found
	t.OutOfPlace += misplaced
	t.Missing[len(primaries)-found]++
	for _, device := range silent {
		t.Silent[device]++
	}
	return ctx.Err()
}

// record is what an erasure-coded object's record says of its fragments; nil of all else.
func (d *Dispersion) record(ctx context.Context, primaries []peerapi.Target, k peerapi.Key) *peerapi.Coded {
	if k.Object == "" {
		return nil
	}
	for _, p := range primaries {
		if h, err := d.ask(ctx, p, k); err == nil && h.there {
			return h.coded
		}
	}
	return nil
}

// count tells how many of the devices hold a copy, and which did not answer.
func (d *Dispersion) count(ctx context.Context, targets []peerapi.Target, k peerapi.Key) (found int, silent []string) {
	for _, p := range targets {
		h, err := d.ask(ctx, p, k)
		switch {
		case err != nil && !errs.Is(err, errs.NotFound):
			silent = append(silent, p.Peer+"/"+p.Device)
		case h.there:
			found++
		}
	}
	return found, silent
}

// Check is an error unless every copy is where it belongs.
func Check(reports []Report) error {
	var wrong []error
	for _, r := range reports {
		if !r.Whole() {
			wrong = append(wrong, fmt.Errorf("%s ring: %d of %d copies are where they belong, %d others out of place", r.Ring, r.Found, r.Expected, r.OutOfPlace))
		}
	}
	return errors.Join(wrong...)
}

// String tells the report in the words of swift-dispersion-report.
func (r Report) String() string {
	what := "objects"
	if r.Ring == "container" {
		what = "containers"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s ring, %d partitions: queried %d %s for dispersion reporting\n", r.Ring, r.Partitions, r.Items, what)
	fmt.Fprintf(&b, "%.2f%% of copies found (%d of %d), %d out of place\n", r.Percent(), r.Found, r.Expected, r.OutOfPlace)
	for missing := 1; missing <= 32; missing++ {
		if n := r.Missing[missing]; n > 0 {
			fmt.Fprintf(&b, "there were %d partitions missing %d %s\n", n, missing, plural(missing, "copy", "copies"))
		}
	}
	for _, device := range slices.Sorted(maps.Keys(r.Silent)) {
		n := r.Silent[device]
		fmt.Fprintf(&b, "%s did not answer for %d %s\n", device, n, plural(n, "copy", "copies"))
	}
	return b.String()
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
