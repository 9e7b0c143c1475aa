package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"henge/cluster/rings"
	"henge/cluster/state"
	"henge/internal/errs"
	"henge/ring"
)

func (t *ringTool) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the cluster's rings",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			table := newTable("RING", "<", "VERSION", ">", "IN USE", ">", "PARTITIONS", ">", "REPLICAS", ">", "DEVICES", ">", "BALANCE", ">", "DISPERSION", ">", "STATE", "<")
			if t.file != "" {
				return t.with(cmd, func(ctx context.Context, s shelf, out io.Writer) error {
					if err := listRow(ctx, table, s); err != nil {
						return err
					}
					table.print(out)
					return nil
				})
			}
			return t.withState(cmd, func(ctx context.Context, store state.Store, out io.Writer) error {
				names, err := rings.Names(ctx, store)
				if err != nil {
					return err
				}
				for _, name := range names {
					if err := listRow(ctx, table, stateShelf{store, name}); err != nil {
						return err
					}
				}
				table.print(out)
				return nil
			})
		},
	}
}

func listRow(ctx context.Context, table *table, s shelf) error {
	b, err := s.load(ctx)
	if err != nil {
		return err
	}
	inUse, word, err := standing(ctx, s, b)
	if err != nil {
		return err
	}
	table.row(s.title(), b.Version(), inUse, b.Partitions(), fmt.Sprintf("%g", b.Replicas()), len(b.Devices()), fmt.Sprintf("%.2f", b.Balance()),
		fmt.Sprintf("%.2f", b.Dispersion().Percent), word)
	return nil
}

// standing says how the ring in use compares with its builder.
func standing(ctx context.Context, s shelf, b *ring.Builder) (inUse, word string, err error) {
	published, err := s.published(ctx)
	switch {
	case errs.Is(err, errs.NotFound):
		return "-", "never published: rebalance", nil
	case err != nil:
		return "", "", err
	case b.Changed():
		word = "changed: rebalance"
	case b.Waiting() && published.Version() == b.Version():
		word = "moves wait: rebalance again"
	case published.Version() == b.Version():
		word = "up to date"
	default:
		word = "not the builder's: write"
	}
	return fmt.Sprint(published.Version()), word, nil
}

func (t *ringTool) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show a ring's settings and devices",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.with(cmd, func(ctx context.Context, s shelf, out io.Writer) error {
				b, err := s.load(ctx)
				if err != nil {
					return err
				}
				inUse, word, err := standing(ctx, s, b)
				if err != nil {
					return err
				}
				t.printHead(out, s.title(), b)
				say(out, "The ring in use has version %s (%s)", inUse, word)
				printDevices(out, b, b.Balances())
				return nil
			})
		},
	}
}

func (t *ringTool) printHead(out io.Writer, title string, b *ring.Builder) {
	regions, zones := map[int]bool{}, map[[2]int]bool{}
	devices := b.Devices()
	for _, d := range devices {
		regions[d.Region], zones[[2]int{d.Region, d.Zone}] = true, true
	}
	say(out, "%s, builder version %d", title, b.Version())
	say(out, "%d partitions, %f replicas, %d regions, %d zones, %d devices, %.2f balance, %.2f dispersion",
		b.Partitions(), b.Replicas(), len(regions), len(zones), len(devices), b.Balance(), b.Dispersion().Percent)
	say(out, "The minimum number of hours before a partition can be reassigned is %d (%s remaining)", b.MinPartHours(), hms(b.Wait(t.clock.Now())))
	say(out, "The overload factor is %.2f%% (%f)", 100*b.Overload(), b.Overload())
}

func printDevices(out io.Writer, b *ring.Builder, balances []ring.DeviceBalance) {
	table := newTable("ID", ">", "REGION", ">", "ZONE", ">", "PEER", "<", "DEVICE", "<", "ADDRESS", "<", "WEIGHT", ">", "PARTITIONS", ">", "BALANCE", ">", "FLAGS", "<", "META", "<")
	for _, x := range balances {
		d := x.Device
		table.row(d.ID, d.Region, d.Zone, d.Peer, d.Name, d.Address, fmt.Sprintf("%.2f", d.Weight), x.Parts, fmt.Sprintf("%.2f", x.Balance), "", d.Meta)
	}
	for _, d := range b.Removed() {
		table.row(d.ID, d.Region, d.Zone, d.Peer, d.Name, d.Address, fmt.Sprintf("%.2f", d.Weight), "", "", "DEL", d.Meta)
	}
	table.print(out)
}

