package scheduler

import (
	"slices"
	"strconv"
	"strings"
)

// Filter tells whether a server may go to a host. It changes neither, and is called by many at once.
type Filter func(h *HostState, r *Request) bool

// DefaultFilters are those that run when none are named, in their order: cheap ones first.
func DefaultFilters() []string {
	return []string{"Compute", "AvailabilityZone", "Ram", "Core", "Disk", "Traits", "ComputeCapabilities", "ImageProperties",
		"ServerGroupAntiAffinity", "ServerGroupAffinity", "SameHost", "DifferentHost"}
}

// builtinFilters are the filters by name.
func builtinFilters() map[string]Filter {
	return map[string]Filter{
		"AllHosts":         func(*HostState, *Request) bool { return true },
		"Compute":          func(h *HostState, _ *Request) bool { return h.Down == "" },
		"AvailabilityZone": func(h *HostState, r *Request) bool { return r.Zone == "" || r.Zone == h.Zone },
		"Ram":              func(h *HostState, r *Request) bool { return h.RAM.Fits(r.RAMMiB) },
		"Core":             func(h *HostState, r *Request) bool { return h.CPU.Fits(r.VCPUs) },
		"Disk":             func(h *HostState, r *Request) bool { return h.Disk.Fits(r.DiskGiB) },
		"SameHost":         func(h *HostState, r *Request) bool { return len(r.SameHost) == 0 || r.sameHost[h.ProviderID] },
		"DifferentHost":    func(h *HostState, r *Request) bool { return !r.differentHost[h.ProviderID] },

		"ComputeCapabilities":     hasCapabilities,
		"Traits":                  hasTraits,
		"ImageProperties":         runsImage,
		"ServerGroupAffinity":     keepsTogether,
		"ServerGroupAntiAffinity": keepsApart,
	}
}

func keepsTogether(h *HostState, r *Request) bool {
	return r.Group == nil || r.Group.Policy != "affinity" || len(r.members) == 0 || r.members[h.ProviderID] > 0
}

func keepsApart(h *HostState, r *Request) bool {
	return r.Group == nil || r.Group.Policy != "anti-affinity" || r.members[h.ProviderID] < max(r.Group.MaxPer, 1)
}

// runsImage compares what an image asks for with what the host's hypervisor is.
func runsImage(h *HostState, r *Request) bool {
	property := func(names ...string) string {
		for _, n := range names {
			if v := r.Image[n]; v != "" {
				return strings.ToLower(v)
			}
		}
		return ""
	}
	if arch := property("hw_architecture", "architecture"); arch != "" && canonicalArch(arch) != canonicalArch(h.Arch) {
		return false
	}
	if kind := property("img_hv_type", "hypervisor_type"); kind != "" && kind != strings.ToLower(h.Hypervisor) && kind != strings.ToLower(h.VirtType) {
		return false
	}
	if mode := property("hw_vm_mode", "vm_mode"); mode != "" && mode != "hvm" {
		return false
	}
	want := property("img_hv_requested_version", "hypervisor_version_requires")
	return want == "" || versionMeets(h.Version, want)
}

func canonicalArch(arch string) string {
	switch arch {
	case "amd64", "x64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "i386", "i486", "i586", "x86":
		return "i686"
	}
	return arch
}

// versionMeets checks a list such as ">=7.0, <8" against a version as libvirt counts it.
func versionMeets(version int, want string) bool {
	for _, part := range strings.Split(want, ",") {
		part = strings.TrimSpace(part)
		number := strings.TrimLeft(part, "<>=!")
		op := part[:len(part)-len(number)]
		asked, ok := versionNumber(strings.TrimSpace(number))
		if !ok || !compare(op, int64(version), asked) {
			return false
		}
	}
	return true
}

