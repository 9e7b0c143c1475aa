package s3

import (
	"net/http"
	"strings"

	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/fault"
	"henge/storaged/peerapi"
)

// getAttributes serves GetObjectAttributes.
func (c *call) getAttributes() error {
	wanted := make(map[string]bool)
	for _, line := range c.r.Header.Values("X-Amz-Object-Attributes") {
		for name := range strings.SplitSeq(line, ",") {
			switch name = strings.TrimSpace(name); name {
			case "ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize":
				wanted[name] = true
			default:
				return fault.Newf(fault.InvalidArgument, "Invalid attribute name specified.").With("ArgumentName", "x-amz-object-attributes").With("ArgumentValue", name)
			}
		}
	}
	if len(wanted) == 0 {
		return fault.Newf(fault.InvalidRequest, "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	o, err := c.open(c.ref(), true)
	if err != nil {
		return err
	}
	defer o.Close()
	if err := readConditions(c.r.Header, "").check(o.Info); err != nil {
		return err
	}
	d := newDocument("GetObjectAttributesResponse")
	if wanted["ETag"] {
		d.text("ETag", o.Info.ETag)
	}
	sum := storedChecksum(o.Info.System)
	if wanted["Checksum"] && !sum.IsZero() {
		d.open("Checksum")
		checksumElements(d, sum)
		d.close("Checksum")
	}
	if wanted["ObjectParts"] && o.Info.Kind == peerapi.KindMultipart && o.Manifest != nil {
		if err := c.partsElement(d, o.Manifest.Segments); err != nil {
			return err
		}
	}
	if wanted["StorageClass"] {
		d.text("StorageClass", "STANDARD")
	}
	if wanted["ObjectSize"] {
		d.number("ObjectSize", o.Info.Size)
	}
	c.w.Header().Set("Last-Modified", o.Info.Modified.UTC().Format(http.TimeFormat))
	return d.send(c.w, "GetObjectAttributesResponse")
}

// partsElement writes a page of an object's parts.
func (c *call) partsElement(d *document, segments []core.Segment) error {
	limit, err := c.headerCount("X-Amz-Max-Parts", limits.ListingS3Max)
	if err != nil {
		return err
	}
	marker, err := c.headerCount("X-Amz-Part-Number-Marker", 0)
	if err != nil {
		return err
	}
	d.open("ObjectParts")
	d.number("PartsCount", int64(len(segments)))
	d.number("PartNumberMarker", int64(marker))
	d.number("MaxParts", int64(limit))
	next, written, more := marker, 0, false
	for i, s := range segments {
		n := s.Part
		if n == 0 {
			n = i + 1
		}
		if n <= marker {
			continue
		}
		if written == limit {
			more = true
			break
		}
		written, next = written+1, n
		d.open("Part")
		d.number("PartNumber", int64(n))
		d.number("Size", s.Length)
		if v := segmentChecksum(s); !v.IsZero() {
			d.text(v.Algorithm.Element(), v.Text())
		}
		d.close("Part")
	}
	d.number("NextPartNumberMarker", int64(next))
	d.flag("IsTruncated", more)
	d.close("ObjectParts")
	return nil
}

// headerCount reads a header that is a number; usual when it is not there, and at most limits.ManifestSegmentsMax.
func (c *call) headerCount(name string, usual int) (int, error) {
	text := c.r.Header.Get(name)
	if text == "" {
		return usual, nil
	}
	if !digits(text) {
		return 0, fault.Newf(fault.InvalidArgument, "%s must be a number", strings.ToLower(name)).With("ArgumentValue", text)
	}
	return int(min(number(text), limits.ManifestSegmentsMax)), nil
}
