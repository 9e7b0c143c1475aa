package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"henge/e2e/henged"
)

// Options say what to run.
type Options struct {
	Binary string // bin/henge
	Dir    string // for configurations, logs and, without Disk, data
	Peers  int
	// Disk makes the file system of a peer's device at a path; nil: the folder itself.
	Disk func(peer int, path string) error
}

// Cloud is a running one.
type Cloud struct {
	Dir         string
	Environment map[string]string // what openrc and aws.env export, by name

	binary string
	peers  []*peer
}

// Start makes a cloud and waits until all is well.
func Start(ctx context.Context, o Options) (*Cloud, error) {
	c := &Cloud{Dir: o.Dir, binary: o.Binary}
	if err := makeNetwork(o.Peers); err != nil {
		return nil, err
	}
	for i := 1; i <= o.Peers; i++ {
		p, err := newPeer(o.Dir, i)
		if err != nil {
			return nil, err
		}
		if o.Disk != nil {
			if err := o.Disk(i, p.device()); err != nil {
				return nil, err
			}
		}
		c.peers = append(c.peers, p)
	}
	if err := c.found(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	var err error
	c.Environment, err = henged.Environment(filepath.Join(c.peers[0].data(), "openrc"), filepath.Join(c.peers[0].data(), "aws.env"))
	return c, err
}

// found does what an operator of several hosts does: init, join, and rings over all devices.
func (c *Cloud) found(ctx context.Context) error {
	if _, err := outputIn(ctx, in(1, c.binary+" init --config "+c.peers[0].config())...); err != nil {
		return err
	}
	if err := c.Revive(1); err != nil {
		return err
	}
	if err := c.Answers(ctx, 1); err != nil {
		return err
	}
	for i := 2; i <= len(c.peers); i++ {
		token, err := c.Henge(ctx, "token")
		if err != nil {
			return err
		}
		if _, err := outputIn(ctx, in(i, c.binary+" join --config "+c.peers[i-1].config()+" "+strings.TrimSpace(token))...); err != nil {
			return err
		}
		if err := c.Revive(i); err != nil {
			return err
		}
	}
	// All devices are empty when the first rings that name them come, so that none takes itself for one that lost what it held.
	for i := range c.peers {
		if err := c.Answers(ctx, i+1); err != nil {
			return err
		}
	}
	if err := c.placeAll(ctx); err != nil {
		return err
	}
	return c.Well(ctx)
}

// placeAll publishes rings of three replicas over all peers, with as many partitions as henge init made.
func (c *Cloud) placeAll(ctx context.Context) error {
	for _, name := range []string{"account", "container", "object"} {
		file := filepath.Join(c.Dir, name+".builder")
		commands := [][]string{{"create", "12", "3", "1"}, {"add"}, {"rebalance", "--seed", "1"}}
		for i := range c.peers {
			commands[1] = append(commands[1], fmt.Sprintf("r1z%d-peer-%d/d1", i+1, i+1), "100")
		}
		for _, args := range commands {
			if _, err := outputIn(ctx, append([]string{c.binary, "ring", "--file", file}, args...)...); err != nil {
				return err
			}
		}
		if _, err := c.Henge(ctx, "ring", "--ring", name, "load", file); err != nil {
			return err
		}
	}
	return nil
}

// Henge runs a command of the binary for the administrator.
func (c *Cloud) Henge(ctx context.Context, args ...string) (string, error) {
	return outputIn(ctx, append(append([]string{c.binary}, args...), "--data-dir", c.Dir)...)
}

// wellWait is how long a cloud may take until all is well.
const wellWait = 90 * time.Second

// Well waits until henge status says that all is well.
func (c *Cloud) Well(ctx context.Context) error {
	_, err := c.Henge(ctx, "status", "--wait", "--timeout", wellWait.String())
	return err
}

// Answers waits until a peer's metrics port answers: all its services listen then.
func (c *Cloud) Answers(ctx context.Context, peer int) error {
	ctx, cancel := context.WithTimeout(ctx, wellWait)
	defer cancel()
	client := http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	url := "http://" + address(peer) + ":9100/metrics"
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := client.Get(url)
		if err == nil {
			return resp.Body.Close()
		}
		if why := c.peers[peer-1].ended(); why != nil {
			return fmt.Errorf("peer %d ended: %w; its log is %s", peer, why, c.peers[peer-1].log())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("peer %d does not answer: %w", peer, err)
		case <-tick.C:
		}
	}
}

// Peers is how many there are.
func (c *Cloud) Peers() int { return len(c.peers) }

// ObjectURL is a peer's object service.
func (c *Cloud) ObjectURL(peer int) string { return "http://" + address(peer) + ":8080" }

// IdentityURL is a peer's identity service.
func (c *Cloud) IdentityURL(peer int) string { return "http://" + address(peer) + ":5000" }

// Device is the folder of a peer's device.
func (c *Cloud) Device(peer int) string { return c.peers[peer-1].device() }

// Logs are the files that tell what the peers said.
func (c *Cloud) Logs() []string {
	var all []string
	for _, p := range c.peers {
		if _, err := os.Stat(p.log()); err == nil {
			all = append(all, p.log())
		}
	}
	return all
}

// Stop asks every peer to end, and kills what does not.
func (c *Cloud) Stop() error {
	errs := make([]error, len(c.peers))
	var wg sync.WaitGroup
	for i, p := range c.peers {
		wg.Go(func() { errs[i] = p.stop() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
