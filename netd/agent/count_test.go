package agent

import (
	"io"
	"net/netip"
	"sync/atomic"
	"time"
)

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

// counter counts what comes.
type counter struct{ n atomic.Int64 }

func (c *counter) count(r io.Reader) {
	buf := make([]byte, 4096)
	for {
		if _, err := r.Read(buf); err != nil {
			return
		}
		c.n.Add(1)
	}
}

// still tells whether nothing comes for two seconds.
func (c *counter) still() bool {
	was := c.n.Load()
	timer := time.NewTimer(2 * time.Second)
	<-timer.C
	return c.n.Load() == was
}
