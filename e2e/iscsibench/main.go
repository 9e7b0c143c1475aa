// Command iscsibench measures the iSCSI target beside tgtd: the same backing file, the same client (qemu-img bench), in turns, and the CPU time of the
// target's process. It prints medians.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"henge/volumed/iscsi"
	"henge/volumed/iscsi/iscsitest"
)

const (
	iqn       = "iqn.2026-11.cloud.henge:bench"
	initiator = "iqn.2008-11.org.linux-kvm"
	fileBytes = 1 << 30
)

func main() {
	serve := flag.String("serve", "", "be the target of this file, at -listen")
	listen := flag.String("listen", "127.0.0.1:0", "address of -serve")
	dir := flag.String("dir", "/dev/shm", "where the backing file goes; a tmpfs takes the disk out of the figures")
	rounds := flag.Int("rounds", 5, "runs of each measurement, alternated")
	flag.Parse()
	if *serve != "" {
		if err := target(*serve, *listen); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := compare(*dir, *rounds); err != nil {
		log.Fatal(err)
	}
}

// target serves one file until it is told to end.
func target(path, address string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	store, err := iscsitest.OpenFile(file)
	if err != nil {
		return err
	}
	s := iscsi.NewServer(iscsi.Config{Log: slog.New(slog.DiscardHandler)})
	err = s.Export(context.Background(), iscsi.Target{IQN: iqn, Store: store, Serial: "bench", Open: true,
		Initiators: []string{initiator, initiator + ":"}})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		s.Close()
	}()
	return s.Serve(l)
}

// workload is one line of the table.
type workload struct {
	name  string
	bytes int
	depth int
	count int
	write bool
}

var workloads = []workload{
	{"4 KiB read, depth 32", 4096, 32, 60000, false},
	{"4 KiB write, depth 32", 4096, 32, 60000, true},
	{"4 KiB read, depth 1", 4096, 1, 10000, false},
	{"64 KiB read, depth 16", 64 << 10, 16, 15000, false},
	{"64 KiB write, depth 16", 64 << 10, 16, 15000, true},
	{"1 MiB read, depth 8", 1 << 20, 8, 1000, false},
	{"1 MiB write, depth 8", 1 << 20, 8, 1000, true},
}

// rival is a target under measurement.
type rival struct {
	name string
	pid  int
	url  string
}

type figure struct{ rate, cpu float64 }

func compare(dir string, rounds int) error {
	dir, err := os.MkdirTemp(dir, "henge-iscsibench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "disk")
	if err := fill(path); err != nil {
		return err
	}
	ours, stopOurs, err := startOurs(path)
	if err != nil {
		return err
	}
	defer stopOurs()
	theirs, stopTheirs, err := startTgtd(path, dir)
	if err != nil {
		return err
	}
	defer stopTheirs()
	fmt.Printf("%-24s %10s %10s %6s %12s %12s %6s\n", "qemu-img bench", "tgtd op/s", "ours op/s", "ratio", "tgtd s/10k", "ours s/10k", "ratio")
	for _, w := range workloads {
		results := map[string][]figure{}
		for range rounds {
			for _, r := range []rival{theirs, ours} {
				f, err := run(r, w)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", r.name, w.name, err)
				}
				results[r.name] = append(results[r.name], f)
			}
		}
		t, o := median(results[theirs.name]), median(results[ours.name])
		fmt.Printf("%-24s %10.0f %10.0f %6.2f %12.3f %12.3f %6.2f\n", w.name, t.rate, o.rate, o.rate/t.rate, t.cpu, o.cpu, o.cpu/t.cpu)
	}
	return nil
}

// fill writes the file whole, so that no run pays for holes.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for range fileBytes / len(block) {
		if _, err := file.Write(block); err != nil {
			return err
		}
	}
	return file.Sync()
}

// freePort is a port that nobody listens at.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func start(name string, args ...string) (*exec.Cmd, func(), error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	return cmd, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		gone := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		defer gone.Stop()
		_ = cmd.Wait()
	}, nil
}

func startOurs(path string) (rival, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return rival{}, nil, err
	}
	address, err := freePort()
	if err != nil {
		return rival{}, nil, err
	}
	cmd, stop, err := start(self, "-serve", path, "-listen", address)
	if err != nil {
		return rival{}, nil, err
	}
	return rival{"henge", cmd.Process.Pid, "iscsi://" + address + "/" + iqn + "/0"}, stop, awaitPort(address)
}

func awaitPort(address string) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("nobody listens at %s", address)
}

// startTgtd starts a tgtd of our own beside any other: its control number and port are its alone.
func startTgtd(path, dir string) (rival, func(), error) {
	address, err := freePort()
	if err != nil {
		return rival{}, nil, err
	}
	control := strconv.Itoa(os.Getpid()%30000 + 1)
	cmd, stop, err := start("tgtd", "-f", "-C", control, "--iscsi", "portal="+address)
	if err != nil {
		return rival{}, nil, err
	}
	if err := awaitPort(address); err != nil {
		stop()
		return rival{}, nil, err
	}
	for _, args := range []string{
		"--op new --mode target --tid 1 -T " + iqn,
		"--op new --mode logicalunit --tid 1 --lun 1 -b " + path,
		"--op bind --mode target --tid 1 -I ALL",
	} {
		out, err := exec.Command("tgtadm", append([]string{"-C", control, "--lld", "iscsi"}, strings.Fields(args)...)...).CombinedOutput()
		if err != nil {
			stop()
			return rival{}, nil, fmt.Errorf("tgtadm %s: %w: %s", args, err, out)
		}
	}
	return rival{"tgtd", cmd.Process.Pid, "iscsi://" + address + "/" + iqn + "/1"}, stop, nil
}

// run measures one workload once.
func run(r rival, w workload) (figure, error) {
	args := []string{"bench", "-f", "raw", "-t", "none", "-c", strconv.Itoa(w.count), "-d", strconv.Itoa(w.depth), "-s", strconv.Itoa(w.bytes)}
	if w.write {
		args = append(args, "-w")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	before, err := cpuSeconds(r.pid)
	if err != nil {
		return figure{}, err
	}
	out, err := exec.CommandContext(ctx, "qemu-img", append(args, r.url)...).CombinedOutput()
	if err != nil {
		return figure{}, fmt.Errorf("%w: %s", err, out)
	}
	after, err := cpuSeconds(r.pid)
	if err != nil {
		return figure{}, err
	}
	var seconds float64
	_, rest, _ := strings.Cut(string(out), "Run completed in ")
	if _, err := fmt.Sscanf(rest, "%f seconds", &seconds); err != nil {
		return figure{}, fmt.Errorf("qemu-img said: %s", out)
	}
	return figure{float64(w.count) / seconds, (after - before) / float64(w.count) * 10000}, nil
}

// cpuSeconds is what a process has used, all its threads together.
func cpuSeconds(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("stat of %d: %s", pid, data)
	}
	return (user + system) / 100, nil // clock ticks: 100 a second on every Linux
}

func median(all []figure) figure {
	rates, cpus := []float64{}, []float64{}
	for _, f := range all {
		rates, cpus = append(rates, f.rate), append(cpus, f.cpu)
	}
	slices.Sort(rates)
	slices.Sort(cpus)
	return figure{rates[len(rates)/2], cpus[len(cpus)/2]}
}
