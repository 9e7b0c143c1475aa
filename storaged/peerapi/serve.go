package peerapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"henge/cluster/rpc"
	"henge/internal/errs"
	"henge/internal/limits"
)

// adminPeer is what rpc calls an administrator's tool: it has a certificate, and is no peer.
const adminPeer = "admin"

// streamIdle is how long a body may stand still at the device's end: the client behind the other peer may be slow, too.
const streamIdle = limits.ClientIdleTimeout + limits.PeerIdleTimeout

// Serve answers the peer protocol on mux, for the devices that find knows. Register it before the rpc server starts.
func Serve(mux rpc.Mux, find func(name string) (Device, bool)) {
	s := service{find}
	for method, h := range map[string]func(context.Context, Device, ask, []byte) answer{
		methodHead: head, methodCommit: commit, methodRestamp: restamp, methodPrepare: prepare,
		methodIndex: index, methodChange: changeIndex, methodMerge: merge, methodUsage: usage,
		methodSums: sums, methodIndexes: indexes,
	} {
		mux.Handle(method, func(ctx context.Context, stream rpc.Stream) error { return s.call(ctx, stream, h) })
	}
	for method, h := range map[string]func(context.Context, rpc.Stream, Device, ask) error{
		methodOpen: serveOpen, methodCreate: serveCreate, methodList: serveList, methodMarks: serveMarks,
	} {
		mux.Handle(method, func(ctx context.Context, stream rpc.Stream) error { return s.stream(ctx, stream, h) })
	}
}

type service struct {
	find func(name string) (Device, bool)
}

// begin reads a call's first message. body lies in it, and is good until the next Recv.
func (s service) begin(stream rpc.Stream) (d Device, q ask, body []byte, err error) {
	if p := stream.Peer(); p == "" || p == adminPeer {
		return nil, q, nil, errs.New(errs.Denied, "only peers may speak to devices")
	}
	msg, err := stream.Recv()
	if err != nil {
		return nil, q, nil, err
	}
	if body, err = unpack(msg, &q); err != nil {
		return nil, q, nil, err
	}
	d, ok := s.find(q.Device)
	if !ok {
		return nil, q, nil, errs.New(errs.Unavailable, "there is no device %q here, or it did not open", q.Device)
	}
	return d, q, body, nil
}

func (s service) call(ctx context.Context, stream rpc.Stream, h func(context.Context, Device, ask, []byte) answer) error {
	d, q, body, err := s.begin(stream)
	if err != nil {
		return err
	}
	return reply(stream, h(ctx, d, q, body))
}

func (s service) stream(ctx context.Context, stream rpc.Stream, h func(context.Context, rpc.Stream, Device, ask) error) error {
	d, q, _, err := s.begin(stream)
	if err != nil {
		return err
	}
	return h(ctx, stream, d, q)
}

func reply(stream rpc.Stream, a answer) error {
	buf := getScratch()
	defer scratch.Put(buf)
	if err := pack(buf, a); err != nil {
		return err
	}
	return stream.Send(buf.Bytes())
}

var errFields = errs.New(errs.Invalid, "a field that the method needs is missing")

func failed(err error) (a answer) {
	a.fail(err)
	return a
}

func head(ctx context.Context, d Device, q ask, _ []byte) answer {
	if q.Key == nil {
		return failed(errFields)
	}
	state, err := d.Head(ctx, *q.Key)
	a := answer{State: &state}
	a.fail(err)
	return a
}

func commit(ctx context.Context, d Device, q ask, body []byte) answer {
	if q.Commit == nil {
		return failed(errFields)
	}
	if q.Commit.Record.Deleted && len(body) == 0 {
		body = nil
	}
	out, err := d.Commit(ctx, *q.Commit, body)
	a := answer{Outcome: &out}
	a.fail(err)
	return a
}

func restamp(ctx context.Context, d Device, q ask, _ []byte) answer {
	if q.Commit == nil {
		return failed(errFields)
	}
	out, err := d.Restamp(ctx, q.At, *q.Commit)
	a := answer{Outcome: &out}
	a.fail(err)
	return a
}

func prepare(ctx context.Context, d Device, q ask, _ []byte) answer {
	if q.Key == nil {
		return failed(errFields)
	}
	out, state, err := d.Prepare(ctx, *q.Key, q.At)
	a := answer{Outcome: &out, State: &state}
	a.fail(err)
	return a
}

func index(ctx context.Context, d Device, q ask, _ []byte) answer {
	if q.Key == nil {
		return failed(errFields)
	}
	info, err := d.Index(ctx, *q.Key)
	a := answer{Info: &info}
	a.fail(err)
	return a
}

func changeIndex(ctx context.Context, d Device, q ask, _ []byte) answer {
	if q.Change == nil {
		return failed(errFields)
	}
	out, err := d.ChangeIndex(ctx, *q.Change)
	a := answer{Index: &out}
	a.fail(err)
	return a
}

func merge(ctx context.Context, d Device, q ask, _ []byte) answer {
	if q.Merge == nil {
		return failed(errFields)
	}
	return failed(d.Merge(ctx, *q.Merge))
}

