package pki

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync/atomic"

	"henge/internal/clock"
	"henge/internal/errs"
)

// Credentials make the TLS configurations of one peer or tool: TLS 1.3 only, both ends with certificates, no session resumption (so that
// every connection is checked anew). Safe for concurrent use.
type Credentials struct {
	identity atomic.Pointer[Identity]
	clock    clock.Clock
	refused  func(id, protocol string) bool
}

// NewCredentials starts with an identity. refused tells which ids are no members any more, for a protocol (ALPN name).
func NewCredentials(identity *Identity, c clock.Clock, refused func(id, protocol string) bool) *Credentials {
	creds := &Credentials{clock: c, refused: refused}
	creds.identity.Store(identity)
	return creds
}

// AllMembers refuses nobody, for tools that do not know who was removed.
func AllMembers(_, _ string) bool { return false }

// Identity is the present one.
func (c *Credentials) Identity() *Identity { return c.identity.Load() }

// Replace takes a renewed identity; connections made from now on show it.
func (c *Credentials) Replace(identity *Identity) { c.identity.Store(identity) }

func (c *Credentials) certificate() *tls.Certificate {
	i := c.Identity()
	return &tls.Certificate{Certificate: [][]byte{i.cert.Raw, i.ca.Raw}, PrivateKey: i.key, Leaf: i.cert}
}

// Client is the configuration for dialling: the other end must be the peer id, or any peer of the cluster when id is "".
func (c *Credentials) Client(id string) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		DynamicRecordSizingDisabled: true, // many small messages are gathered already
		GetClientCertificate:        func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certificate(), nil },
		InsecureSkipVerify:          true, // VerifyConnection does it all: the id, not the host name, is what must fit
		VerifyConnection: func(s tls.ConnectionState) error {
			return c.verify(s, id, x509.ExtKeyUsageServerAuth)
		},
	}
}

// Server is the configuration for accepting the named protocols. Those in open take clients without a certificate.
func (c *Credentials) Server(protocols []string, open ...string) *tls.Config {
	strict := &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		NextProtos:                  protocols,
		ClientAuth:                  tls.RequireAnyClientCert,
		GetCertificate:              func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.certificate(), nil },
		VerifyConnection: func(s tls.ConnectionState) error {
			return c.verify(s, "", x509.ExtKeyUsageClientAuth)
		},
	}
	if len(open) == 0 {
		return strict
	}
	lax := strict.Clone()
	lax.NextProtos, lax.ClientAuth, lax.VerifyConnection = open, tls.NoClientCert, nil
	outer := strict.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) == 1 && slices.Contains(open, hello.SupportedProtos[0]) {
			return lax, nil
		}
		return strict, nil
	}
	return outer
}

// verify checks the other end's certificate: our CA's, in its time, for the usage, not removed, and of the id wanted.
func (c *Credentials) verify(s tls.ConnectionState, id string, usage x509.ExtKeyUsage) error {
	if s.NegotiatedProtocol == "" {
		return errs.New(errs.Unauthenticated, "no protocol was agreed on")
	}
	return c.check(s.PeerCertificates, id, s.NegotiatedProtocol, usage)
}

func (c *Credentials) check(chain []*x509.Certificate, id, protocol string, usage x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return errs.New(errs.Unauthenticated, "no certificate was shown")
	}
	roots := x509.NewCertPool()
	roots.AddCert(c.Identity().ca)
	leaf := chain[0]
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: c.clock.Now(), KeyUsages: []x509.ExtKeyUsage{usage}})
	switch got := leaf.Subject.CommonName; {
	case err != nil:
		return errs.New(errs.Unauthenticated, "certificate of %q: %w", got, err)
	case id != "" && got != id:
		return errs.New(errs.Unauthenticated, "the certificate is of %q, not of %q", got, id)
	case c.refused(got, protocol):
		return errs.New(errs.Unauthenticated, "%q is no member any more", got)
	}
	return nil
}

// Stranger is the configuration of one who has no certificate yet, and knows the CA only by its fingerprint: the other end must be a peer
// whose certificate that CA signed.
func Stranger(fingerprint [32]byte, clk clock.Clock) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection does it: the CA is known by its fingerprint only
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, cert := range s.PeerCertificates {
				if cert.IsCA && Fingerprint(cert.Raw) == fingerprint {
					known := NewCredentials(&Identity{ca: cert}, clk, AllMembers)
					return known.verify(s, "", x509.ExtKeyUsageServerAuth)
				}
			}
			return errs.New(errs.Unauthenticated, "the peer is not of the cluster that the token is for")
		},
	}
}
