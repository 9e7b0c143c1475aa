package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"henge/cluster"
)

// tryInterval is how often a start looks whether a process is there yet. It is not used once the cloud runs.
const tryInterval = 50 * time.Millisecond

// until repeats try until it succeeds or ctx ends; then the last error says why it did not.
func until(ctx context.Context, try func(context.Context) error) error {
	tick := time.NewTicker(tryInterval)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (last: %w)", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// clusterConfig is the cluster's share of a peer's configuration.
func clusterDir(c config) string { return filepath.Join(c.DataDir, "cluster") }

// dialPeer connects to a peer as its administrator, with the certificate that the first peer of the cluster keeps.
func dialPeer(ctx context.Context, l layout, c config) (*cluster.AdminConn, error) {
	first := config{DataDir: l.peerDir(1)}
	return cluster.DialAdmin(ctx, cluster.AdminFile(clusterDir(first)), hostPort(c.Address, c.Ports.Peers))
}

// tokenLife is for how long a join token serves, tokenFresh for how long one of an earlier start is used on.
const (
	tokenLife  = time.Hour
	tokenFresh = 30 * time.Minute
)

// inviteAll waits for the first peer, and makes a join token for each peer that was never in the cluster. One that was taken in and was cut off before it wrote
// that down asks with its old token again.
func inviteAll(ctx context.Context, l layout, configs []config) error {
	return until(ctx, func(ctx context.Context) error {
		admin, err := dialPeer(ctx, l, configs[0])
		if err != nil {
			return err
		}
		defer admin.Close()
		members, err := admin.Members(ctx)
		if err != nil {
			return err
		}
		for i := 2; i <= len(configs); i++ {
			member := slices.ContainsFunc(members, func(m cluster.Member) bool { return m.ID == configs[i-1].PeerID })
			if info, err := os.Stat(l.joinToken(i)); cluster.Holds(clusterDir(configs[i-1])) || (err == nil && (member || time.Since(info.ModTime()) < tokenFresh)) {
				continue
			}
			token, err := admin.CreateJoinToken(ctx, tokenLife)
			if err != nil {
				return err
			}
			if err := replaceFile(l.joinToken(i), token+"\n"); err != nil {
				return err
			}
		}
		return nil
	})
}

// seedTogether waits until every peer is a member, then seeds the cluster.
func seedTogether(ctx context.Context, l layout, configs []config) error {
	return until(ctx, func(ctx context.Context) error {
		admin, err := dialPeer(ctx, l, configs[0])
		if err != nil {
			return err
		}
		defer admin.Close()
		return seed(ctx, l.dir, admin.State(), configs)
	})
}

// waitUp waits until every peer has opened its devices and serves, be it only to say that it is not ready.
func waitUp(ctx context.Context, configs []config) error {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for _, c := range configs {
		err := until(ctx, func(ctx context.Context) error {
			err := answers(ctx, client, c.metricsURL()+"/healthcheck")
			if notReady := (*statusError)(nil); errors.As(err, &notReady) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// statusError is an answer that is not 200.
type statusError struct{ url, status string }

func (e *statusError) Error() string { return e.url + " answers " + e.status }

// waitReady waits until every service of every peer answers.
func waitReady(ctx context.Context, configs []config) error {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for _, c := range configs {
		urls := []string{c.metricsURL() + "/healthcheck"}
		if c.has("identity") {
			urls = append(urls, "http://"+hostPort(c.Address, c.Ports.Identity)+"/v3")
		}
		if c.has("proxy") {
			urls = append(urls, "http://"+hostPort(c.Address, c.Ports.Object)+"/healthcheck")
		}
		for _, s := range played(&c) {
			urls = append(urls, "http://"+s.address(&c)+s.health)
		}
		for _, url := range urls {
			if err := until(ctx, func(ctx context.Context) error { return answers(ctx, client, url) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func answers(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &statusError{url, resp.Status}
	}
	return nil
}
