package iscsi

import (
	"encoding/binary"
	"net"
	"runtime"
	"sync"
	"time"

	"henge/internal/checksum"
	"henge/volumed/iscsi/pool"
)

// frame is one PDU on its way to the initiator.
type frame struct {
	bhs       header
	data      []byte
	status    bool         // it carries a status, and takes the next StatSN
	nextSN    bool         // it shows the next StatSN without taking it (R2T, a ping)
	buf       *pool.Buffer // given back when the frame is written
	freed     int          // bytes of the session's memory that are free then
	digests   [8]byte
	posted    int    // bytes that count against what may be posted
	afterward func() // runs when the frame is written, or lost
}

// outboxFramesMax is how many PDUs may wait before the session reads no more: an initiator that sends and does not read pays for it itself.
const (
	outboxFramesMax = 1024
	outboxBytesMax  = 4 << 20 // of answers that the reader posts: echoes of pings, mostly
)

// outbox sends PDUs in order. There is no writer goroutine: who adds a frame while nobody writes becomes the writer, and takes along
// what others add meanwhile, so that many answers go out in one system call and a lone one costs no wake-up.
type outbox struct {
	session *session
	conn    net.Conn
	timeout time.Duration

	headerDigest bool
	dataDigest   bool
	statSN       uint32 // the writer's alone, as are the next two
	vector       [][]byte
	rest         net.Buffers

	mu      sync.Mutex // guards the fields below
	room    sync.Cond
	queue   []*frame
	spare   []*frame
	posted  int // bytes
	writing bool
	failed  bool
}

// add puts one frame on its way. It may write, and so block on the initiator.
func (o *outbox) add(f *frame) {
	o.mu.Lock()
	o.queue = append(o.queue, f)
	o.claim(false)
}

// addAll puts frames on their way with nothing between them.
func (o *outbox) addAll(frames []frame) {
	o.mu.Lock()
	for i := range frames {
		o.queue = append(o.queue, &frames[i])
	}
	o.claim(false)
}

// post is add for the reader, which must never block on writing: it answers at once.
func (o *outbox) post(f *frame) {
	o.mu.Lock()
	o.queue = append(o.queue, f)
	f.posted = len(f.data)
	o.posted += f.posted
	o.claim(true)
}

// claim makes the caller the writer if there is none. o.mu is held, and is free afterwards.
func (o *outbox) claim(elsewhere bool) {
	if o.writing {
		o.mu.Unlock()
		return
	}
	o.writing = true
	o.mu.Unlock()
	if elsewhere {
		go o.drain()
		return
	}
	// Others that are about to finish get to add theirs: one write then carries all.
	runtime.Gosched()
	o.drain()
}

// drain writes until nothing is left.
func (o *outbox) drain() {
	for {
		o.mu.Lock()
		batch := o.queue
		if len(batch) == 0 {
			o.writing = false
			o.room.Broadcast()
			o.mu.Unlock()
			return
		}
		o.queue = o.spare[:0]
		failed := o.failed
		o.room.Broadcast()
		o.mu.Unlock()
		if !failed {
			if err := o.write(batch); err != nil {
				o.mu.Lock()
				o.failed = true
				o.mu.Unlock()
				o.session.end(err)
			}
		}
		o.release(batch)
		o.spare = batch
	}
}

// release gives back what the frames held.
func (o *outbox) release(batch []*frame) {
	freed, posted := 0, 0
	for i, f := range batch {
		freed, posted = freed+f.freed, posted+f.posted
		if f.buf != nil {
			o.session.pool().Put(f.buf)
			f.buf, f.data = nil, nil
		}
		if f.afterward != nil {
			f.afterward()
		}
		batch[i] = nil
	}
	if freed > 0 {
		o.session.free(freed)
	}
	if posted > 0 {
		o.mu.Lock()
		o.posted -= posted
		o.mu.Unlock()
	}
}

// write sends a batch with one system call, mostly.
func (o *outbox) write(batch []*frame) error {
	expected, most := o.session.window()
	o.vector = o.vector[:0]
	for _, f := range batch {
		o.stamp(f, expected, most)
		o.pack(f)
	}
	if err := o.conn.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
		return err
	}
	o.rest = o.vector
	_, err := o.rest.WriteTo(o.conn)
	clear(o.vector)
	return err
}

// stamp fills in what is known only when the PDU leaves.
func (o *outbox) stamp(f *frame, expected, most uint32) {
	if f.status || f.nextSN {
		f.bhs.setWord(24, o.statSN)
	}
	if f.status {
		o.statSN++
	}
	f.bhs.setWord(28, expected)
	f.bhs.setWord(32, most)
	f.bhs.setDataBytes(len(f.data))
}

var padding [4]byte

func (o *outbox) pack(f *frame) {
	o.vector = append(o.vector, f.bhs[:])
	if o.headerDigest {
		binary.LittleEndian.PutUint32(f.digests[:4], checksum.Of(f.bhs[:]))
		o.vector = append(o.vector, f.digests[:4])
	}
	if len(f.data) == 0 {
		return
	}
	o.vector = append(o.vector, f.data)
	pad := padding[:-len(f.data)&3]
	if len(pad) > 0 {
		o.vector = append(o.vector, pad)
	}
	if o.dataDigest {
		binary.LittleEndian.PutUint32(f.digests[4:], checksum.Update(checksum.Of(f.data), pad))
		o.vector = append(o.vector, f.digests[4:])
	}
}

// waitRoom holds up the reader while too much waits to be read by the initiator.
func (o *outbox) waitRoom() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for (len(o.queue) > outboxFramesMax || o.posted > outboxBytesMax) && !o.failed {
		o.room.Wait()
	}
}
