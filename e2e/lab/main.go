package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"henge/e2e/lab/cloud"
)

// insideArg is the first argument of the process that runs in the namespaces.
const insideArg = "inside"

func main() {
	if len(os.Args) > 1 && os.Args[1] == insideArg {
		os.Exit(inside(os.Args[2:]))
	}
	os.Exit(outside("/proc/self/exe", os.Args[1:]))
}

// outside runs program, which is this one, again as the first process of new namespaces: when that ends, however it ends, the kernel takes away all that it made.
func outside(program string, args []string) int {
	// The child dies with the thread that started it.
	runtime.LockOSThread()
	cmd := exec.Command(program, append([]string{insideArg}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL, Setpgid: true,
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "lab: make namespaces (root is needed): %v\n", err)
		return 1
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may have ended
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		return 1
	}
	return 0
}

// options are the flags.
type options struct {
	binary  string
	dir     string
	seeds   []uint64
	seconds int
	peers   int
	clients int
	only    []string // kinds of faults; empty: all
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("lab", flag.ContinueOnError)
	var seeds, only string
	f.StringVar(&o.binary, "henge", "bin/henge", "the binary to try")
	f.StringVar(&o.dir, "dir", "", "where to keep everything (default a new folder in the temporary one, removed when all was well)")
	f.StringVar(&seeds, "seed", "1", "the seed, or several with commas: each for the given time, in one cloud")
	f.IntVar(&o.seconds, "seconds", 40, "how long faults are made")
	f.IntVar(&o.peers, "peers", 4, "how many peers")
	f.IntVar(&o.clients, "clients", 6, "how many clients")
	f.StringVar(&only, "faults", "", "kinds of faults, with commas (default all): "+strings.Join(kindNames(), ", "))
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return o, err
	}
	for s := range strings.SplitSeq(seeds, ",") {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return o, fmt.Errorf("seed %q: not a number", s)
		}
		o.seeds = append(o.seeds, seed)
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	if o.peers < 3 || o.peers > 20 || o.clients < 1 || o.seconds < 1 {
		return o, errors.New("-peers takes 3 to 20, -clients and -seconds at least 1")
	}
	return o, checkKinds(o.only)
}

// inside is the laboratory itself.
func inside(args []string) int {
	o, err := parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	made := o.dir == ""
	if made {
		if o.dir, err = os.MkdirTemp("", "henge-lab-"); err != nil {
			fmt.Fprintf(os.Stderr, "lab: %v\n", err)
			return 1
		}
	}
	// A run that hangs is a run that failed.
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.seconds*len(o.seeds))*time.Second+runSlack)
	defer cancel()
	verdict, err := experiment(ctx, o)
	if err != nil {
		fmt.Printf("lab: %v\n", err)
		verdict.violations++
	}
	if verdict.good() && made {
		if err := os.RemoveAll(o.dir); err != nil {
			fmt.Printf("lab: %v\n", err)
		}
	} else {
		fmt.Printf("history, peers' logs and data are in %s\n", o.dir)
	}
	fmt.Println(verdict)
	if !verdict.good() {
		return 1
	}
	return 0
}

// runSlack is how much longer than its faults a run may take.
const runSlack = 4 * time.Minute

// verdict is how a run ended.
type verdict struct{ faults, acknowledged, lost, violations int }

func (v verdict) good() bool { return v.lost == 0 && v.violations == 0 }

func (v verdict) String() string {
	return fmt.Sprintf("faults %d, acknowledged %d, lost %d, violations %d", v.faults, v.acknowledged, v.lost, v.violations)
}

// experiment starts a cloud, breaks it for each seed, and judges.
func experiment(ctx context.Context, o options) (v verdict, err error) {
	if err := cloud.Inside(); err != nil {
		return v, err
	}
	began := time.Now()
	c, err := cloud.Start(ctx, cloud.Options{Binary: o.binary, Dir: o.dir, Peers: o.peers})
	if err != nil {
		return v, fmt.Errorf("start the cloud: %w", err)
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	fmt.Printf("%d peers are up after %.1f s\n", o.peers, time.Since(began).Seconds())
	l, err := newLedger(ctx, c, o)
	if err != nil {
		return v, err
	}
	defer l.close()
	for _, seed := range o.seeds {
		n, err := l.trial(ctx, c, o, seed)
		v.faults += n
		if err != nil {
			return v, err
		}
	}
	err = l.judge(ctx, c, &v)
	return v, err
}
