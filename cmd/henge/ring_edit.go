package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"henge/internal/errs"
	"henge/ring"
)

func (t *ringTool) createCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "create PART_POWER REPLICAS MIN_PART_HOURS",
		Short:   "Make a new builder with 2^PART_POWER partitions",
		Example: "  henge ring --ring object-1 create 14 3 1",
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			power, err := strconv.ParseUint(args[0], 10, 8)
			if err != nil {
				return fmt.Errorf("part power %q is not a number from 1 to %d", args[0], ring.PowerMax)
			}
			replicas, err := number("replicas", args[1])
			if err != nil {
				return err
			}
			hours, err := whole("min_part_hours", args[2])
			if err != nil {
				return err
			}
			b, err := ring.NewBuilder(ring.Config{Power: uint8(power), Replicas: replicas, MinPartHours: hours})
			if err != nil {
				return err
			}
			return t.with(cmd, func(ctx context.Context, s shelf, out io.Writer) error {
				if err := s.create(ctx, b); err != nil {
					return err
				}
				say(out, "Created %s: %d partitions, %g replicas, min_part_hours %d. Add devices, then rebalance.", s.title(), b.Partitions(), replicas, hours)
				return nil
			})
		},
	}
}

func number(what, s string) (float64, error) {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("%s %q is not a number", what, s)
	}
	return x, nil
}

func whole(what, s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%s %q is not a whole number", what, s)
	}
	return n, nil
}

