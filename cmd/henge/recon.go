package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// repairStatus is the last pass of repair over a device.
type repairStatus struct {
	Ended    time.Time     `json:"ended"`
	Took     time.Duration `json:"took"`
	Complete bool          `json:"complete"` // all fellows answered, and nothing was left to do
	Missing  int           `json:"missing"`  // versions that it lacks, or keeps for others
	Absent   int           `json:"absent"`   // fellows that did not answer
}

// repairOf is what repair last did for a device; nil before its first pass.
func (p *peer) repairOf(device string) *repairStatus {
	r := p.repairs.Load()
	if r == nil {
		return nil
	}
	for t, last := range r.Reports() {
		if t.Device == device && !last.Started.IsZero() {
			return &repairStatus{Ended: last.Started.Add(last.Took), Took: last.Took, Complete: last.Complete, Missing: last.Missing, Absent: last.Absent}
		}
	}
	return nil
}

func newReconCommand() *cobra.Command {
	var t clusterTarget
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "recon",
		Short: "Show how the storage does, in the manner of swift-recon: rings, updates queued, quarantine, repair, disks",
		Long: "Show how the storage does, in the manner of swift-recon: which peers have the rings in use, listing updates that wait for a peer, what is quarantined,\n" +
			"when repair last went over the devices and what it left to do, and how full they are. It asks the peers now; the exit status is not 0 if one does not answer.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			admin, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			return recon(cmd.Context(), cmd.OutOrStdout(), asJSON, func(ctx context.Context) ([]report, map[string]uint64, error) { return gather(ctx, admin) })
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "all that the peers say, in JSON")
	return cmd
}

func recon(ctx context.Context, out io.Writer, asJSON bool, ask func(context.Context) ([]report, map[string]uint64, error)) error {
	reports, published, err := ask(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		err = encodeRecon(out, reports, published)
	} else {
		printRecon(out, reports, published, time.Now())
	}
	if err != nil {
		return err
	}
	silent := slices.DeleteFunc(slices.Clone(reports), func(r report) bool { return r.err == nil })
	if len(silent) > 0 {
		return fmt.Errorf("%s of %d did not answer", count(len(silent), "peer"), len(reports))
	}
	return nil
}

// encodeRecon gives what each peer says, and which versions of the rings are in use.
func encodeRecon(out io.Writer, reports []report, published map[string]uint64) error {
	type answer struct {
		Error  string      `json:"error,omitempty"`
		Status *peerStatus `json:"status,omitempty"`
	}
	peers := map[string]answer{}
	for _, r := range reports {
		if r.err != nil {
			peers[r.member.ID] = answer{Error: r.err.Error()}
			continue
		}
		peers[r.member.ID] = answer{Status: &r.status}
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{"rings": published, "peers": peers})
}

// figure is one number that is gathered from each device.
type figure struct {
	name  string
	unit  string
	value func(d deviceStatus) (float64, bool)
}

// figures are what recon shows of all devices together.
func figures(now time.Time) []figure {
	return []figure{
		{"updates queued", "", func(d deviceStatus) (float64, bool) { return float64(d.Usage.Pending), true }},
		{"quarantined", "", func(d deviceStatus) (float64, bool) { return float64(d.Usage.Quarantine), true }},
		{"objects", "", func(d deviceStatus) (float64, bool) { return float64(d.Usage.Objects), true }},
		{"disk used", "%", func(d deviceStatus) (float64, bool) {
			return 100 * float64(d.Usage.Size-d.Usage.Free) / float64(max(d.Usage.Size, 1)), d.Usage.Size > 0
		}},
		{"repair left to do", "", func(d deviceStatus) (float64, bool) {
			if d.Repair == nil {
				return 0, false
			}
			return float64(d.Repair.Missing), true
		}},
		{"repair age", "s", func(d deviceStatus) (float64, bool) {
			if d.Repair == nil {
				return 0, false
			}
			return max(0, now.Sub(d.Repair.Ended).Seconds()), true
		}},
		{"repair took", "s", func(d deviceStatus) (float64, bool) {
			if d.Repair == nil {
				return 0, false
			}
			return d.Repair.Took.Seconds(), true
		}},
	}
}

