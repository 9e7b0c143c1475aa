package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Links are the devices of the peer by name.
func (k *Kernel) Links() (map[string]int, error) {
	list, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	names := make(map[string]int, len(list))
	for _, l := range list {
		names[l.Attrs().Name] = l.Attrs().MTU
	}
	return names, nil
}

// Delete removes a device, if it is there.
func (k *Kernel) Delete(name string) error {
	link, err := netlink.LinkByName(name)
	if gone(err) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func gone(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none) || errors.Is(err, unix.ENODEV)
}

// Bridge is a bridge of the peer.
type Bridge struct {
	Name      string
	MTU       int
	Addresses []netip.Prefix // of the peer itself
	Sealed    bool           // the peer takes no part in what goes over the bridge
}

// Bridge makes sure that there is the bridge, up, its frames shown to the packet filter.
func (k *Kernel) Bridge(b Bridge) error {
	link, err := netlink.LinkByName(b.Name)
	if gone(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = b.Name, b.MTU
		no := false
		if err = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &no}); err == nil {
			link, err = netlink.LinkByName(b.Name)
		}
	}
	if err != nil {
		return fmt.Errorf("make bridge %s: %w", b.Name, err)
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("%s is there, and is no bridge", b.Name)
	}
	if err := showToFilter(link); err != nil {
		return fmt.Errorf("show the frames of bridge %s to the packet filter: %w", b.Name, err)
	}
	if b.Sealed {
		if err := errors.Join(quiet(link), sysctl("net/ipv4/conf/"+b.Name+"/arp_ignore", "8")); err != nil {
			return err
		}
	}
	if err := setMTU(nil, link, b.MTU); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring bridge %s up: %w", b.Name, err)
	}
	for _, a := range b.Addresses {
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(a)}); err != nil {
			return fmt.Errorf("give %s to bridge %s: %w", a, b.Name, err)
		}
	}
	return nil
}

// showToFilter sets what the netlink library has no word for: iptables and ip6tables see the frames of this bridge, whatever the machine's default is.
func showToFilter(link netlink.Link) error {
	const callIPTables, callIP6Tables = 36, 37 // IFLA_BR_NF_CALL_...
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(link.Attrs().Index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(callIPTables, []byte{1})
	data.AddRtAttr(callIP6Tables, []byte{1})
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// quiet keeps the peer from giving itself an IPv6 address on a device that is not for it.
func quiet(link netlink.Link) error {
	const none = 1 // IN6_ADDR_GEN_MODE_NONE
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/" + link.Attrs().Name); err != nil {
		return nil // no IPv6 at all
	}
	if err := netlink.LinkSetIP6AddrGenMode(link, none); err != nil {
		return fmt.Errorf("keep %s without IPv6 address: %w", link.Attrs().Name, err)
	}
	return nil
}

func setMTU(h *netlink.Handle, link netlink.Link, mtu int) error {
	if mtu <= 0 || link.Attrs().MTU == mtu {
		return nil
	}
	set := netlink.LinkSetMTU
	if h != nil {
		set = h.LinkSetMTU
	}
	if err := set(link, mtu); err != nil {
		return fmt.Errorf("set MTU %d of %s: %w", mtu, link.Attrs().Name, err)
	}
	return nil
}

// Tap makes sure that there is a tap of that name that outlives its user, still outside of any bridge when it is new. It answers whether it is new.
func (k *Kernel) Tap(name string, mtu int) (fresh bool, err error) {
	link, err := netlink.LinkByName(name)
	if gone(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP, Flags: unix.IFF_NO_PI | unix.IFF_VNET_HDR}
		if err = netlink.LinkAdd(tap); err == nil {
			for _, fd := range tap.Fds {
				_ = fd.Close() // the tap stays; QEMU opens it by name
			}
			fresh = true
			link, err = netlink.LinkByName(name)
		}
	}
	if err != nil {
		return fresh, fmt.Errorf("make %s: %w", name, err)
	}
	return fresh, errors.Join(quiet(link), setMTU(nil, link, mtu))
}

