package dhcp

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"henge/netd/model"
	"henge/netd/wire"
)

// Answer6 is the answer to a DHCPv6 message that came from a link-local address; nil: none.
func (n *Network) Answer6(req *dhcpv6.Message, from netip.Addr) *dhcpv6.Message {
	g, ok := n.guest6(req, from)
	if !ok || req.Options.ClientID() == nil && req.MessageType != dhcpv6.MessageTypeInformationRequest {
		return nil
	}
	hw, err := net.ParseMAC(n.MAC)
	if err != nil {
		return nil
	}
	own := &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: hw}
	if id := req.Options.ServerID(); id != nil && !id.Equal(own) {
		return nil
	}
	resp := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: req.TransactionID}
	if id := req.Options.ClientID(); id != nil {
		resp.AddOption(dhcpv6.OptClientID(id))
	}
	resp.AddOption(dhcpv6.OptServerID(own))
	switch req.MessageType {
	case dhcpv6.MessageTypeSolicit:
		if req.GetOneOption(dhcpv6.OptionRapidCommit) == nil {
			resp.MessageType = dhcpv6.MessageTypeAdvertise
		} else {
			dhcpv6.WithRapidCommit(resp)
		}
		n.grant(req, resp, g)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		n.grant(req, resp, g)
	case dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		resp.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess})
	case dhcpv6.MessageTypeInformationRequest:
	default:
		return nil
	}
	n.options6(resp)
	return resp
}

// guest6 knows a guest by the MAC address in its link-local address, or in its DUID.
func (n *Network) guest6(req *dhcpv6.Message, from netip.Addr) (wire.Guest, bool) {
	at := slices.IndexFunc(n.Guests, func(g wire.Guest) bool { return wire.LinkLocal(g.MAC) == from })
	if at >= 0 {
		return n.Guests[at], true
	}
	if mac, err := dhcpv6.ExtractMAC(req); err == nil {
		return n.guest(mac)
	}
	return wire.Guest{}, false
}

// grant answers the request for addresses with those that the port has on subnets where they come by DHCPv6.
func (n *Network) grant(req, resp *dhcpv6.Message, g wire.Guest) {
	for _, ia := range req.Options.IANA() {
		out := &dhcpv6.OptIANA{IaId: ia.IaId, T1: leaseTime / 2, T2: leaseTime * 4 / 5}
		for _, ip := range n.stateful(g) {
			out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: ip.AsSlice(), PreferredLifetime: leaseTime, ValidLifetime: leaseTime})
		}
		if len(out.Options.Addresses()) == 0 {
			out.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail, StatusMessage: "the port has no address for DHCPv6"})
		}
		resp.AddOption(out)
	}
}

func (n *Network) stateful(g wire.Guest) []netip.Addr {
	var all []netip.Addr
	for _, f := range g.IPs {
		at := slices.IndexFunc(n.Subnets, func(s model.Subnet) bool { return s.ID == f.SubnetID })
		if at >= 0 && f.IP.Is6() && n.Subnets[at].DHCP && !n.Subnets[at].Derived() {
			all = append(all, f.IP)
		}
	}
	return all
}

func (n *Network) options6(resp *dhcpv6.Message) {
	var servers []net.IP
	for _, s := range n.Subnets {
		for _, ip := range addresses(s.DNS, true) {
			if !slices.ContainsFunc(servers, ip.Equal) {
				servers = append(servers, ip)
			}
		}
	}
	if len(servers) > 0 {
		resp.AddOption(dhcpv6.OptDNS(servers...))
	}
	if n.Domain != "" {
		dhcpv6.WithDomainSearchList(n.Domain)(resp)
	}
}

// Serve6 answers DHCPv6 on a socket bound to port 547 of a network's namespace, a member of ff02::1:2, until ctx ends; it closes the socket.
func Serve6(ctx context.Context, conn net.PacketConn, network func() *Network, logger *slog.Logger) {
	serve(ctx, conn, logger, func(packet []byte, from net.Addr) ([]byte, net.Addr) {
		addr, ok := from.(*net.UDPAddr)
		if !ok {
			return nil, nil
		}
		req, err := dhcpv6.MessageFromBytes(packet)
		if err != nil {
			return nil, nil
		}
		resp := network().Answer6(req, addr.AddrPort().Addr().WithZone(""))
		if resp == nil {
			return nil, nil
		}
		return resp.ToBytes(), from
	})
}
