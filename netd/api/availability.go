package api

import (
	"math/big"
	"net/http"
	"net/netip"

	"henge/cluster/state"
	"henge/netd/model"
)

// availability counts a network's addresses, all and taken.
func availability(r state.Reader, n model.Network) document {
	total, used := new(big.Int), 0
	bySubnet := []document{}
	for s, err := range model.Subnets.Where(r, "network", n.ID) {
		if err != nil {
			continue
		}
		size, taken := new(big.Int), 0
		for _, p := range s.Pools {
			size.Add(size, span(p.Start, p.End))
		}
		for range model.TakenIn(r, s.ID) {
			taken++
		}
		total.Add(total, size)
		used += taken
		version := 4
		if s.CIDR.Addr().Is6() {
			version = 6
		}
		bySubnet = append(bySubnet, document{"subnet_id": s.ID, "subnet_name": s.Name, "cidr": s.CIDR.String(), "ip_version": version,
			"total_ips": number(size), "used_ips": taken})
	}
	return document{"network_id": n.ID, "network_name": n.Name, "tenant_id": n.ProjectID, "project_id": n.ProjectID, "total_ips": number(total),
		"used_ips": used, "subnet_ip_availability": bySubnet}
}

// span is how many addresses lie from a to b.
func span(a, b netip.Addr) *big.Int {
	x, y := a.As16(), b.As16()
	d := new(big.Int).Sub(new(big.Int).SetBytes(y[:]), new(big.Int).SetBytes(x[:]))
	return d.Add(d, big.NewInt(1))
}

// number is a JSON number, however large.
func number(n *big.Int) any {
	if n.IsInt64() {
		return n.Int64()
	}
	return n
}

func listAvailability(c *call) error {
	if !c.admin() {
		return denied("get_network_ip_availability")
	}
	all := []document{}
	query := c.r.URL.Query()
	version := query.Get("ip_version")
	query.Del("ip_version")
	err := c.view(func(r state.Reader) error {
		keep, err := newFilter(query, availability(r, model.Network{}))
		if err != nil {
			return err
		}
		for n, err := range model.Networks.All(r) {
			if err != nil {
				return err
			}
			if shown := availability(r, n); keep.keeps(shown) && hasVersion(shown, version) {
				all = append(all, shown)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"network_ip_availabilities": all})
}

func hasVersion(d document, version string) bool {
	if version == "" {
		return true
	}
	bySubnet, _ := d["subnet_ip_availability"].([]document)
	for _, s := range bySubnet {
		if same(s["ip_version"], version) {
			return true
		}
	}
	return false
}

func showAvailability(c *call) error {
	if !c.admin() {
		return denied("get_network_ip_availability")
	}
	var shown document
	err := c.view(func(r state.Reader) error {
		n, err := networks().fetch(c, r, c.r.PathValue("id"))
		if err == nil {
			shown = availability(r, n)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"network_ip_availability": shown})
}
