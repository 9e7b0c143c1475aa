package libvirt

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"

	lv "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"

	"henge/computed/hypervisor"
	"henge/internal/errs"
)

// Config is what a driver stands on.
type Config struct {
	Socket string // libvirtd's; "": /run/libvirt/libvirt-sock
	// Owner marks the guests that are ours: other programs, and other peers on the machine, may use the same libvirtd.
	Owner    string
	VirtType string // kvm or qemu
}

// Driver runs guests. Safe for concurrent use.
type Driver struct {
	Config
	runAs string // the account as which QEMU runs, in libvirt's writing; "": libvirt's choice

	mu   sync.Mutex // guards conn
	conn *lv.Libvirt
}

const (
	dialTimeout = 5 * time.Second
	// callTimeout bounds a call of libvirt that should be quick; starting, saving and stopping a guest have longTimeout.
	callTimeout = 30 * time.Second
	longTimeout = 5 * time.Minute
)

// New connects to libvirtd: errors say why that cannot be done.
func New(cfg Config) (*Driver, error) {
	if cfg.Socket == "" {
		cfg.Socket = "/run/libvirt/libvirt-sock"
	}
	d := &Driver{Config: cfg}
	_, err := d.connect()
	return d, err
}

// connect gives the connection, made anew if it broke.
func (d *Driver) connect() (*lv.Libvirt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil && d.conn.IsConnected() {
		return d.conn, nil
	}
	l, err := d.dial()
	if err != nil {
		return nil, err
	}
	d.conn = l
	return l, nil
}

func (d *Driver) dial() (*lv.Libvirt, error) {
	l := lv.NewWithDialer(dialers.NewLocal(dialers.WithSocket(d.Socket), dialers.WithLocalTimeout(dialTimeout)))
	if err := l.ConnectToURI(lv.QEMUSystem); err != nil {
		return nil, fmt.Errorf("%w: connect to libvirtd: %w", hypervisor.ErrDown, err)
	}
	return l, nil
}

// Close ends the connection. Guests run on.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil || !d.conn.IsConnected() {
		return nil
	}
	return d.conn.Disconnect()
}

// call makes one call of libvirt, which takes no context of its own: when ctx ends, or it takes too long, its answer is not waited for.
func (d *Driver) call(ctx context.Context, what string, limit time.Duration, fn func(l *lv.Libvirt) error) error {
	l, err := d.connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- fn(l) }()
	select {
	case err = <-done:
	case <-l.Disconnected():
		return fmt.Errorf("%w: %s: libvirtd went away", hypervisor.ErrDown, what)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	return d.classify(l, what, err)
}

// Numbers of libvirt's errors (virterror.h).
const (
	noDomain         = 42
	operationInvalid = 55
	noSecret         = 66
	deviceMissing    = 99
)

func (d *Driver) classify(l *lv.Libvirt, what string, err error) error {
	if err == nil {
		return nil
	}
	var known lv.Error
	if !errors.As(err, &known) {
		// Whoever writes may learn of the end of a connection before its reader does.
		if broken := (*net.OpError)(nil); !l.IsConnected() || errors.As(err, &broken) || errors.Is(err, lv.ErrInterrupted) {
			return fmt.Errorf("%w: %s: %w", hypervisor.ErrDown, what, err)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	kind := errs.Internal
	switch known.Code {
	case noDomain, noSecret, deviceMissing:
		kind = errs.NotFound
	case operationInvalid:
		kind = errs.Conflict
	}
	return errs.New(kind, "%s: libvirt: %s", what, cause(known.Message))
}

// optionInJSON is what QEMU puts before its complaint about an option: the time, and the option whole, of many hundred bytes.
var optionInJSON = regexp.MustCompile(`(?:\d[\dT:.-]+Z )?qemu-system-[^\s:]+: (-[a-z]+) \{.*\}: `)

// cause is a message of libvirt without what hides its point: a fault has room for so much only.
func cause(message string) string { return optionInJSON.ReplaceAllString(message, "QEMU: $1: ") }

// on makes a call on a guest.
func (d *Driver) on(ctx context.Context, what, id string, limit time.Duration, fn func(l *lv.Libvirt, dom lv.Domain) error) error {
	uuid, err := parseUUID(id)
	if err != nil {
		return err
	}
	return d.call(ctx, what+" guest "+id, limit, func(l *lv.Libvirt) error {
		dom, err := l.DomainLookupByUUID(uuid)
		if err != nil {
			return err
		}
		return fn(l, dom)
	})
}

func parseUUID(id string) (u lv.UUID, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil || len(raw) != len(u) {
		return u, errs.New(errs.NotFound, "no guest %q", id)
	}
	copy(u[:], raw)
	return u, nil
}

func formatUUID(u lv.UUID) string {
	s := hex.EncodeToString(u[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// gone is for calls that make something go away.
func gone(err error) error {
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}
