// Package guest holds what the small guest image is made of: `deploy/guest/build OUT.qcow2` makes a bootable disk of at most 40 MB out of Debian packages, without
// root, mounts or loop devices. It behaves as guests of a cloud do: DHCP, IPv6 by router advertisements, config drive or metadata service, SSH keys, user data,
// hot-plugged disks and cards, power off by ACPI, a root file system as big as its disk. The login is henge, by SSH key, with sudo.
//
// The Go code here is its test: the image is built and booted in QEMU. See docs/guest.md.
package guest
