package api

import (
	"encoding/json"
	"net/http"
	"strings"

	"henge/internal/errs"
)

// extensions are what old clients look for before they use a call; microversions have taken their place.
var extensions = []string{"os-aggregates", "os-availability-zone", "os-block-device-mapping", "os-block-device-mapping-v2-boot", "os-config-drive", "os-console-output", "os-consoles",
	"os-disk-config", "os-extended-availability-zone", "os-extended-server-attributes", "os-extended-status", "os-extended-volumes", "os-flavor-access",
	"os-flavor-extra-specs", "os-flavor-manage", "os-flavor-rxtx", "os-hosts", "os-hypervisors", "os-instance-actions", "os-attach-interfaces", "os-keypairs", "os-lock-server", "os-multiple-create",
	"os-pause-server", "os-quota-class-sets", "os-quota-sets", "os-remote-consoles", "os-scheduler-hints", "os-security-groups", "os-server-groups", "os-server-usage", "os-services",
	"os-simple-tenant-usage", "os-suspend-server", "os-user-data", "os-volumes"}

func extensionDocument(alias string) document {
	name := strings.ReplaceAll(strings.Title(strings.ReplaceAll(strings.TrimPrefix(alias, "os-"), "-", " ")), " ", "") //lint:ignore SA1019 ASCII only
	return document{"alias": alias, "name": name, "description": name, "links": []any{}, "namespace": "http://docs.openstack.org/compute/ext/fake_xml", "updated": "2014-12-03T00:00:00Z"}
}

func listExtensions(c *call) error {
	docs := []document{}
	for _, alias := range extensions {
		docs = append(docs, extensionDocument(alias))
	}
	return c.json(http.StatusOK, document{"extensions": docs})
}

func showExtension(c *call) error {
	for _, alias := range extensions {
		if alias == c.path("alias") {
			return c.json(http.StatusOK, document{"extension": extensionDocument(alias)})
		}
	}
	return errs.New(errs.NotFound, "Extension %s could not be found.", shorten(c.path("alias")))
}

func jsonText(s string) string {
	raw, _ := json.Marshal(s) // strings always encode
	return string(raw)
}

// jsonDocument is a document as text.
func jsonDocument(d document) string {
	raw, _ := json.Marshal(d) // documents always encode
	return string(raw)
}
