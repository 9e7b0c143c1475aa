// Package libvirt runs guests with libvirt and QEMU, by digitalocean/go-libvirt over libvirtd's local socket. Guests are libvirt's: they run on while this process, or libvirtd itself,
// is away. A connection that broke is made anew by the next call; until then calls end in hypervisor.ErrDown.
package libvirt
