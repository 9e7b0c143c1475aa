package scheduler

import (
	"strings"
	"testing"

	"henge/internal/errs"
)

func host(name string) *HostState {
	return &HostState{ID: name, Name: name, ProviderID: name, Zone: "nova", Hypervisor: "QEMU", VirtType: "kvm", Version: 7002001, Arch: "x86_64", Capabilities: "cpu_model=EPYC\ngpu=2", Traits: "COMPUTE_NODE HW_CPU_X86_AVX2",
		RAM: Room{Capacity: 2048, OneMax: 1024, Used: 512}, CPU: Room{Capacity: 16, OneMax: 4, Used: 14}, Disk: Room{Capacity: 100, OneMax: 100}}
}

func TestFilters(t *testing.T) {
	for name, c := range map[string]struct {
		request Request
		removed string // the filter that removes the host; "": none
	}{
		"nothing asked":                 {Request{}, ""},
		"fits":                          {Request{VCPUs: 2, RAMMiB: 1024, DiskGiB: 100}, ""},
		"more memory than left":         {Request{RAMMiB: 1537}, "Ram"},
		"more memory than there is":     {Request{RAMMiB: 1025}, "Ram"},
		"more processors than left":     {Request{VCPUs: 3}, "Core"},
		"more disk":                     {Request{DiskGiB: 101}, "Disk"},
		"its zone":                      {Request{Zone: "nova"}, ""},
		"another zone":                  {Request{Zone: "az2"}, "AvailabilityZone"},
		"a capability":                  {Request{ExtraSpecs: map[string]string{"capabilities:cpu_model": "EPYC", "gpu": ">= 2"}}, ""},
		"a capability it has not":       {Request{ExtraSpecs: map[string]string{"capabilities:fpga": "yes"}}, "ComputeCapabilities"},
		"a spec of another scope":       {Request{ExtraSpecs: map[string]string{"hw:cpu_policy": "shared", "quota:cpu_shares": "10"}}, ""},
		"a trait":                       {Request{ExtraSpecs: map[string]string{"trait:HW_CPU_X86_AVX2": "required"}}, ""},
		"a trait it has not":            {Request{ExtraSpecs: map[string]string{"trait:HW_CPU_X86_SHA": "required"}}, "Traits"},
		"a trait that is forbidden":     {Request{Image: map[string]string{"trait:HW_CPU_X86_AVX2": "forbidden"}}, "Traits"},
		"its architecture, other name":  {Request{Image: map[string]string{"hw_architecture": "amd64"}}, ""},
		"another architecture":          {Request{Image: map[string]string{"hw_architecture": "aarch64"}}, "ImageProperties"},
		"its hypervisor":                {Request{Image: map[string]string{"img_hv_type": "kvm", "hw_vm_mode": "hvm"}}, ""},
		"another hypervisor":            {Request{Image: map[string]string{"hypervisor_type": "xen"}}, "ImageProperties"},
		"a mode that it has not":        {Request{Image: map[string]string{"vm_mode": "xen"}}, "ImageProperties"},
		"a version it has":              {Request{Image: map[string]string{"img_hv_requested_version": ">=7.0,<8"}}, ""},
		"a version it has not":          {Request{Image: map[string]string{"img_hv_requested_version": ">=8.1"}}, "ImageProperties"},
		"a version that is none":        {Request{Image: map[string]string{"img_hv_requested_version": ">=x"}}, "ImageProperties"},
		"tried before":                  {Request{Without: []string{"one"}}, "AlreadyTried"},
		"beside a server that is gone":  {Request{SameHost: []string{"gone"}}, "SameHost"},
		"soft policies remove nobody":   {Request{Group: &Group{Policy: "soft-anti-affinity"}, members: map[string]int{"one": 3}}, ""},
		"two of a group may share":      {Request{Group: &Group{Policy: "anti-affinity", MaxPer: 2}, members: map[string]int{"one": 1}}, ""},
		"three of a group may not":      {Request{Group: &Group{Policy: "anti-affinity", MaxPer: 2}, members: map[string]int{"one": 2}}, "ServerGroupAntiAffinity"},
		"the group is together already": {Request{Group: &Group{Policy: "affinity"}, members: map[string]int{"two": 1}}, "ServerGroupAffinity"},
	} {
		t.Run(name, func(t *testing.T) {
			chain, err := NewChain(ChainConfig{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = chain.Select([]*HostState{host("one")}, &c.request)
			if c.removed == "" && err != nil || c.removed != "" && (err == nil || !strings.Contains(err.Error(), c.removed+" removed 1.")) {
				t.Errorf("wanted %q to remove it: %v", c.removed, err)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		spec, have string
		want       bool
	}{
		{"= 5", "6", true}, {"= 5", "4", false}, {"== 5", "5", true}, {"!= 5", "5", false}, {"<= 5", "5", true}, {"> 5", "5", false}, {">= x", "5", false}, {">= 5", "x", false}, {">=", "5", false},
		{"s== a", "a", true}, {"s!= a", "a", false}, {"s< b", "a", true}, {"s>= b", "a", false},
		{"<in> ab", "cabd", true}, {"<in> ab", "ba", false}, {"<all-in> a b", "xbxa", true}, {"<all-in> a c", "ab", false}, {"<or> a <or> b", "b", true}, {"<or> a <or> b", "c", false},
		{"a", "a", true}, {"a", "b", false}, {"", "", true}, {"", "x", false},
	} {
		if got := Matches(c.spec, c.have); got != c.want {
			t.Errorf("%q on %q: %v", c.spec, c.have, got)
		}
	}
}

// A filter of one's own: servers of the project "loud" go to no host whose name begins with "quiet".
func TestChain_AFilterOfOnesOwn(t *testing.T) {
	chain, err := NewChain(ChainConfig{
		Filters: []string{"RamFilter", "Quiet"}, // in this order; Nova's names are understood
		MoreFilters: map[string]Filter{"Quiet": func(h *HostState, r *Request) bool {
			return r.ProjectID != "loud" || !strings.HasPrefix(h.Name, "quiet")
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	hosts := []*HostState{host("quiet1"), host("quiet2"), host("street")}
	left, err := chain.Select(hosts, &Request{ProjectID: "loud", RAMMiB: 64})
	if err != nil || len(left) != 1 || left[0].Name != "street" {
		t.Errorf("%v, %v", left, err)
	}
	_, err = chain.Select(hosts[:2], &Request{ProjectID: "loud"})
	if err == nil || err.Error() != "No valid host was found. There are not enough hosts available: of 2, Quiet removed 2." {
		t.Error(err)
	}
}

func TestChain_NamesThatAreNotThere(t *testing.T) {
	for _, cfg := range []ChainConfig{{Filters: []string{"Ram", "Rum"}}, {Weighers: []WeigherChoice{{"Rum", 1}}}} {
		if _, err := NewChain(cfg); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), `"Rum"`) {
			t.Error(err)
		}
	}
}

func TestChain_Weighers(t *testing.T) {
	roomy, full := host("roomy"), host("full")
	roomy.RAM.Used, roomy.CPU.Used = 0, 12
	full.Disk.Used = 50
	best := func(cfg ChainConfig) string {
		chain, err := NewChain(cfg)
		if err != nil {
			t.Fatal(err)
		}
		left, err := chain.Select([]*HostState{full, roomy}, &Request{})
		if err != nil {
			t.Fatal(err)
		}
		return left[0].Name
	}
	if got := best(ChainConfig{}); got != "roomy" {
		t.Errorf("spreading chose %s", got)
	}
	if got := best(ChainConfig{Weighers: []WeigherChoice{{"RAM", -1}}}); got != "full" {
		t.Errorf("packing chose %s", got)
	}
	if got := best(ChainConfig{Weighers: []WeigherChoice{{"RAM", 1}, {"Mine", 5}}, MoreWeighers: map[string]Weigher{"Mine": func(h *HostState, _ *Request) float64 { return float64(len(h.Name)) * -1 }}}); got != "full" {
		t.Errorf("a weigher of one's own chose %s", got)
	}
	// Among the best two, chance decides.
	if got := best(ChainConfig{SubsetSize: 2, Random: func(n int) int { return n - 1 }}); got != "full" {
		t.Errorf("of a subset of two, the second is %s", got)
	}
}
