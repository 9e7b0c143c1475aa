package inspect

import (
	"bytes"
	"encoding/binary"
	"strings"

	"henge/internal/errs"
)

// The formats that content can be found to be, by Glance's names. Raw is whatever is nothing else.
const (
	Raw   = "raw"
	QCOW2 = "qcow2"
	VMDK  = "vmdk"
	VDI   = "vdi"
	VHD   = "vhd"
	ISO   = "iso"
)

const (
	headBytes = 1 << 20  // kept from the beginning: every header and descriptor that we accept lies in it
	tailBytes = 3 * 512  // kept from the end: VHD's footer, and VMDK's with its markers
	earlyFrom = 64 << 10 // from here on most formats are known
)

// Findings say what content is.
type Findings struct {
	Format      string
	VirtualSize int64
	// Unsafe is why nobody should open the content, "" if there is no reason.
	Unsafe string
}

// Inspector is written an image from its beginning to its end.
type Inspector struct {
	head []byte
	tail []byte
	size int64
}

// New makes an inspector for one image.
func New() *Inspector { return &Inspector{} }

// Write takes the next bytes. It never fails.
func (in *Inspector) Write(p []byte) (int, error) {
	if room := headBytes - len(in.head); room > 0 {
		in.head = append(in.head, p[:min(room, len(p))]...)
	}
	in.size += int64(len(p))
	if len(p) >= tailBytes {
		in.tail = append(in.tail[:0], p[len(p)-tailBytes:]...)
		return len(p), nil
	}
	in.tail = append(in.tail, p...)
	if over := len(in.tail) - tailBytes; over > 0 {
		in.tail = append(in.tail[:0], in.tail[over:]...)
	}
	return len(p), nil
}

// Findings are what is known when everything was written.
func (in *Inspector) Findings() Findings {
	found := in.find()
	if also := in.iso(); also && found.Format != Raw && found.Format != ISO && found.Unsafe == "" {
		found.Unsafe = "it is " + article(found.Format) + " and an ISO 9660 image at once"
	}
	return found
}

func (in *Inspector) find() Findings {
	for _, f := range []struct {
		matches func() bool
		read    func() Findings
	}{
		{in.magic("QFI\xfb"), in.qcow2},
		{in.magic("KDMV"), in.vmdk},
		{in.magic("# Disk DescriptorFile"), in.vmdkDescriptor},
		{in.magic("COWD"), foreign("vmdk-cowd")},
		{in.magic("QED\x00"), foreign("qed")},
		{in.magic("vhdxfile"), foreign("vhdx")},
		{in.magic("WithoutFreeSpace"), foreign("ploop")},
		{in.magic("WithouFreSpacExt"), foreign("ploop")},
		{in.isVDI, in.vdi},
		{in.isVHD, in.vhd},
		{in.iso, func() Findings { return Findings{Format: ISO, VirtualSize: in.size} }},
	} {
		if f.matches() {
			return f.read()
		}
	}
	return Findings{Format: Raw, VirtualSize: in.size}
}

func (in *Inspector) magic(text string) func() bool {
	return func() bool { return bytes.HasPrefix(in.head, []byte(text)) }
}

// foreign is a format that is known well enough to be refused.
func foreign(name string) func() Findings { return func() Findings { return Findings{Format: name} } }

func (in *Inspector) iso() bool { return string(in.at(0x8001, 5)) == "CD001" }

// at gives bytes of the head; nil where it does not reach.
func (in *Inspector) at(offset, n int64) []byte {
	if offset < 0 || n < 0 || offset > int64(len(in.head)) || n > int64(len(in.head))-offset {
		return nil
	}
	return in.head[offset : offset+n]
}

// Accept tells whether content can stand under a disk_format: errs.Invalid with the reason if not.
func (f Findings) Accept(diskFormat string) error {
	switch diskFormat {
	case Raw, "ami", "aki", "ari":
		// Any bytes are a raw image; but those of another format would be opened as that format by whoever guesses.
		if f.Format != Raw && f.Format != ISO {
			return errs.New(errs.Invalid, "The image data is %s, not %s: set disk_format to what the data is, or convert it.", article(f.Format), diskFormat)
		}
	default:
		if f.Format != diskFormat {
			return errs.New(errs.Invalid, "The image data is not %s, as disk_format says: it is %s.", article(diskFormat), article(f.Format))
		}
	}
	if f.Unsafe != "" {
		return errs.New(errs.Invalid, "The image data is refused: %s.", f.Unsafe)
	}
	return nil
}

// Early is Accept for content that has just begun: it only refuses what no further byte can mend.
func (in *Inspector) Early(diskFormat string) error {
	if in.size < earlyFrom {
		return nil
	}
	if found := in.find(); found.Format == QCOW2 || diskFormat == QCOW2 || diskFormat == VDI || diskFormat == ISO {
		return in.Findings().Accept(diskFormat)
	}
	return nil
}

func article(format string) string {
	switch format {
	case Raw:
		return "raw data of no known format"
	case "ami", "aki", "ari", ISO:
		return "an " + strings.ToUpper(format)
	}
	return "a " + strings.ToUpper(format)
}

// The fields of headers. They are only asked for offsets that were checked to be there; beyond, they are zero.
func be32(b []byte, at int) uint32 { return binary.BigEndian.Uint32(field(b, at, 4)) }
func be64(b []byte, at int) uint64 { return binary.BigEndian.Uint64(field(b, at, 8)) }
func le32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(field(b, at, 4)) }
func le64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(field(b, at, 8)) }

func field(b []byte, at, n int) []byte {
	if at+n > len(b) {
		return make([]byte, n)
	}
	return b[at : at+n]
}

// sizeOf takes a disk's size out of a header: nothing that is real is larger than 2^62 bytes.
func (f *Findings) sizeOf(n uint64) {
	if n > 1<<62 {
		f.unsafe("its header claims a disk of an impossible size")
		return
	}
	f.VirtualSize = int64(n)
}

// unsafe keeps the first reason.
func (f *Findings) unsafe(why string) {
	if f.Unsafe == "" {
		f.Unsafe = why
	}
}
