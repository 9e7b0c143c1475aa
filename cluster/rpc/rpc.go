// Package rpc carries requests between peers: many at once on few connections, over mutual TLS.
//
// A call is a stream of messages in both directions. The kinds of errors (package errs) cross the wire. Who calls is known from the certificate;
// without a valid certificate of the cluster's CA nothing is answered.
package rpc

import "context"

// Handler serves one call. The stream ends when it returns; its error, with its kind, is what the caller's Recv (or Call) gets. ctx ends when the
// caller goes away or gives up.
type Handler func(ctx context.Context, s Stream) error

// Stream is one call, seen from either end. Send and Recv may be used by two goroutines at once, but each by one only.
type Stream interface {
	// Peer is the id of the peer at the other end, from its certificate ("admin" for an administrator's tool).
	Peer() string
	// Send passes one message, the parts one after the other, of at most limits.RPCMessageBytesMax bytes in all. It waits when the other end does not read.
	// The bytes may be reused afterwards. Long parts go to the connection from where they lie.
	Send(parts ...[]byte) error
	// Recv takes the next message; io.EOF when the other end is done without error. The bytes are valid until the next Recv.
	Recv() ([]byte, error)
	// CloseSend says that no more messages come from this end. A handler need not call it.
	CloseSend() error
	// Close ends the call from the caller's side, whatever is under way. It may be called twice.
	Close() error
}

// Mux finds the handler of a method. Register everything before the server starts.
type Mux interface {
	Handle(method string, h Handler)
}

// Caller reaches other peers by id.
type Caller interface {
	// Call sends one message and waits for one back: the cheap form for small things.
	Call(ctx context.Context, peer, method string, request []byte) (response []byte, err error)
	// Stream opens a call. ctx ends it at any time.
	Stream(ctx context.Context, peer, method string) (Stream, error)
}
