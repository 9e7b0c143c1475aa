package api

import (
	"net/http"
	"strconv"
	"strings"

	"henge/internal/errs"
	"henge/internal/openstack"
)

// microMax is the highest microversion that is served: docs/compute.md says what each brings.
const microMax = 90

const microMin = 1

func (c *call) versionDocument(id string) document {
	v := document{"id": id, "links": []document{{"rel": "self", "href": c.PublicURL(c.r) + "/" + strings.TrimSuffix(id, ".0") + "/"}},
		"status": "SUPPORTED", "version": "", "min_version": "", "updated": "2011-01-21T11:33:21Z"}
	if id == "v2.1" {
		v["status"], v["updated"] = "CURRENT", "2013-07-23T11:33:21Z"
		v["version"], v["min_version"] = "2."+strconv.Itoa(microMax), "2."+strconv.Itoa(microMin)
	}
	return v
}

// versions answers at the root, where clients look for what is spoken here.
func versions(c *call) error {
	return c.json(http.StatusOK, document{"versions": []document{c.versionDocument("v2.0"), c.versionDocument("v2.1")}})
}

func version(c *call) error {
	id := "v2.1"
	if c.root == "/v2" {
		id = "v2.0"
	}
	doc := c.versionDocument(id)
	doc["media-types"] = []openstack.MediaType{{Base: "application/json", Type: "application/vnd.openstack.compute+json;version=" + strings.TrimSuffix(strings.TrimPrefix(id, "v"), ".0")}}
	doc["links"] = append(doc["links"].([]document), document{"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"})
	return c.json(http.StatusOK, document{"version": doc})
}

// negotiate finds the microversion that the request asks for; without one it is 2.1.
func (c *call) negotiate() error {
	c.micro = microMin
	if c.root == "/v2" {
		return nil
	}
	asked := c.r.Header.Get("X-OpenStack-Nova-API-Version")
	for _, part := range strings.Split(c.r.Header.Get("OpenStack-API-Version"), ",") {
		if service, v, ok := strings.Cut(strings.TrimSpace(part), " "); ok && strings.EqualFold(service, "compute") {
			asked = strings.TrimSpace(v)
		}
	}
	defer func() {
		v := "2." + strconv.Itoa(c.micro)
		c.w.Header().Set("X-OpenStack-Nova-API-Version", v)
		c.w.Header().Set("OpenStack-API-Version", "compute "+v)
		c.w.Header().Set("Vary", "OpenStack-API-Version, X-OpenStack-Nova-API-Version")
	}()
	switch asked {
	case "":
		return nil
	case "latest":
		c.micro = microMax
		return nil
	}
	major, minor, ok := strings.Cut(asked, ".")
	n, err := strconv.Atoi(minor)
	if !ok || err != nil || strings.Trim(major+minor, "0123456789") != "" || (len(minor) > 1 && minor[0] == '0') {
		return errs.New(errs.Invalid, "API Version String %s is of invalid format. Must be of format MajorNum.MinorNum.", asked)
	}
	if major != "2" || n < microMin || n > microMax {
		return &statusError{http.StatusNotAcceptable, errs.New(errs.Invalid, "Version %s is not supported by the API. Minimum is 2.%d and maximum is 2.%d.", asked, microMin, microMax)}
	}
	c.micro = n
	return nil
}
