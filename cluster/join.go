package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"henge/cluster/pki"
	"henge/cluster/rpc"
	"henge/cluster/state"
	"henge/internal/errs"
)

// protocolJoin is the ALPN name of the one protocol that takes clients without a certificate: they show a token's secret instead.
const protocolJoin = "henge-join/1"

const (
	joinBytesMax  = 64 << 10
	joinTimeout   = 15 * time.Second
	joinsMax      = 16 // at once, at one peer
	tokenLifeMax  = 30 * 24 * time.Hour
	removedKeptBy = pki.PeerLifetime // as long as a removed peer's certificate may run
)

type joinRequest struct {
	Secret  []byte     `json:"secret"`
	Request []byte     `json:"csr"`
	Peer    peerRecord `json:"peer"` // its id may be empty; writer and joined are not its to say
}

type joinAnswer struct {
	Kind        errs.Kind    `json:"kind,omitempty"`
	Error       string       `json:"error,omitempty"`
	Cluster     string       `json:"cluster"`
	ID          string       `json:"id"`
	Writer      uint16       `json:"writer"`
	Certificate []byte       `json:"certificate"`
	CA          []byte       `json:"ca"`
	GossipKeys  [][]byte     `json:"gossip_keys"`
	Peers       []peerRecord `json:"peers"`
}

// Join makes this process a new peer of the cluster that the token is for, in cfg.Dir. errs.Exists if a peer lives there, errs.Invalid for a
// damaged token, errs.Denied for one that is wrong, used or expired, errs.Unavailable when no peer of the token's answers.
func Join(ctx context.Context, cfg Config, token string) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	t, err := pki.ParseToken(token)
	if err != nil {
		return nil, err
	}
	key, err := joinKey(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	answer, err := ask(ctx, cfg, t, key)
	if err != nil {
		if !errs.Is(err, errs.Unavailable) { // it was refused, and nothing hangs on the key
			err = errors.Join(err, dropJoinKey(cfg.Dir))
		}
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	identity, err := pki.NewIdentity(key, answer.Certificate, answer.CA)
	if err != nil {
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	if err := vacant(cfg.Dir); err != nil {
		return nil, err
	}
	self := selfFile{Cluster: answer.Cluster, ID: answer.ID, Writer: answer.Writer, GossipKeys: answer.GossipKeys}
	if err := errors.Join(writeJSON(cfg.Dir, filePeers, answer.Peers), writePeer(cfg.Dir, self, identity)); err != nil {
		return nil, err
	}
	if err := dropJoinKey(cfg.Dir); err != nil {
		return nil, err
	}
	cfg.ID = answer.ID
	return Open(cfg)
}

// joinKey is the key to join with, kept until the join has ended: a token serves one key only, so one who was cut off and asks again must have the same.
func joinKey(dir string) (*ecdsa.PrivateKey, error) {
	if err := vacant(dir); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, fileJoinKey))
	if err == nil {
		return pki.ParseKey(text)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	key, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	if text, err = pki.KeyPEM(key); err != nil {
		return nil, err
	}
	return key, writeFile(dir, fileJoinKey, text)
}

// dropJoinKey also removes the directory if there was nothing else in it.
func dropJoinKey(dir string) error {
	if err := os.Remove(filepath.Join(dir, fileJoinKey)); err != nil {
		return fmt.Errorf("remove the key: %w", err)
	}
	_ = os.Remove(dir) // refused by the system unless it is empty
	return nil
}

// ask tries the token's addresses until one gives an answer that is final.
func ask(ctx context.Context, cfg Config, t *pki.Token, key *ecdsa.PrivateKey) (*joinAnswer, error) {
	csr, err := pki.Request(key)
	if err != nil {
		return nil, err
	}
	request := joinRequest{Secret: t.Secret[:], Request: csr, Peer: peerRecord{ID: cfg.ID, Address: cfg.Address, RPCPort: cfg.RPCPort,
		GossipPort: cfg.GossipPort, Region: cfg.Region, Zone: cfg.Zone}}
	failures := []error{errs.New(errs.Unavailable, "no peer took us in")}
	for _, address := range t.Addresses {
		config := pki.Stranger(t.Fingerprint, cfg.Clock)
		config.NextProtos = []string{protocolJoin}
		conn, err := rpc.Dial(ctx, address, config)
		if err != nil {
			failures = append(failures, fmt.Errorf("ask %s: %w", address, err))
			continue
		}
		answer, err := converse(ctx, conn, request)
		if err == nil && answer.Error != "" {
			err = errs.New(answer.Kind, "%s", answer.Error)
			if answer.Kind != errs.Unavailable {
				return nil, err
			}
		}
		if err == nil {
			return answer, nil
		}
		failures = append(failures, fmt.Errorf("ask %s: %w", address, err))
	}
	return nil, errs.With(errs.Unavailable, errors.Join(failures...))
}

func converse(ctx context.Context, conn *tls.Conn, request joinRequest) (*joinAnswer, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.NetConn().Close() })
	defer stop()
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(joinTimeout)); err != nil {
		return nil, err
	}
	if err := writeMessage(conn, request); err != nil {
		return nil, err
	}
	var answer joinAnswer
	return &answer, readMessage(conn, &answer)
}

