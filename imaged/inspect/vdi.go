package inspect

import "fmt"

const vdiSignature = 0xbeda107f

func (in *Inspector) isVDI() bool { return le32(in.head, 0x40) == vdiSignature }

func (in *Inspector) vdi() Findings {
	found := Findings{Format: VDI}
	if len(in.head) < sector {
		found.unsafe("its VDI header is cut short")
		return found
	}
	if version := le32(in.head, 0x44); version != 0x00010001 {
		found.unsafe(fmt.Sprintf("its VDI header is of version %d.%d, which is not known", version>>16, version&0xffff))
	}
	if kind := le32(in.head, 0x4c); kind != 1 && kind != 2 {
		found.unsafe("it is a VDI that is only the difference to another file")
	}
	for at := 0x1a8; at < 0x1c8; at += 8 { // the UUIDs of a link and of a parent
		if le64(in.head, at) != 0 {
			found.unsafe("its VDI header names a parent, a file of the host that opens it")
		}
	}
	found.sizeOf(le64(in.head, 0x170))
	return found
}