func printRecon(out io.Writer, reports []report, published map[string]uint64, now time.Time) {
	answered, devices, broken := 0, []deviceStatus{}, 0
	for _, r := range reports {
		if r.err != nil {
			fmt.Fprintf(out, "%s does not answer: %v\n", r.member.ID, r.err)
			continue
		}
		answered++
		for _, d := range r.status.Devices {
			if d.Error != "" || d.Usage.Failed != "" {
				fmt.Fprintf(out, "%s/%s: %s\n", r.member.ID, d.Name, d.trouble())
				broken++
				continue
			}
			devices = append(devices, d)
		}
	}
	fmt.Fprintf(out, "%d of %s answered, with %s, %d more out of use\n\n", answered, count(len(reports), "peer"), count(len(devices), "device"), broken)
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "RING\tVERSION\tDIGEST\tPEERS THAT HAVE IT\tOTHERS")
	for _, name := range sortedKeys(published) {
		have, digest, others := ringHolders(reports, name, published[name])
		fmt.Fprintf(t, "%s\t%d\t%.12s\t%d of %d\t%s\n", name, published[name], digest, have, len(reports), strings.Join(others, " "))
	}
	fmt.Fprintln(t, "\nOF EACH DEVICE\tLOW\tHIGH\tAVERAGE\tTOTAL\tNOT KNOWN")
	for _, f := range figures(now) {
		f.print(t, devices)
	}
	t.Flush()
	fmt.Fprintf(out, "\n%s", balance(reports))
	complete := 0
	for _, d := range devices {
		if d.Repair != nil && d.Repair.Complete {
			complete++
		}
	}
	fmt.Fprintf(out, "\nRepair reached all fellows and left nothing to do on %d of %s.\n", complete, count(len(devices), "device"))
}

// ringHolders counts the peers that have a ring's version, with the digest that most of them have, and names those that answered and have another version or digest.
func ringHolders(reports []report, name string, version uint64) (have int, digest string, others []string) {
	votes := map[string]int{}
	for _, r := range reports {
		if d := r.status.Digests[name]; r.err == nil && r.status.Rings[name] == version {
			if votes[d]++; votes[d] > votes[digest] || digest == "" {
				digest = d
			}
		}
	}
	for _, r := range reports {
		switch d := r.status.Digests[name]; {
		case r.err != nil:
		case r.status.Rings[name] != version:
			others = append(others, fmt.Sprintf("%s:%d", r.member.ID, r.status.Rings[name]))
		case d != digest:
			others = append(others, fmt.Sprintf("%s:%d:%.12s", r.member.ID, version, d))
		default:
			have++
		}
	}
	return have, digest, others
}

// balance tells which disks are the fullest and the emptiest, and how far the one that is farthest from it is from the average, in percent of that.
func balance(reports []report) string {
	type disk struct {
		name string
		used float64
	}
	var disks []disk
	sum := 0.0
	for _, r := range reports {
		for _, d := range r.status.Devices {
			if r.err == nil && d.Error == "" && d.Usage.Size > 0 {
				used := 100 * float64(d.Usage.Size-d.Usage.Free) / float64(d.Usage.Size)
				disks = append(disks, disk{r.member.ID + "/" + d.Name, used})
				sum += used
			}
		}
	}
	if len(disks) == 0 || sum == 0 {
		return "No disk says how full it is."
	}
	order := func(a, b disk) int { return cmp.Or(cmp.Compare(a.used, b.used), cmp.Compare(a.name, b.name)) }
	low, high, average := slices.MinFunc(disks, order), slices.MaxFunc(disks, order), sum/float64(len(disks))
	return fmt.Sprintf("The emptiest disk is %s, %.1f%% used, the fullest %s, %.1f%%; balance %.1f%%.", low.name, low.used, high.name, high.used,
		100*max(average-low.used, high.used-average)/average)
}

func (f figure) print(out io.Writer, devices []deviceStatus) {
	var values []float64
	total := 0.0
	for _, d := range devices {
		if v, ok := f.value(d); ok {
			values = append(values, v)
			total += v
		}
	}
	if len(values) == 0 {
		fmt.Fprintf(out, "%s\t-\t-\t-\t-\t%d\n", f.name, len(devices))
		return
	}
	sum := fmt.Sprintf("%.0f", total)
	if f.unit != "" {
		sum = "" // means nothing
	}
	fmt.Fprintf(out, "%s\t%.1f%s\t%.1f%s\t%.1f%s\t%s\t%d\n", f.name, slices.Min(values), f.unit, slices.Max(values), f.unit, total/float64(len(values)), f.unit, sum, len(devices)-len(values))
}
