package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"henge/cluster/agreement"
	"henge/cluster/pki"
	"henge/cluster/rpc"
	"henge/cluster/state"
	"henge/internal/clock"
	"henge/internal/errs"
)

// AdminConn is an administrator's connection to a running cluster, through one of its peers. Safe for concurrent use.
type AdminConn struct {
	peer   string
	creds  *pki.Credentials
	client *rpc.Client
	store  *agreement.Remote
}

// DialAdmin connects to the peer at address (host:port) with the certificate in file, which AdminFile names: errs.NotFound without such a
// file, errs.Unavailable when the peer does not answer, errs.Unauthenticated when it is of another cluster.
func DialAdmin(ctx context.Context, file, address string) (*AdminConn, error) {
	identity, err := readIdentity(file)
	if err != nil {
		return nil, err
	}
	creds := pki.NewCredentials(identity, clock.System{}, pki.AllMembers)
	config := creds.Client("")
	config.NextProtos = []string{rpc.Protocol}
	conn, err := rpc.Dial(ctx, address, config)
	switch {
	case errs.Is(err, errs.Unauthenticated):
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	case err != nil:
		return nil, errs.New(errs.Unavailable, "connect to %s: %w", address, err)
	}
	a := &AdminConn{peer: rpc.PeerOf(conn), creds: creds}
	_ = conn.Close() // it has told the peer's id
	members := map[string]string{a.peer: address}
	a.client = a.newClient(members)
	list, err := a.Members(ctx)
	a.client.Close()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	for _, m := range list {
		if m.ID != a.peer {
			members[m.ID] = m.RPC
		}
	}
	a.client = a.newClient(members)
	a.store = &agreement.Remote{Caller: a.client, Peer: a.peer}
	return a, nil
}

// newClient makes a client that knows the peers in members, which does not change any more.
func (a *AdminConn) newClient(members map[string]string) *rpc.Client {
	return rpc.NewClient(rpc.Config{Self: pki.AdminID, TLS: a.creds.Client, Logger: slog.New(slog.DiscardHandler), Address: func(peer string) (string, error) {
		address, ok := members[peer]
		if !ok {
			return "", errs.New(errs.NotFound, "no peer %q", peer)
		}
		return address, nil
	}})
}

// Peer is the id of the peer at the other end.
func (a *AdminConn) Peer() string { return a.peer }

// State is the cluster's state: every View and Update fetches all of it, which is fine for a tool.
func (a *AdminConn) State() state.Store { return a.store }

// Caller reaches all peers that were members when the connection was made.
func (a *AdminConn) Caller() rpc.Caller { return a.client }

// Members are the peers as the one at the other end sees them.
func (a *AdminConn) Members(ctx context.Context) ([]Member, error) {
	raw, err := a.client.Call(ctx, a.peer, methodMembers, nil)
	if err != nil {
		return nil, err
	}
	var list []Member
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errs.New(errs.Corrupt, "read the members: %w", err)
	}
	return list, nil
}

// CreateJoinToken is Node.CreateJoinToken.
func (a *AdminConn) CreateJoinToken(ctx context.Context, ttl time.Duration) (string, error) {
	list, err := a.Members(ctx)
	if err != nil {
		return "", err
	}
	var addresses []string
	for _, m := range list {
		if m.Alive {
			addresses = append(addresses, m.RPC)
		}
	}
	return createJoinToken(ctx, a.store, a.creds.Identity().CA(), addresses, time.Now(), ttl)
}

// Remove is Node.Remove.
func (a *AdminConn) Remove(ctx context.Context, id string) error {
	if err := removePeer(ctx, a.store, id, time.Now()); err != nil {
		return fmt.Errorf("remove peer %s: %w", id, err)
	}
	return nil
}

// Close ends the connection. It may be called twice.
func (a *AdminConn) Close() { a.client.Close() }
