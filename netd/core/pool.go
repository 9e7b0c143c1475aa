package core

import (
	"net/netip"
	"slices"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/netd/fault"
	"henge/netd/model"
)

// SubnetPool fetches a subnet pool.
func SubnetPool(r state.Reader, id string) (model.SubnetPool, error) {
	return get(r, model.SubnetPools, "SubnetPoolNotFound", "Subnet pool", id)
}

const poolPrefixesMax = 64

// CreatePool makes a subnet pool.
func (c *Core) CreatePool(w state.Writer, p model.SubnetPool) (model.SubnetPool, error) {
	if err := c.room(w, p.ProjectID, "subnetpool"); err != nil {
		return p, err
	}
	c.born(&p.Standard)
	return c.putPool(w, p, nil)
}

// UpdatePool changes a subnet pool; prefixes may be added, not taken away.
func (c *Core) UpdatePool(w state.Writer, p model.SubnetPool) (model.SubnetPool, error) {
	old, err := SubnetPool(w, p.ID)
	if err != nil {
		return p, err
	}
	for _, prefix := range old.Prefixes {
		if !slices.ContainsFunc(p.Prefixes, func(n netip.Prefix) bool { return n.Bits() <= prefix.Bits() && n.Contains(prefix.Addr()) }) {
			return p, fault.New(errs.Invalid, "IllegalSubnetPoolPrefixUpdate", "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.")
		}
	}
	c.changed(&p.Standard)
	return c.putPool(w, p, &old)
}

