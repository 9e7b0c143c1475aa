package dhcp

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"henge/netd/model"
	"henge/netd/wire"
)

const guestMAC = "fa:16:3e:00:00:05"

func hardware(t *testing.T) net.HardwareAddr {
	t.Helper()
	hw, err := net.ParseMAC(guestMAC)
	if err != nil {
		t.Fatal(err)
	}
	return hw
}

// testNetwork has one guest with an address of either family.
func testNetwork() *Network {
	four := model.Subnet{
		Standard: model.Standard{ID: "s4"}, CIDR: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1"), DHCP: true,
		DNS: []string{"10.0.0.53", "2001:db8::53"}, Routes: []model.Route{{Destination: netip.MustParsePrefix("10.1.0.0/16"), NextHop: netip.MustParseAddr("10.0.0.9")}},
	}
	six := model.Subnet{
		Standard: model.Standard{ID: "s6"}, CIDR: netip.MustParsePrefix("2001:db8::/64"), DHCP: true, AddressMode: model.DHCPv6Stateful, RAMode: model.DHCPv6Stateful,
		DNS: []string{"2001:db8::53"},
	}
	return &Network{MTU: 1450, DHCP: wire.DHCP{
		MAC: "fa:16:3e:00:00:02", Domain: "cloud.test.", Subnets: []model.Subnet{four, six},
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("2001:db8::2/64")},
		Guests: []wire.Guest{{
			MAC: guestMAC, Options: []model.DHCPOption{{Name: "ntp-server", Value: "10.0.0.3,10.0.0.4", IPVersion: 4}, {Name: "67", Value: "pxelinux.0"}, {Name: "smoke", Value: "x"}},
			IPs: []model.FixedIP{{SubnetID: "s4", IP: netip.MustParseAddr("10.0.0.5")}, {SubnetID: "s6", IP: netip.MustParseAddr("2001:db8::5")}},
		}},
	}}
}

func TestAnswer4_Offer(t *testing.T) {
	req, err := dhcpv4.NewDiscovery(hardware(t))
	if err != nil {
		t.Fatal(err)
	}
	resp := testNetwork().Answer4(req)
	if resp == nil || resp.MessageType() != dhcpv4.MessageTypeOffer || !resp.YourIPAddr.Equal(net.IPv4(10, 0, 0, 5)) {
		t.Fatalf("answer: %v", resp)
	}
	for what, ok := range map[string]bool{
		"MTU":     bytes.Equal(resp.Options.Get(dhcpv4.OptionInterfaceMTU), []byte{5, 170}),
		"router":  len(resp.Router()) == 1 && resp.Router()[0].Equal(net.IPv4(10, 0, 0, 1)),
		"dns":     len(resp.DNS()) == 1,
		"domain":  resp.DomainName() == "cloud.test",
		"routes":  len(resp.ClasslessStaticRoute()) == 3,
		"name":    resp.HostName() == "host-10-0-0-5",
		"ntp":     len(resp.NTPServers()) == 2,
		"file":    string(resp.Options.Get(dhcpv4.OptionBootfileName)) == "pxelinux.0",
		"server":  resp.ServerIdentifier().Equal(net.IPv4(10, 0, 0, 2)),
		"strange": len(resp.ToBytes()) < 576,
	} {
		if !ok {
			t.Errorf("%s is not as it should be: %s", what, resp.Summary())
		}
	}
}

