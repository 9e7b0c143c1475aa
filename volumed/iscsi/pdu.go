package iscsi

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"henge/internal/checksum"
)

// Opcodes of RFC 7143, 11.2.1.2.
const (
	opNopOut    = 0x00
	opCommand   = 0x01
	opTask      = 0x02
	opLogin     = 0x03
	opText      = 0x04
	opDataOut   = 0x05
	opLogout    = 0x06
	opSNACK     = 0x10
	opNopIn     = 0x20
	opResponse  = 0x21
	opTaskDone  = 0x22
	opLoginDone = 0x23
	opTextDone  = 0x24
	opDataIn    = 0x25
	opLogoutEnd = 0x26
	opR2T       = 0x31
	opAsync     = 0x32
	opReject    = 0x3f
)

const (
	headerBytes  = 48
	immediateBit = 0x40
	finalBit     = 0x80
	continueBit  = 0x40
	noTag        = 0xffffffff

	// dataBytesMax is the MaxRecvDataSegmentLength that we declare; before login it is RFC 7143's default.
	dataBytesMax      = 256 << 10
	loginDataBytesMax = 8 << 10
)

// header is a basic header segment.
type header [headerBytes]byte

func (h *header) opcode() byte      { return h[0] & 0x3f }
func (h *header) immediate() bool   { return h[0]&immediateBit != 0 }
func (h *header) ahsBytes() int     { return int(h[4]) * 4 }
func (h *header) dataBytes() int    { return int(h[5])<<16 | int(h[6])<<8 | int(h[7]) }
func (h *header) lun() uint64       { return binary.BigEndian.Uint64(h[8:]) }
func (h *header) itt() uint32       { return binary.BigEndian.Uint32(h[16:]) }
func (h *header) word(i int) uint32 { return binary.BigEndian.Uint32(h[i:]) }

func (h *header) setDataBytes(n int)      { h[5], h[6], h[7] = byte(n>>16), byte(n>>8), byte(n) }
func (h *header) setWord(i int, v uint32) { binary.BigEndian.PutUint32(h[i:], v) }

// Faults of a connection. At error recovery level 0 each of them ends the session, after a Reject where there is one to send.
var (
	errHeaderDigest = errors.New("header digest does not match")
	errDataDigest   = errors.New("data digest does not match")
	errDataTooLong  = errors.New("data segment longer than declared")
)

// pduReader takes PDUs apart. It never allocates by what a header says: the caller hands in the buffers.
type pduReader struct {
	in           *bufio.Reader
	headerDigest bool
	dataDigest   bool
	dataMax      int
	ahs          [255 * 4]byte
	tail         [4]byte
}

// header reads the basic header and the additional ones, and checks their digest and the declared length of the data.
func (r *pduReader) header(h *header) error {
	if _, err := io.ReadFull(r.in, h[:]); err != nil {
		return err
	}
	ahs := r.ahs[:h.ahsBytes()]
	if _, err := io.ReadFull(r.in, ahs); err != nil {
		return fmt.Errorf("read additional header: %w", unexpected(err))
	}
	if r.headerDigest {
		if _, err := io.ReadFull(r.in, r.tail[:]); err != nil {
			return fmt.Errorf("read header digest: %w", unexpected(err))
		}
		if checksum.Update(checksum.Of(h[:]), ahs) != binary.LittleEndian.Uint32(r.tail[:]) {
			return errHeaderDigest
		}
	}
	if h.dataBytes() > r.dataMax {
		return errDataTooLong
	}
	return nil
}

// data reads the data segment into p, which is as long as the header said, and what pads it, and checks its digest.
func (r *pduReader) data(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := io.ReadFull(r.in, p); err != nil {
		return fmt.Errorf("read data segment: %w", unexpected(err))
	}
	pad := r.tail[:-len(p)&3]
	if _, err := io.ReadFull(r.in, pad); err != nil {
		return fmt.Errorf("read padding: %w", unexpected(err))
	}
	if !r.dataDigest {
		return nil
	}
	sum := checksum.Update(checksum.Of(p), pad)
	if _, err := io.ReadFull(r.in, r.tail[:]); err != nil {
		return fmt.Errorf("read data digest: %w", unexpected(err))
	}
	if sum != binary.LittleEndian.Uint32(r.tail[:]) {
		return errDataDigest
	}
	return nil
}

// discard skips the data segment of a PDU that nobody wants.
func (r *pduReader) discard(h *header) error {
	n := (h.dataBytes() + 3) &^ 3
	if n > 0 && r.dataDigest {
		n += 4
	}
	if _, err := r.in.Discard(n); err != nil {
		return fmt.Errorf("skip data segment: %w", unexpected(err))
	}
	return nil
}

// unexpected is for an end of the stream within a PDU.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
