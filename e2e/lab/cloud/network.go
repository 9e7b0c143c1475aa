package cloud

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Inside prepares the namespaces that the process was started in: nothing that is mounted here shows outside, /proc shows this process namespace, and /run is empty.
func Inside() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// ip keeps namespaces' names there, iptables its lock.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return run("ip", "link", "set", "lo", "up")
}

// commandWait bounds one small command.
const commandWait = 30 * time.Second

func run(args ...string) error {
	_, err := output(args...)
	return err
}

func output(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandWait)
	defer cancel()
	return outputIn(ctx, args...)
}

func outputIn(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// The network of a laboratory.
const (
	bridge     = "lab0"
	prefix     = "10.25.0."
	clientHost = "254"
)

// address is the i-th peer's, from 1.
func address(i int) string { return fmt.Sprint(prefix, i) }

// namespace is the name of the i-th peer's network namespace; its end of the link there is eth0, the other is named like the namespace.
func namespace(i int) string { return fmt.Sprint("peer", i) }

// makeNetwork makes a bridge, and a namespace for each peer that is linked to it.
func makeNetwork(peers int) error {
	steps := []string{
		"ip link add " + bridge + " type bridge",
		"ip addr add " + prefix + clientHost + "/24 dev " + bridge,
		"ip link set " + bridge + " up",
	}
	for i := 1; i <= peers; i++ {
		ns := namespace(i)
		steps = append(steps,
			"ip netns add "+ns,
			"ip link add "+ns+" type veth peer name eth0 netns "+ns,
			"ip link set "+ns+" master "+bridge+" up",
			"ip -n "+ns+" addr add "+address(i)+"/24 dev eth0",
			"ip -n "+ns+" link set eth0 up",
			"ip -n "+ns+" link set lo up",
		)
	}
	for _, s := range steps {
		if err := run(strings.Fields(s)...); err != nil {
			return err
		}
	}
	return nil
}

// in is a command that runs in the network namespace of a peer.
func in(peer int, command string) []string {
	return append([]string{"nsenter", "--net=/run/netns/" + namespace(peer), "--"}, strings.Fields(command)...)
}

// Deaf makes a peer hear nothing from some others; what it says still arrives there. Hear ends that.
func (c *Cloud) Deaf(peer int, to ...int) error {
	for _, other := range to {
		if err := run(in(peer, "iptables -w -A INPUT -s "+address(other)+" -j DROP")...); err != nil {
			return err
		}
	}
	return nil
}

// Lossy makes a peer lose a share of the packets that come to it. Hear ends that.
func (c *Cloud) Lossy(peer int, share float64) error {
	return run(in(peer, fmt.Sprintf("iptables -w -A INPUT -s %s0/24 -m statistic --mode random --probability %.3f -j DROP", prefix, share))...)
}

// Hear ends Deaf and Lossy.
func (c *Cloud) Hear(peer int) error { return run(in(peer, "iptables -w -F INPUT")...) }

// Cut parts a peer from the others, both ways; clients still reach it. Join ends that.
func (c *Cloud) Cut(peer int) error {
	for _, other := range c.Others(peer) {
		if err := c.Deaf(other, peer); err != nil {
			return err
		}
	}
	return c.Deaf(peer, c.Others(peer)...)
}

// Join ends every partition.
func (c *Cloud) Join() error {
	for i := range c.peers {
		if err := c.Hear(i + 1); err != nil {
			return err
		}
	}
	return nil
}

// Others are all peers but one.
func (c *Cloud) Others(peer int) []int {
	var all []int
	for i := range c.peers {
		if i+1 != peer {
			all = append(all, i+1)
		}
	}
	return all
}

// Slow bounds what a peer sends, in KiB a second; Fast ends that.
func (c *Cloud) Slow(peer, kib int) error {
	return run(in(peer, fmt.Sprintf("tc qdisc add dev eth0 root tbf rate %dkbit burst 16kb latency 200ms", kib*8))...)
}

// Fast ends Slow.
func (c *Cloud) Fast(peer int) error { return run(in(peer, "tc qdisc del dev eth0 root")...) }
