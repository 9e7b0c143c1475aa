package ring

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math"

	"henge/internal/errs"
)

// The formats are described in docs/formats/ring.md.
const (
	ringMagic    = "hengring"
	builderMagic = "hengbldr"
	formatV1     = 1

	devicesBytesMax = DevicesMax * 256 // JSON of all devices
)

// writeFramed writes magic, version, and a compressed body followed by its SHA-256.
func writeFramed(w io.Writer, magic string, body func(io.Writer)) error {
	if _, err := io.WriteString(w, magic+string([]byte{formatV1})); err != nil {
		return err
	}
	z, err := flate.NewWriter(w, flate.DefaultCompression)
	if err != nil {
		return err
	}
	sum := sha256.New()
	out := &sticky{w: bufio.NewWriterSize(z, 64<<10)}
	body(io.MultiWriter(out, sum))
	out.Write(sum.Sum(nil))
	if out.err != nil {
		return out.err
	}
	if err := out.w.Flush(); err != nil {
		return err
	}
	return z.Close()
}

// sticky keeps the first error, so that encoders need not look at each one.
type sticky struct {
	w   *bufio.Writer
	err error
}

func (s *sticky) Write(b []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
	}
	return len(b), nil
}

// readFramed undoes writeFramed: body reads what it knows, then the checksum must follow, and nothing after it.
func readFramed(r io.Reader, magic string, body func(*source) error) (hash.Hash, error) {
	head := make([]byte, len(magic)+1)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, errs.New(errs.Corrupt, "read the head: %w", noEOF(err))
	}
	if string(head[:len(magic)]) != magic {
		return nil, errs.New(errs.Corrupt, "it begins with %q, not with %q", head[:len(magic)], magic)
	}
	if v := head[len(magic)]; v != formatV1 {
		return nil, errs.New(errs.Unsupported, "format version %d is not known here", v)
	}
	s := &source{r: bufio.NewReaderSize(flate.NewReader(r), 64<<10), sum: sha256.New()}
	if err := body(s); err != nil {
		if s.err != nil { // what followed from a cut stream is of no interest
			return nil, errs.New(errs.Corrupt, "read: %w", noEOF(s.err))
		}
		return nil, err
	}
	want := s.sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(s.r, got); err != nil {
		return nil, errs.New(errs.Corrupt, "read the checksum: %w", noEOF(err))
	}
	if !bytes.Equal(want, got) {
		return nil, errs.New(errs.Corrupt, "the checksum does not match")
	}
	if _, err := s.r.ReadByte(); err != io.EOF {
		return nil, errs.New(errs.Corrupt, "there is something after the checksum")
	}
	return s.sum, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// source reads a body; the first error sticks, and every later read gives zeros.
type source struct {
	r   *bufio.Reader
	sum hash.Hash
	err error
}

func (s *source) read(b []byte) {
	if s.err == nil {
		if _, s.err = io.ReadFull(s.r, b); s.err == nil {
			s.sum.Write(b)
			return
		}
	}
	clear(b)
}

func (s *source) u8() uint8 { var b [1]byte; s.read(b[:]); return b[0] }

func (s *source) u32() uint32 { var b [4]byte; s.read(b[:]); return binary.BigEndian.Uint32(b[:]) }

func (s *source) u64() uint64 { var b [8]byte; s.read(b[:]); return binary.BigEndian.Uint64(b[:]) }

// bytes reads n bytes; memory grows with what arrives, not with what n promises.
func (s *source) bytes(n int) []byte {
	var out []byte
	for n > 0 && s.err == nil {
		step := min(n, 64<<10)
		at := len(out)
		out = append(out, make([]byte, step)...)
		s.read(out[at:])
		n -= step
	}
	return out
}

// numbers reads n big-endian numbers of width bytes.
func (s *source) numbers(n, width int) []uint32 {
	var out []uint32
	var buf [32 << 10]byte
	for n > 0 && s.err == nil {
		step := min(n, len(buf)/width)
		b := buf[:step*width]
		s.read(b)
		for ; len(b) > 0; b = b[width:] {
			if width == 2 {
				out = append(out, uint32(binary.BigEndian.Uint16(b)))
			} else {
				out = append(out, binary.BigEndian.Uint32(b))
			}
		}
		n -= step
	}
	return out
}

func put32(w io.Writer, n uint32) { w.Write(binary.BigEndian.AppendUint32(nil, n)) }
func put64(w io.Writer, n uint64) { w.Write(binary.BigEndian.AppendUint64(nil, n)) }

