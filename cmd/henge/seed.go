package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/bits"
	"time"

	"henge/cluster/rings"
	"henge/cluster/state"
	"henge/identity"
	"henge/internal/errs"
	"henge/ring"
)

// seed makes what a new cluster needs (the hash secret, the first policy, the rings, the catalog, the administrator), and the files for clients. Repeating it changes nothing but
// addresses.
func seed(ctx context.Context, dir string, store state.Store, configs []config) error {
	if _, err := rings.Secret(ctx, store, rand.Reader); err != nil {
		return fmt.Errorf("make the secret of the hashes: %w", err)
	}
	if err := seedRings(ctx, store, configs); err != nil {
		return fmt.Errorf("make the rings: %w", err)
	}
	if err := seedIdentity(ctx, dir, store, configs[0]); err != nil {
		return err
	}
	return seedNetwork(ctx, store, configs[0])
}

const (
	firstPolicy  = "three-replicas"
	replicas     = 3
	minPartHours = 1
)

// seedRings makes the rings of a new cluster out of the devices that its first peers have. Rings that are there are the operator's.
func seedRings(ctx context.Context, store state.Store, configs []config) error {
	var there bool
	err := store.View(ctx, func(r state.Reader) error {
		_, err := rings.PublishedRing(r, rings.Object)
		there = err == nil
		if errs.Is(err, errs.NotFound) {
			return nil
		}
		return err
	})
	if err != nil || there {
		return err
	}
	built := map[string]*ring.Builder{}
	for i, name := range []string{rings.Account, rings.Container, rings.Object} {
		if built[name], err = firstRing(configs, uint64(i)+1); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return store.Update(ctx, func(w state.Writer) error {
		if _, err := rings.PublishedRing(w, rings.Object); err == nil {
			return nil // another start was quicker
		}
		if err := rings.PutPolicy(w, rings.Policy{Index: 0, Name: firstPolicy, Aliases: []string{"default"}, Default: true}); err != nil {
			return err
		}
		for name, b := range built {
			if err := rings.Put(w, name, b); err != nil {
				return err
			}
		}
		return nil
	})
}

// firstRing places three replicas on the devices of the given peers; with fewer than three devices, as many replicas as there are devices.
func firstRing(configs []config, seed uint64) (*ring.Builder, error) {
	devices := 0
	for _, c := range configs {
		devices += len(c.Devices)
	}
	if devices == 0 {
		return nil, errs.New(errs.Invalid, "no [[device]] is configured")
	}
	b, err := ring.NewBuilder(ring.Config{Power: ringPower(devices), Replicas: float64(min(replicas, devices)), MinPartHours: minPartHours})
	if err != nil {
		return nil, err
	}
	for _, c := range configs {
		for _, d := range c.Devices {
			_, err := b.Add(ring.Device{Region: c.Region, Zone: c.Zone, Peer: c.PeerID, Address: hostPort(c.Address, c.Ports.Peers), Name: d.Name, Weight: d.Weight})
			if err != nil {
				return nil, err
			}
		}
	}
	_, err = b.Rebalance(time.Now(), seed)
	return b, err
}

// ringPower leaves room to grow to a hundred times as many devices with a hundred partitions on each, as Swift's deployment guide counts.
func ringPower(devices int) uint8 {
	return uint8(min(18, max(10, bits.Len(uint(devices*100*100/replicas)))))
}

// seedIdentity makes the administrator and the catalog. The password is made once, and lies in openrc from then on.
func seedIdentity(ctx context.Context, dir string, store state.Store, c config) error {
	l := layout{dir}
	a := access{IdentityURL: c.identityURL(), ObjectURL: c.objectURL(), Region: c.Ident.Region, S3Region: c.Object.Region, User: "admin", Project: "admin"}
	if old, err := readExports(l.file("openrc")); err == nil {
		a.Password = old["OS_PASSWORD"]
	}
	if a.Password == "" {
		a.Password = rand.Text()
	}
	// Kept before it is used: a crash in between must not leave an administrator whom nobody knows.
	if err := replaceFile(l.file("openrc"), a.openrc()); err != nil {
		return err
	}
	done, err := identity.Bootstrap(ctx, store, identity.BootstrapConfig{
		AdminPassword: a.Password, Region: a.Region, Services: append(identity.ObjectStoreServices(a.IdentityURL, a.ObjectURL), catalogEntries(&c)...),
	})
	if err != nil {
		return err
	}
	a.AccessKey, a.SecretKey = done.AccessKey, done.SecretKey
	return writeClientFiles(dir, a)
}
