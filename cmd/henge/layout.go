package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"henge/cluster"
)

// dataDirMode lets others pass, but not look: QEMU, a user of its own, must get to the guests' disks below. All else in there is closed by its own mode.
const dataDirMode = 0o711

// layout says where henge up keeps things in its data directory.
type layout struct{ dir string }

func (l layout) lockFile() string        { return filepath.Join(l.dir, "henge.lock") }
func (l layout) peersLockFile() string   { return filepath.Join(l.dir, "peers.lock") }
func (l layout) peerDir(i int) string    { return filepath.Join(l.dir, fmt.Sprintf("peer-%d", i)) }
func (l layout) peerConfig(i int) string { return filepath.Join(l.peerDir(i), "henge.toml") }
func (l layout) peerLog(i int) string    { return filepath.Join(l.peerDir(i), "henge.log") }
func (l layout) peerPID(i int) string    { return filepath.Join(l.peerDir(i), "henge.pid") }
func (l layout) joinToken(i int) string  { return filepath.Join(l.peerDir(i), "join.token") }
func (l layout) device(i, k int) string {
	return filepath.Join(l.peerDir(i), "devices", fmt.Sprintf("d%d", k))
}
func (l layout) file(name string) string { return filepath.Join(l.dir, name) }
func (l layout) exists(path string) bool { _, err := os.Stat(path); return err == nil }
func (l layout) makePeerDir(i int) error { return os.MkdirAll(l.peerDir(i), dataDirMode) }

// madeCluster tells whether a start got as far as to make the cluster.
func (l layout) madeCluster() bool { return cluster.Holds(clusterDir(config{DataDir: l.peerDir(1)})) }

func absoluteLayout(dir string) (layout, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return layout{}, fmt.Errorf("the data directory: %w", err)
	}
	return layout{abs}, nil
}

// lockDir makes the directory and takes it for this process alone, until release is called or the process ends.
func lockDir(l layout) (release func(), err error) {
	if err := os.MkdirAll(l.dir, dataDirMode); err != nil {
		return nil, fmt.Errorf("the data directory cannot be made: %w", err)
	}
	f, err := os.OpenFile(l.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data directory cannot be written: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by another henge up", l.dir)
		}
		return nil, fmt.Errorf("lock %s: %w", l.lockFile(), err)
	}
	return func() { f.Close() }, nil
}

// lockPeers waits until no peer of an earlier henge up runs any more: when that is killed its peers take a moment to end in order. The file's lock is held by
// whoever has it open, which every peer's process inherits, so that it is free when the last of them has ended, however it ended.
func lockPeers(ctx context.Context, l layout) (*os.File, error) {
	f, err := os.OpenFile(l.peersLockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data directory cannot be written: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	err = until(ctx, func(context.Context) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		return f, nil
	}
	f.Close()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("peers of an earlier henge up still run in %s", l.dir)
	}
	return nil, fmt.Errorf("lock %s: %w", l.peersLockFile(), err)
}

// spaceMinMiB is the least free space with which a first start makes sense: below it every write would be refused. What is there already must start on a full
// disk too, or nothing could ever be deleted from it; spaceLeastMiB is for its logs.
const (
	spaceMinMiB   = 512
	spaceLeastMiB = 16
)

// leastSpace is how much space a start needs, in MiB.
func leastSpace(l layout) int64 {
	if l.madeCluster() {
		return spaceLeastMiB
	}
	return spaceMinMiB
}

func checkSpace(dir string, least int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("look at the disk under %s: %w", dir, err)
	}
	if free := int64(s.Bavail) * s.Bsize >> 20; free < least {
		return fmt.Errorf("the disk under %s is nearly full: %d MiB are free, at least %d are needed", dir, free, least)
	}
	return nil
}

// checkPorts tries to listen where a peer is going to listen, so that a port in use is one clear line at once.
func checkPorts(address string, ports portsConfig) error {
	for _, p := range ports.entries() {
		addr := net.JoinHostPort(address, fmt.Sprint(*p.port))
		ln, err := net.Listen("tcp", addr)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			return fmt.Errorf("%s is in use by another program: the %s port is set by --%s-port", addr, p.name, p.name)
		case err != nil:
			return fmt.Errorf("the %s port: %w", p.name, err)
		}
		if err := ln.Close(); err != nil {
			return fmt.Errorf("the %s port: %w", p.name, err)
		}
	}
	return nil
}

// peerAddress is the i-th address (from 1) counted from the first one.
func peerAddress(first string, i int) (string, error) {
	addr, err := netip.ParseAddr(first)
	if err != nil {
		return "", fmt.Errorf("address %q: not an IP address", first)
	}
	for range i - 1 {
		addr = addr.Next()
	}
	if !addr.IsValid() {
		return "", fmt.Errorf("there is no address %d after %s", i-1, first)
	}
	return addr.String(), nil
}
