package swift

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"henge/internal/limits"
	"henge/proxy/core"
)

// healthcheck answers that the proxy listens.
func (q *request) healthcheck() error {
	if q.r.Method != http.MethodGet && q.r.Method != http.MethodHead {
		return notAllowed("GET, HEAD")
	}
	return q.answerText(http.StatusOK, "text/plain", "OK")
}

// crossDomainPolicy admits no plug-in of another site's page; for scripts there is CORS.
const crossDomainPolicy = `<?xml version="1.0"?>
<!DOCTYPE cross-domain-policy SYSTEM "http://www.adobe.com/xml/dtds/cross-domain-policy.dtd" >
<cross-domain-policy>
<site-control permitted-cross-domain-policies="master-only" />
</cross-domain-policy>`

func (q *request) crossDomain() error {
	if q.r.Method != http.MethodGet && q.r.Method != http.MethodHead {
		return notAllowed("GET, HEAD")
	}
	return q.answerText(http.StatusOK, "application/xml", crossDomainPolicy)
}

// info tells clients what they may ask of this cluster, in Swift's words.
func (q *request) info() error {
	switch q.r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		q.header("Allow", "HEAD, GET, OPTIONS")
		return q.answer(http.StatusOK)
	default:
		return notAllowed("HEAD, GET, OPTIONS")
	}
	body, err := json.Marshal(q.h.capabilities())
	if err != nil {
		return fmt.Errorf("encode capabilities: %w", err)
	}
	return q.answerText(http.StatusOK, "application/json; charset=UTF-8", string(body))
}

type object = map[string]any

// capabilities is /info. It says only what holds.
func (h *Handler) capabilities() object {
	var policies []object
	for _, p := range h.Core.Policies() {
		if p.Deprecated {
			continue
		}
		one := object{"name": p.Name, "aliases": strings.Join(p.Names(), ", ")}
		if p.Default {
			one["default"] = true
		}
		policies = append(policies, one)
	}
	swift := object{
		"version": h.Version, "policies": policies,
		"account_autocreate": true, "allow_account_management": false, "strict_cors_mode": true,
		"account_listing_limit": limits.ListingMax, "container_listing_limit": limits.ListingMax,
		"max_account_name_length": limits.AccountNameBytesMax, "max_container_name_length": limits.ContainerNameBytesMax,
		"max_object_name_length": limits.ObjectNameBytesMax, "max_file_size": int64(limits.ObjectBytesMax), "max_header_size": headerBytesMax,
		"max_meta_count": limits.MetaCountMax, "max_meta_name_length": limits.MetaNameBytesMax,
		"max_meta_overall_size": limits.MetaTotalBytesMax, "max_meta_value_length": limits.MetaValueBytesMax,
		"extra_header_count": 0, "valid_api_versions": []string{"v1", "v1.0"},
	}
	if h.Region != "" {
		swift["region"] = h.Region
	}
	return object{
		"swift":            swift,
		"account_quotas":   object{},
		"container_quotas": object{},
		"crossdomain":      object{},
		"staticweb":        object{},
		"formpost":         object{"allowed_digests": []string{"sha1", "sha256", "sha512"}},
		"bulk_delete":      object{"max_deletes_per_request": limits.BulkDeleteMax, "max_failed_deletes": bulkFailuresMax},
		"bulk_upload":      object{"max_containers_per_extraction": limits.BulkDeleteMax, "max_failed_extractions": bulkFailuresMax},
		"dlo":              object{"max_segments": core.DynamicSegmentsMax},
		"etag_quoter":      object{"enable_by_default": false},
		"keystoneauth":     object{},
		"slo": object{"max_manifest_segments": limits.SLOSegmentsMax, "max_manifest_size": limits.ManifestBytesMax, "min_segment_size": 1,
			"allow_async_delete": false, "yield_frequency": heartbeatSeconds},
		"tempurl": object{
			"methods": []string{"GET", "HEAD", "PUT", "POST", "DELETE"}, "allowed_digests": []string{"sha1", "sha256", "sha512"},
			"incoming_remove_headers": []string{"x-timestamp"}, "incoming_allow_headers": []string{},
			"outgoing_remove_headers": []string{"x-object-meta-*"}, "outgoing_allow_headers": []string{"x-object-meta-public-*"},
		},
	}
}
