package listing

import (
	"sync"

	"github.com/fxamacker/cbor/v2"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// entryFormat is the first byte of a journal entry and of a stored index; CBOR follows.
const entryFormat = 1

// entry is what the journal's StreamRows holds: a merge or a change.
type entry struct {
	Merge  *peerapi.Merge       `cbor:"1,keyasint,omitempty"`
	Change *peerapi.IndexChange `cbor:"2,keyasint,omitempty"`
}

// stored is what the tree holds of an index besides its rows.
type stored struct {
	Key        peerapi.Key       `cbor:"1,keyasint"`
	Info       peerapi.IndexInfo `cbor:"2,keyasint"` // counts are of the rows in the tree, exactly
	Tombstones int64             `cbor:"3,keyasint,omitempty"`
	Swept      clock.Timestamp   `cbor:"4,keyasint,omitempty"` // when tombstones were last looked for
	Lower      string            `cbor:"5,keyasint,omitempty"` // reserved for sharding: names after it
	Upper      string            `cbor:"6,keyasint,omitempty"` // reserved for sharding: names up to it; "" is no bound
}

var decoding = sync.OnceValue(func() cbor.DecMode {
	mode, err := cbor.DecOptions{MaxArrayElements: 1 << 17, MaxMapPairs: 1 << 13, MaxNestedLevels: 8, DupMapKey: cbor.DupMapKeyEnforcedAPF,
		UTF8: cbor.UTF8DecodeInvalid, // metadata is what clients sent: headers are bytes
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return mode
})

func encode(v any) ([]byte, error) {
	b, err := cbor.Marshal(v)
	if err != nil {
		return nil, errs.New(errs.Invalid, "encode %T: %w", v, err)
	}
	return append([]byte{entryFormat}, b...), nil
}

func decode(b []byte, v any) error {
	if len(b) == 0 || b[0] != entryFormat {
		return errs.New(errs.Corrupt, "decode %T: format is not known", v)
	}
	if err := decoding().Unmarshal(b[1:], v); err != nil {
		return errs.New(errs.Corrupt, "decode %T: %w", v, err)
	}
	return nil
}
