package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"henge/cluster"
	"henge/cluster/state"
	"henge/internal/clock"
	"henge/internal/limits"
	"henge/internal/vfs"
	"henge/storaged/engine"
)

// quiet is the logger of tools that say what they have to say themselves.
var quiet = slog.New(slog.DiscardHandler)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// clusterTarget says which cluster a tool speaks to: the one of a henge up directory, or that of the peer on this host.
type clusterTarget struct {
	dataDir string
	config  string
}

func (t *clusterTarget) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&t.dataDir, "data-dir", "", "the directory of a henge up (default henge-data, if it is there)")
	cmd.PersistentFlags().StringVar(&t.config, "config", "", "the configuration of this host's peer (default /etc/henge/henge.toml)")
}

// peers are the configurations of the peers that may be asked, and the file with the administrator's certificate.
func (t *clusterTarget) peers() (configs []config, adminFile string, err error) {
	if t.config == "" {
		l, err := absoluteLayout(cmp.Or(t.dataDir, "henge-data"))
		if err != nil {
			return nil, "", err
		}
		for i := 1; l.exists(l.peerConfig(i)); i++ {
			c, err := loadConfig(l.peerConfig(i), nil)
			if err != nil {
				return nil, "", err
			}
			configs = append(configs, c)
		}
		if len(configs) > 0 {
			return configs, cluster.AdminFile(clusterDir(configs[0])), nil
		}
		if t.dataDir != "" {
			return nil, "", fmt.Errorf("%s is not the directory of a henge up", l.dir)
		}
	}
	c, err := loadConfig(cmp.Or(t.config, "/etc/henge/henge.toml"), os.Environ())
	if err != nil {
		return nil, "", err
	}
	return []config{c}, cluster.AdminFile(clusterDir(c)), nil
}

// dial connects to the first peer that answers.
func (t *clusterTarget) dial(ctx context.Context) (*cluster.AdminConn, error) {
	configs, file, err := t.peers()
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, c := range configs {
		ctx, cancel := context.WithTimeout(ctx, limits.PeerCallTimeout)
		admin, err := cluster.DialAdmin(ctx, file, hostPort(c.Address, c.Ports.Peers))
		cancel()
		if err == nil {
			return admin, nil
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("no peer answers: %w", errors.Join(failures...))
}

// openState is how henge ring reaches the cluster.
func openState(cmd *cobra.Command) (state.Store, func(), error) {
	var t clusterTarget
	t.dataDir, _ = cmd.Flags().GetString("data-dir")
	t.config, _ = cmd.Flags().GetString("config")
	admin, err := t.dial(cmd.Context())
	if err != nil {
		return nil, nil, err
	}
	return admin.State(), func() { admin.Close() }, nil
}

func newInitCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a new cluster, with this host as its first peer",
		Long: "Make a new cluster, with this host as its first peer: certificates, the admin user, the first rings (over this peer's devices), and in the peer's data\n" +
			"directory openrc, clouds.yaml and aws.env. Then run henge agent.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(path, os.Environ())
			if err != nil {
				return err
			}
			return initCluster(cmd, c)
		},
	}
	cmd.Flags().StringVar(&path, "config", "/etc/henge/henge.toml", "the configuration file")
	return cmd
}

func initCluster(cmd *cobra.Command, c config) error {
	ctx := cmd.Context()
	if _, err := os.Stat(clusterDir(c)); err == nil {
		return fmt.Errorf("%s holds a peer already", c.DataDir)
	}
	if c.PeerID == "" {
		c.PeerID = "peer-" + strings.ToLower(rand.Text()[:8])
	}
	if err := os.MkdirAll(c.DataDir, dataDirMode); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	p, err := startPeer(ctx, c, peerStart{create: true, logger: quiet})
	if err != nil {
		return err
	}
	defer p.stop()
	c.PeerID = p.node.ID()
	if err := seed(ctx, c.DataDir, p.node.State(), []config{c}); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "the cluster is made; its administrator's credentials are in %s\nnow run: henge agent --config %s\n", filepath.Join(c.DataDir, "openrc"),
		cmd.Flag("config").Value)
	return nil
}

func newJoinCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Bring this host into a cluster, with a token that henge token made there",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(path, os.Environ())
			if err != nil {
				return err
			}
			if err := os.MkdirAll(c.DataDir, dataDirMode); err != nil {
				return fmt.Errorf("make the data directory: %w", err)
			}
			node, err := cluster.Join(cmd.Context(), clusterConfig(c, quiet), args[0])
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), stopWait)
			defer cancel()
			if err := node.Shutdown(ctx); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is a peer of the cluster\nnow run: henge agent --config %s\n", node.ID(), path)
			if len(c.Devices) > 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "and give its devices work, for account, container and object:")
				for _, d := range c.Devices {
					fmt.Fprintf(cmd.OutOrStdout(), "  henge ring --ring object add r%dz%d-%s/%s %g\n", c.Region, c.Zone, node.ID(), d.Name, d.Weight)
				}
				fmt.Fprintln(cmd.OutOrStdout(), "  henge ring --ring object rebalance")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&path, "config", "/etc/henge/henge.toml", "the configuration file")
	return cmd
}

func newTokenCommand() *cobra.Command {
	var t clusterTarget
	var valid time.Duration
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a token for one more peer to join with",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			admin, err := t.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			token, err := admin.CreateJoinToken(cmd.Context(), valid)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), token)
			return nil
		},
	}
	t.flags(cmd)
	cmd.Flags().DurationVar(&valid, "valid", time.Hour, "for how long it can be used, once")
	return cmd
}

func newRebuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild-index DEVICE-DIRECTORY...",
		Short: "Make the index of devices anew from nothing but their data; the peer must not be running",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var wrong []error
			for _, dir := range args {
				found, err := engine.Rebuild(cmd.Context(), engine.Config{FS: vfs.OS{}, Dir: dir, Clock: clock.System{}, Logger: quiet})
				if err != nil {
					wrong = append(wrong, fmt.Errorf("%s: %w", dir, err))
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %d objects in %d segments; %d data files that no record named, %d of them taken in again; %d set aside\n", dir, found.Objects,
					found.Segments, found.Files, found.Restored, found.Quarantine)
			}
			return errors.Join(wrong...)
		},
	}
}

func newConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print henge.toml with every key, its default and what it means",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), sample) },
	}
}
