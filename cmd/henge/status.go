package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"henge/cluster"
	"henge/cluster/rings"
	"henge/cluster/rpc"
	"henge/cluster/state"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// methodStatus asks a peer how it is.
const methodStatus = "henge.status"

// peerStatus is what a peer says of itself.
type peerStatus struct {
	Version  string            `json:"version"`
	Uptime   float64           `json:"uptime_seconds"`
	Roles    []string          `json:"roles"`
	Services map[string]string `json:"services"`
	Devices  []deviceStatus    `json:"devices"`
	Rings    map[string]uint64 `json:"rings"`
	Digests  map[string]string `json:"ring_digests,omitempty"` // of the rings' files
	Leader   string            `json:"leader"`
	Troubles []string          `json:"troubles"`
	Lacks    []lack            `json:"lacks,omitempty"` // what the machine does not allow, which is no trouble
}

type deviceStatus struct {
	Name   string        `json:"name"`
	Error  string        `json:"error,omitempty"`
	Usage  peerapi.Usage `json:"usage"`
	Repair *repairStatus `json:"repair,omitempty"`
}

// status is this peer's.
func (p *peer) status(ctx context.Context) peerStatus {
	s := peerStatus{
		Version: version, Uptime: time.Since(p.started).Seconds(), Roles: p.cfg.Roles, Services: services(p.cfg), Devices: p.deviceStatus(ctx), Leader: p.node.Leader(),
		Troubles: p.troubles(), Lacks: p.lacks.list(),
	}
	p.addGuestDoors(s.Services)
	if placed := p.placed.Load(); placed != nil {
		s.Rings, s.Digests = placed.book.Versions(), map[string]string{}
		for name := range s.Rings {
			s.Digests[name] = placed.book.Ring(name).Digest()
		}
	}
	return s
}

func (p *peer) serveStatus(ctx context.Context, s rpc.Stream) error {
	raw, err := json.Marshal(p.status(ctx))
	if err != nil {
		return err
	}
	return s.Send(raw)
}

// unready are the reasons why this peer cannot do its work now; empty when it can. A device that is broken or full is no such reason: the others go on.
func (p *peer) unready() []string {
	var all []string
	if p.node.Leader() == "" {
		all = append(all, "no leader: the state can be read, not changed")
	}
	if placed := p.placed.Load(); placed == nil || placed.book.Ring(rings.Object) == nil {
		all = append(all, "no rings yet")
	}
	return all
}

// troubles are the reasons why this peer is not all well; empty when it is.
func (p *peer) troubles() []string {
	all := p.unready()
	for _, d := range p.deviceStatus(context.Background()) {
		if trouble := d.trouble(); trouble != "" {
			all = append(all, "device "+d.Name+": "+trouble)
		}
	}
	return all
}

// trouble is why the device is not all well; "" when it is.
func (d *deviceStatus) trouble() string {
	switch {
	case d.Error != "":
		return d.Error
	case d.Usage.Failed != "":
		return d.Usage.Failed
	case d.Usage.Full:
		return "full"
	case d.Usage.Quarantine > 0:
		return fmt.Sprintf("%d corrupt records set aside", d.Usage.Quarantine)
	}
	return ""
}

// services are the addresses that this peer serves at.
func services(c config) map[string]string {
	all := map[string]string{"metrics": hostPort(c.Address, c.Ports.Metrics)}
	if c.has("identity") {
		all["identity"] = hostPort(c.Address, c.Ports.Identity)
	}
	if c.has("proxy") {
		all["object"] = hostPort(c.Address, c.Ports.Object)
	}
	for _, s := range played(&c) {
		all[s.role] = s.address(&c)
	}
	return all
}

func newStatusCommand() *cobra.Command {
	var t clusterTarget
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show peers, roles, devices, rings and services; status 0 only when all is well",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !wait {
				return showStatus(cmd.Context(), t, cmd.OutOrStdout())
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			err := until(ctx, func(ctx context.Context) error { return showStatus(ctx, t, io.Discard) })
			// The table once, however it ended.
			if shown := showStatus(cmd.Context(), t, cmd.OutOrStdout()); shown == nil || err == nil {
				return shown
			}
			return err
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until all is well")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long --wait waits")
	return cmd
}

// report is what is known of one peer.
type report struct {
	member cluster.Member
	status peerStatus
	err    error
}

// showStatus prints what every peer says, and what is wrong.
func showStatus(ctx context.Context, t clusterTarget, out io.Writer) error {
	admin, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer admin.Close()
	reports, published, err := gather(ctx, admin)
	if err != nil {
		return err
	}
	printStatus(out, reports, published)
	return judge(reports, published)
}

