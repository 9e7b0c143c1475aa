package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	lv "github.com/digitalocean/go-libvirt"

	"henge/internal/errs"
)

// account is a user and a group.
type account struct{ uid, gid uint32 }

// label is how libvirt writes an account: the numbers, not names.
func (a account) label() string { return fmt.Sprintf("+%d:+%d", a.uid, a.gid) }

// Reach finds out whether QEMU gets to the files in dir. Libvirt runs it as a user of its own (Debian: libvirt-qemu) and gives that user a guest's files, but not the way there:
// where a directory above is closed, guests run as the owner of dir from now on, and Reach says why. Called before any guest is defined.
func (d *Driver) Reach(ctx context.Context, dir string) (why string, err error) {
	qemu, err := d.account(ctx)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	owner, err := ownerOf(dir)
	if err != nil {
		return "", err
	}
	closed, err := firstClosed(qemu, dir)
	if err != nil || closed == "" {
		return "", err
	}
	d.runAs = owner.label()
	return fmt.Sprintf("guests run as user %d, not as %d as libvirt would have it, who may not pass through %s", owner.uid, qemu.uid, closed), nil
}

// account is the one as which libvirt runs QEMU, by its own word (the security model "dac" of its capabilities).
func (d *Driver) account(ctx context.Context) (a account, err error) {
	var doc struct {
		Models []struct {
			Model  string `xml:"model"`
			Labels []struct {
				Type string `xml:"type,attr"`
				Text string `xml:",chardata"`
			} `xml:"baselabel"`
		} `xml:"host>secmodel"`
	}
	err = d.call(ctx, "ask for the capabilities", callTimeout, func(l *lv.Libvirt) error {
		raw, err := l.ConnectGetCapabilities()
		if err != nil {
			return err
		}
		return xml.Unmarshal([]byte(raw), &doc)
	})
	for _, m := range doc.Models {
		for _, label := range m.Labels {
			if m.Model != "dac" || label.Type != d.VirtType {
				continue
			}
			if _, err := fmt.Sscanf(label.Text, "+%d:+%d", &a.uid, &a.gid); err != nil {
				return a, errs.New(errs.Internal, "libvirt runs QEMU as %q: %w", label.Text, err)
			}
			return a, nil
		}
	}
	return a, err // libvirt leaves the account as it is: its own
}

// firstClosed is the first directory on the way to dir, itself included, through which an account may not pass by its mode; "" when there is none.
func firstClosed(who account, dir string) (string, error) {
	if who.uid == 0 {
		return "", nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if closed, err := firstClosed(who, parent); err != nil || closed != "" {
			return closed, err
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	owner, err := ownerOf(dir)
	bit := os.FileMode(0o001)
	switch {
	case owner.uid == who.uid:
		bit = 0o100
	case owner.gid == who.gid:
		bit = 0o010
	}
	if info.Mode()&bit == 0 {
		return dir, err
	}
	return "", err
}

func ownerOf(dir string) (account, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		return account{}, fmt.Errorf("stat %s: %w", dir, err)
	}
	return account{st.Uid, st.Gid}, nil
}
