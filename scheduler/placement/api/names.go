package api

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/internal/errs"
	"henge/scheduler/placement"
)

// standardClasses are those of os-resource-classes.
var standardClasses = strings.Fields(`VCPU MEMORY_MB DISK_GB PCI_DEVICE SRIOV_NET_VF NUMA_SOCKET NUMA_CORE NUMA_THREAD NUMA_MEMORY_MB IPV4_ADDRESS VGPU VGPU_DISPLAY_HEAD
	NET_BW_EGR_KILOBIT_PER_SEC NET_BW_IGR_KILOBIT_PER_SEC PCPU MEM_ENCRYPTION_CONTEXT FPGA PGPU NET_PACKET_RATE_KILOPACKET_PER_SEC NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC
	NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC`)

// standardTraits are those of os-traits that are about hosts such as ours. Others are refused, as names that nobody made.
var standardTraits = strings.Fields(`COMPUTE_NODE COMPUTE_STATUS_DISABLED COMPUTE_VOLUME_EXTEND COMPUTE_VOLUME_ATTACH_WITH_TAG COMPUTE_VOLUME_MULTI_ATTACH COMPUTE_NET_ATTACH_INTERFACE
	COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG COMPUTE_NET_VIF_MODEL_VIRTIO COMPUTE_NET_VIF_MODEL_E1000 COMPUTE_NET_VIF_MODEL_RTL8139 COMPUTE_STORAGE_BUS_VIRTIO COMPUTE_STORAGE_BUS_SCSI
	COMPUTE_STORAGE_BUS_IDE COMPUTE_STORAGE_BUS_SATA COMPUTE_STORAGE_BUS_USB COMPUTE_STORAGE_BUS_FDC COMPUTE_GRAPHICS_MODEL_VIRTIO COMPUTE_GRAPHICS_MODEL_VGA COMPUTE_GRAPHICS_MODEL_CIRRUS
	COMPUTE_IMAGE_TYPE_QCOW2 COMPUTE_IMAGE_TYPE_RAW COMPUTE_IMAGE_TYPE_ISO COMPUTE_IMAGE_TYPE_AMI COMPUTE_IMAGE_TYPE_AKI COMPUTE_IMAGE_TYPE_ARI COMPUTE_IMAGE_TYPE_VMDK COMPUTE_DEVICE_TAGGING
	COMPUTE_TRUSTED_CERTS COMPUTE_MIGRATE_AUTO_CONVERGE COMPUTE_RESCUE_BFV COMPUTE_ACCELERATORS COMPUTE_SOCKET_PCI_NUMA_AFFINITY COMPUTE_MANAGED_PCI_DEVICE COMPUTE_SAME_HOST_COLD_MIGRATE
	COMPUTE_SECURITY_TPM_1_2 COMPUTE_SECURITY_TPM_2_0 COMPUTE_SECURITY_UEFI_SECURE_BOOT COMPUTE_FIRMWARE_BIOS COMPUTE_FIRMWARE_UEFI MISC_SHARES_VIA_AGGREGATE
	HW_ARCH_X86_64 HW_ARCH_AARCH64 HW_ARCH_I686 HW_CPU_HYPERTHREADING HW_CPU_X86_SSE HW_CPU_X86_SSE2 HW_CPU_X86_SSE3 HW_CPU_X86_SSSE3 HW_CPU_X86_SSE41 HW_CPU_X86_SSE42 HW_CPU_X86_AVX
	HW_CPU_X86_AVX2 HW_CPU_X86_AVX512F HW_CPU_X86_AESNI HW_CPU_X86_SHA HW_CPU_X86_VMX HW_CPU_X86_SVM HW_CPU_X86_BMI HW_CPU_X86_BMI2 HW_CPU_X86_FMA3 HW_CPU_X86_F16C HW_CPU_X86_MMX
	HW_CPU_X86_CLMUL HW_CPU_X86_AMD_SEV HW_CPU_X86_AMD_SVM HW_CPU_X86_INTEL_VMX HW_NUMA_ROOT HW_NIC_SRIOV HW_PCI_ROOT STORAGE_DISK_SSD STORAGE_DISK_HDD OWNER_NOVA OWNER_CYBORG`)