// Attach puts a device into a bridge, up or down. Isolated ports of a bridge do not hear each other. An empty bridge leaves it where it is.
func (k *Kernel) Attach(device, bridge string, up, isolated bool) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	master, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", bridge, err)
	}
	if link.Attrs().MasterIndex != master.Attrs().Index {
		if err := netlink.LinkSetMaster(link, master); err != nil {
			return fmt.Errorf("put %s into bridge %s: %w", device, bridge, err)
		}
	}
	if isolated {
		if err := netlink.LinkSetIsolated(link, true); err != nil {
			return fmt.Errorf("isolate %s: %w", device, err)
		}
	}
	set := netlink.LinkSetUp
	if !up {
		set = netlink.LinkSetDown
	}
	if err := set(link); err != nil {
		return fmt.Errorf("bring %s up or down: %w", device, err)
	}
	return nil
}

// VXLAN is a network's tunnel device.
type VXLAN struct {
	Name, Bridge string
	VNI, MTU     int
	Local        netip.Addr
	Remotes      []netip.Addr
}

const vxlanPort = 4789

// VXLAN makes sure that there is the tunnel device, in its bridge, and that frames for all go to just the remotes.
func (k *Kernel) VXLAN(v VXLAN) error {
	link, err := netlink.LinkByName(v.Name)
	if was, ok := link.(*netlink.Vxlan); err == nil && (!ok || was.VxlanId != v.VNI || !was.SrcAddr.Equal(v.Local.AsSlice())) {
		if err := netlink.LinkDel(link); err != nil {
			return fmt.Errorf("remove the old %s: %w", v.Name, err)
		}
		link, err = netlink.LinkByName(v.Name)
	}
	if gone(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = v.Name, v.MTU
		tunnel := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: v.VNI, SrcAddr: v.Local.AsSlice(), Learning: true, Port: vxlanPort, UDPCSum: true}
		if err = netlink.LinkAdd(tunnel); err == nil {
			link, err = netlink.LinkByName(v.Name)
		}
	}
	if err != nil {
		return fmt.Errorf("make VXLAN device for VNI %d: %w", v.VNI, err)
	}
	if err := errors.Join(quiet(link), setMTU(nil, link, v.MTU)); err != nil {
		return err
	}
	if err := k.Attach(v.Name, v.Bridge, true, true); err != nil {
		return err
	}
	return floodTo(link, v.Remotes)
}

// floodTo makes head-end replication go to just the remotes.
func floodTo(link netlink.Link, remotes []netip.Addr) error {
	entries, err := netlink.NeighList(link.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		return fmt.Errorf("list forwarding entries of %s: %w", link.Attrs().Name, err)
	}
	zero := make(net.HardwareAddr, 6)
	have := map[netip.Addr]netlink.Neigh{}
	for _, e := range entries {
		if ip, ok := netip.AddrFromSlice(e.IP); ok && e.HardwareAddr.String() == zero.String() {
			have[ip.Unmap()] = e
		}
	}
	var bad []error
	for _, r := range remotes {
		if _, ok := have[r]; ok {
			delete(have, r)
			continue
		}
		bad = append(bad, netlink.NeighAppend(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT | netlink.NUD_NOARP,
			IP: r.AsSlice(), HardwareAddr: zero,
		}))
	}
	for _, e := range have {
		e.Family, e.Flags = unix.AF_BRIDGE, netlink.NTF_SELF
		bad = append(bad, netlink.NeighDel(&e))
	}
	if err := errors.Join(bad...); err != nil {
		return fmt.Errorf("send frames of %s to other peers: %w", link.Attrs().Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// DeviceOf finds the device that has an address, and its MTU.
func (k *Kernel) DeviceOf(ip netip.Addr) (name string, mtu int, err error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return "", 0, fmt.Errorf("list devices: %w", err)
	}
	for _, link := range links {
		addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return "", 0, fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range addrs {
			loopback := link.Attrs().Flags&net.FlagLoopback != 0
			// All of 127.0.0.0/8 is the loopback's.
			if a.IP.Equal(ip.AsSlice()) || loopback && a.Contains(ip.AsSlice()) {
				return link.Attrs().Name, link.Attrs().MTU, nil
			}
		}
	}
	return "", 0, fmt.Errorf("no device has the address %s", ip)
}
