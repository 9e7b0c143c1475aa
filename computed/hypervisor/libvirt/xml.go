package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"strings"

	lv "github.com/digitalocean/go-libvirt"

	"henge/computed/hypervisor"
	"henge/internal/errs"
)

// namePrefix begins the names of our domains.
const namePrefix = "instance-"

// mark is what a domain's description says when it is ours.
func (d *Driver) mark() string { return "henge " + d.Owner }

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}

// sheet builds XML line by line; values are escaped.
type sheet struct{ strings.Builder }

func (s *sheet) line(format string, values ...any) {
	for i, v := range values {
		if text, ok := v.(string); ok {
			values[i] = escape(text)
		}
	}
	fmt.Fprintf(s, format+"\n", values...)
}

// domainXML describes a guest. The machine is "pc": its PCI bus takes devices while the guest runs, with no ports to be set aside.
func (d *Driver) domainXML(g hypervisor.Guest) (string, error) {
	var s sheet
	s.line("<domain type='%s'>", d.VirtType)
	s.line("<name>%s</name><uuid>%s</uuid>", namePrefix+g.ID, g.ID)
	if title := strings.Map(onOneLine, g.Title); title != "" {
		s.line("<title>%s</title>", title)
	}
	s.line("<description>%s</description>", d.mark())
	s.line("<memory unit='MiB'>%d</memory><vcpu>%d</vcpu>", g.MemoryMiB, g.VCPUs)
	s.line("<sysinfo type='smbios'><system><entry name='manufacturer'>OpenStack Foundation</entry><entry name='product'>OpenStack Nova</entry>")
	s.line("<entry name='serial'>%s</entry><entry name='uuid'>%s</entry><entry name='family'>Virtual Machine</entry></system></sysinfo>", g.ID, g.ID)
	s.line("<os><type arch='x86_64' machine='pc'>hvm</type><smbios mode='sysinfo'/></os>")
	s.line("<features><acpi/><apic/></features>")
	if d.VirtType == "kvm" {
		s.line("<cpu mode='host-model' check='partial'/>")
	} else {
		s.line("<cpu mode='maximum'/>")
	}
	s.line("<clock offset='utc'><timer name='pit' tickpolicy='delay'/><timer name='rtc' tickpolicy='catchup'/><timer name='hpet' present='no'/></clock>")
	s.line("<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>")
	s.line("<devices>")
	for _, disk := range g.Disks {
		element, err := diskXML(disk)
		if err != nil {
			return "", err
		}
		s.WriteString(element)
	}
	for _, n := range g.NICs {
		element, err := nicXML(n)
		if err != nil {
			return "", err
		}
		s.WriteString(element)
	}
	// virtlogd keeps the log, and bounds it.
	s.line("<serial type='pty'><log file='%s' append='on'/><target port='0'/></serial>", g.ConsoleLog)
	s.line("<graphics type='vnc'><listen type='socket'/></graphics>") // where QEMU may make one: see Screen
	s.line("<video><model type='vga'/></video>")
	s.line("<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>")
	s.line("<memballoon model='virtio'/>")
	s.line("</devices>")
	if d.runAs != "" {
		s.line("<seclabel type='static' model='dac' relabel='yes'><label>%s</label></seclabel>", d.runAs)
	}
	s.line("</domain>")
	return s.String(), nil
}

// onOneLine leaves out what a title may not hold.
func onOneLine(r rune) rune {
	if r < ' ' || r == 0x7f {
		return -1
	}
	return r
}

func diskXML(d hypervisor.Disk) (string, error) {
	var s sheet
	bus := d.Bus
	if bus == "" {
		bus = "virtio"
	}
	kind, device := "file", "disk"
	if d.ISCSI != nil {
		kind = "network"
	}
	if d.CDROM {
		device = "cdrom"
	}
	s.line("<disk type='%s' device='%s'>", kind, device)
	if d.ISCSI != nil {
		if err := iscsiXML(&s, d); err != nil {
			return "", err
		}
	} else {
		s.line("<driver name='qemu' type='%s' discard='unmap'/><source file='%s'/>", d.Format, d.Path)
	}
	s.line("<target dev='%s' bus='%s'/>", d.Device, bus)
	if d.CDROM || d.ReadOnly {
		s.line("<readonly/>")
	}
	if d.Serial != "" {
		s.line("<serial>%s</serial>", d.Serial)
	}
	if d.Boot > 0 {
		s.line("<boot order='%d'/>", d.Boot)
	}
	s.line("</disk>")
	return s.String(), nil
}

func iscsiXML(s *sheet, d hypervisor.Disk) error {
	host, port, err := net.SplitHostPort(d.ISCSI.Portal)
	if err != nil {
		return errs.New(errs.Internal, "the volume's portal %q: %w", d.ISCSI.Portal, err)
	}
	s.line("<driver name='qemu' type='raw' cache='none' discard='unmap'/>")
	s.line("<source protocol='iscsi' name='%s'><host name='%s' port='%s'/>", fmt.Sprintf("%s/%d", d.ISCSI.IQN, d.ISCSI.LUN), host, port)
	if d.ISCSI.Initiator != "" {
		s.line("<initiator><iqn name='%s'/></initiator>", d.ISCSI.Initiator)
	}
	if d.ISCSI.User != "" {
		s.line("<auth username='%s'><secret type='iscsi' usage='%s'/></auth>", d.ISCSI.User, usage(d.Serial))
	}
	s.line("</source>")
	return nil
}

