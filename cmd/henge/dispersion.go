package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"henge/cluster"
	"henge/cluster/rpc"
	"henge/internal/errs"
	"henge/proxy/dispersion"
)

// methodDispersion has a peer put things into partitions, or look for their copies. Only administrators may.
const methodDispersion = "henge.dispersion"

type dispersionRequest struct {
	Coverage float64 `json:"coverage,omitempty"` // percent of the partitions to be filled; 0: look
}

// dispersion is over the rings as they are now.
func (p *peer) dispersion() (*dispersion.Dispersion, error) {
	placed := p.placed.Load()
	if placed == nil || p.core == nil {
		return nil, errs.New(errs.Unavailable, "the rings are not known here yet")
	}
	return dispersion.New(dispersion.Config{Core: p.core, Devices: p.devices, Secret: placed.secret, Rings: func() []dispersion.Ring {
		var all []dispersion.Ring
		if r, ok := placed.Container().(placedRing); ok {
			all = append(all, dispersion.Ring{Name: "container", Ring: r, Partitions: r.Partitions()})
		}
		for _, policy := range placed.Policies() {
			if r := placed.book.Object(int(policy.Index)); r != nil && !policy.Deprecated {
				name := "object"
				if policy.Index != 0 {
					name = fmt.Sprint("object-", policy.Index)
				}
				all = append(all, dispersion.Ring{Name: name, Policy: &policy, Ring: placed.Object(policy.Index), Partitions: r.Partitions()})
			}
		}
		return all
	}}), nil
}

func (p *peer) serveDispersion(ctx context.Context, s rpc.Stream) error {
	if s.Peer() != administrator {
		return errs.New(errs.Denied, "dispersion is for administrators")
	}
	raw, err := s.Recv()
	if err != nil {
		return err
	}
	var req dispersionRequest
	if err := json.Unmarshal(raw, &req); err != nil {
		return errs.New(errs.Invalid, "decode the request: %w", err)
	}
	d, err := p.dispersion()
	if err != nil {
		return err
	}
	var answer any
	if req.Coverage != 0 {
		answer, err = d.Populate(ctx, req.Coverage)
	} else {
		answer, err = d.Report(ctx)
	}
	if err != nil {
		return err
	}
	if raw, err = json.Marshal(answer); err != nil {
		return err
	}
	return s.Send(raw)
}

// askDispersion asks the peer at the other end, however long it takes.
func askDispersion(ctx context.Context, admin *cluster.AdminConn, req dispersionRequest, answer any) error {
	raw, err := json.Marshal(req)
	if err != nil {
		return err
	}
	s, err := admin.Caller().Stream(ctx, admin.Peer(), methodDispersion)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Send(raw); err != nil {
		return err
	}
	if raw, err = s.Recv(); err != nil {
		return err
	}
	return json.Unmarshal(raw, answer)
}

func newDispersionCommand() *cobra.Command {
	var t clusterTarget
	cmd := &cobra.Command{
		Use:   "dispersion",
		Short: "Tell how many copies are where they belong, in the manner of swift-dispersion-populate and -report",
	}
	t.flags(cmd)
	cmd.AddCommand(newPopulateCommand(&t), newDispersionReportCommand(&t))
	return cmd
}

func newPopulateCommand(t *clusterTarget) *cobra.Command {
	var coverage float64
	cmd := &cobra.Command{
		Use:   "populate",
		Short: "Put containers and objects into a share of the partitions of each ring, for report to look for",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			admin, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			var done []dispersion.Populated
			if err := askDispersion(cmd.Context(), admin, dispersionRequest{Coverage: coverage}, &done); err != nil {
				return err
			}
			for _, p := range done {
				fmt.Fprintf(cmd.OutOrStdout(), "%s ring: something lies in %d of %d partitions\n", p.Ring, p.Covered, p.Partitions)
			}
			return nil
		},
	}
	cmd.Flags().Float64Var(&coverage, "coverage", 1, "percent of the partitions")
	return cmd
}

func newDispersionReportCommand(t *clusterTarget) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Look for every copy of what populate has put there; status 0 only when all are where they belong",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			admin, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			var reports []dispersion.Report
			if err := askDispersion(cmd.Context(), admin, dispersionRequest{}, &reports); err != nil {
				return err
			}
			if err := showDispersion(cmd.OutOrStdout(), reports, asJSON); err != nil {
				return err
			}
			return dispersion.Check(reports)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "in JSON")
	return cmd
}

func showDispersion(out io.Writer, reports []dispersion.Report, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(reports)
	}
	for _, r := range reports {
		if _, err := fmt.Fprintln(out, r); err != nil {
			return err
		}
	}
	return nil
}
