package peerapi

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
)

// The methods of the peer protocol; see docs/formats/peer-protocol.md. Never reuse a name for something else.
const (
	methodHead    = "storage.head"
	methodOpen    = "storage.open"
	methodCreate  = "storage.create"
	methodCommit  = "storage.commit"
	methodRestamp = "storage.restamp"
	methodPrepare = "storage.prepare"
	methodIndex   = "storage.index"
	methodChange  = "storage.change"
	methodMerge   = "storage.merge"
	methodList    = "storage.list"
	methodUsage   = "storage.usage"
	methodSums    = "storage.sums"
	methodMarks   = "storage.marks"
	methodIndexes = "storage.indexes"
)

// ask is the request of every method; each uses some of the fields.
type ask struct {
	Device string          `cbor:"1,keyasint"`
	Key    *Key            `cbor:"2,keyasint,omitempty"`
	At     clock.Timestamp `cbor:"3,keyasint,omitempty"`
	Range  *Range          `cbor:"4,keyasint,omitempty"`
	Size   int64           `cbor:"5,keyasint,omitempty"`
	Commit *Commit         `cbor:"6,keyasint,omitempty"`
	Change *IndexChange    `cbor:"7,keyasint,omitempty"`
	Merge  *Merge          `cbor:"8,keyasint,omitempty"`
	Query  *ListQuery      `cbor:"9,keyasint,omitempty"`

	Sums    *SumsQuery    `cbor:"10,keyasint,omitempty"`
	Marks   *MarksQuery   `cbor:"11,keyasint,omitempty"`
	Indexes *IndexesQuery `cbor:"12,keyasint,omitempty"`
}

// answer is the response of every method. An error does not keep a value from coming with it.
type answer struct {
	State   *State        `cbor:"1,keyasint,omitempty"`
	Outcome *Outcome      `cbor:"2,keyasint,omitempty"`
	Info    *IndexInfo    `cbor:"3,keyasint,omitempty"`
	Index   *IndexOutcome `cbor:"4,keyasint,omitempty"`
	Page    *ListPage     `cbor:"5,keyasint,omitempty"`
	Usage   *Usage        `cbor:"6,keyasint,omitempty"`
	Failed  bool          `cbor:"7,keyasint,omitempty"`
	Kind    errs.Kind     `cbor:"8,keyasint,omitempty"`
	Text    string        `cbor:"9,keyasint,omitempty"`
	Sums    *Sums         `cbor:"10,keyasint,omitempty"`
	More    bool          `cbor:"11,keyasint,omitempty"` // of marks, which are the message's body
	Indexes *Indexes      `cbor:"12,keyasint,omitempty"`
}

func (a *answer) fail(err error) {
	if err != nil {
		a.Failed, a.Kind, a.Text = true, errs.KindOf(err), err.Error()
	}
}

func (a *answer) err() error {
	if !a.Failed {
		return nil
	}
	return errs.New(a.Kind, "%s", a.Text)
}

// The bodies of streams go in messages of up to pieceBytes; what a message of a call can carry besides its head is inlineBytes.
const (
	pieceBytes  = limits.CopyBufferBytes
	inlineBytes = limits.RPCMessageBytesMax - 256<<10
)

type codec struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

// codecs makes the one way in which records are put on the wire. What comes in is bounded before it is believed.
var codecs = sync.OnceValue(func() codec {
	enc, err := cbor.EncOptions{}.UserBufferEncMode()
	if err != nil {
		panic(err) // the options are constants
	}
	dec, err := cbor.DecOptions{MaxArrayElements: 1 << 16, MaxMapPairs: 1 << 13, MaxNestedLevels: 8, DupMapKey: cbor.DupMapKeyEnforcedAPF,
		UTF8: cbor.UTF8DecodeInvalid, // metadata is what clients sent: headers are bytes
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return codec{enc, dec}
})

// scratch is the memory in which messages are put together.
var scratch = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func getScratch() *bytes.Buffer {
	b := scratch.Get().(*bytes.Buffer)
	b.Reset()
	return b
}

// headBytes is how long the length is that stands before a message's CBOR head; what comes after the head is the message's body.
const headBytes = 4

// pack writes a message with head v into buf; the body is to be written after it.
func pack(buf *bytes.Buffer, v any) error {
	start := buf.Len()
	buf.Write(make([]byte, headBytes))
	if err := codecs().enc.MarshalToBuffer(v, buf); err != nil {
		return errs.New(errs.Invalid, "encode %T: %w", v, err)
	}
	binary.BigEndian.PutUint32(buf.Bytes()[start:], uint32(buf.Len()-start-headBytes))
	return nil
}

// unpack reads a message's head into v and gives its body, which lies in msg.
func unpack(msg []byte, v any) (body []byte, err error) {
	if len(msg) < headBytes {
		return nil, errs.New(errs.Invalid, "a message of %d bytes", len(msg))
	}
	n := binary.BigEndian.Uint32(msg)
	if rest := msg[headBytes:]; uint64(n) <= uint64(len(rest)) {
		if err := codecs().dec.Unmarshal(rest[:n], v); err != nil {
			return nil, errs.New(errs.Invalid, "decode %T: %w", v, err)
		}
		return rest[n:], nil
	}
	return nil, errs.New(errs.Invalid, "a head of %d bytes in a message of %d", n, len(msg))
}

// The messages that a writer sends after its ask begin with one of these.
const (
	pieceData   = 0 // bytes of the object follow
	pieceCommit = 1 // an ask with a Commit follows; it is answered
)
