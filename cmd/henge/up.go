package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// upOptions are the flags of henge up.
type upOptions struct {
	dir     string
	peers   int
	devices int
	address string
	restart bool
	wiring  wiringConfig
	ports   portsConfig
	compute bool
	virt    string // how guests run, or off
	image   string // a file: the first image
	public  string // the addresses of the network "public"
}

func newUpCommand() *cobra.Command {
	o := upOptions{ports: defaultConfig().Ports, wiring: defaultConfig().Wiring}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole cloud on this machine, in the foreground",
		Long: "Run the whole cloud on this machine, in the foreground. The first start makes everything: certificates, the admin user, the rings,\n" +
			"and the files that clients read (openrc, clouds.yaml, aws.env). Started again with the same directory, everything is there.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return up(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "data-dir", "henge-data", "where everything is kept")
	f.IntVar(&o.peers, "peers", 1, "how many peers; more than one run as processes of their own, each a zone, on successive addresses")
	f.IntVar(&o.devices, "devices", 4, "how many devices (folders) each peer has")
	f.StringVar(&o.address, "address", "127.0.0.1", "the first peer's address")
	f.BoolVar(&o.restart, "restart", false, "start a peer again when its process ends")
	f.StringVar(&o.wiring.Networks, "wire-networks", o.wiring.Networks, "auto: wire networks in this machine's kernel if it can; off: never")
	f.StringVar(&o.wiring.Masquerade, "masquerade", o.wiring.Masquerade, "on: guests reach the world outside under this machine's addresses")
	f.BoolVar(&o.compute, "compute", true, "serve the compute API, and run guests where this machine has libvirt")
	f.StringVar(&o.virt, "virt-type", virtAuto, "how guests run: auto, kvm, qemu, or off (none on this machine)")
	f.StringVar(&o.image, "image", "", "a disk image that a new cloud begins with, under the file's name")
	f.StringVar(&o.public, "public-network", publicNetworkCIDR, "the addresses of the external network that the first start makes, with a private one behind a router; empty: neither")
	for _, e := range o.ports.entries() {
		f.IntVar(e.port, e.name+"-port", *e.port, e.help)
	}
	return cmd
}

const (
	peersMax   = 64
	devicesMax = 256
)

// up runs the cloud until ctx ends.
func up(ctx context.Context, o upOptions, out io.Writer) error {
	if o.peers < 1 || o.peers > peersMax || o.devices < 1 || o.devices > devicesMax {
		return fmt.Errorf("--peers takes 1 to %d, --devices 1 to %d", peersMax, devicesMax)
	}
	l, err := absoluteLayout(o.dir)
	if err != nil {
		return err
	}
	release, err := lockDir(l)
	if err != nil {
		return err
	}
	defer release()
	peersLock, err := lockPeers(ctx, l)
	if err != nil {
		return err
	}
	defer peersLock.Close()
	if err := checkSpace(l.dir, leastSpace(l)); err != nil {
		return err
	}
	configs, err := prepare(l, o)
	if err != nil {
		return err
	}
	for _, c := range configs {
		if err := checkPorts(c.Address, c.Ports); err != nil {
			return err
		}
	}
	if len(configs) == 1 {
		return upAlone(ctx, l, o, configs[0], out)
	}
	return upTogether(ctx, l, peersLock, o, configs, out)
}

// prepare writes the configuration of each peer, or reads it when it is there: what the peers are was decided at the first start, where they listen is decided at each.
// A start that ended before there was a cluster decided nothing.
func prepare(l layout, o upOptions) ([]config, error) {
	first := !l.madeCluster()
	if first {
		for i := 1; l.exists(l.peerConfig(i)); i++ {
			if err := os.Remove(l.peerConfig(i)); err != nil {
				return nil, fmt.Errorf("remove the configuration that an unfinished start left: %w", err)
			}
		}
	}
	if !first {
		have := 0
		for l.exists(l.peerConfig(have + 1)) {
			have++
		}
		if o.peers != 1 && o.peers != have {
			return nil, fmt.Errorf("%s was made with %s, not %d", l.dir, count(have, "peer"), o.peers)
		}
		o.peers = have
	}
	seeds, err := gossipAddresses(o)
	if err != nil {
		return nil, err
	}
	var configs []config
	for i := 1; i <= o.peers; i++ {
		c := defaultConfig()
		if !first {
			var err error
			if c, err = loadConfig(l.peerConfig(i), nil); err != nil {
				return nil, err
			}
			if c.Roles, err = withNewRoles(l.peerConfig(i), c.Roles); err != nil {
				return nil, err
			}
			// The directory may have been moved: what was in it is still in it.
			for k, d := range c.Devices {
				if rest, ok := strings.CutPrefix(d.Path, c.DataDir+"/"); ok {
					c.Devices[k].Path = filepath.Join(l.peerDir(i), rest)
				}
			}
		} else {
			c.Devices = nil
			for k := 1; k <= o.devices; k++ {
				c.Devices = append(c.Devices, deviceConfig{Name: fmt.Sprintf("d%d", k), Path: l.device(i, k), Weight: 100})
			}
		}
		address, err := peerAddress(o.address, i)
		if err != nil {
			return nil, err
		}
		c.DataDir, c.PeerID, c.Address, c.Zone, c.Ports, c.Seeds = l.peerDir(i), fmt.Sprintf("peer-%d", i), address, i, o.ports, seeds
		c.decideCompute(o, i)
		c.Wiring.decide(o, i)
		c.Network.PublicNetwork = o.public
		if err := c.validate(); err != nil {
			return nil, err
		}
		if err := l.makePeerDir(i); err != nil {
			return nil, fmt.Errorf("make the directory of peer %d: %w", i, err)
		}
		if err := c.write(l.peerConfig(i)); err != nil {
			return nil, fmt.Errorf("write the configuration of peer %d: %w", i, err)
		}
		configs = append(configs, c)
	}
	return configs, nil
}