// gather asks every peer how it is, and for the rings in use.
func gather(ctx context.Context, admin *cluster.AdminConn) (reports []report, published map[string]uint64, err error) {
	members, err := admin.Members(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("ask for the members: %w", err)
	}
	if published, err = publishedRings(ctx, admin.State()); err != nil {
		return nil, nil, err
	}
	for _, m := range members {
		reports = append(reports, askStatus(ctx, admin, m))
	}
	slices.SortFunc(reports, func(a, b report) int { return strings.Compare(a.member.ID, b.member.ID) })
	return reports, published, nil
}

func askStatus(ctx context.Context, admin *cluster.AdminConn, m cluster.Member) report {
	r := report{member: m}
	if !m.Alive {
		r.err = errors.New("not alive")
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, limits.PeerCallTimeout)
	defer cancel()
	raw, err := admin.Caller().Call(ctx, m.ID, methodStatus, nil)
	if err != nil {
		r.err = err
		return r
	}
	r.err = json.Unmarshal(raw, &r.status)
	return r
}

func publishedRings(ctx context.Context, store state.Store) (map[string]uint64, error) {
	versions := map[string]uint64{}
	book, err := rings.Open(ctx, store, quiet)
	if err != nil {
		return nil, err
	}
	for name, v := range book.Versions() {
		versions[name] = v
	}
	return versions, nil
}

func printStatus(out io.Writer, reports []report, published map[string]uint64) {
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "PEER\tADDRESS\tREGION\tZONE\tROLES\tUP\tVERSION\tSTATE")
	for _, r := range reports {
		word := "well"
		if r.err != nil {
			word = r.err.Error()
		} else if len(r.status.Troubles) > 0 {
			word = strings.Join(r.status.Troubles, "; ")
		}
		switch {
		case r.err == nil && r.status.Leader == r.member.ID:
			word += " (leader)"
		case r.member.Voter:
			word += " (voter)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.member.ID, r.member.Address, r.member.Region, r.member.Zone, strings.Join(r.member.Roles, ","),
			(time.Duration(r.status.Uptime) * time.Second), r.status.Version, word)
	}
	fmt.Fprintln(t, "\nDEVICE\tSIZE GiB\tUSED GiB\tFREE GiB\tOBJECTS\tPENDING\tQUARANTINED\tSTATE")
	for _, r := range reports {
		for _, d := range r.status.Devices {
			word := cmp.Or(d.trouble(), "well")
			u := d.Usage
			fmt.Fprintf(t, "%s/%s\t%.1f\t%.1f\t%.1f\t%d\t%d\t%d\t%s\n", r.member.ID, d.Name, gib(u.Size), gib(u.Used), gib(u.Free), u.Objects, u.Pending, u.Quarantine, word)
		}
	}
	fmt.Fprintln(t, "\nRING\tVERSION\tPEERS THAT HAVE IT")
	for _, name := range sortedKeys(published) {
		have := 0
		for _, r := range reports {
			if r.err == nil && r.status.Rings[name] == published[name] {
				have++
			}
		}
		fmt.Fprintf(t, "%s\t%d\t%d of %d\n", name, published[name], have, len(reports))
	}
	fmt.Fprintln(t, "\nSERVICE\tADDRESSES")
	for _, name := range serviceNames() {
		var at []string
		for _, r := range reports {
			if a := r.status.Services[name]; a != "" {
				at = append(at, a)
			}
		}
		fmt.Fprintf(t, "%s\t%s\n", name, strings.Join(at, " "))
	}
	t.Flush()
	of := map[string][]lack{}
	for _, r := range reports {
		of[r.member.ID] = r.status.Lacks
	}
	printLacks(out, of)
}

// serviceNames are the services in the order in which they are shown.
func serviceNames() []string {
	names := []string{"identity", "object"}
	for _, s := range parts() {
		names = append(names, s.role)
	}
	return append(names, metadataPort, consolePort, "metrics")
}

func gib(n int64) float64 { return float64(n) / (1 << 30) }

// judge is an error unless all is well.
func judge(reports []report, published map[string]uint64) error {
	var wrong []error
	for _, r := range reports {
		if r.err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", r.member.ID, r.err))
			continue
		}
		for _, trouble := range r.status.Troubles {
			wrong = append(wrong, fmt.Errorf("%s: %s", r.member.ID, trouble))
		}
		for name, v := range published {
			if r.status.Rings[name] != v {
				wrong = append(wrong, fmt.Errorf("%s has version %d of the %s ring, not %d", r.member.ID, r.status.Rings[name], name, v))
			}
		}
	}
	if len(published) == 0 {
		wrong = append(wrong, errors.New("no rings are published"))
	}
	return errors.Join(wrong...)
}
