package rpc

import "context"

// startLocal begins a call within the process: the two endpoints speak to each other directly.
func (c *Client) startLocal(ctx context.Context, caller *endpoint, o opening) error {
	s := c.cfg.Local
	h, err := s.admit(c.cfg.Self, o.method)
	if err != nil {
		return err
	}
	server := newEndpoint(c.cfg.Self, s.pool)
	server.out = local{caller}
	caller.out = local{server}
	served := s.prepare(s.ctx, server, o)
	c.follow(ctx, caller, o.method, func() {})
	go s.run(served, server, h, func() {})
	return nil
}

// local is the outlet to an endpoint of the same process.
type local struct{ other *endpoint }

func (l local) data(_ *endpoint, m message) error {
	l.other.onData(l.other.pool.copyOf(m))
	return nil
}
func (l local) end()             { l.other.onEnd() }
func (l local) finish(err error) { l.other.onFinish(callError(err)) }
func (l local) reset()           { l.other.onReset() }
func (l local) credit(n int)     { l.other.onCredit(n) }

// callError is what the caller sees of a handler's result: the same as over a wire, so that nobody comes to rely on more.
func callError(err error) error { return parseError(appendError(nil, err)) }
