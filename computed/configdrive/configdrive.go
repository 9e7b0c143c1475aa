// Package configdrive writes config drives: small ISO 9660 images with Joliet names and the label config-2, which cloud-init looks for. Files and directories only; names
// of at most 64 characters. Pure: bytes out, no disk of its own.
package configdrive

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"henge/internal/errs"
)

// File is one file of the drive.
type File struct {
	Path string // with slashes, no leading one
	Data []byte
}

// Label is the drive's name.
const Label = "config-2"

const (
	sector        = 2048
	nameMax       = 64
	driveBytesMax = 64 << 20
)

// node is a file or directory; each has a place in two trees, one for each kind of names.
type node struct {
	name     string
	data     []byte
	dir      bool
	children []*node
	parent   *node
	number   int // of a directory in the path table
	at       uint32
	extent   [2]uint32 // of a directory: plain and Joliet
	bytes    [2]uint32
}

// tree kinds.
const (
	plain = iota
	joliet
)

// Write writes the image. The same files and time give the same bytes.
func Write(w io.Writer, files []File, made time.Time) error {
	root, err := grow(files)
	if err != nil {
		return err
	}
	dirs := directories(root)
	next := uint32(19) // after the system area and three descriptors
	var tables [2]uint32
	var tableBytes [2]int
	for kind := range tables {
		tables[kind] = next
		tableBytes[kind] = len(pathTable(dirs, kind, binary.LittleEndian))
		next += 2 * sectors(tableBytes[kind]) // little- and big-endian
	}
	for kind := range tables {
		for _, d := range dirs {
			d.extent[kind], d.bytes[kind] = next, dirBytes(d, kind)
			next += d.bytes[kind] / sector
		}
	}
	var leaves []*node
	for _, d := range dirs {
		for _, c := range d.children {
			if !c.dir {
				c.at = next
				next += sectors(len(c.data))
				leaves = append(leaves, c)
			}
		}
	}
	if int64(next)*sector > driveBytesMax {
		return errs.New(errs.TooLarge, "a config drive has at most %d bytes", driveBytesMax)
	}
	out := &padded{w: w}
	out.write(make([]byte, 16*sector))
	for kind := range tables {
		out.write(descriptor(root, kind, next, tables[kind], uint32(tableBytes[kind]), made))
	}
	out.write(append([]byte{255}, "CD001\x01"...))
	for kind := range tables {
		out.write(pathTable(dirs, kind, binary.LittleEndian))
		out.write(pathTable(dirs, kind, binary.BigEndian))
	}
	for kind := range tables {
		for _, d := range dirs {
			out.write(records(d, kind, made))
		}
	}
	for _, f := range leaves {
		out.write(f.data)
	}
	return out.err
}

// padded fills everything up to whole sectors.
type padded struct {
	w   io.Writer
	err error
}

func (p *padded) write(b []byte) {
	if p.err == nil {
		_, p.err = p.w.Write(b)
	}
	if rest := len(b) % sector; rest > 0 && p.err == nil {
		_, p.err = p.w.Write(make([]byte, sector-rest))
	}
}

func sectors(n int) uint32 { return uint32((n + sector - 1) / sector) }

func grow(files []File) (*node, error) {
	root := &node{dir: true}
	root.parent = root
	for _, f := range files {
		at := root
		parts := strings.Split(f.Path, "/")
		for i, name := range parts {
			if name == "" || name == "." || name == ".." || len(name) > nameMax {
				return nil, errs.New(errs.Invalid, "config drive: the path %q cannot be", f.Path)
			}
			k := slices.IndexFunc(at.children, func(n *node) bool { return n.name == name })
			last := i == len(parts)-1
			if k < 0 {
				at.children = append(at.children, &node{name: name, dir: !last, parent: at})
				k = len(at.children) - 1
			} else if last || !at.children[k].dir {
				return nil, errs.New(errs.Invalid, "config drive: the path %q is there twice", f.Path)
			}
			at = at.children[k]
		}
		at.data = f.Data
	}
	return root, nil
}

// directories are all of them, each level after the one above, as path tables want them.
func directories(root *node) []*node {
	all := []*node{root}
	for i := 0; i < len(all); i++ {
		d := all[i]
		d.number = i + 1
		slices.SortFunc(d.children, func(a, b *node) int { return strings.Compare(string(a.encoded(plain)), string(b.encoded(plain))) })
		for _, c := range d.children {
			if c.dir {
				all = append(all, c)
			}
		}
	}
	return all
}

