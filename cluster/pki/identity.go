package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"time"

	"henge/internal/errs"
)

// Identity is who a peer or a tool is: its key, its certificate, and the CA that it trusts. It never changes; renewal makes another.
type Identity struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	ca   *x509.Certificate
}

// NewKey makes the private key of a peer or tool.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// KeyPEM writes a private key that is in no certificate yet.
func KeyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads what KeyPEM wrote: errs.Corrupt.
func ParseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errs.New(errs.Corrupt, "read key: no PEM block")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errs.New(errs.Corrupt, "read key: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errs.New(errs.Corrupt, "read key: not an elliptic curve key")
	}
	return ec, nil
}

// Request makes the certificate request (DER) for a key.
func Request(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// NewIdentity puts together a key and what the authority answered (both DER), and checks that they fit: errs.Invalid.
func NewIdentity(key *ecdsa.PrivateKey, cert, ca []byte) (*Identity, error) {
	c, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, errs.New(errs.Invalid, "read certificate: %w", err)
	}
	authority, err := x509.ParseCertificate(ca)
	if err != nil {
		return nil, errs.New(errs.Invalid, "read CA certificate: %w", err)
	}
	if public, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(&key.PublicKey) {
		return nil, errs.New(errs.Invalid, "the certificate of %s is for another key", c.Subject.CommonName)
	}
	if err := c.CheckSignatureFrom(authority); err != nil {
		return nil, errs.New(errs.Invalid, "the certificate of %s is not signed by the CA: %w", c.Subject.CommonName, err)
	}
	return &Identity{key: key, cert: c, ca: authority}, nil
}

// Peer makes the identity of a peer with a new key.
func (a *Authority) Peer(id string, ip net.IP, now time.Time) (*Identity, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	request, err := Request(key)
	if err != nil {
		return nil, err
	}
	cert, err := a.SignPeer(request, id, ip, now)
	if err != nil {
		return nil, err
	}
	return NewIdentity(key, cert, a.cert.Raw)
}

// Admin makes the identity of an administrator's tools with a new key.
func (a *Authority) Admin(now time.Time) (*Identity, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	cert, err := a.signAdmin(&key.PublicKey, now)
	if err != nil {
		return nil, err
	}
	return NewIdentity(key, cert, a.cert.Raw)
}

// ID is the id in the certificate.
func (i *Identity) ID() string { return i.cert.Subject.CommonName }

// CA is the CA's certificate, in DER.
func (i *Identity) CA() []byte { return i.ca.Raw }

// Expires is when the certificate ends.
func (i *Identity) Expires() time.Time { return i.cert.NotAfter }

// RenewalDue tells whether it is time for another certificate, or whether this one is not for the address ip.
func (i *Identity) RenewalDue(ip net.IP, now time.Time) bool {
	return now.After(i.cert.NotAfter.Add(-RenewBefore)) || (ip != nil && i.cert.VerifyHostname(ip.String()) != nil)
}

// PEM is the whole identity as one file: certificate, CA certificate, key.
func (i *Identity) PEM() ([]byte, error) {
	key, err := keyPEM(i.key)
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{certPEM(i.cert.Raw), certPEM(i.ca.Raw), key}, nil), nil
}

// ParseIdentity reads what PEM wrote: errs.Corrupt or errs.Invalid.
func ParseIdentity(text []byte) (*Identity, error) {
	cert, rest := pem.Decode(text)
	ca, rest := pem.Decode(rest)
	key, _ := pem.Decode(rest)
	if cert == nil || ca == nil || key == nil {
		return nil, errs.New(errs.Corrupt, "read identity: certificate, CA certificate and key are expected")
	}
	k, err := parseKey(key.Bytes)
	if err != nil {
		return nil, err
	}
	return NewIdentity(k, cert.Bytes, ca.Bytes)
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errs.New(errs.Corrupt, "read key: %w", err)
	}
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errs.New(errs.Corrupt, "read key: %T is not an ECDSA key", key)
	}
	return k, nil
}