func (t *ringTool) addCommand() *cobra.Command {
	var d ring.Device
	cmd := &cobra.Command{
		Use:   "add { r<region>z<zone>-<peer>/<device>_<meta> WEIGHT }...",
		Short: "Add devices; a rebalance gives them partitions",
		Example: "  henge ring add r1z1-peer-1/d1 100 r1z2-peer-2/d1 100\n" +
			"  henge ring add --region 1 --zone 2 --peer peer-2 --device d2 --weight 100 --meta ssd",
		RunE: func(cmd *cobra.Command, args []string) error {
			devices, err := devicesToAdd(cmd, d, args)
			if err != nil {
				return err
			}
			return t.with(cmd, func(ctx context.Context, s shelf, out io.Writer) error {
				var lines []string
				err := s.change(ctx, func(b *ring.Builder) error {
					lines = nil
					for _, d := range devices {
						id, err := b.Add(d)
						if err != nil {
							return err
						}
						d.ID = id
						lines = append(lines, fmt.Sprintf("Device %s with weight %g got id %d", &d, d.Weight, id))
					}
					return nil
				})
				if err != nil {
					return err
				}
				for _, line := range lines {
					say(out, "%s", line)
				}
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&d.Region, "region", 1, "region")
	f.IntVar(&d.Zone, "zone", 0, "zone")
	f.StringVar(&d.Peer, "peer", "", "id of the peer that has the device")
	f.StringVar(&d.Address, "address", "", "address of the peer, for people to read")
	f.StringVar(&d.Name, "device", "", "name of the device on its peer")
	f.Float64Var(&d.Weight, "weight", 0, "weight")
	f.StringVar(&d.Meta, "meta", "", "any note")
	return cmd
}

// devicesToAdd reads either pairs of arguments, or the flags.
func devicesToAdd(cmd *cobra.Command, flags ring.Device, args []string) ([]ring.Device, error) {
	if len(args) == 0 {
		for _, needed := range []string{"zone", "peer", "device", "weight"} {
			if !cmd.Flags().Changed(needed) {
				return nil, fmt.Errorf("add needs pairs of device and weight, or the flags --zone, --peer, --device and --weight")
			}
		}
		return []ring.Device{flags}, nil
	}
	for _, not := range []string{"region", "zone", "peer", "device", "weight", "meta"} {
		if cmd.Flags().Changed(not) {
			return nil, fmt.Errorf("add takes pairs of device and weight, or --%s and the like, not both", not)
		}
	}
	if len(args)%2 != 0 {
		return nil, fmt.Errorf("add takes pairs of device and weight: %q has no weight", args[len(args)-1])
	}
	var devices []ring.Device
	for ; len(args) > 0; args = args[2:] {
		d, err := ring.ParseDevice(args[0])
		if err != nil {
			return nil, err
		}
		if d.Weight, err = number("weight", args[1]); err != nil {
			return nil, err
		}
		d.Address = flags.Address
		devices = append(devices, d)
	}
	return devices, nil
}

// selection is how a command says which devices it means: by flags, or in search syntax.
type selection struct {
	id, region, zone   int
	peer, device, meta string
	weight             float64
	all                bool
}

func (s *selection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&s.id, "id", 0, "the device with this id")
	f.IntVar(&s.region, "region", 0, "devices in this region")
	f.IntVar(&s.zone, "zone", 0, "devices in zones of this number")
	f.StringVar(&s.peer, "peer", "", "devices of this peer (id or address)")
	f.StringVar(&s.device, "device", "", "devices of this name")
	f.Float64Var(&s.weight, "weight", 0, "devices of this weight")
	f.StringVar(&s.meta, "meta", "", "devices with this in their meta")
}

// query reads the flags that were given.
func (s *selection) query(cmd *cobra.Command) ring.Query {
	var q ring.Query
	given := cmd.Flags().Changed
	for _, x := range []struct {
		flag string
		from *int
		to   **int
	}{{"id", &s.id, &q.ID}, {"region", &s.region, &q.Region}, {"zone", &s.zone, &q.Zone}} {
		if given(x.flag) {
			*x.to = x.from
		}
	}
	for _, x := range []struct {
		flag string
		from *string
		to   **string
	}{{"peer", &s.peer, &q.Peer}, {"device", &s.device, &q.Name}, {"meta", &s.meta, &q.Meta}} {
		if given(x.flag) {
			*x.to = x.from
		}
	}
	if given("weight") {
		q.Weight = &s.weight
	}
	return q
}

// edit is one query and the value that its devices get.
type edit struct {
	query ring.Query
	words string // as the user said it
	value string
}

// edits reads "SEARCH VALUE ..." or flags and "VALUE". Without values (remove), values is false.
func (s *selection) edits(cmd *cobra.Command, args []string, values bool) ([]edit, error) {
	width := 1
	if values {
		width = 2
	}
	if q := s.query(cmd); !q.Empty() {
		if len(args) != width-1 {
			return nil, fmt.Errorf("%s takes devices by flags or in search syntax, not both", cmd.Name())
		}
		e := edit{query: q, words: "the flags"}
		if values {
			e.value = args[0]
		}
		return []edit{e}, nil
	}
	if len(args) == 0 || len(args)%width != 0 {
		return nil, fmt.Errorf("%s takes %s; henge ring %s --help shows examples", cmd.Name(), map[bool]string{true: "pairs of device and value", false: "devices"}[values], cmd.Name())
	}
	var out []edit
	for ; len(args) > 0; args = args[width:] {
		q, err := ring.ParseQuery(args[0])
		if err != nil {
			return nil, err
		}
		out = append(out, edit{query: q, words: args[0], value: args[width-1]})
	}
	return out, nil
}

// editCommand is a command that does something to each device selected. prepare turns the value into what is to be done.
func (t *ringTool) editCommand(cmd *cobra.Command, values bool, prepare func(value string) (func(b *ring.Builder, d ring.Device) (string, error), error)) *cobra.Command {
	s := &selection{}
	s.flags(cmd)
	cmd.Flags().BoolVarP(&s.all, "yes", "y", false, "do it to all devices, should a search match more than one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		edits, err := s.edits(cmd, args, values)
		if err != nil {
			return err
		}
		apply := make([]func(*ring.Builder, ring.Device) (string, error), len(edits))
		for i, e := range edits {
			if apply[i], err = prepare(e.value); err != nil {
				return err
			}
		}
		return t.with(cmd, func(ctx context.Context, shelf shelf, out io.Writer) error {
			var lines []string
			err := shelf.change(ctx, func(b *ring.Builder) error {
				lines = nil
				for i, e := range edits {
					more, err := e.apply(b, s.all, apply[i])
					if err != nil {
						return err
					}
					lines = append(lines, more...)
				}
				return nil
			})
			if err != nil {
				return err
			}
			for _, line := range lines {
				say(out, "%s", line)
			}
			return nil
		})
	}
	return cmd
}

func (e edit) apply(b *ring.Builder, all bool, do func(*ring.Builder, ring.Device) (string, error)) (lines []string, err error) {
	matches := b.Search(e.query)
	switch {
	case len(matches) == 0:
		return nil, errs.New(errs.NotFound, "no device matches %s", e.words)
	case len(matches) > 1 && !all:
		return nil, errs.New(errs.Invalid, "%d devices match %s (%s, %s, ...): say --yes if all are meant", len(matches), e.words, &matches[0], &matches[1])
	}
	for _, d := range matches {
		line, err := do(b, d)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func (t *ringTool) setWeightCommand() *cobra.Command {
	return t.editCommand(&cobra.Command{
		Use:   "set-weight { SEARCH WEIGHT }...",
		Short: "Give devices another share of the partitions; 0 drains them",
		Long: "Give devices another share of the partitions. With weight 0 a device is drained: a rebalance moves its partitions away as min_part_hours\n" +
			"lets it. It can be removed when it has none left.",
		Example: "  henge ring set-weight d3 50 r1z2-peer-2/d1 200\n  henge ring set-weight --peer peer-2 --yes 0",
	}, true, func(value string) (func(*ring.Builder, ring.Device) (string, error), error) {
		w, err := number("weight", value)
		return func(b *ring.Builder, d ring.Device) (string, error) {
			return fmt.Sprintf("%s weight %g, was %g", &d, w, d.Weight), b.SetWeight(d.ID, w)
		}, err
	})
}

// setPlaceCommand is set-region and set-zone.
func (t *ringTool) setPlaceCommand(what string) *cobra.Command {
	return t.editCommand(&cobra.Command{
		Use:     "set-" + what + " { SEARCH NUMBER }...",
		Short:   "Say that devices are in another " + what,
		Example: "  henge ring set-" + what + " --peer peer-2 --yes 3",
	}, true, func(value string) (func(*ring.Builder, ring.Device) (string, error), error) {
		n, err := whole(what, value)
		return func(b *ring.Builder, d ring.Device) (string, error) {
			set, was := b.SetRegion, d.Region
			if what == "zone" {
				set, was = b.SetZone, d.Zone
			}
			return fmt.Sprintf("%s %s %d, was %d", &d, what, n, was), set(d.ID, n)
		}, err
	})
}

func (t *ringTool) removeCommand() *cobra.Command {
	return t.editCommand(&cobra.Command{
		Use:     "remove SEARCH...",
		Short:   "Take devices out, as if they had died; rebalance gives their partitions to others at once",
		Example: "  henge ring remove d3\n  henge ring remove --peer peer-2 --yes",
	}, false, func(string) (func(*ring.Builder, ring.Device) (string, error), error) {
		return func(b *ring.Builder, d ring.Device) (string, error) {
			return fmt.Sprintf("%s will be removed by the next rebalance", &d), b.Remove(d.ID)
		}, nil
	})
}

// settingCommand changes one number of the builder.
func (t *ringTool) settingCommand(use, short, what string, set func(b *ring.Builder, x float64) error, said string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := number(what, args[0])
			if err != nil {
				return err
			}
			return t.with(cmd, func(ctx context.Context, s shelf, out io.Writer) error {
				if err := s.change(ctx, func(b *ring.Builder) error { return set(b, x) }); err != nil {
					return err
				}
				say(out, said, x)
				return nil
			})
		},
	}
}

func (t *ringTool) setMinPartHoursCommand() *cobra.Command {
	return t.settingCommand("set-min-part-hours HOURS", "Change how long a partition rests after a move", "min_part_hours", func(b *ring.Builder, x float64) error {
		if x != float64(int(x)) {
			return errs.New(errs.Invalid, "min_part_hours %g is not a whole number", x)
		}
		return b.SetMinPartHours(int(x))
	}, "The minimum number of hours before a partition can be reassigned is now %g")
}

func (t *ringTool) setOverloadCommand() *cobra.Command {
	cmd := t.settingCommand("set-overload FACTOR", "Let devices take more than their weight where that puts replicas farther apart", "overload",
		func(b *ring.Builder, x float64) error { return b.SetOverload(x) }, "The overload factor is now %g")
	cmd.Long = "Let devices take more than their weight says where that puts replicas farther apart: 0.1 is 10 %."
	return cmd
}

func (t *ringTool) setReplicasCommand() *cobra.Command {
	return t.settingCommand("set-replicas REPLICAS", "Change how many copies there are; may be fractional", "replicas",
		func(b *ring.Builder, x float64) error { return b.SetReplicas(x) }, "The replica count is now %g; rebalance makes it so")
}

func (t *ringTool) pretendCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pretend-min-part-hours-passed",
		Short: "Let the next rebalance move any partition: dangerous while replicas are still being copied",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.with(cmd, func(ctx context.Context, s shelf, out io.Writer) error {
				err := s.change(ctx, func(b *ring.Builder) error { b.PretendMinPartHoursPassed(); return nil })
				if err == nil {
					say(out, "Every partition may move in the next rebalance. Replicas that are still being copied may move again: data can be unreadable for a while.")
				}
				return err
			})
		},
	}
}

// errInvalidRing ends validate, after it has said what is wrong.
var errInvalidRing = errors.New("the ring is not valid")
