package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"henge/cluster/pki"
	"henge/internal/errs"
)

// The files of a peer's directory, all readable by their owner alone.
const (
	fileSelf     = "peer.json"    // selfFile; written last: with it the directory holds a peer
	fileIdentity = "peer.pem"     // the peer's certificate, the CA's, the key
	fileAdmin    = "admin.pem"    // the same for tools
	filePeers    = "peers.json"   // where the others were last, to find them again when all were down
	fileJoinKey  = "join.key"     // of a join under way: asked again with the same key, after a crash, the cluster gives the same answer
	fileGenesis  = "genesis.json" // until a new cluster's first update is made
	dirAgreement = "agreement"
	filesVersion = 1
)

// Holds tells whether a peer lives in dir: it has made or joined a cluster, to the end.
func Holds(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, fileSelf))
	return err == nil
}

// AdminFile is where the peer with the directory dir keeps the administrator's certificate and key, for DialAdmin.
func AdminFile(dir string) string { return filepath.Join(dir, fileAdmin) }

type selfFile struct {
	Version    int      `json:"version"`
	Cluster    string   `json:"cluster"`
	ID         string   `json:"id"`
	Writer     uint16   `json:"writer"`
	GossipKeys [][]byte `json:"gossip_keys"`
}

type genesisFile struct {
	Version   int    `json:"version"`
	Authority string `json:"ca"`
}

// writeFile replaces dir/name durably: whoever opens it later sees the old or the new content, whole.
func writeFile(dir, name string, content []byte) (err error) {
	f, err := os.CreateTemp(dir, name+".*") // readable by the owner alone
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

func writeJSON(dir, name string, value any) error {
	content, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return writeFile(dir, name, append(content, '\n'))
}

// readJSON: errs.NotFound, errs.Corrupt.
func readJSON(dir, name string, value any) error {
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(content, value); err != nil {
		return errs.New(errs.Corrupt, "read %s: %w", filepath.Join(dir, name), err)
	}
	return nil
}

func readSelf(dir string) (self selfFile, identity *pki.Identity, err error) {
	if err := readJSON(dir, fileSelf, &self); err != nil {
		return self, nil, err
	}
	if self.Version != filesVersion {
		return self, nil, errs.New(errs.Unsupported, "%s is of version %d, known here is %d", filepath.Join(dir, fileSelf), self.Version, filesVersion)
	}
	identity, err = readIdentity(filepath.Join(dir, fileIdentity))
	if err == nil && identity.ID() != self.ID {
		err = errs.New(errs.Corrupt, "%s is %q, but its certificate is of %q", dir, self.ID, identity.ID())
	}
	return self, identity, err
}

func readIdentity(path string) (*pki.Identity, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	return pki.ParseIdentity(text)
}

func writeIdentity(dir, name string, identity *pki.Identity) error {
	text, err := identity.PEM()
	if err != nil {
		return err
	}
	return writeFile(dir, name, text)
}

// writePeer makes dir a peer's. What tells that it is one comes last.
func writePeer(dir string, self selfFile, identity *pki.Identity) error {
	if err := writeIdentity(dir, fileIdentity, identity); err != nil {
		return err
	}
	self.Version = filesVersion
	return writeJSON(dir, fileSelf, self)
}

// vacant makes dir, and checks that no peer lives there: errs.Exists.
func vacant(dir string) error {
	_, err := os.Stat(filepath.Join(dir, fileSelf))
	switch {
	case err == nil:
		return errs.New(errs.Exists, "%s holds a peer already", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look for a peer: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the peer's directory: %w", err)
	}
	return nil
}
