package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func newAgentCommand() *cobra.Command {
	var path, joinFile, offsetFile string
	var create, endWithStdin bool
	cmd := &cobra.Command{
		Use:   "agent --config FILE",
		Short: "Run one peer on this host, in the foreground",
		Long:  "Run one peer on this host, in the foreground. The first peer of a cluster is made with henge init, the others come in with henge join.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(path, os.Environ())
			if err != nil {
				return err
			}
			start := peerStart{create: create}
			if joinFile != "" {
				token, err := os.ReadFile(joinFile)
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					return fmt.Errorf("read the join token: %w", err)
				}
				start.token = strings.TrimSpace(string(token))
			}
			ctx := cmd.Context()
			if endWithStdin {
				var cancel context.CancelFunc
				ctx, cancel = context.WithCancel(ctx)
				defer cancel()
				go func() {
					// The other end is held by henge up: it closes when that ends, however it ends.
					_, _ = io.Copy(io.Discard, os.Stdin)
					cancel()
				}()
			}
			if offsetFile != "" {
				if start.clock, err = wrongClock(ctx, offsetFile); err != nil {
					return err
				}
			}
			return agent(ctx, c, start)
		},
	}
	f := cmd.Flags()
	f.StringVar(&path, "config", "/etc/henge/henge.toml", "the configuration file")
	f.BoolVar(&create, "create", false, "make a new cluster if this peer is in none")
	f.StringVar(&joinFile, "join-file", "", "a file with the token to join a cluster with, if this peer is in none")
	f.BoolVar(&endWithStdin, "end-with-stdin", false, "end when standard input is closed")
	f.StringVar(&offsetFile, "clock-offset-file", "", "a file with how far this peer's clock is to be wrong")
	_ = f.MarkHidden("clock-offset-file")
	_ = f.MarkHidden("create")
	_ = f.MarkHidden("join-file")
	_ = f.MarkHidden("end-with-stdin")
	return cmd
}

// agent runs one peer until ctx ends or it cannot go on.
func agent(ctx context.Context, c config, start peerStart) error {
	out := io.Writer(os.Stderr)
	if c.Log.File != "" {
		f, err := os.OpenFile(c.Log.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("open the log: %w", err)
		}
		defer f.Close()
		out = f
	}
	var err error
	if start.logger, err = newLogger(out, c.Log.Level); err != nil {
		return err
	}
	p, err := startPeer(ctx, c, start)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err = <-p.failed:
	}
	p.stop()
	return err
}

func newLogger(out io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: it is debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: l})), nil
}