var customName = regexp.MustCompile(`^CUSTOM_[A-Z0-9_]{1,248}$`)

// customNamesMax is how many classes, and how many traits, of their own the clients may make.
const customNamesMax = 10_000

func knownName(r state.Reader, standard []string, custom state.Table[placement.Name], name string) (bool, error) {
	if slices.Contains(standard, name) {
		return true, nil
	}
	_, err := custom.Get(r, name)
	if errs.Is(err, errs.NotFound) {
		return false, nil
	}
	return err == nil, err
}

func knownClass(r state.Reader, name string) error {
	ok, err := knownName(r, standardClasses, placement.Classes, name)
	if err == nil && !ok {
		return errs.New(errs.Invalid, "No such resource class %s.", name)
	}
	return err
}

func names(r state.Reader, standard []string, custom state.Table[placement.Name]) ([]string, error) {
	all := slices.Clone(standard)
	for n, err := range custom.All(r) {
		if err != nil {
			return nil, err
		}
		all = append(all, n.Name)
	}
	return all, nil
}

// addName makes a name; made is false when it was there.
func addName(w state.Writer, standard []string, custom state.Table[placement.Name], name string) (made bool, err error) {
	if there, err := knownName(w, standard, custom, name); there || err != nil {
		return false, err
	}
	all, err := names(w, nil, custom)
	if err != nil {
		return false, err
	}
	if len(all) >= customNamesMax {
		return false, errs.New(errs.Quota, "There are %d names already; no more can be made.", customNamesMax)
	}
	return true, custom.Put(w, name, placement.Name{Name: name})
}

func classDocument(name string) document {
	at := "/resource_classes/" + name
	return document{"name": name, "links": []document{{"rel": "self", "href": at}}}
}

func listClasses(c *call) error {
	return c.view(func(r state.Reader) error {
		all, err := names(r, standardClasses, placement.Classes)
		if err != nil {
			return err
		}
		classes := []document{}
		for _, n := range all {
			classes = append(classes, classDocument(n))
		}
		return c.json(http.StatusOK, document{"resource_classes": classes})
	})
}

