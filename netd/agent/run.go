package agent

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/netd/kernel"
	"henge/netd/model"
	"henge/netd/wire"
)

const (
	// wholeInterval is how often everything is compared with the kernel, changed or not.
	wholeInterval = 60 * time.Second
	// againInterval is how soon what could not be wired is tried again when nothing changes.
	againInterval = 5 * time.Second
)

// Run keeps the kernel as the tables say until ctx ends. It returns nil then.
func (a *Agent) Run(ctx context.Context) error {
	defer a.kernel.Close()
	defer a.tasks.Wait()
	defer a.stopServices()
	wake := make(chan struct{}, 1)
	a.tasks.Go(func() { a.watch(ctx, wake) })
	changed, err := a.kernel.Changes(ctx)
	if err != nil {
		a.cfg.Logger.Warn("changes by others are seen only now and then", "error", err)
	}
	whole := true
	for {
		if err := a.pass(ctx, whole); err != nil && ctx.Err() == nil {
			a.cfg.Logger.Warn("wire networks", "error", err)
			a.faults["pass"] = err
		} else {
			delete(a.faults, "pass")
		}
		wait := wholeInterval
		if len(a.faults)+len(a.missed) > 0 {
			wait = againInterval
		}
		timer := time.NewTimer(wait)
		whole = false
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-wake:
		case <-changed:
			whole = true
		case <-timer.C:
			whole = true
		}
		timer.Stop()
	}
}

// watch wakes the loop when something in the tables changes, our own observations aside.
func (a *Agent) watch(ctx context.Context, wake chan<- struct{}) {
	var from state.Index
	for ctx.Err() == nil {
		for event, err := range a.cfg.Store.Watch(ctx, model.Prefix, from) {
			if err != nil {
				break
			}
			from = event.Index
			if event.Reset || concerns(event.Changes) {
				select {
				case wake <- struct{}{}:
				default: // it is to look anyway
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func concerns(changes []state.Change) bool {
	for _, c := range changes {
		if !strings.HasPrefix(c.Key, model.Prefix+"observed_") {
			return true
		}
	}
	return false
}

// pass brings the kernel to what the tables say now. whole: whatever it thinks is so already is looked at again.
func (a *Agent) pass(ctx context.Context, whole bool) error {
	self, err := a.self(ctx)
	if err != nil {
		return err
	}
	var want wire.Desired
	if err := a.cfg.Store.View(ctx, func(r state.Reader) (err error) {
		want, err = wire.Read(r, self)
		return err
	}); err != nil {
		return err
	}
	links, err := a.kernel.Links()
	if err != nil {
		return err
	}
	if whole {
		a.doubt()
	}
	a.networks(want)
	bad := a.guard(want)
	a.ports(want, links, bad)
	a.routers(want)
	swept := a.sweep(want)
	return errors.Join(swept, a.observe(ctx, want))
}

// doubt makes the next steps look at the kernel again instead of believing what was done. Taps are looked for in every pass.
func (a *Agent) doubt() {
	maps.DeleteFunc(a.done, func(k string, _ any) bool { return !strings.HasPrefix(k, "port/") })
	if err := a.checkFilter(); err != nil {
		a.forgetFilter()
	}
}

// settle brings one thing about unless it is so already, and keeps its error.
func (a *Agent) settle(key string, want any, bring func() error) {
	if was, ok := a.done[key]; ok && reflect.DeepEqual(was, want) {
		return
	}
	delete(a.done, key)
	if err := bring(); err != nil {
		a.blame(key, err)
		return
	}
	delete(a.faults, key)
	a.done[key] = want
}

// blame keeps an error, and logs it once.
func (a *Agent) blame(key string, err error) {
	if old := a.faults[key]; old == nil || old.Error() != err.Error() {
		a.cfg.Logger.Warn("wire", "what", key, "error", err)
	}
	a.faults[key] = err
}

// networks wires bridges, tunnels and DHCP.
func (a *Agent) networks(want wire.Desired) {
	for id, n := range want.Networks {
		if n.Fault != "" {
			continue
		}
		a.settle(key("network", id), n, func() error { return a.network(n) })
	}
}

func (a *Agent) network(n wire.Network) error {
	if !n.Flat {
		if err := a.kernel.Bridge(kernel.Bridge{Name: n.Bridge, MTU: n.MTU, Sealed: true}); err != nil {
			return err
		}
		if err := a.kernel.VXLAN(kernel.VXLAN{Name: n.VXLAN, Bridge: n.Bridge, VNI: n.VNI, MTU: n.MTU, Local: a.cfg.Address, Remotes: n.Remotes}); err != nil {
			return err
		}
	}
	if n.DHCP == nil {
		return nil
	}
	return a.serveNetwork(n)
}

// ports wires the taps of guests. bad has those whose rules could not be put in force.
func (a *Agent) ports(want wire.Desired, links map[string]int, bad map[string]error) {
	for _, p := range want.Ports {
		name := key("port", p.ID)
		if _, there := links[p.Tap]; !there || slices.Contains(a.missed, wire.SpoofTable(p.Tap)) {
			delete(a.done, name)
		}
		n := want.Networks[p.NetworkID]
		if n.Fault != "" {
			continue
		}
		if err := errors.Join(a.faults[key("network", p.NetworkID)], bad[p.ID]); err != nil {
			delete(a.done, name)
			a.blame(name, err)
			continue
		}
		a.settle(name, p, func() error { return a.port(p) })
	}
	a.missed = nil
}

// port wires one tap. It comes into the bridge last, when all that guards it is in force.
func (a *Agent) port(p wire.Port) error {
	fresh, err := a.kernel.Tap(p.Tap, p.MTU)
	if err != nil {
		return err
	}
	if err := a.kernel.NFT(p.Spoof(fresh)); err != nil {
		// With an old table from a tap of the same name that is gone, only making it anew helps.
		if err := a.kernel.NFT(p.Spoof(true)); err != nil {
			return err
		}
	}
	return a.kernel.Attach(p.Tap, p.Bridge, p.Up, false)
}
