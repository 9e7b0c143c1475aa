package inspect

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
)

const (
	sector          = 512
	vmdkAtEnd       = ^uint64(0) // the grain directory is told by a footer
	vmdkDescription = 64 << 10   // the longest descriptor that we read
)

// vmdkKinds are the kinds that lie in one file with their descriptor.
var vmdkKinds = []string{"monolithicSparse", "streamOptimized"}

// vmdkDescriptor is a text file: by its nature it only names other files.
func (in *Inspector) vmdkDescriptor() Findings {
	return Findings{Format: VMDK, Unsafe: "it is a VMDK descriptor whose extents are other files; convert it to monolithicSparse or streamOptimized (qemu-img convert)"}
}

func (in *Inspector) vmdk() Findings {
	found := Findings{Format: VMDK}
	if len(in.head) < sector {
		found.unsafe("its VMDK header is cut short")
		return found
	}
	if version := le32(in.head, 4); version < 1 || version > 3 {
		found.unsafe(fmt.Sprintf("its VMDK header is of version %d, which is not known", version))
	}
	capacity := le64(in.head, 12)
	if capacity == 0 { // QEMU then opens whatever the descriptor names
		found.unsafe("its VMDK header claims an empty disk")
		return found
	}
	if capacity > 1<<53 {
		found.unsafe("its header claims a disk of an impossible size")
		return found
	}
	found.sizeOf(capacity * sector)
	offset, sectors := le64(in.head, 28), le64(in.head, 36)
	if offset == 0 || sectors == 0 || offset > headBytes/sector || sectors > vmdkDescription/sector {
		found.unsafe("its VMDK header has no descriptor where one belongs")
		return found
	}
	text := in.at(int64(offset*sector), int64(sectors*sector))
	if text == nil {
		found.unsafe("its VMDK descriptor is cut short")
		return found
	}
	if why := judgeDescriptor(text); why != "" {
		found.unsafe(why)
	}
	if le64(in.head, 56) == vmdkAtEnd && !in.vmdkFooterAgrees() {
		found.unsafe("its VMDK footer does not agree with its header")
	}
	return found
}

// vmdkFooterAgrees compares the footer with the header: whoever opens the image believes the footer.
func (in *Inspector) vmdkFooterAgrees() bool {
	if len(in.tail) < tailBytes {
		return false
	}
	footer := in.tail[sector : 2*sector]
	same := func(from, to int) bool { return bytes.Equal(footer[from:to], in.head[from:to]) }
	return same(0, 4) && same(12, 28) // the magic, the capacity and the size of grains
}

// judgeDescriptor is why a descriptor is refused, "" if it is not.
func judgeDescriptor(text []byte) string {
	if end := bytes.IndexByte(text, 0); end >= 0 {
		text = text[:end]
	}
	kind, extents := "", 0
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		name, value, assigned := strings.Cut(line, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.Trim(strings.TrimSpace(value), `"`)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case assigned && name == "createtype":
			if kind != "" && kind != value {
				return "its VMDK descriptor tells two kinds"
			}
			kind = value
		case assigned && name == "parentcid" && !strings.EqualFold(value, "ffffffff"), assigned && name == "parentfilenamehint":
			return "its VMDK descriptor names a parent, a file of the host that opens it"
		case isExtent(line):
			if extents++; extents > 1 {
				return "its VMDK descriptor names more than one extent: others are files of the host that opens it"
			}
			if why := judgeExtent(line); why != "" {
				return why
			}
		}
	}
	switch {
	case lines.Err() != nil:
		return "its VMDK descriptor cannot be read"
	case !slices.Contains(vmdkKinds, kind):
		return fmt.Sprintf("it is a VMDK of the kind %.40q; %s can be taken", kind, strings.Join(vmdkKinds, " and "))
	case extents == 0:
		return "its VMDK descriptor names no extent"
	}
	return ""
}

// isExtent tells whether a line of a descriptor describes an extent: access, sectors, kind, file.
func isExtent(line string) bool {
	word, _, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	return slices.Contains([]string{"RW", "RDONLY", "NOACCESS"}, strings.ToUpper(word))
}

func judgeExtent(line string) string {
	fields := strings.Fields(line)
	if len(fields) < 4 || !strings.EqualFold(fields[2], "SPARSE") {
		return "its VMDK descriptor names an extent that is not SPARSE: such an extent is a file of the host that opens it"
	}
	if name := strings.Join(fields[3:], " "); strings.ContainsAny(name, `/\`) {
		return "its VMDK descriptor names a file by its path"
	}
	return ""
}
