package core

import (
	"time"

	"henge/cluster/state"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

// Config is what core needs besides the transaction.
type Config struct {
	Clock clock.Clock
	// Alive tells whether a peer is there now. Nil: all are.
	Alive func(host string) bool
	// Quotas are the default limits by resource, -1 for none; nil takes DefaultQuotas.
	Quotas map[string]int
}

// Core does things to networks. Safe for concurrent use.
type Core struct{ cfg Config }

// New makes it.
func New(cfg Config) *Core {
	if cfg.Alive == nil {
		cfg.Alive = func(string) bool { return true }
	}
	if cfg.Quotas == nil {
		cfg.Quotas = DefaultQuotas()
	}
	return &Core{cfg: cfg}
}

// born fills in what a new resource has.
func (c *Core) born(s *model.Standard) {
	if s.ID == "" {
		s.ID = model.NewID()
	}
	s.CreatedAt = c.cfg.Clock.Now().UTC().Truncate(time.Second)
	s.UpdatedAt, s.Revision = s.CreatedAt, 1
}

// changed notes that a resource is another now.
func (c *Core) changed(s *model.Standard) {
	s.UpdatedAt = c.cfg.Clock.Now().UTC().Truncate(time.Second)
	s.Revision++
}

// get fetches a row in the API's words: TYPE "LABEL ID could not be found."
func get[T any](r state.Reader, t state.Table[T], typ, label, id string) (T, error) {
	row, err := t.Get(r, id)
	if errs.Is(err, errs.NotFound) {
		return row, fault.NotFound(typ, "%s %s could not be found.", label, id)
	}
	return row, err
}

// Network fetches a network.
func Network(r state.Reader, id string) (model.Network, error) {
	return get(r, model.Networks, "NetworkNotFound", "Network", id)
}

// Subnet fetches a subnet.
func Subnet(r state.Reader, id string) (model.Subnet, error) {
	return get(r, model.Subnets, "SubnetNotFound", "Subnet", id)
}

// Port fetches a port.
func Port(r state.Reader, id string) (model.Port, error) {
	return get(r, model.Ports, "PortNotFound", "Port", id)
}

// Router fetches a router.
func Router(r state.Reader, id string) (model.Router, error) {
	return get(r, model.Routers, "RouterNotFound", "Router", id)
}
