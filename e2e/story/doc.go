// Package story drives the whole cloud with guests that are real: libvirt and QEMU, in network and mount namespaces of its own.
package story
