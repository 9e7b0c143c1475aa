package inspect

import "bytes"

// The types of a VHD.
const (
	vhdFixed   = 2
	vhdDynamic = 3
	vhdDiff    = 4
)

// vhdFooter is the footer, of which a dynamic disk has a copy in front.
func (in *Inspector) vhdFooter() []byte {
	for _, at := range [][]byte{in.at(0, sector), in.tail[max(0, len(in.tail)-sector):]} {
		if len(at) == sector && bytes.HasPrefix(at, []byte("conectix")) && vhdSum(at) == be32(at, 64) {
			return at
		}
	}
	return nil
}

// vhdSum is the footer's checksum: of all bytes but its own.
func vhdSum(footer []byte) uint32 {
	sum := uint32(0)
	for i, b := range footer {
		if i < 64 || i >= 68 {
			sum += uint32(b)
		}
	}
	return ^sum
}

func (in *Inspector) isVHD() bool {
	return bytes.HasPrefix(in.head, []byte("conectix")) || in.vhdFooter() != nil
}

func (in *Inspector) vhd() Findings {
	found := Findings{Format: VHD}
	footer := in.vhdFooter()
	if footer == nil {
		found.unsafe("its VHD footer does not match its checksum, or is cut short")
		return found
	}
	found.sizeOf(be64(footer, 48))
	switch be32(footer, 60) {
	case vhdFixed, vhdDynamic:
	case vhdDiff:
		found.unsafe("it is a VHD that is only the difference to a parent, a file of the host that opens it")
	default:
		found.unsafe("it is a VHD of a kind that is not known")
	}
	return found
}
