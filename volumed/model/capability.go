package model

import (
	"maps"
	"slices"
	"strings"
)

// Capabilities are what the specs of types are compared with.
func Capabilities(h Host) map[string]string {
	return map[string]string{"volume_backend_name": h.Backend, "vendor_name": "Open Source", "driver_version": "1.0", "storage_protocol": "iSCSI", "QoS_support": "False",
		"thin_provisioning_support": "True", "thick_provisioning_support": "False", "multiattach": "False"}
}

// zonesSpec restricts a type to zones.
const zonesSpec = "RESKEY:availability_zones"

// lacks tells what a type asks of a host that it does not have. Specs of other scopes than "capabilities" are for somebody else.
func lacks(h Host, t Type) string {
	has := Capabilities(h)
	for _, name := range slices.Sorted(maps.Keys(t.Specs)) {
		wanted := t.Specs[name]
		scope, inner, scoped := strings.Cut(name, ":")
		switch {
		case name == zonesSpec:
			if !slices.Contains(strings.Split(strings.ReplaceAll(wanted, " ", ""), ","), h.Zone) {
				return "it is not in the availability zones " + wanted
			}
			continue
		case scoped && scope != "capabilities":
			continue
		case scoped:
			name = inner
		}
		if !satisfies(has[name], wanted) {
			return "its " + name + " is not " + wanted
		}
	}
	return ""
}

// satisfies compares a capability with a spec: plain, or with one of the operators for texts.
func satisfies(has, wanted string) bool {
	op, value, _ := strings.Cut(wanted, " ")
	switch op {
	case "<is>":
		return strings.EqualFold(has, strings.TrimSpace(value))
	case "<in>":
		return strings.Contains(has, strings.TrimSpace(value))
	case "s==", "=", "==":
		return has == strings.TrimSpace(value)
	case "s!=", "!=":
		return has != strings.TrimSpace(value)
	case "<or>":
		return slices.Contains(strings.Split(strings.ReplaceAll(value, " ", ""), "<or>"), has)
	}
	return has == wanted
}

// Suits tells whether volumes of a type can be on a host; else what is amiss.
func Suits(h Host, t Type) string { return lacks(h, t) }
