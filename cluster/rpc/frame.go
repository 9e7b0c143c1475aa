package rpc

import (
	"encoding/binary"
	"errors"
	"io"
	"time"

	"henge/internal/errs"
	"henge/internal/limits"
)

// Frames as they lie on the wire: docs/formats/peer-protocol.md.
type frameType uint8

const (
	frameOpen   frameType = iota + 1 // caller: a call begins; payload openPayload
	frameData                        // both: one message
	frameEnd                         // caller: no more messages from this end
	frameFinish                      // server: the call is over; payload empty, or an error
	frameReset                       // caller: the call is given up
	frameCredit                      // both: the sender has room for so many more bytes, uint32
)

const (
	frameHeaderBytes = 9 // type, stream uint32, payload length uint32, big endian
	methodBytesMax   = 128
	errorBytesMax    = 4 << 10
	// The longest payload: an open frame with method, time-out and a whole message.
	framePayloadMax = limits.RPCMessageBytesMax + methodBytesMax + 32
)

// windowBytes is how much one end of a call may have sent that the other has not yet taken. The last message may go over it.
const windowBytes = 512 << 10

// messageOverhead is added to each message's length when the window is counted, so that empty messages are not free.
const messageOverhead = 64

func appendHeader(b []byte, t frameType, stream uint32, payload int) []byte {
	b = append(b, byte(t))
	b = binary.BigEndian.AppendUint32(b, stream)
	return binary.BigEndian.AppendUint32(b, uint32(payload))
}

func parseHeader(h []byte) (t frameType, stream uint32, payload int, err error) {
	t, stream = frameType(h[0]), binary.BigEndian.Uint32(h[1:])
	n := binary.BigEndian.Uint32(h[5:])
	if t < frameOpen || t > frameCredit || n > framePayloadMax || (t != frameOpen && n > limits.RPCMessageBytesMax) {
		return 0, 0, 0, errs.New(errs.Corrupt, "frame of type %d with %d bytes", h[0], n)
	}
	return t, stream, int(n), nil
}

// opening is the payload of an open frame: flags, method, time-out, and with flagCall the only message of the caller.
type opening struct {
	method  string
	timeout time.Duration // 0: none
	call    bool          // message is the only one, and the caller's end is closed
	message []byte
}

const flagCall = 1

func (o *opening) append(b []byte) []byte {
	flags := byte(0)
	if o.call {
		flags = flagCall
	}
	b = append(b, flags, byte(len(o.method)))
	b = append(b, o.method...)
	b = binary.AppendUvarint(b, uint64(o.timeout.Milliseconds()))
	return append(b, o.message...)
}

func parseOpening(p []byte) (o opening, err error) {
	bad := errs.New(errs.Corrupt, "open frame of %d bytes makes no sense", len(p))
	if len(p) < 2 || p[0] > flagCall || int(p[1]) > methodBytesMax || len(p) < 2+int(p[1]) {
		return o, bad
	}
	o.call = p[0] == flagCall
	o.method = string(p[2 : 2+p[1]])
	ms, n := binary.Uvarint(p[2+p[1]:])
	if n <= 0 || ms > uint64(24*time.Hour/time.Millisecond) {
		return o, bad
	}
	o.timeout = time.Duration(ms) * time.Millisecond
	o.message = p[2+int(p[1])+n:]
	if len(o.message) > limits.RPCMessageBytesMax || (!o.call && len(o.message) > 0) {
		return o, bad
	}
	return o, nil
}

// appendError is the payload of a finish frame: nothing for success, else the kind and the text.
func appendError(b []byte, err error) []byte {
	if err == nil {
		return b
	}
	text := err.Error()
	return append(append(b, byte(errs.KindOf(err))), text[:min(len(text), errorBytesMax)]...)
}

func parseError(p []byte) error {
	if len(p) == 0 {
		return io.EOF
	}
	return errs.With(errs.Kind(p[0]), errors.New(string(p[1:])))
}
