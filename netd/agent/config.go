package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"

	"henge/cluster/state"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/netd/kernel"
	"henge/netd/model"
	"henge/netd/wire"
)

// Metadata answers what guests ask of 169.254.169.254. The agent has made sure which port asks.
type Metadata interface {
	ServeGuest(w http.ResponseWriter, r *http.Request, portID, deviceID, projectID string)
}

// Physical connects a flat network to the peer.
type Physical struct {
	Name       string       // as networks name it
	Bridge     string       // made if it is not there
	Device     string       // a device of the peer that is put into the bridge; "": none
	Address    netip.Prefix // of the peer itself on the bridge; invalid: none
	Masquerade bool         // what comes from the address's subnet goes out under the peer's own addresses
}

// Config is what an agent is made of.
type Config struct {
	Store    state.Store
	Host     string     // the peer's id
	Zone     string     // its availability zone
	Address  netip.Addr // by which other peers reach it: VXLAN goes over the device that has it
	Physical []Physical
	Routers  bool     // it runs routers, too
	Metadata Metadata // nil: guests are told that there is none
	Clock    clock.Clock
	Logger   *slog.Logger
}

// Agent is one peer's. Run it once.
type Agent struct {
	cfg     Config
	kernel  *kernel.Kernel
	started model.Agent // the row as it was last announced

	// What follows belongs to the goroutine of Run.
	done     map[string]any       // by kind/id: what was brought about last, as it was desired
	faults   map[string]error     // by kind/id: why it could not be
	filter   [2]map[string]string // by family: the text of each chain in force; nil: unknown
	sets     map[string]string    // the script of each set in force; nil: unknown
	last     wire.Desired         // that the filter was made of
	services map[string]*service  // by namespace
	missed   []string             // anti-spoofing tables that somebody removed
	tasks    sync.WaitGroup
}

// New takes the machine's network in hand. Its error, errs.Unsupported or errs.Conflict, is a line for the operator: what the machine lacks.
func New(cfg Config) (*Agent, error) {
	k, err := kernel.Open()
	if err != nil {
		return nil, err
	}
	return &Agent{
		cfg: cfg, kernel: k, done: map[string]any{}, faults: map[string]error{}, services: map[string]*service{},
	}, nil
}

// Close lets the machine's network go without Run. After Run it need not be called.
func (a *Agent) Close() error { return a.kernel.Close() }

// Absent notes that a peer that once had an agent has none now, and why, so that it is given no routers. A peer that never had one is left alone.
func Absent(ctx context.Context, store state.Store, host, reason string) error {
	return store.Update(ctx, func(w state.Writer) error {
		row, err := model.Agents.Get(w, host)
		if errs.Is(err, errs.NotFound) {
			return nil
		}
		if err != nil || row.Fault == reason && !row.Routers {
			return err
		}
		row.Fault, row.Routers = reason, false
		return model.Agents.Put(w, host, row)
	})
}

// fault is what a port or router that cannot be wired says.
func fault(errors ...error) string {
	for _, err := range errors {
		if err != nil {
			return err.Error()
		}
	}
	return ""
}

func status(fault string) model.Wiring {
	if fault != "" {
		return model.Faulted
	}
	return model.Wired
}

func key(kind, id string) string { return fmt.Sprintf("%s/%s", kind, id) }
