package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"regexp"
	"time"

	"henge/internal/errs"
)

// Lifetimes. A peer's certificate is renewed when less than RenewBefore of it is left.
const (
	AuthorityLifetime = 30 * 365 * 24 * time.Hour
	PeerLifetime      = 90 * 24 * time.Hour
	AdminLifetime     = 365 * 24 * time.Hour
	RenewBefore       = 45 * 24 * time.Hour
	backdate          = time.Hour // for clocks that are behind
)

// AdminID is the id in an administrator's certificate. No peer has it.
const AdminID = "admin"

// Authority is the cluster's CA: an ECDSA P-256 key and its certificate.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes the CA of a new cluster.
func NewAuthority(cluster string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{Organization: []string{"henge " + cluster}, CommonName: "henge CA"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(AuthorityLifetime), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back CA certificate: %w", err)
	}
	return &Authority{cert: cert, key: key}, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

// Certificate is the CA's certificate, in DER.
func (a *Authority) Certificate() []byte { return a.cert.Raw }

// PEM is the certificate and the key: what the replicated state holds.
func (a *Authority) PEM() ([]byte, error) {
	key, err := keyPEM(a.key)
	if err != nil {
		return nil, err
	}
	return append(certPEM(a.cert.Raw), key...), nil
}

// ParseAuthority reads what PEM wrote.
func ParseAuthority(text []byte) (*Authority, error) {
	cert, rest := pem.Decode(text)
	key, _ := pem.Decode(rest)
	if cert == nil || key == nil {
		return nil, errs.New(errs.Corrupt, "read CA: a certificate and a key are expected")
	}
	c, err := x509.ParseCertificate(cert.Bytes)
	if err != nil {
		return nil, errs.New(errs.Corrupt, "read CA certificate: %w", err)
	}
	k, err := parseKey(key.Bytes)
	if err != nil {
		return nil, err
	}
	return &Authority{cert: c, key: k}, nil
}

// Fingerprint is the SHA-256 of a CA certificate in DER.
func Fingerprint(cert []byte) [32]byte { return sha256.Sum256(cert) }

var idForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckID tells whether a peer may be called so: errs.Invalid.
func CheckID(id string) error {
	if !idForm.MatchString(id) || id == AdminID {
		return errs.New(errs.Invalid, "%q cannot be a peer's id: lower case letters, digits and dashes, at most 63, and not %q", id, AdminID)
	}
	return nil
}

// SignPeer makes a peer's certificate for a request (DER), whose signature must hold; all the rest of the request is ignored. ip is the
// address where the peer listens. The result is the certificate in DER.
func (a *Authority) SignPeer(request []byte, id string, ip net.IP, now time.Time) ([]byte, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, errs.New(errs.Invalid, "read certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, errs.New(errs.Invalid, "check certificate request: %w", err)
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: id}, DNSNames: []string{id}, URIs: []*url.URL{{Scheme: "henge", Host: "peer", Path: "/" + id}},
		NotAfter: now.Add(PeerLifetime), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if ip != nil {
		template.IPAddresses = []net.IP{ip}
	}
	return a.sign(template, csr.PublicKey, now)
}

// signAdmin makes a certificate for an administrator's tools: it can call, but no peer takes it for a server.
func (a *Authority) signAdmin(public any, now time.Time) ([]byte, error) {
	return a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: AdminID}, NotAfter: now.Add(AdminLifetime),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, public, now)
}

func (a *Authority) sign(template *x509.Certificate, public any, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = now.Add(-backdate)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", template.Subject.CommonName, err)
	}
	return der, nil
}
