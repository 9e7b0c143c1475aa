// Package volumeimage knows the images of servers that boot from a volume. They have no bytes: their properties name snapshots of the server's volumes, in the form that Nova
// gives them, and a server that boots from such an image gets volumes made of the snapshots.
package volumeimage