// versionNumber turns 7.2.1 into 7002001.
func versionNumber(text string) (number int64, ok bool) {
	parts := strings.SplitN(text, ".", 3)
	for i := range 3 {
		n := 0
		if i < len(parts) {
			var err error
			if n, err = strconv.Atoi(parts[i]); err != nil || n < 0 || n > 999 {
				return 0, false
			}
		}
		number = number*1000 + int64(n)
	}
	return number, true
}

func compare[T int64 | float64 | string](op string, have, want T) bool {
	switch op {
	case "=", "==", "":
		return have == want
	case "!=":
		return have != want
	case ">=":
		return have >= want
	case "<=":
		return have <= want
	case ">":
		return have > want
	case "<":
		return have < want
	}
	return false
}

// hasCapabilities checks the flavor's extra specs that are about the host: those of the scope "capabilities", and those without a scope.
func hasCapabilities(h *HostState, r *Request) bool {
	for key, want := range r.ExtraSpecs {
		scope, name, scoped := strings.Cut(key, ":")
		if !scoped {
			name = key
		} else if scope != "capabilities" {
			continue
		}
		have, ok := h.attribute(name)
		if !ok || !Matches(want, have) {
			return false
		}
	}
	return true
}

// hasTraits checks what the flavor and the image require and forbid: trait:NAME=required, trait:NAME=forbidden.
func hasTraits(h *HostState, r *Request) bool {
	for _, wants := range []map[string]string{r.ExtraSpecs, r.Image} {
		for key, want := range wants {
			name, ok := strings.CutPrefix(key, "trait:")
			if ok && (want == "required" && !h.hasTrait(name) || want == "forbidden" && h.hasTrait(name)) {
				return false
			}
		}
	}
	return true
}

// attribute finds what extra specs call by Nova's names.
func (h *HostState) attribute(name string) (string, bool) {
	switch name {
	case "hypervisor_type":
		return h.Hypervisor, true
	case "hypervisor_version":
		return strconv.Itoa(h.Version), true
	case "virt_type":
		return h.VirtType, true
	case "cpu_arch", "cpu_info:arch", "arch":
		return h.Arch, true
	case "host", "hypervisor_hostname":
		return h.Name, true
	case "free_ram_mb":
		return strconv.FormatInt(h.RAM.Free(), 10), true
	case "total_usable_ram_mb":
		return strconv.FormatInt(h.RAM.OneMax, 10), true
	case "vcpus_total":
		return strconv.FormatInt(h.CPU.OneMax, 10), true
	case "vcpus_used":
		return strconv.FormatInt(h.CPU.Used, 10), true
	case "free_disk_mb":
		return strconv.FormatInt(h.Disk.Free()*1024, 10), true
	}
	for line := range strings.Lines(h.Capabilities) {
		if key, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "="); key == name {
			return v, true
		}
	}
	return "", false
}

// Matches reads an extra spec's value as Nova does: an operator and what it compares with ("s== x", ">= 5", "<in> ss", "<or> a <or> b"), or just the text that it must be.
func Matches(spec, have string) bool {
	words := strings.Fields(spec)
	if len(words) == 0 {
		return have == ""
	}
	switch op := words[0]; op {
	case "<or>":
		return slices.ContainsFunc(strings.Split(spec, "<or>")[1:], func(one string) bool { return strings.TrimSpace(one) == have })
	case "<in>":
		return strings.Contains(have, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(spec), op)))
	case "<all-in>":
		for _, one := range words[1:] {
			if one != op && !strings.Contains(have, one) {
				return false
			}
		}
		return true
	case "s==", "s!=", "s>=", "s<=", "s>", "s<":
		return len(words) == 2 && compare(op[1:], have, words[1])
	case "=", "==", "!=", ">=", "<=", ">", "<":
		if len(words) != 2 {
			return false
		}
		a, err1 := strconv.ParseFloat(have, 64)
		b, err2 := strconv.ParseFloat(words[1], 64)
		if op == "=" { // Nova's "=" asks for at least so much
			op = ">="
		}
		return err1 == nil && err2 == nil && compare(op, a, b)
	}
	return spec == have
}