func (c *Core) putPool(w state.Writer, p model.SubnetPool, old *model.SubnetPool) (model.SubnetPool, error) {
	if len(p.Prefixes) == 0 || len(p.Prefixes) > poolPrefixesMax {
		return p, fault.New(errs.Invalid, "EmptySubnetPoolPrefixList", "A subnet pool has 1 to %d prefixes.", poolPrefixesMax)
	}
	for i := range p.Prefixes {
		p.Prefixes[i] = p.Prefixes[i].Masked()
		if p.Prefixes[i].Addr().Is4() != p.Prefixes[0].Addr().Is4() {
			return p, fault.New(errs.Invalid, "PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
		}
	}
	p.Prefixes = compact(p.Prefixes)
	bits := p.Prefixes[0].Addr().BitLen()
	if p.MinLength == 0 {
		p.MinLength = 8
		if bits == 128 {
			p.MinLength = 64
		}
	}
	if p.MaxLength == 0 {
		p.MaxLength = bits
	}
	if p.DefaultLength == 0 {
		p.DefaultLength = p.MinLength
	}
	if p.MinLength > p.MaxLength || p.MaxLength > bits || p.DefaultLength < p.MinLength || p.DefaultLength > p.MaxLength {
		return p, fault.New(errs.Invalid, "IllegalSubnetPoolPrefixBounds", "Illegal prefix bounds: it must be min_prefixlen (%d) <= default_prefixlen (%d) <= max_prefixlen (%d) <= %d.",
			p.MinLength, p.DefaultLength, p.MaxLength, bits)
	}
	if err := checkScope(w, p); err != nil {
		return p, err
	}
	return p, model.SubnetPools.Put(w, p.ID, p)
}

// compact drops prefixes that lie within others.
func compact(prefixes []netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for i, p := range prefixes {
		inside := false
		for k, q := range prefixes {
			inside = inside || k != i && q.Overlaps(p) && (q.Bits() < p.Bits() || q == p && k < i)
		}
		if !inside {
			all = append(all, p)
		}
	}
	return all
}

func checkScope(r state.Reader, p model.SubnetPool) error {
	if p.AddressScopeID == "" {
		return nil
	}
	scope, err := get(r, model.AddressScopes, "AddressScopeNotFound", "Address scope", p.AddressScopeID)
	if err != nil {
		return err
	}
	if (scope.IPVersion == 4) != p.Prefixes[0].Addr().Is4() {
		return fault.New(errs.Invalid, "IllegalSubnetPoolIpVersionAssociationToAddressScope", "Illegal subnetpool association: subnetpool %s cannot associate with address scope %s because its ip_version is %d.", p.ID, scope.ID, scope.IPVersion)
	}
	for other, err := range model.SubnetPools.Where(r, "scope", scope.ID) {
		if err != nil {
			return err
		}
		for _, a := range other.Prefixes {
			if other.ID != p.ID && slices.ContainsFunc(p.Prefixes, a.Overlaps) {
				return fault.Conflict("AddressScopePrefixConflict", "Failed to associate address scope: subnetpools within an address scope must have unique prefixes.")
			}
		}
	}
	return nil
}

// DeletePool removes a pool that no subnet was cut from.
func (c *Core) DeletePool(w state.Writer, id string) error {
	if _, err := SubnetPool(w, id); err != nil {
		return err
	}
	if model.Subnets.Count(w, "pool", id) > 0 {
		return fault.Conflict("SubnetPoolInUse", "Subnet pool %s could not be deleted: Subnet pool has existing allocations.", id)
	}
	if err := dropPolicies(w, id); err != nil {
		return err
	}
	return model.SubnetPools.Delete(w, id)
}

// cut finds the first free prefix of a pool that has the length asked for, or checks the one that was named.
func (c *Core) cut(r state.Reader, req SubnetRequest) (netip.Prefix, error) {
	pool, err := SubnetPool(r, req.PoolID)
	if err != nil {
		return netip.Prefix{}, err
	}
	length := req.Length
	if req.CIDR.IsValid() {
		length = req.CIDR.Bits()
	} else if length == 0 {
		length = pool.DefaultLength
	}
	if length < pool.MinLength || length > pool.MaxLength {
		return netip.Prefix{}, fault.New(errs.Invalid, "PrefixLengthOutOfBounds", "Unable to allocate subnet with prefix length %d, allowed are %d to %d.", length, pool.MinLength, pool.MaxLength)
	}
	taken, err := takenFrom(r, pool, req.ProjectID, length)
	if err != nil {
		return netip.Prefix{}, err
	}
	if req.CIDR.IsValid() {
		inside := slices.ContainsFunc(pool.Prefixes, func(p netip.Prefix) bool { return p.Bits() <= req.CIDR.Bits() && p.Contains(req.CIDR.Addr()) })
		if !inside || slices.ContainsFunc(taken, req.CIDR.Overlaps) {
			return netip.Prefix{}, fault.New(errs.Invalid, "SubnetAllocationError", "Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes.")
		}
		return req.CIDR, nil
	}
	if p, ok := firstGap(pool.Prefixes, taken, length); ok {
		return p, nil
	}
	return netip.Prefix{}, fault.New(errs.Invalid, "SubnetAllocationError", "Failed to allocate subnet: Insufficient prefix space to allocate subnet size /%d.", length)
}

// takenFrom lists what was cut from a pool, and checks the project's share with a prefix of the length more.
func takenFrom(r state.Reader, pool model.SubnetPool, projectID string, length int) ([]netip.Prefix, error) {
	var taken []netip.Prefix
	weigh := func(bits int) uint64 {
		most := 32
		if !pool.Prefixes[0].Addr().Is4() {
			most = 64
		}
		return 1 << max(0, min(62, most-bits))
	}
	used := weigh(length)
	for s, err := range model.Subnets.Where(r, "pool", pool.ID) {
		if err != nil {
			return nil, err
		}
		taken = append(taken, s.CIDR)
		if s.ProjectID == projectID {
			used += weigh(s.CIDR.Bits())
		}
	}
	if pool.DefaultQuota > 0 && used > uint64(pool.DefaultQuota) {
		return nil, fault.Conflict("SubnetPoolQuotaExceeded", "Per-tenant subnet pool prefix quota exceeded.")
	}
	return taken, nil
}

// firstGap looks for a prefix of the length that overlaps nothing taken, jumping over what is in the way.
func firstGap(prefixes, taken []netip.Prefix, length int) (netip.Prefix, bool) {
	for _, space := range prefixes {
		if space.Bits() > length {
			continue
		}
		at := space.Addr()
		for at.IsValid() && space.Contains(at) {
			p := netip.PrefixFrom(at, length)
			hit := slices.IndexFunc(taken, p.Overlaps)
			if hit < 0 {
				return p, true
			}
			beyond := last(p)
			if end := last(taken[hit]); beyond.Less(end) {
				beyond = end
			}
			at = netip.PrefixFrom(beyond, length).Masked().Addr()
			if next := last(netip.PrefixFrom(at, length)).Next(); next.IsValid() {
				at = next
			} else {
				break
			}
		}
	}
	return netip.Prefix{}, false
}
