package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"

	"henge/cluster/rings"
	"henge/cluster/state"
	"henge/internal/errs"
	"henge/ring"
)

func (t *ringTool) rebalanceCommand() *cobra.Command {
	var dry bool
	var seed uint64
	cmd := &cobra.Command{
		Use:   "rebalance",
		Short: "Show what would move, then make and publish the new ring",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") {
				seed = rand.Uint64()
			}
			return t.with(cmd, func(ctx context.Context, s shelf, out io.Writer) error { return t.rebalance(ctx, s, out, seed, dry) })
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show what would move")
	cmd.Flags().Uint64Var(&seed, "seed", 0, "a number that decides where there is a choice: the same builder, time and seed give the same ring (default random)")
	return cmd
}

func (t *ringTool) rebalance(ctx context.Context, s shelf, out io.Writer, seed uint64, dry bool) error {
	b, err := s.load(ctx)
	if err != nil {
		return err
	}
	was, balance, dispersion := b.Version(), b.Balance(), b.Dispersion().Percent
	now := t.clock.Now()
	c, err := b.Rebalance(now, seed)
	if err != nil {
		return err
	}
	printChanges(out, c)
	for _, warning := range b.Validate() {
		say(out, "Warning: %v", warning)
	}
	say(out, "Balance %.2f, was %.2f. Dispersion %.2f, was %.2f.", b.Balance(), balance, b.Dispersion().Percent, dispersion)
	if c.Held > 0 {
		wait := "Only one replica of a partition moves at a time: rebalance again later"
		if d := b.Wait(now); d > 0 {
			wait = fmt.Sprintf("Only one replica of a partition moves in min_part_hours: rebalance again in %s", hms(d))
		}
		say(out, "%s. %d replicas wait for that.", wait, c.Held)
	}
	if dry {
		say(out, "Nothing was written (--dry-run).")
		return nil
	}
	published, err := s.published(ctx)
	if err != nil && !errs.Is(err, errs.NotFound) {
		say(out, "Warning: the ring in use cannot be read, it is replaced: %v", err)
	}
	if b.Version() == was && published != nil && published.Version() == was {
		say(out, "The ring is up to date: nothing was written.")
		return nil
	}
	where, err := s.save(ctx, b, was)
	if err != nil {
		return err
	}
	say(out, "Ring version %d %s.", b.Version(), where)
	return nil
}

// printChanges shows what moves by tier.
func printChanges(out io.Writer, c ring.Changes) {
	if c.Moved+c.Placed+c.Dropped == 0 {
		say(out, "Nothing moves.")
		return
	}
	t := newTable("TIER", "<", "REPLICAS NOW", ">", "IN", ">", "OUT", ">", "AFTER", ">", "CHANGE", ">")
	for _, l := range []ring.Level{ring.LevelRegion, ring.LevelZone, ring.LevelPeer, ring.LevelDevice} {
		for _, x := range c.Level(l) {
			if x.In+x.Out == 0 && x.Before == x.After {
				continue
			}
			change := "new"
			if x.Before > 0 {
				change = fmt.Sprintf("%+.2f%%", 100*float64(x.After-x.Before)/float64(x.Before))
			}
			t.row(x.Tier, x.Before, x.In, x.Out, x.After, change)
		}
	}
	t.print(out)
	say(out, "")
	if c.Placed > 0 {
		say(out, "%d replicas get their first place.", c.Placed)
	}
	if c.Dropped > 0 {
		say(out, "%d replicas are given up.", c.Dropped)
	}
	if c.Moved > 0 {
		say(out, "%d replicas of %d partitions move: %.2f%% of %d.", c.Moved, c.Partitions, 100*c.Share(), c.Replicas)
	}
}

// hms is a duration in Swift's words: 0:59:59.
func hms(d time.Duration) string {
	s := int(d.Round(time.Second) / time.Second)
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

func (t *ringTool) writeCommand() *cobra.Command {
	var builder bool
	cmd := &cobra.Command{
		Use:   "write [FILE]",
		Short: "Publish the ring of the last rebalance as it is, or write it to FILE",
		Long: "Without FILE, the ring of the last rebalance becomes the one in use (with --file, it is written beside the builder file). With FILE it is\n" +
			"written there, and nothing else changes; with --builder, the builder is, for safe keeping or for work with --file.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if builder && len(args) == 0 {
				return errors.New("write --builder needs a file to write to")
			}
			return t.with(cmd, func(ctx context.Context, s shelf, out io.Writer) error {
				b, err := s.load(ctx)
				if err != nil {
					return err
				}
				if len(args) == 1 {
					return writeTo(args[0], b, builder, out)
				}
				where, err := s.save(ctx, b, b.Version())
				if err == nil {
					say(out, "Ring version %d %s.", b.Version(), where)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&builder, "builder", false, "write the builder instead of the ring")
	return cmd
}

func writeTo(path string, b *ring.Builder, builder bool, out io.Writer) error {
	if builder {
		if err := writeWhole(path, b); err != nil {
			return err
		}
		say(out, "Builder version %d written to %s.", b.Version(), path)
		return nil
	}
	r, err := b.Ring()
	if err != nil {
		return err
	}
	if err := writeWhole(path, r); err != nil {
		return err
	}
	say(out, "Ring version %d written to %s.", r.Version(), path)
	return nil
}

func (t *ringTool) loadCommand() *cobra.Command {
	var force bool
	var hours int
	cmd := &cobra.Command{
		Use:   "load FILE",
		Short: "Put a builder file into the cluster, and publish its ring",
		Long: "Put a builder file into the cluster, and publish its ring. FILE can also be a ring file: then a builder is made from it, with the settings that a\n" +
			"ring does not tell set anew (--min-part-hours; no overload).",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if t.file != "" {
				return errors.New("load puts a builder file into the cluster: leave --file out")
			}
			b, err := readAnyFile(args[0], hours, t.clock.Now())
			if err != nil {
				return err
			}
			if wrong := b.Validate(); len(wrong) > 0 && !force {
				return fmt.Errorf("%s: %w (--force loads it all the same)", args[0], wrong[0])
			}
			return t.withState(cmd, func(ctx context.Context, store state.Store, out io.Writer) error {
				return t.load(ctx, store, b, force, out)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when the cluster has a newer builder of that name, or one with other partitions, or the file is not valid")
	cmd.Flags().IntVar(&hours, "min-part-hours", 1, "of a builder that is made from a ring file")
	return cmd
}

func (t *ringTool) load(ctx context.Context, store state.Store, b *ring.Builder, force bool, out io.Writer) error {
	err := store.Update(ctx, func(w state.Writer) error {
		now, err := rings.GetBuilder(w, t.name)
		switch {
		case force || errs.Is(err, errs.NotFound):
		case err != nil:
			return err
		case now.Power() != b.Power():
			return errs.New(errs.Conflict, "the cluster's %s ring has part power %d, the file %d: all data would be out of place (--force loads it all the same)", t.name, now.Power(), b.Power())
		case now.Version() > b.Version():
			return errs.New(errs.Conflict, "the cluster's %s ring has version %d, the file only %d (--force loads it all the same)", t.name, now.Version(), b.Version())
		}
		return rings.Put(w, t.name, b)
	})
	if err != nil {
		return err
	}
	say(out, "Builder version %d loaded, its ring published as %s.", b.Version(), t.name)
	return nil
}
