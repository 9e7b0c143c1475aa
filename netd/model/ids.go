package model

import (
	"crypto/rand"
	"encoding/hex"
	"iter"

	"henge/cluster/state"
	"henge/internal/errs"
)

// NewID makes an id as Neutron does: a random UUID.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process rather than answer badly
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Collect reads rows before anything is written under the scan.
func Collect[T any](rows iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, nil
}

// Optional makes "not there" an answer instead of an error.
func Optional[T any](row T, err error) (T, bool, error) {
	if errs.Is(err, errs.NotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// RulesOf lists the rules of a security group.
func RulesOf(r state.Reader, groupID string) ([]Rule, error) {
	return Collect(Rules.Where(r, "group", groupID))
}

// GroupPorts lists the ids of the ports in a security group.
func GroupPorts(r state.Reader, groupID string) ([]string, error) {
	var ids []string
	for g, err := range PortGroups.Where(r, "group", groupID) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, g.PortID)
	}
	return ids, nil
}

// SubnetsOf lists the subnets of a network.
func SubnetsOf(r state.Reader, networkID string) ([]Subnet, error) {
	return Collect(Subnets.Where(r, "network", networkID))
}

// PortsOn lists the ports that a peer has to wire.
func PortsOn(r state.Reader, host string) ([]Port, error) {
	return Collect(Ports.Where(r, "host", host))
}

// PortsOf lists the ports of a server or router.
func PortsOf(r state.Reader, deviceID string) ([]Port, error) {
	return Collect(Ports.Where(r, "device", deviceID))
}

// RoutersOn lists the routers that a peer has to run.
func RoutersOn(r state.Reader, host string) ([]Router, error) {
	return Collect(Routers.Where(r, "host", host))
}

// HostsOf lists the peers that have ports of a network bound to them, each once, in order: where VXLAN frames of the network go.
func HostsOf(r state.Reader, networkID string) ([]string, error) {
	seen := map[string]bool{}
	var hosts []string
	for p, err := range Ports.Where(r, "network", networkID) {
		if err != nil {
			return nil, err
		}
		if p.BindingHost != "" && !seen[p.BindingHost] {
			seen[p.BindingHost] = true
			hosts = append(hosts, p.BindingHost)
		}
	}
	return hosts, nil
}
