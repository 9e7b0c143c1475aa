package dhcp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"henge/netd/model"
	"henge/netd/wire"
)

// leaseTime is how long an address is told to be good for. It is good for as long as the port is there.
const leaseTime = 24 * time.Hour

// packetBytesMax is more than any message that a guest may send.
const packetBytesMax = 4096

// Network is what the answers are made of.
type Network struct {
	MTU int
	wire.DHCP
}

// guest finds who has a MAC address.
func (n *Network) guest(mac net.HardwareAddr) (wire.Guest, bool) {
	text := mac.String()
	at := slices.IndexFunc(n.Guests, func(g wire.Guest) bool { return g.MAC == text })
	if at < 0 {
		return wire.Guest{}, false
	}
	return n.Guests[at], true
}

// lease finds a guest's first address on a served subnet of the family, the subnet, and our own address there.
func (n *Network) lease(g wire.Guest, six bool) (ip netip.Addr, s model.Subnet, own netip.Addr, ok bool) {
	for _, f := range g.IPs {
		for i, s := range n.Subnets {
			if s.ID == f.SubnetID && f.IP.Is6() == six && s.DHCP {
				return f.IP, s, n.Addresses[i].Addr(), true
			}
		}
	}
	return ip, s, own, false
}

// Answer4 is the answer to a DHCPv4 message; nil: none.
func (n *Network) Answer4(req *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	if req.OpCode != dhcpv4.OpcodeBootRequest || !req.GatewayIPAddr.IsUnspecified() && req.GatewayIPAddr != nil {
		return nil // no relays here
	}
	g, ok := n.guest(req.ClientHWAddr)
	if !ok {
		return nil
	}
	ip, s, own, ok := n.lease(g, false)
	if !ok {
		return nil
	}
	resp, err := dhcpv4.NewReplyFromRequest(req, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(own.AsSlice())))
	if err != nil {
		return nil
	}
	resp.ServerIPAddr = own.AsSlice()
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		resp.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeOffer))
	case dhcpv4.MessageTypeRequest:
		if id := req.ServerIdentifier(); id != nil && !id.Equal(own.AsSlice()) {
			return nil // it took another server's offer
		}
		wants := req.RequestedIPAddress()
		if wants == nil {
			wants = req.ClientIPAddr
		}
		if !wants.Equal(ip.AsSlice()) {
			resp.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
			resp.SetBroadcast()
			return resp
		}
		resp.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck))
	case dhcpv4.MessageTypeInform:
		resp.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck))
	default:
		return nil
	}
	if req.MessageType() != dhcpv4.MessageTypeInform {
		resp.YourIPAddr = ip.AsSlice()
		resp.UpdateOption(dhcpv4.OptIPAddressLeaseTime(leaseTime))
	}
	n.options4(resp, g, ip, s, own)
	return resp
}

// options4 adds what a guest need know besides its address.
func (n *Network) options4(resp *dhcpv4.DHCPv4, g wire.Guest, ip netip.Addr, s model.Subnet, own netip.Addr) {
	resp.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(s.CIDR.Bits(), 32)))
	resp.UpdateOption(dhcpv4.OptBroadcastAddress(broadcast(s.CIDR)))
	resp.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(n.MTU >> 8), byte(n.MTU)}))
	routes := []*dhcpv4.Route{route(netip.PrefixFrom(wire.MetadataAddress, 32), own)}
	for _, r := range s.Routes {
		if r.Destination.Addr().Is4() {
			routes = append(routes, route(r.Destination, r.NextHop))
		}
	}
	if s.Gateway.IsValid() {
		resp.UpdateOption(dhcpv4.OptRouter(s.Gateway.AsSlice()))
		// Who reads classless routes looks at no other way out.
		routes = append(routes, route(netip.PrefixFrom(netip.IPv4Unspecified(), 0), s.Gateway))
	}
	resp.UpdateOption(dhcpv4.OptClasslessStaticRoute(routes...))
	if servers := addresses(s.DNS, false); len(servers) > 0 {
		resp.UpdateOption(dhcpv4.OptDNS(servers...))
	}
	if n.Domain != "" {
		resp.UpdateOption(dhcpv4.OptDomainName(strings.TrimSuffix(n.Domain, ".")))
	}
	name := g.Name
	if name == "" {
		name = "host-" + strings.ReplaceAll(ip.String(), ".", "-")
	}
	resp.UpdateOption(dhcpv4.OptHostName(name))
	for _, o := range g.Options {
		if o.IPVersion == 6 {
			continue
		}
		if o.Name == "server-ip-address" {
			if next, err := netip.ParseAddr(o.Value); err == nil && next.Is4() {
				resp.ServerIPAddr = next.AsSlice()
			}
			continue
		}
		if code, value, ok := option4(o); ok {
			resp.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), value))
		}
	}
}

func route(to netip.Prefix, via netip.Addr) *dhcpv4.Route {
	return &dhcpv4.Route{Dest: &net.IPNet{IP: to.Masked().Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}, Router: via.AsSlice()}
}

func broadcast(p netip.Prefix) net.IP {
	ip := p.Masked().Addr().As4()
	mask := net.CIDRMask(p.Bits(), 32)
	for i := range ip {
		ip[i] |= ^mask[i]
	}
	return ip[:]
}

func addresses(texts []string, six bool) []net.IP {
	var all []net.IP
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil && a.Is6() == six {
			all = append(all, a.AsSlice())
		}
	}
	return all
}

// Serve4 answers DHCPv4 on a socket bound to port 67 of a network's namespace, until ctx ends; it closes the socket.
func Serve4(ctx context.Context, conn net.PacketConn, network func() *Network, logger *slog.Logger) {
	serve(ctx, conn, logger, func(packet []byte, from net.Addr) ([]byte, net.Addr) {
		req, err := dhcpv4.FromBytes(packet)
		if err != nil {
			return nil, nil
		}
		resp := network().Answer4(req)
		if resp == nil {
			return nil, nil
		}
		to := &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
		if !resp.IsBroadcast() && !req.ClientIPAddr.IsUnspecified() {
			to.IP = req.ClientIPAddr
		}
		return resp.ToBytes(), to
	})
}

// serve answers packets until ctx ends.
func serve(ctx context.Context, conn net.PacketConn, logger *slog.Logger, answer func([]byte, net.Addr) ([]byte, net.Addr)) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	buf := make([]byte, packetBytesMax)
	for {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error for something sent before
		}
		packet, to := answer(bytes.Clone(buf[:n]), from)
		if packet == nil {
			continue
		}
		if _, err := conn.WriteTo(packet, to); err != nil && ctx.Err() == nil {
			logger.Debug("answer a guest", "to", to.String(), "error", err)
		}
	}
}
