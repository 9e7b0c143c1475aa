package neighbourtest

import (
	"context"
	"fmt"

	"henge/computed/neighbour"
	"henge/identity/authn"
	"henge/internal/errs"
)

// pool is the one pool of floating IPs.
const pool = "public"

type floating struct{ w *World }

func (f floating) Pools(context.Context, *authn.Identity) ([]string, error) {
	return []string{pool}, nil
}

func (f floating) List(context.Context, *authn.Identity) (all []neighbour.FloatingDetail, err error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	for _, d := range f.w.floating {
		all = append(all, d)
	}
	return all, nil
}

func (f floating) Show(_ context.Context, _ *authn.Identity, id string) (neighbour.FloatingDetail, error) {
	return find(f.w, f.w.floating, "Floating IP", id)
}

func (f floating) Allocate(_ context.Context, _ *authn.Identity, name string) (neighbour.FloatingDetail, error) {
	if name != "" && name != pool {
		return neighbour.FloatingDetail{}, errs.New(errs.NotFound, "Floating IP pool not found.")
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.next++
	d := neighbour.FloatingDetail{ID: fmt.Sprintf("floating-%d", f.w.next), Address: fmt.Sprintf("172.24.4.%d", f.w.next), Pool: pool}
	f.w.floating[d.ID] = d
	return d, nil
}

func (f floating) Release(ctx context.Context, who *authn.Identity, id string) error {
	if _, err := f.Show(ctx, who, id); err != nil {
		return err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	delete(f.w.floating, id)
	return nil
}

// lead leads an address to a server, whose first port has the fixed address; "" ends that.
func (f floating) lead(address string, to func(d *neighbour.FloatingDetail) error) error {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	for id, d := range f.w.floating {
		if d.Address != address {
			continue
		}
		if err := to(&d); err != nil {
			return err
		}
		f.w.floating[id] = d
		return nil
	}
	return errs.New(errs.NotFound, "floating IP not found")
}

func (f floating) Associate(_ context.Context, _ *authn.Identity, address, serverID, fixed string) error {
	return f.lead(address, func(d *neighbour.FloatingDetail) error {
		for _, p := range f.w.ports {
			if p.ServerID == serverID && (fixed == "" || fixed == p.Addresses[0].IP) {
				d.ServerID, d.FixedIP = serverID, p.Addresses[0].IP
				return nil
			}
		}
		return errs.New(errs.Invalid, "No fixed IPs associated to instance")
	})
}

func (f floating) Disassociate(_ context.Context, _ *authn.Identity, address, serverID string) error {
	return f.lead(address, func(d *neighbour.FloatingDetail) error {
		if d.ServerID != serverID {
			return errs.New(errs.Conflict, "Floating IP %s is not associated with instance %s.", address, serverID)
		}
		d.ServerID, d.FixedIP = "", ""
		return nil
	})
}
