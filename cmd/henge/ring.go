package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"henge/cluster/rings"
	"henge/cluster/state"
	"henge/internal/clock"
	"henge/ring"
)

// newRingCommand is henge ring. open reaches the cluster that the flags --data-dir or --config of the command name; the func that it gives
// back closes it.
func newRingCommand(open func(cmd *cobra.Command) (state.Store, func(), error)) *cobra.Command {
	return newRingCommandAt(open, clock.System{})
}

// ringTool is what the subcommands of henge ring share.
type ringTool struct {
	open  func(cmd *cobra.Command) (state.Store, func(), error)
	clock clock.Clock
	name  string // of the ring in the cluster
	file  string // of the builder, instead of the cluster
}

func newRingCommandAt(open func(cmd *cobra.Command) (state.Store, func(), error), c clock.Clock) *cobra.Command {
	t := &ringTool{open: open, clock: c}
	cmd := &cobra.Command{
		Use:   "ring",
		Short: "Show and change the rings: which devices hold what",
		Long: "Show and change the rings: which devices hold what. The words are swift-ring-builder's.\n\n" +
			"Changes of devices and settings are collected in the ring's builder; rebalance turns them into a new ring, which every peer uses within\n" +
			"seconds. Without --file the builder is the one in the cluster's state; with --file it is a file, and nothing else is touched.\n\n" +
			"Devices are named in search syntax, d<id>r<region>z<zone>-<peer>/<device>_<meta>, of which any part may be left out, or by flags.\n" +
			"A search that begins with a hyphen goes after --, as in: set-weight -- -peer-2/d1 100",
		Args: cobra.NoArgs,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&t.name, "ring", rings.Object, "account, container, object, or object-N for storage policy N")
	f.StringVar(&t.file, "file", "", "work on this builder file instead of the cluster")
	f.String("data-dir", "", "the directory of a henge up (default henge-data, if it is there)")
	f.String("config", "", "the configuration of this host's peer (default /etc/henge/henge.toml)")
	cmd.AddCommand(
		t.createCommand(), t.addCommand(), t.setWeightCommand(), t.setPlaceCommand("region"), t.setPlaceCommand("zone"), t.removeCommand(),
		t.setMinPartHoursCommand(), t.setOverloadCommand(), t.setReplicasCommand(), t.pretendCommand(),
		t.rebalanceCommand(), t.writeCommand(), t.loadCommand(),
		t.validateCommand(), t.listCommand(), t.showCommand(), t.dispersionCommand(), t.searchCommand(),
		t.policiesCommand(), t.setPolicyCommand(),
	)
	return cmd
}

// shelf is where a builder is kept: a file, or the cluster's state.
type shelf interface {
	title() string
	load(ctx context.Context) (*ring.Builder, error)
	create(ctx context.Context, b *ring.Builder) error
	// change runs fn on the builder and puts it back; fn may run several times.
	change(ctx context.Context, fn func(*ring.Builder) error) error
	// save puts back a builder that was loaded at version was, and publishes its ring; it gives where to.
	save(ctx context.Context, b *ring.Builder, was uint64) (string, error)
	// published is the ring in use; errs.NotFound when there is none.
	published(ctx context.Context) (*ring.Ring, error)
}

// with opens the shelf that the flags name for the time of fn.
func (t *ringTool) with(cmd *cobra.Command, fn func(ctx context.Context, s shelf, out io.Writer) error) error {
	if t.file != "" {
		return fn(cmd.Context(), fileShelf{t.file}, cmd.OutOrStdout())
	}
	return t.withState(cmd, func(ctx context.Context, store state.Store, out io.Writer) error {
		if err := rings.CheckName(t.name); err != nil {
			return err
		}
		return fn(ctx, stateShelf{store, t.name}, out)
	})
}

// withState opens the cluster for the time of fn.
func (t *ringTool) withState(cmd *cobra.Command, fn func(ctx context.Context, store state.Store, out io.Writer) error) error {
	store, closeStore, err := t.open(cmd)
	if err != nil {
		return oneLine{err}
	}
	defer closeStore()
	return fn(cmd.Context(), store, cmd.OutOrStdout())
}

// stateShelf is a ring of the cluster.
type stateShelf struct {
	store state.Store
	name  string
}

func (s stateShelf) title() string { return s.name }

func (s stateShelf) load(ctx context.Context) (*ring.Builder, error) {
	return rings.LoadBuilder(ctx, s.store, s.name)
}

func (s stateShelf) create(ctx context.Context, b *ring.Builder) error {
	return rings.CreateBuilder(ctx, s.store, s.name, b)
}

func (s stateShelf) change(ctx context.Context, fn func(*ring.Builder) error) error {
	return rings.ChangeBuilder(ctx, s.store, s.name, fn)
}

func (s stateShelf) save(ctx context.Context, b *ring.Builder, was uint64) (string, error) {
	if err := rings.SaveBuilder(ctx, s.store, s.name, b, was, true); err != nil {
		return "", err
	}
	return "published in the cluster", nil
}

func (s stateShelf) published(ctx context.Context) (r *ring.Ring, err error) {
	err = s.store.View(ctx, func(v state.Reader) error {
		r, err = rings.PublishedRing(v, s.name)
		return err
	})
	return r, err
}

// oneLine shows an error that names several peers in one line.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }
func (e oneLine) Unwrap() error { return e.error }

// say prints a line.
func say(out io.Writer, format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