// gossipAddresses are where the first peers listen now: with other ports or addresses than before, nobody is where the others last heard of it.
func gossipAddresses(o upOptions) ([]string, error) {
	var all []string
	for i := 1; i <= o.peers && o.peers > 1; i++ {
		address, err := peerAddress(o.address, i)
		if err != nil {
			return nil, err
		}
		all = append(all, hostPort(address, o.ports.Gossip))
	}
	return all, nil
}

// upAlone runs the one peer in this process.
func upAlone(ctx context.Context, l layout, o upOptions, c config, out io.Writer) error {
	log, err := os.OpenFile(l.peerLog(1), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	logger, err := newLogger(log, c.Log.Level)
	if err != nil {
		return err
	}
	p, err := startPeer(ctx, c, peerStart{create: true, logger: logger})
	if err != nil {
		return err
	}
	if err := seed(ctx, l.dir, p.node.State(), []config{c}); err != nil {
		p.stop()
		return err
	}
	if err := waitReady(ctx, []config{c}); err != nil {
		p.stop()
		return err
	}
	loadImage(ctx, l, o, c, out)
	printReady(out, l, o, []config{c}, map[string][]lack{c.PeerID: p.lacks.list()})
	select {
	case <-ctx.Done():
	case err = <-p.failed:
	}
	fmt.Fprintln(out, "stopping")
	p.stop()
	return err
}

// upTogether runs each peer in a process of its own.
func upTogether(ctx context.Context, l layout, lock *os.File, o upOptions, configs []config, out io.Writer) error {
	first, err := startChild(l, lock, 1, "--create")
	if err != nil {
		return err
	}
	children := []*child{first}
	defer func() { stopChildren(children) }()
	if err := untilReady(ctx, children, func(ctx context.Context) error { return inviteAll(ctx, l, configs) }); err != nil {
		return err
	}
	for i := 2; i <= len(configs); i++ {
		c, err := startChild(l, lock, i, "--join-file", l.joinToken(i))
		if err != nil {
			return err
		}
		children = append(children, c)
	}
	err = untilReady(ctx, children, func(ctx context.Context) error {
		// All are up before there are rings: a peer that finds its empty devices in one takes them for replaced disks, and fills them before they speak.
		if err := waitUp(ctx, configs); err != nil {
			return err
		}
		if err := seedTogether(ctx, l, configs); err != nil {
			return err
		}
		return waitReady(ctx, configs)
	})
	if err != nil {
		return err
	}
	loadImage(ctx, l, o, configs[0], out)
	printReady(out, l, o, configs, askLacks(ctx, l, configs))
	children = watchChildren(ctx, l, lock, o, children, out)
	fmt.Fprintln(out, "stopping")
	return nil
}

// watchChildren says when a peer ends, and starts it again if that was asked for, until ctx ends. It answers the children that are there then.
func watchChildren(ctx context.Context, l layout, lock *os.File, o upOptions, children []*child, out io.Writer) []*child {
	ends := make(chan int)
	watch := func(i int, c *child) {
		select {
		case <-c.ended:
			select {
			case ends <- i:
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}
	for i, c := range children {
		go watch(i, c)
	}
	again := make(chan int, len(children))
	for {
		select {
		case <-ctx.Done():
			return children
		case i := <-ends:
			fmt.Fprintf(out, "peer %d (%s): %s\n", i+1, children[i].config, children[i].reason())
			if o.restart {
				time.AfterFunc(time.Second, func() { again <- i })
			}
		case i := <-again:
			c, err := startChild(l, lock, i+1)
			if err != nil {
				fmt.Fprintf(out, "peer %d was not started again: %v\n", i+1, err)
				continue
			}
			children[i] = c
			go watch(i, c)
			fmt.Fprintf(out, "peer %d was started again\n", i+1)
		}
	}
}

// loadImage gives a new cloud its first image. A cloud without it is a cloud all the same.
func loadImage(ctx context.Context, l layout, o upOptions, c config, out io.Writer) {
	if err := loadFirstImage(ctx, l, c, o.image); err != nil {
		fmt.Fprintf(out, "%s was not loaded as the first image: %v\n", o.image, err)
	}
}

// printReady says where everything is, with a line to try for each, what the machine does not allow, and the way to a guest.
func printReady(out io.Writer, l layout, o upOptions, configs []config, missing map[string][]lack) {
	c := configs[0]
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SERVICE\tADDRESS\tTRY")
	fmt.Fprintf(t, "identity\t%s\t. %s && openstack token issue\n", c.identityURL(), l.file("openrc"))
	fmt.Fprintf(t, "object (Swift)\t%s\t. %s && swift upload photos *.jpg\n", c.objectURL(), l.file("openrc"))
	fmt.Fprintf(t, "object (S3)\t%s\t. %s && aws --endpoint-url $AWS_ENDPOINT_URL s3 mb s3://photos\n", c.objectURL(), l.file("aws.env"))
	for _, s := range played(&c) {
		fmt.Fprintf(t, "%s\t%s\t. %s && %s\n", s.role, s.url(&c), l.file("openrc"), s.try)
	}
	fmt.Fprintf(t, "metrics\t%s\tcurl %s/healthcheck\n", c.metricsURL(), c.metricsURL())
	fmt.Fprintf(t, "cluster\t%s, %s\t%s status --data-dir %s\n", count(len(configs), "peer"), count(len(configs)*len(c.Devices), "device"), os.Args[0], l.dir)
	t.Flush()
	printLacks(out, missing)
	printTour(out, l, c, o.image, missing)
	fmt.Fprintln(out, "henge is ready")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
