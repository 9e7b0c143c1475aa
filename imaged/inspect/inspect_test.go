package inspect_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"henge/imaged/inspect"
	"henge/internal/errs"
)

// qemu makes an image with qemu-img and gives its bytes.
func qemu(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	for i, a := range args {
		if a == "FILE" {
			args[i] = path
		}
	}
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func findings(t *testing.T, raw []byte) inspect.Findings {
	t.Helper()
	in := inspect.New()
	// In pieces of odd sizes: headers must be found across them.
	for r := bytes.NewReader(raw); ; {
		n, err := io.CopyN(in, r, 4093)
		if err == io.EOF && n < 4093 {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return in.Findings()
}

// isoImage is the smallest thing that is an ISO 9660 image to us.
func isoImage() []byte {
	raw := make([]byte, 40<<10)
	copy(raw[0x8000:], "\x01CD001\x01")
	return raw
}

func TestFindings_WhatQEMUMakes(t *testing.T) {
	const size = 8 << 20
	for _, c := range []struct {
		name, format string
		args         []string
	}{
		{"qcow2", "qcow2", []string{"create", "-f", "qcow2", "FILE", "8M"}},
		{"qcow2 version 2", "qcow2", []string{"create", "-f", "qcow2", "-o", "compat=0.10", "FILE", "8M"}},
		{"qcow2, extended entries", "qcow2", []string{"create", "-f", "qcow2", "-o", "extended_l2=on", "FILE", "8M"}},
		{"vmdk", "vmdk", []string{"create", "-f", "vmdk", "FILE", "8M"}},
		{"vmdk stream", "vmdk", []string{"create", "-f", "vmdk", "-o", "subformat=streamOptimized", "FILE", "8M"}},
		{"vdi", "vdi", []string{"create", "-f", "vdi", "FILE", "8M"}},
		{"vdi static", "vdi", []string{"create", "-f", "vdi", "-o", "static=on", "FILE", "8M"}},
		{"vhd", "vhd", []string{"create", "-f", "vpc", "-o", "force_size=on", "FILE", "8M"}},
		{"vhd fixed", "vhd", []string{"create", "-f", "vpc", "-o", "subformat=fixed,force_size=on", "FILE", "8M"}},
		{"raw", "raw", []string{"create", "-f", "raw", "FILE", "8M"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := findings(t, qemu(t, "image", c.args...))
			if found.Format != c.format || found.VirtualSize != size || found.Unsafe != "" {
				t.Fatalf("found %+v", found)
			}
			for _, said := range []string{"raw", "qcow2", "vmdk", "vdi", "vhd", "iso", "ami"} {
				good := said == c.format || c.format == "raw" && said == "ami"
				if err := found.Accept(said); (err == nil) != good || err != nil && !errs.Is(err, errs.Invalid) {
					t.Errorf("as %s: %v", said, err)
				}
			}
		})
	}
}

func TestFindings_OtherFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "base.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-f", "qcow2", base, "8M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	plain := qemu(t, "image", "create", "-f", "vmdk", "FILE", "8M")
	vdi := qemu(t, "image", "create", "-f", "vdi", "FILE", "8M")
	vhd := qemu(t, "image", "create", "-f", "vpc", "FILE", "8M")
	edit := func(raw []byte, change func([]byte)) []byte {
		raw = bytes.Clone(raw)
		change(raw)
		return raw
	}
	descriptor := func(old, now string) []byte {
		at := bytes.Index(plain, []byte(old))
		if at < 0 {
			t.Fatalf("no %q in the descriptor", old)
		}
		return edit(plain, func(raw []byte) {
			copy(raw[at:], append([]byte(now), bytes.Repeat([]byte{' '}, max(0, len(old)-len(now)))...))
		})
	}
	for _, c := range []struct {
		name, format, why string
		raw               []byte
	}{
		{"backing file", "qcow2", "backing file", qemu(t, "image", "create", "-f", "qcow2", "-b", base, "-F", "qcow2", "FILE")},
		{"data file", "qcow2", "data in another file", qemu(t, "image", "create", "-f", "qcow2", "-o", "data_file="+filepath.Join(dir, "data.raw"), "FILE", "8M")},
		{"unknown feature", "qcow2", "features", edit(qemu(t, "image", "create", "-f", "qcow2", "FILE", "8M"), func(raw []byte) { raw[72] = 1 })},
		{"vmdk that names files", "vmdk", "extents are other files", qemu(t, "image", "create", "-f", "vmdk", "-o", "subformat=monolithicFlat", "FILE", "8M")},
		{"vmdk of another kind", "vmdk", "kind", descriptor("monolithicSparse", "monolithicFlat")},
		{"vmdk with a flat extent", "vmdk", "SPARSE", descriptor(" SPARSE ", " FLAT ")},
		{"vmdk with a path", "vmdk", "path", descriptor(`SPARSE "image`, `SPARSE "/etc/`)},
		{"vmdk with a parent", "vmdk", "parent", descriptor("parentCID=ffffffff", "parentCID=00000001")},
		{"vmdk with no disk", "vmdk", "empty disk", edit(plain, func(raw []byte) { clear(raw[12:20]) })},
		{"vdi difference", "vdi", "difference", edit(vdi, func(raw []byte) { raw[0x4c] = 4 })},
		{"vdi with a parent", "vdi", "parent", edit(vdi, func(raw []byte) { raw[0x1bb] = 1 })},
		{"vhd difference", "vhd", "checksum", edit(vhd, func(raw []byte) { raw[63], raw[len(raw)-512+63] = 4, 4 })},
		{"two formats at once", "qcow2", "ISO 9660", edit(qemu(t, "image", "create", "-f", "qcow2", "FILE", "8M"), func(raw []byte) { copy(raw[0x8000:], "\x01CD001") })},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := findings(t, c.raw)
			err := found.Accept(c.format)
			if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.why) {
				t.Fatalf("found %+v, and said %v", found, err)
			}
			if err := found.Accept("raw"); err == nil {
				t.Fatal("it passed for raw")
			}
		})
	}
}

