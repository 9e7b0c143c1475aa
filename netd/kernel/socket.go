package kernel

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sockets for the services of a namespace. They stay in it, whoever uses them.

// ListenDHCP4 opens port 67 on a device.
func (ns *Namespace) ListenDHCP4(device string) (net.PacketConn, error) {
	return ns.packets("udp4", ":67", device, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1) })
}

// ListenDHCP6 opens port 547 on a device, for what is sent to all DHCPv6 servers.
func (ns *Namespace) ListenDHCP6(device string) (net.PacketConn, error) {
	return ns.packets("udp6", "[::]:547", device, func(fd int) error { return ns.join(fd, device, "ff02::1:2") })
}

// ListenICMP6 opens a raw socket on a device that sends as a router has to, and hears who asks for one.
func (ns *Namespace) ListenICMP6(device string) (net.PacketConn, error) {
	return ns.packets("ip6:58", "::", device, func(fd int) error {
		for _, option := range []int{unix.IPV6_MULTICAST_HOPS, unix.IPV6_UNICAST_HOPS} {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, option, 255); err != nil {
				return err
			}
		}
		return ns.join(fd, device, "ff02::2")
	})
}

// join makes a socket a member of a group on a device, and that the way out for groups.
func (ns *Namespace) join(fd int, device, group string) error {
	link, err := ns.handle.LinkByName(device)
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index); err != nil {
		return err
	}
	m := &unix.IPv6Mreq{Interface: uint32(index)}
	copy(m.Multiaddr[:], net.ParseIP(group).To16())
	return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, m)
}

func (ns *Namespace) packets(network, address, device string, prepare func(fd int) error) (conn net.PacketConn, err error) {
	cfg := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var bad error
		if err := raw.Control(func(fd uintptr) {
			if bad = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); bad == nil {
				bad = unix.BindToDevice(int(fd), device)
			}
			if bad == nil {
				bad = prepare(int(fd))
			}
		}); err != nil {
			return err
		}
		return bad
	}}
	err = ns.Do(func() error {
		conn, err = cfg.ListenPacket(context.Background(), network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s in %s: %w", device, ns.name, err)
	}
	return conn, nil
}

// Listen opens a TCP port in the namespace.
func (ns *Namespace) Listen(address string) (ln net.Listener, err error) {
	err = ns.Do(func() error {
		ln, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", ns.name, err)
	}
	return ln, nil
}
