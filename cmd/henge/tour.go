package main

import (
	"context"
	"fmt"
	"io"
)

// printTour says how to get from here to a guest that one is logged in to: with five commands (and a volume with two more; e2e/story runs what is printed), if the machine runs guests and the cloud has a first image.
func printTour(out io.Writer, l layout, c config, image string, missing map[string][]lack) {
	guests := c.has("compute") && c.Compute.VirtType != virtOff && c.Wiring.Networks == wireAuto
	for _, l := range missing[c.PeerID] {
		guests = guests && !l.Whole
	}
	if !guests || image == "" || c.Network.PublicNetwork == "" || !l.exists(l.file("first-image")) {
		return
	}
	fmt.Fprintf(out, `
A guest to log in to, in another terminal, after . %s

  (umask 077; openstack keypair create me > me.pem)
  openstack security group rule create --protocol tcp --dst-port 22 default
  openstack server create --image %s --flavor m1.tiny --network %s --key-name me --wait vm
  openstack floating ip create --port $(openstack port list --server vm -f value -c id) %s
  ssh -i me.pem henge@$(openstack floating ip list --status ACTIVE -f value -c "Floating IP Address")

A volume for it, /dev/vdb in the guest

  openstack volume create --size 1 v1
  openstack server add volume vm v1

`, l.file("openrc"), imageName(image), privateNetworkName, publicNetworkName)
}

// askLacks is what each peer says it cannot do; a peer that does not answer says nothing.
func askLacks(ctx context.Context, l layout, configs []config) map[string][]lack {
	of := map[string][]lack{}
	admin, err := dialPeer(ctx, l, configs[0])
	if err != nil {
		return of
	}
	defer admin.Close()
	members, err := admin.Members(ctx)
	if err != nil {
		return of
	}
	for _, m := range members {
		of[m.ID] = askStatus(ctx, admin, m).status.Lacks
	}
	return of
}
