package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"henge/internal/errs"
	"henge/internal/openstack"
)

// versionMax is the newest microversion, 3.N, whose fields are served. What whole families of resources the versions up to it name and are not here is in docs/volumes.md.
const versionMax = 70

// The microversions that change something here.
const (
	sinceBootableFilter  = 2
	sinceMessages        = 3
	sinceGlanceFilter    = 4
	sinceSummary         = 12
	sinceGroupID         = 13
	sinceProviderID      = 21
	sinceSnapshotFilter  = 22
	sinceForceDelete     = 23
	sinceAttachments     = 27
	sincePoolFilter      = 28
	sinceStrictFilters   = 31
	sinceResourceFilters = 33
	sinceLikeFilter      = 34
	sinceSummaryMetadata = 36
	sinceRevert          = 40
	sinceSnapshotUser    = 41
	sinceExtendInUse     = 42
	sinceComplete        = 44
	sinceCount           = 45
	sinceSharedTargets   = 48
	sinceBackendState    = 49
	sinceMode            = 54
	sinceTransfers       = 55
	sinceTransferShown   = 57
	sinceTimeFilter      = 60
	sinceClusterName     = 61
	sinceDefaultTypes    = 62
	sinceTypeID          = 63
	sinceConsumesQuota   = 65
	sinceSnapshotInUse   = 66
	sinceReimage         = 68
	sinceSharedNull      = 69
)

func (c *call) versions() document {
	v := openstack.Version{ID: "v3.0", Status: "CURRENT", Updated: "2022-08-31T00:00:00Z", Version: fmt.Sprintf("3.%d", versionMax), MinVersion: "3.0",
		Links:      []openstack.Link{{Rel: "describedby", Href: "https://docs.openstack.org/"}, {Rel: "self", Href: c.PublicURL(c.r) + "/v3/"}},
		MediaTypes: []openstack.MediaType{{Base: "application/json", Type: "application/vnd.openstack.volume+json;version=3"}}}
	return document{"versions": []openstack.Version{v}}
}

// negotiate reads the microversion that the client wants: 3.0 when it does not say.
func (c *call) negotiate() error {
	for part := range strings.SplitSeq(c.r.Header.Get("OpenStack-API-Version"), ",") {
		service, version, ok := strings.Cut(strings.TrimSpace(part), " ")
		if !ok || service != "volume" {
			continue
		}
		if version == "latest" {
			c.version = versionMax
			continue
		}
		major, minor, _ := strings.Cut(version, ".")
		n, err := strconv.Atoi(minor)
		if err != nil || n < 0 || len(minor) > 1 && minor[0] == '0' || strings.Trim(major, "0123456789") != "" || major == "" {
			return errs.New(errs.Invalid, "API Version String '%s' is of invalid format. Must be of format MajorNum.MinorNum.", version)
		}
		if major != "3" || n > versionMax {
			return errs.With(errs.Invalid, &statusError{http.StatusNotAcceptable,
				fmt.Sprintf("Version %s is not supported by the API. Minimum is 3.0 and maximum is 3.%d.", version, versionMax)})
		}
		c.version = n
	}
	c.w.Header().Set("OpenStack-API-Version", fmt.Sprintf("volume 3.%d", c.version))
	return nil
}
