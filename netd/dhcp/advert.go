package dhcp

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"henge/netd/model"
)

// Advertisement is a router advertisement for the subnets of one leg: the ICMPv6 message, its checksum left to the kernel.
func Advertisement(subnets []model.Subnet, mtu int, mac net.HardwareAddr) []byte {
	const lifetime = 1800 // seconds that we are a router for
	var flags byte
	for _, s := range subnets {
		switch s.RAMode {
		case model.DHCPv6Stateful:
			flags |= 0x80 // managed: addresses by DHCPv6
		case model.DHCPv6Stateless:
			flags |= 0x40 // other: the rest by DHCPv6
		}
	}
	b := []byte{134, 0, 0, 0, 64, flags}
	b = binary.BigEndian.AppendUint16(b, lifetime)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // reachable and retransmission time: as you like
	b = append(append(b, 1, 1), mac...)
	b = append(b, 5, 1, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(mtu))
	for _, s := range subnets {
		b = append(b, prefixOption(s)...)
		if servers := addresses(s.DNS, true); len(servers) > 0 {
			b = append(b, 25, byte(1+2*len(servers)), 0, 0)
			b = binary.BigEndian.AppendUint32(b, lifetime)
			for _, ip := range servers {
				b = append(b, ip...)
			}
		}
	}
	return b
}

// prefixOption tells that the subnet is on the link, and whether guests make addresses in it by themselves.
func prefixOption(s model.Subnet) []byte {
	flags := byte(0x80)
	if s.RAMode == model.SLAAC || s.RAMode == model.DHCPv6Stateless {
		flags |= 0x40
	}
	b := []byte{3, 4, byte(s.CIDR.Bits()), flags}
	b = binary.BigEndian.AppendUint32(b, 86400)
	b = binary.BigEndian.AppendUint32(b, 14400)
	b = append(b, 0, 0, 0, 0)
	prefix := s.CIDR.Masked().Addr().As16()
	return append(b, prefix[:]...)
}

// Advertised is what a leg's advertisements are made of.
type Advertised struct {
	Subnets []model.Subnet
	MTU     int
	MAC     net.HardwareAddr
	Device  string
}

// advertiseInterval is how often guests that did not ask are told.
const advertiseInterval = 30 * time.Second

// Advertise sends router advertisements on a raw ICMPv6 socket bound to the leg's device, at once, now and then, and to who asks, until ctx ends; it closes the
// socket.
func Advertise(ctx context.Context, conn net.PacketConn, leg func() Advertised, logger *slog.Logger) {
	all := &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: leg().Device}
	send := func() {
		a := leg()
		if _, err := conn.WriteTo(Advertisement(a.Subnets, a.MTU, a.MAC), all); err != nil && ctx.Err() == nil {
			logger.Debug("advertise a router", "device", a.Device, "error", err)
		}
	}
	go func() {
		tick := time.NewTicker(advertiseInterval)
		defer tick.Stop()
		for {
			send()
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	serve(ctx, conn, logger, func(packet []byte, from net.Addr) ([]byte, net.Addr) {
		const solicitation = 133
		if addr, ok := from.(*net.IPAddr); !ok || len(packet) < 8 || packet[0] != solicitation || !linkLocalOrNone(addr) {
			return nil, nil
		}
		a := leg()
		return Advertisement(a.Subnets, a.MTU, a.MAC), all
	})
}

func linkLocalOrNone(a *net.IPAddr) bool {
	ip, ok := netip.AddrFromSlice(a.IP)
	return ok && (ip.IsLinkLocalUnicast() || ip.IsUnspecified())
}
