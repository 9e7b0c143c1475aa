package dhcp

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"henge/netd/model"
)

// option is how an extra DHCP option is written.
type option struct {
	code uint8
	kind string // text, addresses, number16, number32
}

// options4 are the options that dnsmasq has words for, as far as guests are told them. Names are those that Neutron's clients use.
func options4() map[string]option {
	return map[string]option{
		"netmask": {1, "addresses"}, "time-offset": {2, "number32"}, "router": {3, "addresses"}, "dns-server": {6, "addresses"},
		"log-server": {7, "addresses"}, "lpr-server": {9, "addresses"}, "boot-file-size": {13, "number16"}, "hostname": {12, "text"},
		"domain-name": {15, "text"}, "root-path": {17, "text"}, "mtu": {26, "number16"}, "nis-domain": {40, "text"}, "nis-server": {41, "addresses"},
		"ntp-server": {42, "addresses"}, "vendor-class": {60, "text"}, "tftp-server": {66, "text"}, "tftp-server-name": {66, "text"},
		"bootfile-name": {67, "text"}, "sip-server": {120, "addresses"}, "tftp-server-address": {150, "addresses"},
	}
}

// option4 encodes an extra option; false when it cannot.
func option4(o model.DHCPOption) (code uint8, value []byte, ok bool) {
	how, known := options4()[o.Name]
	if !known {
		n, err := strconv.ParseUint(strings.TrimPrefix(o.Name, "option:"), 10, 8)
		if err != nil || n == 0 || n == 255 {
			return 0, nil, false
		}
		how = option{uint8(n), "text"}
		if parsed := addressBytes(o.Value); parsed != nil {
			return how.code, parsed, true
		}
	}
	switch how.kind {
	case "addresses":
		value = addressBytes(o.Value)
	case "number16":
		n, err := strconv.ParseUint(o.Value, 10, 16)
		if err == nil {
			value = binary.BigEndian.AppendUint16(nil, uint16(n))
		}
	case "number32":
		n, err := strconv.ParseInt(o.Value, 10, 32)
		if err == nil {
			value = binary.BigEndian.AppendUint32(nil, uint32(n))
		}
	default:
		value = []byte(o.Value)
	}
	return how.code, value, len(value) > 0 && len(value) <= 255
}

func addressBytes(list string) []byte {
	var b []byte
	for part := range strings.SplitSeq(list, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil || !a.Is4() {
			return nil
		}
		b = append(b, a.AsSlice()...)
	}
	return b
}