func putNumbers[T uint16 | uint32](w io.Writer, numbers []T) {
	buf := make([]byte, 0, 32<<10)
	for _, n := range numbers {
		switch n := any(n).(type) {
		case uint16:
			buf = binary.BigEndian.AppendUint16(buf, n)
		case uint32:
			buf = binary.BigEndian.AppendUint32(buf, n)
		}
		if len(buf)+4 > cap(buf) {
			w.Write(buf)
			buf = buf[:0]
		}
	}
	w.Write(buf)
}

// putDevices writes the length of the slice by number, then the devices that are there as JSON.
func putDevices(w io.Writer, devices []*Device) {
	live := make([]*Device, 0, len(devices))
	for _, d := range devices {
		if d != nil {
			live = append(live, d)
		}
	}
	raw, err := json.Marshal(live)
	if err != nil {
		panic(fmt.Sprintf("encode devices that were checked: %v", err)) // strings and finite numbers always encode
	}
	put32(w, uint32(len(devices)))
	put32(w, uint32(len(raw)))
	w.Write(raw)
}

func (s *source) devices() ([]*Device, error) {
	count, size := s.u32(), s.u32()
	if count > DevicesMax || size > devicesBytesMax {
		return nil, errs.New(errs.Corrupt, "%d devices in %d bytes: too many", count, size)
	}
	raw := s.bytes(int(size))
	if s.err != nil {
		return nil, s.err
	}
	var live []*Device
	if err := json.Unmarshal(raw, &live); err != nil {
		return nil, errs.New(errs.Corrupt, "decode the devices: %w", err)
	}
	devices := make([]*Device, count)
	for _, d := range live {
		if d == nil || d.ID < 0 || d.ID >= int(count) || devices[d.ID] != nil {
			return nil, errs.New(errs.Corrupt, "decode the devices: a number is out of range or twice there")
		}
		if err := d.check(); err != nil {
			return nil, errs.With(errs.Corrupt, err)
		}
		devices[d.ID] = d
	}
	return devices, nil
}

// WriteTo writes the ring in its file format.
func (r *Ring) WriteTo(w io.Writer) (int64, error) {
	c := &counter{w: w}
	err := writeFramed(c, ringMagic, r.encodeBody)
	return c.n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func (r *Ring) encodeBody(w io.Writer) {
	width := uint8(2)
	if r.wide != nil {
		width = 4
	}
	w.Write([]byte{r.power, width, uint8(r.stride)})
	put32(w, uint32(r.last))
	put64(w, r.version)
	putDevices(w, r.devices)
	if r.wide != nil {
		putNumbers(w, r.wide)
	} else {
		putNumbers(w, r.narrow)
	}
}

// ReadRing reads what WriteTo wrote. errs.Corrupt when it is damaged, errs.Unsupported when a later version wrote it. It never panics, and takes memory in
// proportion to what it has read.
func ReadRing(from io.Reader) (*Ring, error) {
	r := &Ring{}
	sum, err := readFramed(from, ringMagic, r.decodeBody)
	if err != nil {
		return nil, fmt.Errorf("ring file: %w", err)
	}
	r.finish(sum)
	return r, nil
}

func (r *Ring) decodeBody(s *source) error {
	r.power = s.u8()
	width := int(s.u8())
	r.stride = int(s.u8())
	r.last = int(s.u32())
	r.version = s.u64()
	if err := checkShape(r.power, width, r.stride, r.last); err != nil {
		return err
	}
	var err error
	if r.devices, err = s.devices(); err != nil {
		return err
	}
	if (width == 2) != (len(r.devices) <= noDevice16) {
		return errs.New(errs.Corrupt, "%d bytes an entry for %d devices", width, len(r.devices))
	}
	entries := s.numbers(r.Partitions()*r.stride, width)
	if s.err != nil {
		return s.err
	}
	if width == 2 {
		r.narrow = make([]uint16, len(entries))
		for i, id := range entries {
			r.narrow[i] = uint16(id)
			if id == noDevice16 {
				entries[i] = noDevice
			}
		}
	} else {
		r.wide = entries
	}
	return checkSlots(entries, r.devices)
}

func checkShape(power uint8, width, stride, last int) error {
	if power < 1 || power > PowerMax || width != 2 && width != 4 || stride < 1 || stride > ReplicasMax || stride<<power > entriesMax || last < 0 || last > 1<<power {
		return errs.New(errs.Corrupt, "2^%d partitions, %d bytes an entry, %d replicas, the last one of %d: out of range", power, width, stride, last)
	}
	return nil
}

func checkSlots(slots []uint32, devices []*Device) error {
	for i, id := range slots {
		if id != noDevice && (int(id) >= len(devices) || devices[id] == nil) {
			return errs.New(errs.Corrupt, "entry %d names device %d, which is not there", i, min(id, math.MaxInt32))
		}
	}
	return nil
}
