package inspect

import "fmt"

// Bits of a version 3 header's incompatible features.
const (
	qcow2Corrupt  = 1 << 1
	qcow2DataFile = 1 << 2
	qcow2Known    = 1<<5 - 1 // dirty, corrupt, data file, compression type, extended L2 entries
)

// qcow2ExtDataFile is the header extension that names a data file.
const qcow2ExtDataFile = 0x44415441

func (in *Inspector) qcow2() Findings {
	found := Findings{Format: QCOW2}
	version := be32(in.head, 4)
	switch {
	case version == 1:
		return Findings{Format: "qcow (version 1)"}
	case version != 2 && version != 3:
		found.unsafe(fmt.Sprintf("its QCOW2 header is of version %d, which is not known", version))
		return found
	case len(in.head) < 72 || version == 3 && len(in.head) < 104:
		found.unsafe("its QCOW2 header is cut short")
		return found
	}
	found.sizeOf(be64(in.head, 24))
	if be64(in.head, 8) != 0 || be32(in.head, 16) != 0 {
		found.unsafe("it names a backing file, a file of the host that opens it; flatten it (qemu-img convert)")
	}
	if bits := be32(in.head, 20); bits < 9 || bits > 21 {
		found.unsafe(fmt.Sprintf("its QCOW2 header claims clusters of 2^%d bytes", bits))
	}
	if version == 3 {
		in.qcow2Features(&found)
	}
	in.qcow2Extensions(&found, version)
	return found
}

func (in *Inspector) qcow2Features(found *Findings) {
	features := be64(in.head, 72)
	switch {
	case features&qcow2DataFile != 0:
		found.unsafe("it keeps its data in another file, a file of the host that opens it; convert it (qemu-img convert)")
	case features&qcow2Corrupt != 0:
		found.unsafe("its QCOW2 header is marked corrupt; repair it (qemu-img check -r all)")
	case features&^uint64(qcow2Known) != 0:
		found.unsafe("its QCOW2 header asks for features that are not known")
	}
}

// qcow2Extensions walks the header extensions, as far as they lie in the head.
func (in *Inspector) qcow2Extensions(found *Findings, version uint32) {
	at := int64(72)
	if version == 3 {
		at = int64(be32(in.head, 100))
	}
	for range 64 {
		entry := in.at(at, 8)
		if entry == nil || be32(entry, 0) == 0 {
			return
		}
		if be32(entry, 0) == qcow2ExtDataFile {
			found.unsafe("it names a data file, a file of the host that opens it; convert it (qemu-img convert)")
			return
		}
		at += 8 + (int64(be32(entry, 4))+7)&^7
	}
	found.unsafe("its QCOW2 header has too many extensions")
}
