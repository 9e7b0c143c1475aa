package kernel

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Changes tells when a device of the peer went away or has another MTU, whoever did it, until ctx ends.
func (k *Kernel) Changes(ctx context.Context) (<-chan struct{}, error) {
	updates := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
		return nil, fmt.Errorf("watch devices: %w", err)
	}
	told := make(chan struct{}, 1)
	go func() {
		mtus := map[int32]int{}
		for u := range updates {
			was, known := mtus[u.Index]
			if u.Link != nil {
				mtus[u.Index] = u.Attrs().MTU
			}
			if u.Header.Type != unix.RTM_DELLINK && (!known || was == mtus[u.Index]) {
				continue
			}
			select {
			case told <- struct{}{}:
			default:
			}
		}
	}()
	return told, nil
}
