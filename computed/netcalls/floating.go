package netcalls

import (
	"net/netip"

	"henge/computed/fields"
	"henge/computed/neighbour"
	"henge/internal/errs"
	"henge/internal/openstack"
)

func floatingDocument(f neighbour.FloatingDetail) document {
	return document{"id": f.ID, "ip": f.Address, "pool": f.Pool, "fixed_ip": orNull(f.FixedIP), "instance_id": orNull(f.ServerID)}
}

func answerFloating(f neighbour.FloatingDetail, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return document{"floating_ip": floatingDocument(f)}, nil
}

func listPools(r *Request) (any, error) {
	names, err := r.Networks.Floating().Pools(r.Ctx, r.Who)
	docs := []document{}
	for _, n := range names {
		docs = append(docs, document{"name": n})
	}
	return document{"floating_ip_pools": docs}, err
}

func listFloating(r *Request) (any, error) {
	all, err := r.Networks.Floating().List(r.Ctx, r.Who)
	docs := []document{}
	for _, f := range all {
		docs = append(docs, floatingDocument(f))
	}
	return document{"floating_ips": docs}, err
}

func showFloating(r *Request) (any, error) {
	return answerFloating(r.Networks.Floating().Show(r.Ctx, r.Who, r.Path("id")))
}

func allocate(r *Request) (any, error) {
	f, err := r.Body("")
	if err != nil {
		return nil, err
	}
	pool := ""
	f.Text("pool", &pool, openstack.Text{Nullable: true, MaxLength: 255})
	f.None()
	if err := f.Err(); err != nil {
		return nil, err
	}
	return answerFloating(r.Networks.Floating().Allocate(r.Ctx, r.Who, pool))
}

func release(r *Request) (any, error) {
	return nil, r.Networks.Floating().Release(r.Ctx, r.Who, r.Path("id"))
}

// Associate is the server action addFloatingIp.
func Associate(r *Request, f *openstack.Fields, serverID string) error {
	address, fixed := "", ""
	takeIP(f, "address", &address)
	if f.Has("fixed_address") {
		takeIP(f, "fixed_address", &fixed)
	}
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	return r.Networks.Floating().Associate(r.Ctx, r.Who, address, serverID, fixed)
}

// Disassociate is the server action removeFloatingIp.
func Disassociate(r *Request, f *openstack.Fields, serverID string) error {
	address := ""
	takeIP(f, "address", &address)
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	return r.Networks.Floating().Disassociate(r.Ctx, r.Who, address, serverID)
}

func takeIP(f *openstack.Fields, name string, into *string) {
	given := f.Has(name)
	f.Require(name)
	f.Text(name, into, openstack.Text{MaxLength: 64})
	if _, err := netip.ParseAddr(*into); given && err != nil {
		f.Fail(name, "'%s' is not a 'ipv4' or 'ipv6' address", fields.Shorten(*into))
	}
}

func networkDocument(n neighbour.Network) document {
	return document{"id": n.ID, "label": n.Name, "cidr": nil}
}

// listNetworks are the networks that a project may put servers on. Nova gives no addresses of Neutron's networks either.
func listNetworks(r *Request) (any, error) {
	all, err := r.Networks.Available(r.Ctx, r.Who)
	docs := []document{}
	for _, n := range all {
		docs = append(docs, networkDocument(n))
	}
	return document{"networks": docs}, err
}

func showNetwork(r *Request) (any, error) {
	n, err := r.Networks.Network(r.Ctx, r.Who, r.Path("id"))
	if errs.Is(err, errs.NotFound) {
		return nil, errs.New(errs.NotFound, "Network not found")
	}
	return document{"network": networkDocument(n)}, err
}