func usage(ctx context.Context, d Device, _ ask, _ []byte) answer {
	u, err := d.Usage(ctx)
	a := answer{Usage: &u}
	a.fail(err)
	return a
}

func sums(ctx context.Context, d Device, q ask, _ []byte) answer {
	if q.Sums == nil {
		return failed(errFields)
	}
	s, err := d.Sums(ctx, *q.Sums)
	a := answer{Sums: &s}
	a.fail(err)
	return a
}

func indexes(ctx context.Context, d Device, q ask, _ []byte) answer {
	if q.Indexes == nil {
		return failed(errFields)
	}
	page, err := d.Indexes(ctx, *q.Indexes)
	a := answer{Indexes: &page}
	a.fail(err)
	return a
}

func serveMarks(ctx context.Context, stream rpc.Stream, d Device, q ask) error {
	if q.Marks == nil {
		return errFields
	}
	page, err := d.Marks(ctx, *q.Marks)
	if err != nil {
		return reply(stream, failed(err))
	}
	buf := getScratch()
	defer scratch.Put(buf)
	if err := pack(buf, answer{More: page.More}); err != nil {
		return err
	}
	buf.Write(appendMarks(nil, page.Marks))
	return stream.Send(buf.Bytes())
}

// listBytes is about how long one message of a page may get.
const listBytes = 256 << 10

func serveList(ctx context.Context, stream rpc.Stream, d Device, q ask) error {
	if q.Query == nil {
		return errFields
	}
	page, err := d.List(ctx, *q.Query)
	if err != nil {
		a := answer{Page: &page}
		a.fail(err)
		return reply(stream, a)
	}
	rows := page.Rows
	for {
		n, size := 0, 0
		for n < len(rows) && size < listBytes {
			size += rowBytes(rows[n])
			n++
		}
		page.Rows, rows = rows[:n], rows[n:]
		if err := reply(stream, answer{Page: &page}); err != nil || len(rows) == 0 {
			return err
		}
	}
}

// bodies is the memory in which open objects are read: the head of the first message, and a piece.
var bodies = sync.Pool{New: func() any { b := make([]byte, pieceBytes); return &b }}

func serveOpen(ctx context.Context, stream rpc.Stream, d Device, q ask) (err error) {
	if q.Key == nil || q.Range == nil {
		return errFields
	}
	state, r, err := d.Open(ctx, *q.Key, q.At, *q.Range)
	a := answer{State: &state}
	if err != nil {
		a.fail(err)
		return reply(stream, a)
	}
	defer func() {
		if closeErr := r.Close(); err == nil {
			err = closeErr
		}
	}()
	first := getScratch()
	defer scratch.Put(first)
	if err := pack(first, a); err != nil {
		return err
	}
	piece := bodies.Get().(*[]byte)
	defer bodies.Put(piece)
	w := &pieces{stream: stream, first: first, idle: time.AfterFunc(streamIdle, func() { stream.Close() })}
	defer w.idle.Stop()
	return w.copy(r, *piece)
}

// pieces sends an open object: the first piece together with the answer.
type pieces struct {
	stream rpc.Stream
	first  *bytes.Buffer
	idle   *time.Timer
}

func (p *pieces) copy(r io.Reader, buf []byte) error {
	for {
		n, err := io.ReadFull(r, buf)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if sendErr := p.send(buf[:n]); sendErr != nil {
			return sendErr
		}
		switch {
		case end:
			return nil
		case err != nil:
			return err
		}
	}
}

func (p *pieces) send(b []byte) error {
	if p.first != nil {
		p.first.Write(b)
		b, p.first = p.first.Bytes(), nil
	}
	if len(b) == 0 {
		return nil
	}
	p.idle.Reset(streamIdle)
	return p.stream.Send(b)
}

func serveCreate(ctx context.Context, stream rpc.Stream, d Device, q ask) error {
	if q.Key == nil {
		return errFields
	}
	w, err := d.Create(ctx, *q.Key, q.Size)
	if err != nil {
		return reply(stream, failed(err))
	}
	idle := time.AfterFunc(streamIdle, func() { stream.Close() })
	defer idle.Stop()
	err = reply(stream, answer{})
	if err == nil {
		err = receive(ctx, stream, w, idle)
	}
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	return err
}

// receive takes an object's pieces and commits until the caller is done.
func receive(ctx context.Context, stream rpc.Stream, w Writer, idle *time.Timer) error {
	for {
		idle.Reset(streamIdle)
		msg, err := stream.Recv()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case len(msg) == 0:
			return errs.New(errs.Invalid, "an empty piece")
		case msg[0] == pieceData:
			if _, err := w.Write(msg[1:]); err != nil {
				return err
			}
		case msg[0] == pieceCommit:
			var q ask
			if _, err := unpack(msg[1:], &q); err != nil {
				return err
			}
			if q.Commit == nil {
				return errFields
			}
			out, err := w.Commit(ctx, *q.Commit)
			a := answer{Outcome: &out}
			a.fail(err)
			if err := reply(stream, a); err != nil {
				return err
			}
		default:
			return errs.New(errs.Invalid, "a piece of kind %d", msg[0])
		}
	}
}
