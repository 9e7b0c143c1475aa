package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// minorMax is the newest microversion that we speak, 1.minorMax.
const minorMax = 39

const versionHeader = "OpenStack-API-Version"

// minorOf reads the microversion that a request wants: 1.0 when it says nothing.
func minorOf(r *http.Request) (minor int, err error) {
	for _, value := range r.Header.Values(versionHeader) {
		for _, one := range strings.Split(value, ",") {
			service, version, _ := strings.Cut(strings.TrimSpace(one), " ")
			if !strings.EqualFold(service, "placement") {
				continue
			}
			version = strings.TrimSpace(version)
			if version == "latest" {
				return minorMax, nil
			}
			major, minorText, ok := strings.Cut(version, ".")
			minor, err := strconv.Atoi(minorText)
			if _, bad := strconv.Atoi(major); !ok || err != nil || bad != nil {
				return 0, &faultError{status: http.StatusBadRequest, detail: fmt.Sprintf("invalid version string: %s", version)}
			}
			if major != "1" || minor < 0 || minor > minorMax {
				return 0, &faultError{status: http.StatusNotAcceptable, detail: fmt.Sprintf("Unacceptable version header: %s", version)}
			}
			return minor, nil
		}
	}
	return 0, nil
}

// faultError is an answer that no kind of error has a word for.
type faultError struct {
	status int
	detail string
}

func (e *faultError) Error() string { return e.detail }

func versions(c *call) error {
	return c.json(http.StatusOK, document{"versions": []document{{"id": "v1.0", "status": "CURRENT", "min_version": "1.0", "max_version": fmt.Sprintf("1.%d", minorMax),
		"links": []document{{"rel": "self", "href": ""}}}}})
}
