// Command bench loads a real `henge up` as real clients do (bodies signed, MD5 checked) and prints what each operation cost: rate, latency, and the CPU time and bytes
// written by all Henge processes together. `make bench` runs it for one peer with four devices and for four peers.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"henge/e2e/henged"
)

func main() {
	binary := flag.String("henge", "bin/henge", "the binary")
	concurrency := flag.Int("concurrency", 16, "requests under way at once")
	seconds := flag.Float64("seconds", 5, "how long each load lasts")
	shapes := flag.String("peers", "1,4", "how many peers, one run each")
	only := flag.String("only", "", "run only the loads whose name has this in it (and the PUTs before them); idle: none")
	keep := flag.Bool("print-dir", false, "print the data directory, for henge profile")
	dir := flag.String("dir", "", "where the data goes; empty: the system's temporary directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, shape := range parseInts(*shapes) {
		if err := run(ctx, options{*binary, *dir, *only, *keep, shape, *concurrency, time.Duration(*seconds * float64(time.Second))}); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			stop()
			os.Exit(1)
		}
	}
}

func parseInts(list string) []int {
	var all []int
	n := 0
	for _, r := range list + "," {
		if r == ',' {
			if n > 0 {
				all = append(all, n)
			}
			n = 0
		} else if r >= '0' && r <= '9' {
			n = n*10 + int(r-'0')
		}
	}
	return all
}

// options are one run's.
type options struct {
	binary, dir, only  string
	printDir           bool
	peers, concurrency int
	length             time.Duration
}

func run(ctx context.Context, o options) error {
	data, err := os.MkdirTemp(o.dir, "henge-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	cloud, err := henged.Start(ctx, henged.Options{Binary: o.binary, Dir: filepath.Join(data, "d"), Peers: o.peers, Devices: devicesFor(o.peers)})
	if err != nil {
		return err
	}
	defer func() {
		if err := cloud.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}()
	fmt.Printf("\n%d peer(s), %d device(s) each, concurrency %d, %v a load\n", o.peers, devicesFor(o.peers), o.concurrency, o.length)
	if o.printDir {
		fmt.Println("data directory:", cloud.Dir)
	}
	if strings.Contains("idle", o.only) {
		if err := idle(ctx, cloud); err != nil {
			return err
		}
	}
	if err := services(ctx, cloud, o); err != nil || o.only != "" && !named(cloud, o) {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "load\top/s\tMiB/s\tp50 ms\tp99 ms\tCPU ms/op\tKiB written/op\terrors\t")
	for _, l := range loads(cloud, o.peers) {
		if !strings.Contains(l.name, o.only) && !strings.HasPrefix(l.name, "PUT") {
			continue
		}
		r, err := l.measure(ctx, cloud, o.concurrency, o.length)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		fmt.Fprintf(table, "%s\t%.0f\t%.1f\t%.2f\t%.2f\t%.3f\t%.1f\t%d\t\n", l.name, r.rate, r.mib, r.p50, r.p99, r.cpu, r.written, r.errors)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	memory, err := memoryMiB(cloud.PIDs())
	fmt.Printf("memory after the loads (RSS, per process, MiB): %v\n", memory)
	return err
}

// named tells whether a load on the object store was asked for.
func named(cloud *henged.Cloud, o options) bool {
	return slices.ContainsFunc(loads(cloud, o.peers), func(l *load) bool { return strings.Contains(l.name, o.only) })
}

func devicesFor(peers int) int {
	if peers == 1 {
		return 4
	}
	return 1
}

// idle shows what the cloud costs when nobody uses it.
func idle(ctx context.Context, cloud *henged.Cloud) error {
	const window = 10 * time.Second
	before, err := usageOf(cloud.PIDs())
	if err != nil {
		return err
	}
	select {
	case <-time.After(window):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := usageOf(cloud.PIDs())
	if err != nil {
		return err
	}
	memory, err := memoryMiB(cloud.PIDs())
	if err != nil {
		return err
	}
	pss, err := pssMiB(cloud.PIDs())
	fmt.Printf("idle: %.2f %% of a core, PSS %d MiB together, RSS per process (MiB) %v\n", 100*(after.cpu-before.cpu).Seconds()/window.Seconds(), pss, memory)
	return err
}
