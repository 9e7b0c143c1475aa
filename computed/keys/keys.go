// Package keys makes and reads the keys of key pairs: SSH keys, and X.509 certificates for guests that log in by those.
package keys

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"henge/internal/errs"
)

// The types of keys.
const (
	SSH  = "ssh"
	X509 = "x509"
)

const rsaBits = 2048

// Generate makes a new key of a type. The private half is kept nowhere.
func Generate(kind, user string, now time.Time) (public, private string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return "", "", fmt.Errorf("generate a key: %w", err)
	}
	if kind == X509 {
		return certificate(key, user, now)
	}
	half, err := ssh.NewPublicKey(&key.PublicKey)
	if err != nil {
		return "", "", fmt.Errorf("encode the public key: %w", err)
	}
	private = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(half)), "\n") + " Generated-by-Nova", private, nil
}

// certificate is one that Windows guests take for WinRM: its name is in the subject, and its use is client authentication.
func certificate(key *rsa.PrivateKey, user string, now time.Time) (public, private string, err error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return "", "", fmt.Errorf("choose a serial number: %w", err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: user}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", "", fmt.Errorf("make the certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", fmt.Errorf("encode the private key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), nil
}

// Fingerprint checks a public key and gives its fingerprint in Nova's form: MD5 of an SSH key, SHA-1 of a certificate.
func Fingerprint(kind, public string) (string, error) {
	if kind == X509 {
		block, _ := pem.Decode([]byte(public))
		if block == nil {
			return "", errs.New(errs.Invalid, "failed to generate fingerprint: it is no certificate in PEM")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", errs.New(errs.Invalid, "failed to generate fingerprint: %w", err)
		}
		return colons(fmt.Sprintf("%x", sha1.Sum(cert.Raw))), nil
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		return "", errs.New(errs.Invalid, "failed to generate fingerprint: %w", err)
	}
	if strings.TrimSpace(string(rest)) != "" {
		return "", errs.New(errs.Invalid, "failed to generate fingerprint: it is more than one key")
	}
	return colons(fmt.Sprintf("%x", md5.Sum(key.Marshal()))), nil
}

func colons(hex string) string {
	var b strings.Builder
	for i := 0; i < len(hex); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(hex[i : i+2])
	}
	return b.String()
}
