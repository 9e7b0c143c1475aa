package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"henge/cluster/rings"
	"henge/cluster/state"
	"henge/internal/erasure"
	"henge/internal/errs"
)

func (t *ringTool) policiesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "policies",
		Short: "List the storage policies, each of which has an object ring",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.withState(cmd, func(ctx context.Context, store state.Store, out io.Writer) error {
				var all []rings.Policy
				err := store.View(ctx, func(r state.Reader) (err error) {
					all, err = rings.Policies(r)
					return err
				})
				if err != nil {
					return err
				}
				table := newTable("INDEX", ">", "NAME", "<", "RING", "<", "CODING", "<", "FLAGS", "<", "ALIASES", "<")
				for _, p := range all {
					var flags []string
					if p.Default {
						flags = append(flags, "default")
					}
					if p.Deprecated {
						flags = append(flags, "deprecated")
					}
					coding := "replicas"
					if p.Coding != nil {
						coding = p.Coding.String()
					}
					table.row(p.Index, p.Name, rings.ObjectName(p.Index), coding, strings.Join(flags, ","), strings.Join(p.Aliases, ", "))
				}
				table.print(out)
				return nil
			})
		},
	}
}

func (t *ringTool) setPolicyCommand() *cobra.Command {
	var p rings.Policy
	var coding string
	cmd := &cobra.Command{
		Use:   "set-policy NAME",
		Short: "Make the storage policy of an object ring known to users, or change it",
		Long: "Make the storage policy of an object ring known to users, or change it. The ring (--ring object-N) must be published already: containers\n" +
			"can be made with the policy at once. With --ec K+M objects are cut into K+M fragments, any K of which give them back; the ring must have K+M replicas.",
		Example: "  henge ring --ring object-1 set-policy two-copies --alias cheap\n" +
			"  henge ring --ring object-2 set-policy archive --ec 4+2",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			index, ok := rings.PolicyOf(t.name)
			if !ok || t.file != "" {
				return errs.New(errs.Invalid, "set-policy works on an object ring of the cluster: --ring object or --ring object-N")
			}
			p.Index, p.Name = index, args[0]
			if coding != "" {
				shape, err := erasure.ParseShape(coding)
				if err != nil {
					return err
				}
				p.Coding = &shape
			}
			return t.withState(cmd, func(ctx context.Context, store state.Store, out io.Writer) error {
				err := store.Update(ctx, func(w state.Writer) error {
					if _, err := rings.PublishedRing(w, t.name); err != nil {
						return err
					}
					now := p
					if err := keepCoding(w, &now); err != nil {
						return err
					}
					return rings.PutPolicy(w, now)
				})
				if err == nil {
					say(out, "Policy %d is %s.", p.Index, p.Name)
				}
				return err
			})
		},
	}
	cmd.Flags().StringSliceVar(&p.Aliases, "alias", nil, "another name for it")
	cmd.Flags().BoolVar(&p.Default, "default", false, "for containers that are made without naming a policy")
	cmd.Flags().StringVar(&coding, "ec", "", "erasure coding K+M, such as 4+2; it is chosen once, when the policy is made")
	cmd.Flags().BoolVar(&p.Deprecated, "deprecated", false, "no new containers")
	return cmd
}

// keepCoding lets a policy that is changed without --ec stay what it is.
func keepCoding(r state.Reader, p *rings.Policy) error {
	all, err := rings.Policies(r)
	for _, old := range all {
		if old.Index == p.Index && p.Coding == nil {
			p.Coding = old.Coding
		}
	}
	return err
}
