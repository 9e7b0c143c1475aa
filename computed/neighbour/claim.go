package neighbour

import (
	"strings"

	"henge/cluster/state"
	"henge/computed/model"
)

// ClaimOf is what a server needs of a host.
func ClaimOf(r state.Reader, s model.Server) (Claim, error) {
	claim := Claim{ServerID: s.ID, ProjectID: s.ProjectID, VCPUs: s.Flavor.VCPUs, RAMMiB: s.Flavor.RAMMiB, Zone: s.Zone, Host: s.WantHost, Without: s.Tried,
		Image: s.Image, Flavor: s.Flavor, Hints: s.Hints}
	for _, d := range s.Disks {
		if d.Local {
			claim.DiskGiB += d.GiB
		}
	}
	if zone, host, ok := strings.Cut(s.Zone, ":"); ok { // zone:host, as admins write it
		claim.Zone = zone
		if claim.Host == "" {
			claim.Host, _, _ = strings.Cut(host, ":")
		}
	}
	if s.GroupID != "" {
		g, err := model.Groups.Get(r, s.GroupID)
		if err != nil {
			return claim, err
		}
		claim.Group = &g
	}
	return claim, nil
}

// Describe copies what a server remembers of a port.
func Describe(n *model.NIC, p Port) {
	n.PortID, n.NetworkID, n.MAC, n.NetworkName, n.Addresses, n.Subnets = p.ID, p.NetworkID, p.MAC, p.NetworkName, p.Addresses, p.Subnets
}