func createClass(c *call) error {
	var in struct {
		Name string `json:"name"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	if !customName.MatchString(in.Name) {
		return errs.New(errs.Invalid, "JSON does not validate: '%s' does not match '^CUSTOM\\_[A-Z0-9_]+$'", in.Name)
	}
	err := c.update(func(w state.Writer) error {
		made, err := addName(w, standardClasses, placement.Classes, in.Name)
		if err == nil && !made {
			return errs.New(errs.Exists, "Conflicting resource class already exists: %s", in.Name)
		}
		return err
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/resource_classes/"+in.Name)
	return c.none(http.StatusCreated)
}

func showClass(c *call) error {
	return c.view(func(r state.Reader) error {
		ok, err := knownName(r, standardClasses, placement.Classes, c.path("name"))
		if err == nil && !ok {
			return errs.New(errs.NotFound, "No such resource class %s.", c.path("name"))
		}
		if err != nil {
			return err
		}
		return c.json(http.StatusOK, classDocument(c.path("name")))
	})
}

// putClass makes a class from 1.7 on; before, it renames one.
func putClass(c *call) error {
	name := c.path("name")
	target := name
	if c.minor < 7 {
		var in struct {
			Name string `json:"name"`
		}
		if err := c.body(&in); err != nil {
			return err
		}
		target = in.Name
	}
	if !customName.MatchString(target) {
		return errs.New(errs.Invalid, "JSON does not validate: '%s' does not match '^CUSTOM\\_[A-Z0-9_]+$'", target)
	}
	made := false
	err := c.update(func(w state.Writer) (err error) {
		if c.minor < 7 {
			if err := removeClass(w, name); err != nil {
				return err
			}
		}
		made, err = addName(w, standardClasses, placement.Classes, target)
		if err == nil && !made && c.minor < 7 {
			return errs.New(errs.Exists, "Resource class already exists: %s", target)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case c.minor < 7:
		return c.json(http.StatusOK, classDocument(target))
	case made:
		c.w.Header().Set("Location", "/resource_classes/"+target)
		return c.none(http.StatusCreated)
	}
	return c.none(http.StatusNoContent)
}

func removeClass(w state.Writer, name string) error {
	if slices.Contains(standardClasses, name) {
		return errs.New(errs.Invalid, "Error in delete resource class: Cannot delete standard resource class %s.", name)
	}
	for p, err := range placement.Providers.All(w) {
		if err != nil {
			return err
		}
		if _, used := p.Inventories[name]; used {
			return errs.New(errs.Conflict, "Error in delete resource class: Cannot delete resource class %s. Class is in use in inventory.", name)
		}
	}
	err := placement.Classes.Delete(w, name)
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.NotFound, "No such resource class %s.", name)
	}
	return err
}

func deleteClass(c *call) error {
	if err := c.update(func(w state.Writer) error { return removeClass(w, c.path("name")) }); err != nil {
		return err
	}
	return c.none(http.StatusNoContent)
}

// listTraits lists the names; "name=startswith:X" or "name=in:A,B", "associated=true": those that some provider has.
func listTraits(c *call) error {
	query := c.r.URL.Query()
	for key := range query {
		if key != "name" && key != "associated" {
			return badQuery("Invalid query string parameters: Additional properties are not allowed ('%s' was unexpected)", key)
		}
	}
	kind, value, ok := strings.Cut(query.Get("name"), ":")
	if query.Has("name") && (!ok || kind != "startswith" && kind != "in") {
		return badQuery("Badly formatted name parameter. Expected name query string parameter in form: ?name=[in|startswith]:[name1,name2|prefix]. Got: \"%s\"", query.Get("name"))
	}
	return c.view(func(r state.Reader) error {
		all, err := names(r, standardTraits, placement.Traits)
		if err != nil {
			return err
		}
		if query.Has("associated") {
			if all, err = associated(r, all, strings.EqualFold(query.Get("associated"), "true")); err != nil {
				return err
			}
		}
		wanted := strings.Split(value, ",")
		all = slices.DeleteFunc(all, func(n string) bool {
			return kind == "startswith" && !strings.HasPrefix(n, value) || kind == "in" && !slices.Contains(wanted, n)
		})
		return c.json(http.StatusOK, document{"traits": append([]string{}, all...)})
	})
}

func associated(r state.Reader, all []string, want bool) ([]string, error) {
	has := map[string]bool{}
	for p, err := range placement.Providers.All(r) {
		if err != nil {
			return nil, err
		}
		for _, t := range p.Traits {
			has[t] = true
		}
	}
	return slices.DeleteFunc(all, func(n string) bool { return has[n] != want }), nil
}

func showTrait(c *call) error {
	return c.view(func(r state.Reader) error {
		ok, err := knownName(r, standardTraits, placement.Traits, c.path("name"))
		if err == nil && !ok {
			return errs.New(errs.NotFound, "No such trait(s): %s.", c.path("name"))
		}
		if err != nil {
			return err
		}
		return c.none(http.StatusNoContent)
	})
}

func putTrait(c *call) error {
	name := c.path("name")
	if !customName.MatchString(name) {
		return errs.New(errs.Invalid, "The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix \"CUSTOM_\" and use following characters: "+
			"\"A\"-\"Z\", \"0\"-\"9\" and \"_\"")
	}
	made := false
	err := c.update(func(w state.Writer) (err error) {
		made, err = addName(w, standardTraits, placement.Traits, name)
		return err
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/traits/"+name)
	if made {
		return c.none(http.StatusCreated)
	}
	return c.none(http.StatusNoContent)
}

func deleteTrait(c *call) error {
	name := c.path("name")
	err := c.update(func(w state.Writer) error {
		if slices.Contains(standardTraits, name) {
			return errs.New(errs.Invalid, "Cannot delete standard trait %s.", name)
		}
		for p, err := range placement.Providers.All(w) {
			if err != nil {
				return err
			}
			if slices.Contains(p.Traits, name) {
				return errs.New(errs.Conflict, "The trait %s is in use by a resource provider.", name)
			}
		}
		err := placement.Traits.Delete(w, name)
		if errs.Is(err, errs.NotFound) {
			return errs.New(errs.NotFound, "No such trait %s.", name)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.none(http.StatusNoContent)
}

func badQuery(format string, args ...any) error {
	return placement.Coded(errs.Invalid, placement.CodeBadQuery, "%s", fmt.Sprintf(format, args...))
}
