package model

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
)

// Prefix is where all rows of compute lie.
const Prefix = "compute."

// Sep stands between the parts of a compound key; no id or name holds it.
const Sep = "\x1f"

// The tables, with their indexes.
var (
	Flavors  = state.NewTable[Flavor](Prefix+"flavors").Index("name", true, func(f Flavor) string { return f.Name })
	Keypairs = state.NewTable[Keypair](Prefix+"keypairs").Index("user", false, func(k Keypair) string { return k.UserID })
	Servers  = state.NewTable[Server](Prefix+"servers").
			Index("project", false, func(s Server) string { return s.ProjectID }).
			Index("host", false, func(s Server) string { return s.Host })
	UserDatas  = state.NewTable[UserData](Prefix + "userdata")
	Actions    = state.NewTable[ActionRecord](Prefix+"actions").Index("server", false, func(a ActionRecord) string { return a.ServerID })
	Groups     = state.NewTable[Group](Prefix+"groups").Index("project", false, func(g Group) string { return g.ProjectID })
	Hosts      = state.NewTable[Host](Prefix + "hosts")
	Aggregates = state.NewTable[Aggregate](Prefix+"aggregates").Index("name", true, func(a Aggregate) string { return a.Name })
	Quotas     = state.NewTable[Quota](Prefix + "quotas")
	Tokens     = state.NewTable[ConsoleToken](Prefix+"consoles").Index("server", false, func(t ConsoleToken) string { return t.ServerID })
	Secrets    = state.NewTable[string](Prefix + "secrets")
)

// KeypairID is the place of a user's key pair in its table: names may hold what ids may not.
func KeypairID(userID, name string) string { return hex.EncodeToString([]byte(userID + Sep + name)) }

// ActionID is the place of an action in its table.
func ActionID(serverID, requestID string) string { return serverID + Sep + requestID }

// NewUUID makes a random UUID.
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process rather than answer badly
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Optional makes "not there" an answer instead of an error.
func Optional[T any](row T, err error) (T, bool, error) {
	if errs.Is(err, errs.NotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// FromVolume tells whether the server boots from a volume.
func (s *Server) FromVolume() bool {
	return slices.ContainsFunc(s.Disks, func(d Disk) bool { return d.Boot && !d.Local })
}

// Disk finds a disk of the server by its row's id.
func (s *Server) Disk(id string) *Disk {
	for i := range s.Disks {
		if s.Disks[i].ID == id {
			return &s.Disks[i]
		}
	}
	return nil
}

// Volume finds the disk that is a volume.
func (s *Server) Volume(volumeID string) *Disk {
	for i := range s.Disks {
		if volumeID != "" && s.Disks[i].VolumeID == volumeID {
			return &s.Disks[i]
		}
	}
	return nil
}

// GrowVolume notes that a volume of a server is larger now; the server's host tells the guest. A server that is gone, or gave the volume back, is no error.
func GrowVolume(w state.Writer, serverID, volumeID string, gib int) (noted bool, err error) {
	s, there, err := Optional(Servers.Get(w, serverID))
	if err != nil || !there {
		return false, err
	}
	s.Disks = slices.Clone(s.Disks)
	d := s.Volume(volumeID)
	if d == nil {
		return false, nil
	}
	d.GiB, d.Grown = gib, true
	return true, Servers.Put(w, s.ID, s)
}

// Port finds the interface with a port.
func (s *Server) Port(portID string) *NIC {
	for i := range s.NICs {
		if portID != "" && s.NICs[i].PortID == portID {
			return &s.NICs[i]
		}
	}
	return nil
}

// FreeDevice is the first name of a disk that nothing has.
func (s *Server) FreeDevice() string {
	taken := map[string]bool{}
	for _, d := range s.Disks {
		taken[d.Device] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		if name := "vd" + string(c); !taken[name] {
			return name
		}
	}
	return ""
}

// Remove takes a server and all that hangs on it out of the state.
func Remove(w state.Writer, s Server) error {
	for _, t := range []struct {
		ids    []string
		delete func(state.Writer, string) error
	}{
		{[]string{s.ID}, Servers.Delete},
		{[]string{s.ID}, UserDatas.Delete},
		{actionIDs(w, s.ID), Actions.Delete},
		{tokenIDs(w, s.ID), Tokens.Delete},
	} {
		for _, id := range t.ids {
			if err := t.delete(w, id); err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
		}
	}
	if s.GroupID == "" {
		return nil
	}
	g, there, err := Optional(Groups.Get(w, s.GroupID))
	if err != nil || !there {
		return err
	}
	g.Members = slices.DeleteFunc(slices.Clone(g.Members), func(id string) bool { return id == s.ID })
	return Groups.Put(w, g.ID, g)
}

func actionIDs(r state.Reader, serverID string) (ids []string) {
	for a, err := range Actions.Where(r, "server", serverID) {
		if err == nil {
			ids = append(ids, ActionID(serverID, a.RequestID))
		}
	}
	return ids
}

func tokenIDs(r state.Reader, serverID string) (ids []string) {
	for t, err := range Tokens.Where(r, "server", serverID) {
		if err == nil {
			ids = append(ids, t.Hash)
		}
	}
	return ids
}
