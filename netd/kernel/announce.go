package kernel

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Announce tells the neighbours on a namespace's device that an IPv4 address is at its MAC address now (gratuitous ARP), so that those who knew it elsewhere
// send here at once.
func (ns *Namespace) Announce(device, mac string, ip netip.Addr) error {
	hw, err := net.ParseMAC(mac)
	if err != nil || !ip.Is4() {
		return err
	}
	link, err := ns.handle.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", device, ns.name, err)
	}
	frame := gratuitousARP(hw, ip)
	return ns.Do(func() error {
		const arp = 0x0608 // ETH_P_ARP in network order
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, arp)
		if err != nil {
			return fmt.Errorf("announce %s: %w", ip, err)
		}
		defer unix.Close(fd)
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: arp, Halen: 6}); err != nil {
			return fmt.Errorf("announce %s: %w", ip, err)
		}
		return nil
	})
}

func gratuitousARP(hw net.HardwareAddr, ip netip.Addr) []byte {
	b := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	b = append(b, hw...)
	b = binary.BigEndian.AppendUint16(b, 0x0806)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, a request: what all systems listen to
	addr := ip.As4()
	b = append(b, hw...)
	b = append(b, addr[:]...)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, addr[:]...)
}
