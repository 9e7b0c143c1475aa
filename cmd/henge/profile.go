package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"time"

	"github.com/spf13/cobra"

	"henge/cluster/rpc"
	"henge/internal/errs"
	"henge/internal/limits"
)

// methodProfile asks a peer for a profile. Only administrators may.
const methodProfile = "henge.profile"

// administrator is the name in an administrator's certificate.
const administrator = "admin"

type profileRequest struct {
	Kind    string  `json:"kind"`
	Seconds float64 `json:"seconds"`
}

const profileSecondsMax = 120

// serveProfile takes a profile of this process in the format of go tool pprof.
func serveProfile(ctx context.Context, s rpc.Stream) error {
	if s.Peer() != administrator {
		return errs.New(errs.Denied, "profiles are for administrators")
	}
	raw, err := s.Recv()
	if err != nil {
		return err
	}
	var req profileRequest
	if err := json.Unmarshal(raw, &req); err != nil {
		return errs.New(errs.Invalid, "decode the request: %w", err)
	}
	var b bytes.Buffer
	if err := takeProfile(ctx, req, &b); err != nil {
		return err
	}
	for b.Len() > 0 {
		if err := s.Send(b.Next(limits.RPCMessageBytesMax / 2)); err != nil {
			return err
		}
	}
	return nil
}

func takeProfile(ctx context.Context, req profileRequest, out io.Writer) error {
	if req.Kind != "cpu" {
		p := pprof.Lookup(req.Kind)
		if p == nil {
			return errs.New(errs.Invalid, "there is no profile %q: cpu, heap, allocs, goroutine, mutex, block", req.Kind)
		}
		return p.WriteTo(out, 0)
	}
	if req.Seconds <= 0 || req.Seconds > profileSecondsMax {
		return errs.New(errs.Invalid, "%g seconds; up to %d are possible", req.Seconds, profileSecondsMax)
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return errs.New(errs.Conflict, "%w", err)
	}
	defer pprof.StopCPUProfile()
	select {
	case <-time.After(time.Duration(req.Seconds * float64(time.Second))):
	case <-ctx.Done():
	}
	return nil
}

func newProfileCommand() *cobra.Command {
	var t clusterTarget
	var peer, output string
	req := profileRequest{}
	cmd := &cobra.Command{
		Use:   "profile cpu|heap|allocs|goroutine|mutex|block",
		Short: "Take a profile of a running peer, for go tool pprof",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			req.Kind = args[0]
			admin, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			if peer == "" {
				peer = admin.Peer()
			}
			f, err := os.Create(output)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			if err := fetchProfile(cmd.Context(), admin.Caller(), peer, req, f); err != nil {
				return fmt.Errorf("take a profile of %s: %w", peer, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "look at it with: go tool pprof %s\n", output)
			return nil
		},
	}
	t.flags(cmd)
	cmd.Flags().StringVar(&peer, "peer", "", "which peer (default: the one that answers)")
	cmd.Flags().StringVar(&output, "output", "henge.prof", "where the profile goes")
	cmd.Flags().Float64Var(&req.Seconds, "seconds", 10, "how long a cpu profile looks")
	return cmd
}

func fetchProfile(ctx context.Context, caller rpc.Caller, peer string, req profileRequest, out io.Writer) error {
	raw, err := json.Marshal(req)
	if err != nil {
		return err
	}
	s, err := caller.Stream(ctx, peer, methodProfile)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Send(raw); err != nil {
		return err
	}
	for {
		part, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(part); err != nil {
			return err
		}
	}
}
