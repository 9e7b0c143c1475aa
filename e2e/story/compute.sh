#!/usr/bin/env bash
# The story of a guest, with the real openstack client: image, network, router, key, server, floating IP, console, SSH, and nothing left at the end.
# `make story` runs it in network and mount namespaces of its own, with libvirtd and virtlogd of its own; it needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
for dir in /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt; do mkdir -p $dir; mount -t tmpfs tmpfs $dir; done
mkdir -p /var/lib/libvirt/qemu /etc/libvirt/qemu /run/netns
mount -t tmpfs tmpfs /run/netns
ip link set lo up
deploy/libvirt
work=$(mktemp -d)
deploy/guest/build "$work/guest.qcow2"
bin/henge up --compute --data-dir "$work/d" >"$work/log" 2>&1 &
cloud=$!
trap 'kill $cloud; wait $cloud || true; deploy/libvirt stop; rm -rf "$work"' EXIT
for _ in $(seq 240); do
	grep -q "henge is ready" "$work/log" && break
	kill -0 $cloud || { cat "$work/log"; exit 1; }
	sleep 0.5
done
cat "$work/log"
. "$work/d/openrc"
set -x
openstack image create --disk-format qcow2 --file "$work/guest.qcow2" guest -f value -c status
openstack network create n1 -f value -c id
openstack subnet create --network n1 --subnet-range 10.1.0.0/24 s1 -f value -c cidr
openstack router create r1 -f value -c id
openstack router set --external-gateway public r1
openstack router add subnet r1 s1
openstack security group rule create --proto tcp --dst-port 22 default -f value -c id
openstack keypair create k1 >"$work/k1.pem"
chmod 600 "$work/k1.pem"
openstack server create --flavor m1.nano --image guest --network n1 --key-name k1 --wait vm1 -f value -c status
address=$(openstack floating ip create public -f value -c floating_ip_address)
openstack server add floating ip vm1 "$address"
for _ in $(seq 60); do openstack console log show vm1 | grep -q login: && break; sleep 2; done
openstack console url show vm1
ssh_in() { ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 -i "$work/k1.pem" "henge@$address" "$@"; }
for _ in $(seq 20); do ssh_in true && break; sleep 2; done
[ "$(ssh_in hostname)" = vm1 ]
openstack server delete --wait vm1
[ -z "$(virsh list --all --name | tr -d '[:space:]')" ]
[ -z "$(ls "$work/d/peer-1/compute/guests")" ]
set +x
echo "the story has a good end"
