package token

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"henge/identity/model"
	"henge/internal/errs"
)

// Claims is what a token says.
type Claims struct {
	UserID  string
	Scope   model.Target // zero: unscoped
	Methods Methods
	// AuditID names the token in logs and revocations; ParentAuditID is that of the first token of the chain that this one was made from, "" for the first. Both are
	// 22 characters of base64.
	AuditID, ParentAuditID  string
	Issued, Expires         time.Time // microseconds are kept
	Epoch                   uint64    // see model.User.Epoch
	ApplicationCredentialID string
	TrustID                 string // the trust that gives the scope
}

// AuditIDs is the list that the API shows.
func (c Claims) AuditIDs() []string {
	if c.ParentAuditID == "" {
		return []string{c.AuditID}
	}
	return []string{c.AuditID, c.ParentAuditID}
}

// Methods is a set of the ways in which a user proved who he is.
type Methods uint8

// The methods.
const (
	Password Methods = 1 << iota
	Token
	EC2Credential
	ApplicationCredential
)

// Names lists the methods as the API calls them.
func (m Methods) Names() []string {
	names := make([]string, 0, 2)
	for i, name := range [...]string{"password", "token", "ec2credential", "application_credential"} {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

const auditBytes = 16

// NewAuditID makes one at random.
func NewAuditID() string {
	var b [auditBytes]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process rather than answer badly
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// The kinds of scope as stored. Append, never reorder.
var scopeKinds = [...]model.TargetKind{"", model.TargetProject, model.TargetDomain, model.TargetSystem}

// idBytesMax bounds an id in a token; ours have 32.
const idBytesMax = 64

// hexID stands before an id of 32 hexadecimal digits, which is stored as 16 bytes.
const hexID = 0xff

func (c Claims) marshal() ([]byte, error) {
	buf := make([]byte, 0, 128)
	kind := -1
	for i, k := range scopeKinds {
		if k == c.Scope.Kind {
			kind = i
		}
	}
	if kind < 0 {
		return nil, errs.New(errs.Invalid, "a token cannot be scoped to a %q", c.Scope.Kind)
	}
	buf = append(buf, byte(kind), byte(c.Methods))
	var err error
	for _, id := range []string{c.UserID, c.Scope.ID, c.ApplicationCredentialID} {
		if buf, err = appendID(buf, id); err != nil {
			return nil, err
		}
	}
	if buf, err = appendAudit(buf, c.AuditID); err != nil {
		return nil, err
	}
	if c.ParentAuditID == "" {
		buf = append(buf, 0)
	} else if buf, err = appendAudit(append(buf, 1), c.ParentAuditID); err != nil {
		return nil, err
	}
	buf = binary.AppendVarint(buf, c.Issued.UnixMicro())
	buf = binary.AppendVarint(buf, c.Expires.Sub(c.Issued).Microseconds())
	buf = binary.AppendUvarint(buf, c.Epoch)
	if c.TrustID == "" {
		return buf, nil // tokens without a trust are as they were before there were trusts
	}
	return appendID(buf, c.TrustID)
}

func appendID(buf []byte, id string) ([]byte, error) {
	var raw [16]byte
	if len(id) == 32 {
		if _, err := hex.Decode(raw[:], []byte(id)); err == nil && hex.EncodeToString(raw[:]) == id {
			return append(append(buf, hexID), raw[:]...), nil
		}
	}
	if len(id) > idBytesMax {
		return nil, errs.New(errs.Invalid, "the id %q is too long for a token", id)
	}
	return append(append(buf, byte(len(id))), id...), nil
}

func appendAudit(buf []byte, id string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(raw) != auditBytes {
		return nil, errs.New(errs.Invalid, "%q is not an audit id", id)
	}
	return append(buf, raw...), nil
}

// decoder takes fields off the front of a buffer; after the first error it gives zeros.
type decoder struct {
	buf []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if d.err == nil && n > len(d.buf) {
		d.err = fmt.Errorf("token ends %d bytes early", n-len(d.buf))
	}
	if d.err != nil {
		return nil
	}
	head := d.buf[:n]
	d.buf = d.buf[n:]
	return head
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) id() string {
	n := d.byte()
	if n == hexID {
		return hex.EncodeToString(d.take(16))
	}
	if n > idBytesMax && d.err == nil {
		d.err = fmt.Errorf("id of %d bytes in a token", n)
	}
	return string(d.take(int(n)))
}

func (d *decoder) audit() string { return base64.RawURLEncoding.EncodeToString(d.take(auditBytes)) }

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.buf)
	d.skip(n)
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.buf)
	d.skip(n)
	return v
}

func (d *decoder) skip(n int) {
	if n <= 0 && d.err == nil {
		d.err = fmt.Errorf("bad number in a token")
	}
	d.take(max(n, 0))
}

func unmarshal(raw []byte) (Claims, error) {
	d := decoder{buf: raw}
	var c Claims
	kind := d.byte()
	if int(kind) >= len(scopeKinds) {
		return c, fmt.Errorf("scope kind %d in a token", kind)
	}
	c.Scope.Kind = scopeKinds[kind]
	c.Methods = Methods(d.byte())
	c.UserID, c.Scope.ID, c.ApplicationCredentialID = d.id(), d.id(), d.id()
	c.AuditID = d.audit()
	if d.byte() != 0 {
		c.ParentAuditID = d.audit()
	}
	c.Issued = time.UnixMicro(d.varint()).UTC()
	c.Expires = c.Issued.Add(time.Duration(d.varint()) * time.Microsecond)
	c.Epoch = d.uvarint()
	if len(d.buf) > 0 {
		c.TrustID = d.id()
	}
	if d.err == nil && len(d.buf) != 0 {
		d.err = fmt.Errorf("%d bytes after the end of a token", len(d.buf))
	}
	return c, d.err
}