func TestFindings_DifferencingVHD(t *testing.T) {
	raw := make([]byte, 1024)
	footer := raw[512:]
	copy(footer, "conectix")
	binary.BigEndian.PutUint32(footer[60:], 4)
	sum := uint32(0)
	for _, b := range footer {
		sum += uint32(b)
	}
	binary.BigEndian.PutUint32(footer[64:], ^sum)
	if found := findings(t, raw); found.Format != "vhd" || !strings.Contains(found.Unsafe, "parent") {
		t.Fatalf("found %+v", found)
	}
}

func TestFindings_ISOAndOthers(t *testing.T) {
	if found := findings(t, isoImage()); found.Format != "iso" || found.Accept("iso") != nil || found.Accept("raw") != nil || found.Accept("qcow2") == nil {
		t.Fatalf("an ISO: %+v", found)
	}
	if err := findings(t, []byte("hello")).Accept("iso"); err == nil {
		t.Fatal("text passed for an ISO")
	}
	for _, c := range [][2]string{{"qed", "QED\x00"}, {"vhdx", "vhdxfile"}, {"qcow", "QFI\xfb\x00\x00\x00\x01"}, {"ploop", "WithoutFreeSpace"}} {
		if found := findings(t, []byte(c[1]+strings.Repeat("\x00", 1000))); !strings.HasPrefix(found.Format, c[0]) || found.Accept("raw") == nil {
			t.Errorf("%s: %+v", c[0], found)
		}
	}
}

func TestEarly(t *testing.T) {
	in := inspect.New()
	_, _ = in.Write(make([]byte, 1000))
	if err := in.Early("qcow2"); err != nil {
		t.Fatalf("too early: %v", err)
	}
	_, _ = in.Write(make([]byte, 100_000))
	if err := in.Early("qcow2"); !errs.Is(err, errs.Invalid) {
		t.Fatalf("zeros as qcow2: %v", err)
	}
	if err := in.Early("vhd"); err != nil { // its footer may still come
		t.Fatalf("zeros as vhd: %v", err)
	}
}

// Whatever the bytes are, the inspector ends, and what it accepts as raw has no other format's magic.
func FuzzInspect(f *testing.F) {
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03"), 1)
	f.Add([]byte("KDMV\x01\x00\x00\x00"), 7)
	f.Add([]byte("# Disk DescriptorFile\n"), 3)
	f.Add([]byte("conectix"), 2)
	f.Add(isoImage(), 4096)
	f.Fuzz(func(t *testing.T, raw []byte, step int) {
		step = max(1, step%8192)
		in := inspect.New()
		for rest := raw; len(rest) > 0; {
			n := min(step, len(rest))
			_, _ = in.Write(rest[:n])
			rest = rest[n:]
			_ = in.Early("qcow2")
		}
		whole := inspect.New()
		_, _ = whole.Write(raw)
		found := in.Findings()
		if found != whole.Findings() {
			t.Fatalf("in pieces %+v, whole %+v", found, whole.Findings())
		}
		if found.VirtualSize < 0 {
			t.Fatalf("a size below nothing: %+v", found)
		}
		if found.Accept("raw") == nil && bytes.HasPrefix(raw, []byte("QFI\xfb")) {
			t.Fatal("a QCOW2 passed for raw")
		}
	})
}