func TestAnswer4_WhoGetsNone(t *testing.T) {
	n := testNetwork()
	stranger, _ := dhcpv4.NewDiscovery(net.HardwareAddr{2, 0, 0, 0, 0, 1})
	if n.Answer4(stranger) != nil {
		t.Error("a stranger got an answer")
	}
	relayed, _ := dhcpv4.NewDiscovery(hardware(t), dhcpv4.WithRelay(net.IPv4(10, 0, 0, 9)))
	if n.Answer4(relayed) != nil {
		t.Error("a relay got an answer")
	}
	discover, _ := dhcpv4.NewDiscovery(hardware(t))
	other, err := dhcpv4.NewRequestFromOffer(n.Answer4(discover), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 0, 77))))
	if err != nil {
		t.Fatal(err)
	}
	if n.Answer4(other) != nil {
		t.Error("who took another's offer got an answer")
	}
	wrong, err := dhcpv4.NewRequestFromOffer(n.Answer4(discover), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 0, 0, 66))))
	if err != nil {
		t.Fatal(err)
	}
	if resp := n.Answer4(wrong); resp == nil || resp.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("a wish for another address got %v", resp)
	}
}

func TestAnswer6(t *testing.T) {
	n := testNetwork()
	from := wire.LinkLocal(guestMAC)
	solicit, err := dhcpv6.NewSolicit(hardware(t))
	if err != nil {
		t.Fatal(err)
	}
	adv := n.Answer6(solicit, from)
	if adv == nil || adv.MessageType != dhcpv6.MessageTypeAdvertise {
		t.Fatalf("answer: %v", adv)
	}
	req, err := dhcpv6.NewRequestFromAdvertise(adv)
	if err != nil {
		t.Fatal(err)
	}
	resp := n.Answer6(req, from)
	if resp == nil || resp.MessageType != dhcpv6.MessageTypeReply {
		t.Fatalf("answer: %v", resp)
	}
	if got := resp.Options.OneIANA().Options.OneAddress(); got == nil || got.IPv6Addr.String() != "2001:db8::5" {
		t.Errorf("address: %v", got)
	}
	if len(resp.Options.DNS()) != 1 {
		t.Errorf("DNS: %v", resp.Options.DNS())
	}
	stranger, _ := dhcpv6.NewSolicit(net.HardwareAddr{2, 0, 0, 0, 0, 1})
	if n.Answer6(stranger, netip.MustParseAddr("fe80::99")) != nil {
		t.Error("a stranger got an answer")
	}
	n.Guests[0].IPs = n.Guests[0].IPs[:1]
	if status := n.Answer6(solicit, from).Options.OneIANA().Options.Status(); status == nil || status.StatusCode != iana.StatusNoAddrsAvail {
		t.Errorf("without an address: %v", status)
	}
}

func TestAdvertisement(t *testing.T) {
	six := testNetwork().Subnets[1]
	b := Advertisement([]model.Subnet{six}, 1450, hardware(t))
	if b[0] != 134 || b[5] != 0x80 || len(b)%8 != 0 {
		t.Errorf("stateful: % x", b)
	}
	if !bytes.Contains(b, []byte{5, 1, 0, 0, 0, 0, 5, 170}) {
		t.Error("no MTU in it")
	}
	six.RAMode = model.SLAAC
	if b = Advertisement([]model.Subnet{six}, 1450, hardware(t)); b[5] != 0 || !bytes.Contains(b, []byte{3, 4, 64, 0xc0}) {
		t.Errorf("SLAAC: % x", b)
	}
}

// FuzzAnswer feeds any bytes to both servers.
func FuzzAnswer(f *testing.F) {
	solicit, _ := dhcpv6.NewSolicit(net.HardwareAddr{2, 0, 0, 0, 0, 1})
	discover, _ := dhcpv4.NewDiscovery(net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 5})
	f.Add(solicit.ToBytes())
	f.Add(discover.ToBytes())
	n := testNetwork()
	f.Fuzz(func(t *testing.T, b []byte) {
		if req, err := dhcpv4.FromBytes(b); err == nil {
			if resp := n.Answer4(req); resp != nil {
				resp.ToBytes()
			}
		}
		if req, err := dhcpv6.MessageFromBytes(b); err == nil {
			if resp := n.Answer6(req, wire.LinkLocal(guestMAC)); resp != nil {
				resp.ToBytes()
			}
		}
	})
}