// A message of the join protocol: its length, 4 bytes big endian, and JSON.
func writeMessage(w io.Writer, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode join message: %w", err)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

func readMessage(r io.Reader, value any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read join message: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > joinBytesMax {
		return errs.New(errs.TooLarge, "join message of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("read join message: %w", err)
	}
	if err := json.Unmarshal(b, value); err != nil {
		return errs.New(errs.Invalid, "read join message: %w", err)
	}
	return nil
}

// welcome serves one who wants to join.
func (n *Node) welcome(_ string, conn *tls.Conn) {
	select {
	case n.joins <- struct{}{}:
	default:
		_ = conn.Close() // it will ask again, or another peer
		return
	}
	n.work.Go(func() {
		defer func() { <-n.joins }()
		defer conn.Close()
		stop := context.AfterFunc(n.ctx, func() { _ = conn.NetConn().Close() })
		defer stop()
		if conn.SetDeadline(time.Now().Add(joinTimeout)) != nil {
			return
		}
		var request joinRequest
		if err := readMessage(conn, &request); err != nil {
			return
		}
		answer, err := n.admit(n.ctx, request)
		if err != nil {
			n.cfg.Logger.Warn("a peer was not let in", "from", conn.RemoteAddr(), "err", err)
			answer = &joinAnswer{Kind: errs.KindOf(err), Error: err.Error()}
		}
		if err := writeMessage(conn, answer); err != nil {
			n.cfg.Logger.Warn("answer a new peer", "from", conn.RemoteAddr(), "err", err)
		}
	})
}

func (n *Node) admit(ctx context.Context, request joinRequest) (*joinAnswer, error) {
	csr, err := x509.ParseCertificateRequest(request.Request)
	if err != nil {
		return nil, errs.New(errs.Invalid, "read certificate request: %w", err)
	}
	sum := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	key := hex.EncodeToString(sum[:])
	secret := pki.Hash(request.Secret)
	fresh := newID()
	var row peerRecord
	err = n.group.Update(ctx, func(w state.Writer) error {
		row, err = n.enroll(w, hex.EncodeToString(secret[:]), key, fresh, request.Peer)
		return err
	})
	if err != nil {
		return nil, err
	}
	ca, err := n.authority(ctx)
	if err != nil {
		return nil, err
	}
	cert, err := ca.SignPeer(request.Request, row.ID, net.ParseIP(row.Address), n.cfg.Clock.Now())
	if err != nil {
		return nil, err
	}
	answer := &joinAnswer{Cluster: n.self.Cluster, ID: row.ID, Writer: row.Writer, Certificate: cert, CA: ca.Certificate()}
	err = n.group.View(ctx, func(r state.Reader) error {
		for p, err := range peersTable.All(r) {
			if err != nil {
				return err
			}
			if len(answer.Peers) < 64 { // enough to find the rest
				answer.Peers = append(answer.Peers, p)
			}
		}
		keys, err := readGossipKeys(r)
		answer.GossipKeys = keys.Keys
		return err
	})
	n.cfg.Logger.Info("a peer was let in", "peer", row.ID, "address", row.rpc())
	return answer, err
}

// enroll uses the token up and writes the new member down.
func (n *Node) enroll(w state.Writer, secret, key, fresh string, p peerRecord) (peerRecord, error) {
	now := n.cfg.Clock.Now()
	token, err := tokensTable.Get(w, secret)
	switch {
	case errs.Is(err, errs.NotFound):
		return p, errs.New(errs.Denied, "the join token is not known here")
	case err != nil:
		return p, err
	case token.Key == key: // the answer to the first time was lost
		return peersTable.Get(w, token.Peer)
	case now.After(token.Expires):
		return p, errs.New(errs.Denied, "the join token expired at %s", token.Expires.UTC().Format(time.RFC3339))
	case token.Key != "":
		return p, errs.New(errs.Denied, "the join token was used already")
	}
	if p.ID == "" {
		p.ID = fresh
	}
	if err := checkNewcomer(w, p); err != nil {
		return p, err
	}
	if p.Writer, err = freeWriter(w); err != nil {
		return p, err
	}
	p.Joined = now
	token.Key, token.Peer = key, p.ID
	return p, errors.Join(tokensTable.Put(w, secret, token), peersTable.Put(w, p.ID, p))
}

func checkNewcomer(r state.Reader, p peerRecord) error {
	if err := pki.CheckID(p.ID); err != nil {
		return err
	}
	if ip := net.ParseIP(p.Address); ip == nil || ip.IsUnspecified() || p.RPCPort < 1 || p.RPCPort > 65535 || p.GossipPort < 1 || p.GossipPort > 65535 {
		return errs.New(errs.Invalid, "peers cannot reach %q, ports %d and %d", p.Address, p.RPCPort, p.GossipPort)
	}
	if _, err := removedTable.Get(r, p.ID); err == nil {
		return errs.New(errs.Exists, "a peer %q was removed; a new one needs another id", p.ID)
	}
	for other, err := range peersTable.All(r) {
		switch {
		case err != nil:
			return err
		case other.ID == p.ID:
			return errs.New(errs.Exists, "there is a peer %q already", p.ID)
		case other.rpc() == p.rpc():
			return errs.New(errs.Exists, "peer %q is at %s already", other.ID, p.rpc())
		}
	}
	return nil
}

// CreateJoinToken makes a token that lets one new peer in, within ttl.
func (n *Node) CreateJoinToken(ctx context.Context, ttl time.Duration) (string, error) {
	addresses := []string{n.record().rpc()}
	for _, m := range n.Members() {
		if m.Alive && m.ID != n.self.ID {
			addresses = append(addresses, m.RPC)
		}
	}
	return createJoinToken(ctx, n.group, n.creds.Identity().CA(), addresses, n.cfg.Clock.Now(), ttl)
}

func createJoinToken(ctx context.Context, store state.Store, ca []byte, addresses []string, now time.Time, ttl time.Duration) (string, error) {
	if ttl <= 0 || ttl > tokenLifeMax {
		return "", errs.New(errs.Invalid, "a join token can live up to %s, not %s", tokenLifeMax, ttl)
	}
	token, err := pki.NewToken(ca, addresses)
	if err != nil {
		return "", err
	}
	hash := pki.Hash(token.Secret[:])
	err = store.Update(ctx, func(w state.Writer) error {
		if err := dropExpired(w, now); err != nil {
			return err
		}
		return tokensTable.Put(w, hex.EncodeToString(hash[:]), tokenRecord{Expires: now.Add(ttl)})
	})
	if err != nil {
		return "", fmt.Errorf("make a join token: %w", err)
	}
	return token.String(), nil
}

// dropExpired clears tokens, and removed peers whose certificates have run out by now.
func dropExpired(w state.Writer, now time.Time) error {
	for change := range tableRows(w, tokensTable.Prefix()) {
		id, token, err := tokensTable.Decode(change)
		if err != nil {
			return err
		}
		if now.After(token.Expires) {
			if err := tokensTable.Delete(w, id); err != nil {
				return err
			}
		}
	}
	for p, err := range removedTable.All(w) {
		if err != nil {
			return err
		}
		if now.Sub(p.Removed) > removedKeptBy {
			if err := removedTable.Delete(w, p.ID); err != nil {
				return err
			}
		}
	}
	return nil
}
