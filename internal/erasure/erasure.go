package erasure

import (
	"fmt"
	"sync"

	"github.com/klauspost/reedsolomon"

	"henge/internal/errs"
)

const (
	// ShardsMax is how many fragments there are at most: k+m.
	ShardsMax = 32
	// SegmentBytes is how many bytes of an object are encoded at once, for all that is written now. What is read says its own.
	SegmentBytes = 1 << 20
	// segmentBytesMax bounds what a record may claim.
	segmentBytesMax = 64 << 20
)

// Shape is k+m: any Data of the Data+Parity fragments are enough.
type Shape struct {
	Data   int `json:"data"`
	Parity int `json:"parity"`
}

// Total is k+m.
func (s Shape) Total() int { return s.Data + s.Parity }

func (s Shape) String() string { return fmt.Sprintf("%d+%d", s.Data, s.Parity) }

// Check refuses what cannot be: errs.Invalid.
func (s Shape) Check() error {
	if s.Data < 1 || s.Parity < 1 || s.Total() > ShardsMax {
		return errs.New(errs.Invalid, "erasure coding %s: at least 1+1, and at most %d fragments in all", s, ShardsMax)
	}
	return nil
}

// Quorum is how many fragments must be durable before a write counts: one more than are needed to read.
func (s Shape) Quorum() int { return min(s.Data+1, s.Total()) }

// ParseShape reads "4+2"; errs.Invalid.
func ParseShape(text string) (Shape, error) {
	var s Shape
	if n, err := fmt.Sscanf(text, "%d+%d", &s.Data, &s.Parity); err != nil || n != 2 || s.String() != text {
		return Shape{}, errs.New(errs.Invalid, "erasure coding %q: data and parity fragments, such as 4+2", text)
	}
	return s, s.Check()
}

// Layout is how one object is cut.
type Layout struct {
	Shape
	Segment int   // bytes
	Size    int64 // of the object
}

// Check refuses what cannot be: errs.Invalid.
func (l Layout) Check() error {
	if l.Segment < 1 || l.Segment > segmentBytesMax || l.Size < 0 {
		return errs.New(errs.Invalid, "segments of %d bytes of an object of %d", l.Segment, l.Size)
	}
	return l.Shape.Check()
}

// Segments is how many segments the object has.
func (l Layout) Segments() int64 { return (l.Size + int64(l.Segment) - 1) / int64(l.Segment) }

// SegmentLen is the length of segment n.
func (l Layout) SegmentLen(n int64) int {
	return int(min(int64(l.Segment), l.Size-n*int64(l.Segment)))
}

// ShardLen is the length of the shards of segment n.
func (l Layout) ShardLen(n int64) int { return shardLen(l.SegmentLen(n), l.Data) }

// ShardOffset is where shard n lies in each fragment.
func (l Layout) ShardOffset(n int64) int64 { return n * int64(shardLen(l.Segment, l.Data)) }

// FragmentLen is the length of each fragment.
func (l Layout) FragmentLen() int64 {
	n := l.Segments()
	if n == 0 {
		return 0
	}
	return l.ShardOffset(n-1) + int64(l.ShardLen(n-1))
}

func shardLen(segment, data int) int { return (segment + data - 1) / data }

// Coder encodes and decodes; it is safe for concurrent use.
type Coder struct {
	shape Shape
	enc   reedsolomon.Encoder
}

var coders sync.Map // of Shape: *Coder

// For gives the coder of a shape; errs.Invalid.
func For(s Shape) (*Coder, error) {
	if c, ok := coders.Load(s); ok {
		return c.(*Coder), nil
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	// One goroutine a stream: many streams share the machine.
	enc, err := reedsolomon.New(s.Data, s.Parity, reedsolomon.WithMaxGoroutines(1))
	if err != nil {
		return nil, errs.New(errs.Invalid, "erasure coding %s: %w", s, err)
	}
	c, _ := coders.LoadOrStore(s, &Coder{s, enc})
	return c.(*Coder), nil
}

// Encode cuts a segment of n bytes, at the beginning of buf, into the k+m shards, which lie one after the other in buf. It must have room for them: Room(n).
func (c *Coder) Encode(buf []byte, n int) ([][]byte, error) {
	size := shardLen(n, c.shape.Data)
	clear(buf[n : size*c.shape.Data])
	shards := make([][]byte, c.shape.Total())
	for i := range shards {
		shards[i] = buf[i*size:][:size:size]
	}
	if n == 0 {
		return shards, nil
	}
	return shards, c.enc.Encode(shards)
}

// Room is how many bytes the shards of a segment of n bytes take together.
func (c *Coder) Room(n int) int { return shardLen(n, c.shape.Data) * c.shape.Total() }

// Join makes the data shards that are missing (nil) of those that are there. shards has k+m entries. errs.Corrupt when there are too few.
func (c *Coder) Join(shards [][]byte) error {
	if err := c.enc.ReconstructData(shards); err != nil {
		return errs.New(errs.Corrupt, "decode %s: %w", c.shape, err)
	}
	return nil
}

// Rebuild makes the one shard of that index of those that are there; the other missing ones stay missing.
func (c *Coder) Rebuild(shards [][]byte, index int) error {
	wanted := make([]bool, len(shards))
	wanted[index] = true
	if err := c.enc.ReconstructSome(shards, wanted); err != nil {
		return errs.New(errs.Corrupt, "rebuild fragment %d of %s: %w", index, c.shape, err)
	}
	return nil
}