// encoded is the name as a tree of a kind holds it.
func (n *node) encoded(kind int) []byte {
	if kind == joliet {
		var b []byte
		for _, u := range utf16.Encode([]rune(n.name)) {
			b = binary.BigEndian.AppendUint16(b, u)
		}
		return b
	}
	b := []byte(strings.ToUpper(n.name))
	dot := false
	for i, c := range b {
		switch {
		case c == '.' && !dot && !n.dir:
			dot = true
		case (c < 'A' || c > 'Z') && (c < '0' || c > '9'):
			b[i] = '_'
		}
	}
	b = b[:min(len(b), 30)]
	if !n.dir {
		if !dot {
			b = append(b, '.')
		}
		b = append(b, ";1"...)
	}
	return b
}

func both16(b []byte, n uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, n), n)
}

func both32(b []byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, n), n)
}

// record is one entry of a directory.
func record(name []byte, extent, size uint32, dir bool, made time.Time) []byte {
	made = made.UTC()
	b := []byte{0, 0}
	b = both32(b, extent)
	b = both32(b, size)
	b = append(b, byte(made.Year()-1900), byte(made.Month()), byte(made.Day()), byte(made.Hour()), byte(made.Minute()), byte(made.Second()), 0)
	flags := byte(0)
	if dir {
		flags = 2
	}
	b = append(b, flags, 0, 0)
	b = both16(b, 1)
	b = append(b, byte(len(name)))
	b = append(b, name...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	b[0] = byte(len(b))
	return b
}

// records are a directory's sectors: no record crosses from one into the next.
func records(d *node, kind int, made time.Time) []byte {
	entries := [][]byte{record([]byte{0}, d.extent[kind], d.bytes[kind], true, made), record([]byte{1}, d.parent.extent[kind], d.parent.bytes[kind], true, made)}
	for _, c := range d.children {
		if c.dir {
			entries = append(entries, record(c.encoded(kind), c.extent[kind], c.bytes[kind], true, made))
		} else {
			entries = append(entries, record(c.encoded(kind), c.at, uint32(len(c.data)), false, made))
		}
	}
	var b []byte
	for _, e := range entries {
		if len(b)%sector+len(e) > sector {
			b = append(b, make([]byte, sector-len(b)%sector)...)
		}
		b = append(b, e...)
	}
	return b
}

func dirBytes(d *node, kind int) uint32 {
	return sectors(len(records(d, kind, time.Time{}))) * sector
}

func pathTable(dirs []*node, kind int, order binary.AppendByteOrder) []byte {
	var b []byte
	for i, d := range dirs {
		name := d.encoded(kind)
		if i == 0 {
			name = []byte{0}
		}
		b = append(b, byte(len(name)), 0)
		b = order.AppendUint32(b, d.extent[kind])
		b = order.AppendUint16(b, uint16(d.parent.number))
		b = append(b, name...)
		if len(name)%2 == 1 {
			b = append(b, 0)
		}
	}
	return b
}

// descriptor is a volume descriptor: the primary one, or Joliet's.
func descriptor(root *node, kind int, blocks, table, tableBytes uint32, made time.Time) []byte {
	text := func(s string, n int) []byte {
		if kind == plain {
			return []byte(fmt.Sprintf("%-*s", n, s))
		}
		var b []byte
		for i := range n / 2 {
			c := byte(' ')
			if i < len(s) {
				c = s[i]
			}
			b = append(b, 0, c)
		}
		return append(b, make([]byte, n%2)...)
	}
	b := append([]byte{byte(kind + 1)}, "CD001\x01\x00"...)
	b = append(b, text("", 32)...)
	b = append(b, text(Label, 32)...)
	b = append(b, make([]byte, 8)...)
	b = both32(b, blocks)
	escape := make([]byte, 32)
	if kind == joliet {
		copy(escape, "%/E") // UCS-2, level 3
	}
	b = append(b, escape...)
	b = both16(b, 1)
	b = both16(b, 1)
	b = both16(b, sector)
	b = both32(b, tableBytes)
	b = binary.LittleEndian.AppendUint32(b, table)
	b = append(b, make([]byte, 4)...)
	b = binary.BigEndian.AppendUint32(b, table+sectors(int(tableBytes)))
	b = append(b, make([]byte, 4)...)
	b = append(b, record([]byte{0}, root.extent[kind], root.bytes[kind], true, made)...)
	for _, n := range []int{128, 128, 128, 128, 37, 37, 37} {
		b = append(b, text("", n)...)
	}
	stamp := made.UTC().Format("20060102150405") + "00\x00"
	b = append(b, stamp...)
	b = append(b, stamp...)
	b = append(b, "0000000000000000\x00"+"0000000000000000\x00"...)
	return append(b, 1)
}