func (t *ringTool) searchCommand() *cobra.Command {
	s := &selection{}
	cmd := &cobra.Command{
		Use:     "search [SEARCH]",
		Short:   "Show the devices that match",
		Example: "  henge ring search r1z2-peer-2\n  henge ring search --zone 2 --weight 0",
	}
	s.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		edits, err := s.edits(cmd, args, false)
		if err != nil {
			return err
		}
		return t.with(cmd, func(ctx context.Context, s shelf, out io.Writer) error {
			b, err := s.load(ctx)
			if err != nil {
				return err
			}
			found := slices.DeleteFunc(b.Balances(), func(x ring.DeviceBalance) bool {
				return !slices.ContainsFunc(edits, func(e edit) bool { return e.query.Match(&x.Device) })
			})
			if len(found) == 0 {
				return errs.New(errs.NotFound, "no device matches %s", edits[0].words)
			}
			printDevices(out, &ring.Builder{}, found)
			return nil
		})
	}
	return cmd
}

func (t *ringTool) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate",
		Short: "Check that every replica has a device of its own; the exit status is not 0 if not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.with(cmd, func(ctx context.Context, s shelf, out io.Writer) error {
				b, err := s.load(ctx)
				if err != nil {
					return err
				}
				wrong := b.Validate()
				for _, w := range wrong {
					say(out, "%s: %v", s.title(), w)
				}
				if len(wrong) > 0 {
					return errInvalidRing
				}
				say(out, "%s is valid: %d partitions, %g replicas, balance %.2f, dispersion %.2f", s.title(), b.Partitions(), b.Replicas(), b.Balance(), b.Dispersion().Percent)
				return nil
			})
		},
	}
}

func (t *ringTool) dispersionCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "dispersion [PATTERN]",
		Short: "Show how far apart replicas are",
		Long: "Show how far apart replicas are: which share of them meets in a region, zone or host with others of its partition though there are enough regions,\n" +
			"zones or hosts to spread them more evenly. Weights do not matter to it; set-overload decides between the two. PATTERN, a regular expression,\n" +
			"selects tiers for --verbose.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			pattern, err := regexp.Compile(strings.Join(args, ""))
			if err != nil {
				return fmt.Errorf("%q is not a regular expression: %w", args[0], err)
			}
			return t.with(cmd, func(ctx context.Context, s shelf, out io.Writer) error {
				b, err := s.load(ctx)
				if err != nil {
					return err
				}
				printDispersion(out, b, b.Dispersion(), pattern, verbose || len(args) > 0)
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show every region, zone and host")
	return cmd
}

func printDispersion(out io.Writer, b *ring.Builder, d ring.Dispersion, pattern *regexp.Regexp, verbose bool) {
	say(out, "Dispersion is %.6f, Balance is %.6f, Overload is %.2f%%", d.Percent, b.Balance(), 100*b.Overload())
	say(out, "Required overload is %.6f%%", 100*b.RequiredOverload())
	if d.Worst != nil {
		say(out, "Worst tier is %.6f (%s)", 100*d.Worst.Share(), d.Worst.Tier)
	}
	if !verbose || len(d.Tiers) == 0 {
		return
	}
	columns := []string{"TIER", "<", "PARTS", ">", "%", ">", "MAX", ">"}
	for n := range d.Tiers[0].Counts {
		columns = append(columns, fmt.Sprint(n), ">")
	}
	table := newTable(columns...)
	for _, x := range d.Tiers {
		if !pattern.MatchString(x.Tier.String()) {
			continue
		}
		cells := []any{x.Tier, x.Parts, fmt.Sprintf("%.2f", 100*x.Share()), x.Max}
		for _, n := range x.Counts {
			cells = append(cells, n)
		}
		table.row(cells...)
	}
	table.print(out)
}