func nicXML(n hypervisor.NIC) (string, error) {
	var s sheet
	model := n.Model
	if model == "" {
		model = "virtio"
	}
	s.line("<interface type='ethernet'><mac address='%s'/><target dev='%s' managed='no'/><model type='%s'/>", n.MAC, n.Tap, model)
	if n.MTU > 0 {
		s.line("<mtu size='%d'/>", n.MTU)
	}
	s.line("</interface>")
	return s.String(), nil
}

// domainDoc is what we read of a domain's description.
type domainDoc struct {
	Disks []element `xml:"devices>disk"`
	NICs  []element `xml:"devices>interface"`

	Screens []struct {
		Socket string `xml:"socket,attr"`
	} `xml:"devices>graphics>listen"`
}

// element is a device, whole enough to be handed back to libvirt.
type element struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Inner   string     `xml:",innerxml"`
	Serial  string     `xml:"serial"`
	Target  struct {
		Dev string `xml:"dev,attr"`
	} `xml:"target"`
	MAC struct {
		Address string `xml:"address,attr"`
	} `xml:"mac"`
	Source struct {
		File     string `xml:"file,attr"`
		Protocol string `xml:"protocol,attr"`
	} `xml:"source"`
	Driver struct {
		Type string `xml:"type,attr"`
	} `xml:"driver"`
}

func (e element) String() string {
	var b strings.Builder
	b.WriteString("<" + e.XMLName.Local)
	for _, a := range e.Attrs {
		b.WriteString(" " + a.Name.Local + "='" + escape(a.Value) + "'")
	}
	b.WriteString(">" + e.Inner + "</" + e.XMLName.Local + ">")
	return b.String()
}

// xml reads a domain's description.
func (d *Driver) xml(ctx context.Context, id string, flags lv.DomainXMLFlags) (*domainDoc, error) {
	var doc domainDoc
	err := d.on(ctx, "read the description of", id, callTimeout, func(l *lv.Libvirt, dom lv.Domain) error {
		raw, err := l.DomainGetXMLDesc(dom, flags)
		if err != nil {
			return err
		}
		return xml.Unmarshal([]byte(raw), &doc)
	})
	return &doc, err
}

func (d *domainDoc) disk(serial string) string {
	for _, e := range d.Disks {
		if serial != "" && e.Serial == serial {
			return e.String()
		}
	}
	return ""
}

// device is where the disk with a serial is: vdb.
func (d *domainDoc) device(serial string) string {
	for _, e := range d.Disks {
		if serial != "" && e.Serial == serial {
			return e.Target.Dev
		}
	}
	return ""
}

func (d *domainDoc) nic(mac string) string {
	for _, e := range d.NICs {
		if strings.EqualFold(e.MAC.Address, mac) {
			return e.String()
		}
	}
	return ""
}

func (d *domainDoc) file(device string) string {
	for _, e := range d.Disks {
		if e.Target.Dev == device {
			return e.Source.File
		}
	}
	return ""
}

func (d *domainDoc) format(device string) string {
	for _, e := range d.Disks {
		if e.Target.Dev == device {
			return e.Driver.Type
		}
	}
	return "qcow2"
}

func (d *domainDoc) iscsiSerials() (all []string) {
	for _, e := range d.Disks {
		if e.Source.Protocol == "iscsi" && e.Serial != "" {
			all = append(all, e.Serial)
		}
	}
	return all
}

// usage names the secret of a volume.
func usage(serial string) string { return "henge volume " + serial }

// keepSecret gives libvirt the CHAP key of a disk. It lies in libvirtd's memory alone.
func (d *Driver) keepSecret(ctx context.Context, disk hypervisor.Disk) error {
	if disk.ISCSI == nil || disk.ISCSI.User == "" {
		return nil
	}
	uuid, err := parseUUID(disk.Serial)
	if err != nil {
		return err
	}
	return d.call(ctx, "keep the secret of volume "+disk.Serial, callTimeout, func(l *lv.Libvirt) error {
		secret, err := l.SecretLookupByUUID(uuid)
		if lv.IsNotFound(err) || isCode(err, noSecret) {
			var s sheet
			s.line("<secret ephemeral='yes' private='yes'><uuid>%s</uuid><usage type='iscsi'><target>%s</target></usage></secret>", disk.Serial, usage(disk.Serial))
			secret, err = l.SecretDefineXML(s.String(), 0)
		}
		if err != nil {
			return err
		}
		return l.SecretSetValue(secret, []byte(disk.ISCSI.Secret), 0)
	})
}

func isCode(err error, code uint32) bool {
	known, ok := err.(lv.Error)
	return ok && known.Code == code
}

func (d *Driver) dropSecret(ctx context.Context, serial string) error {
	uuid, err := parseUUID(serial)
	if err != nil {
		return nil // never had one
	}
	return gone(d.call(ctx, "forget the secret of volume "+serial, callTimeout, func(l *lv.Libvirt) error {
		secret, err := l.SecretLookupByUUID(uuid)
		if err != nil {
			return err
		}
		return l.SecretUndefine(secret)
	}))
}
