package s3

import (
	"slices"
	"strings"

	"henge/proxy/core"
	"henge/proxy/s3/fault"
)

// headerStoragePolicy is Swift's own header; its S3 API takes it as well.
const headerStoragePolicy = "X-Storage-Policy"

// storagePolicy reads which storage policy a new bucket is to have: "REGION:POLICY" or ":POLICY" as location constraint, in the manner of Ceph's placement targets, for
// clients that cannot send headers of their own; or X-Storage-Policy. "" is the default.
func (c *call) storagePolicy(location string) (string, error) {
	region, named, _ := strings.Cut(location, ":")
	if region != "" && region != c.cfg.Region {
		return "", fault.Newf(fault.InvalidLocationConstraint, "The specified location-constraint is not valid; this is %s", c.cfg.Region).With("LocationConstraint", location)
	}
	header := c.r.Header.Get(headerStoragePolicy)
	if named == "" {
		named = header
	}
	if named == "" {
		return "", nil
	}
	if header != "" && !strings.EqualFold(header, named) {
		return "", fault.Newf(fault.InvalidArgument, "%s says %q and the location constraint %q", headerStoragePolicy, header, named)
	}
	policies := c.cfg.Core.Policies()
	i := slices.IndexFunc(policies, func(p core.Policy) bool { return p.Named(named) })
	switch {
	case i < 0:
		return "", fault.Newf(fault.InvalidLocationConstraint, "There is no storage policy %q", named).With("LocationConstraint", location)
	case policies[i].Deprecated:
		return "", fault.Newf(fault.InvalidLocationConstraint, "The storage policy %q is deprecated: no new buckets", named).With("LocationConstraint", location)
	}
	return policies[i].Name, nil
}
