package iscsi

import (
	"strings"
	"time"

	"henge/internal/errs"
	"henge/volumed/iscsi/lun"
)

// Store is the block device behind a target. Its contract stands at lun.Store.
type Store = lun.Store

// Extents is what a Store may have as well: it tells which ranges are allocated (GET LBA STATUS).
type Extents = lun.Extents

// Bounds of what a Target may say.
const (
	nameBytesMax   = 223 // RFC 7143, 4.2.7.1
	secretBytesMin = 12  // RFC 7143, 9.2.1: 96 bits
	secretBytesMax = 256
	serialBytesMax = 36 // what the unit serial number page is given room for: a UUID
)

// CHAP is one direction of authentication.
type CHAP struct {
	User   string
	Secret string // 12 to 256 bytes
}

// Target is what is exported.
type Target struct {
	// IQN is the target's name: "iqn.", "eui." or "naa.", at most 223 bytes, lower case.
	IQN string
	// Store holds the bytes. The server calls it until Unexport, Export of a newer epoch, or Close has returned, and never closes it.
	Store Store
	// Serial is the unit serial number (VPD page 0x80) and what the NAA identifier is made of: the volume's id. At most 36 bytes.
	Serial string

	// CHAP is what initiators must prove. Without it nobody gets in, unless Open is set.
	CHAP CHAP
	// Mutual is what the target proves to initiators that ask. Its secret must differ from CHAP's. Empty: who asks is refused.
	Mutual CHAP
	// Open lets the initiators of the access list in without a secret. For tests on a loopback address.
	Open bool
	// Initiators is the access list: the IQNs that may log in. Empty: nobody may.
	Initiators []string

	// Volume names what Epoch counts for; empty means IQN. Exports of one Volume with a smaller Epoch end when one with a greater is made.
	Volume string
	// Epoch is the attachment's number. See Server.Export.
	Epoch uint64

	// BlockBytes is the logical block's length: 512 (the default) or 4096.
	BlockBytes int
	// ReadOnly refuses all that writes, with DATA PROTECT.
	ReadOnly bool
}

// Session is one initiator's login, as Server.Sessions tells of it.
type Session struct {
	Target    string // IQN; empty for a discovery session
	Initiator string
	ISID      uint64 // 48 bits
	TSIH      uint16
	Remote    string // address and port
	Since     time.Time
	InFlight  int // commands
}

// checked fills in the defaults and refuses what makes no sense.
func (t Target) checked() (Target, error) {
	t.IQN = strings.ToLower(t.IQN)
	if t.Volume == "" {
		t.Volume = t.IQN
	}
	if t.BlockBytes == 0 {
		t.BlockBytes = 512
	}
	switch {
	case !validName(t.IQN):
		return t, errs.New(errs.Invalid, "target name %q: want iqn., eui. or naa., at most %d bytes of a-z 0-9 . - :", t.IQN, nameBytesMax)
	case t.Store == nil:
		return t, errs.New(errs.Invalid, "target %s: no store", t.IQN)
	case t.BlockBytes != 512 && t.BlockBytes != 4096:
		return t, errs.New(errs.Invalid, "target %s: blocks of %d bytes: want 512 or 4096", t.IQN, t.BlockBytes)
	case t.Store.Size() < int64(t.BlockBytes) || t.Store.Size()%int64(t.BlockBytes) != 0:
		return t, errs.New(errs.Invalid, "target %s: a store of %d bytes is not a whole number of blocks of %d", t.IQN, t.Store.Size(), t.BlockBytes)
	case t.Serial == "" || len(t.Serial) > serialBytesMax:
		return t, errs.New(errs.Invalid, "target %s: serial %q: want 1 to %d bytes", t.IQN, t.Serial, serialBytesMax)
	}
	return t.checkedAccess()
}

// checkedAccess checks who may come in: the zero value lets nobody in, so that a forgotten field never opens a volume.
func (t Target) checkedAccess() (Target, error) {
	if t.Open && t.CHAP != (CHAP{}) {
		return t, errs.New(errs.Invalid, "target %s: open, and with a secret: choose one", t.IQN)
	}
	if !t.Open {
		if err := t.CHAP.check(t.IQN); err != nil {
			return t, err
		}
	}
	if t.Mutual != (CHAP{}) {
		if err := t.Mutual.check(t.IQN); err != nil {
			return t, err
		}
		if t.Mutual.Secret == t.CHAP.Secret {
			return t, errs.New(errs.Invalid, "target %s: the same secret in both directions lets an answer be reflected", t.IQN)
		}
	}
	allowed := make([]string, 0, len(t.Initiators))
	for _, name := range t.Initiators {
		name = strings.ToLower(name)
		if !validName(name) {
			return t, errs.New(errs.Invalid, "target %s: initiator name %q: want iqn., eui. or naa.", t.IQN, name)
		}
		allowed = append(allowed, name)
	}
	t.Initiators = allowed
	return t, nil
}

func (c CHAP) check(iqn string) error {
	if c.User == "" || len(c.User) > nameBytesMax || strings.ContainsRune(c.User, 0) {
		return errs.New(errs.Invalid, "target %s: CHAP user: want 1 to %d bytes", iqn, nameBytesMax)
	}
	if n := len(c.Secret); n < secretBytesMin || n > secretBytesMax {
		return errs.New(errs.Invalid, "target %s: CHAP secret of %d bytes: want %d to %d", iqn, n, secretBytesMin, secretBytesMax)
	}
	return nil
}

// validName says whether name is an iSCSI name, already in lower case. Letters beyond ASCII are allowed by RFC 3722, and passed through.
func validName(name string) bool {
	if len(name) > nameBytesMax || len(name) < 5 {
		return false
	}
	if p := name[:4]; p != "iqn." && p != "eui." && p != "naa." {
		return false
	}
	for _, r := range name {
		if r <= ' ' || r == 0x7f || r == '/' || r == ',' || r == ';' || r == '=' {
			return false
		}
	}
	return true
}
