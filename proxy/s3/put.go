package s3

import (
	"net/http"
	"strconv"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/checksum"
	"henge/proxy/s3/fault"
)

func (c *call) putObject() error {
	m, err := metadata(c.r.Header)
	if err != nil {
		return err
	}
	check, err := writeCondition(c.r.Header)
	if err != nil {
		return err
	}
	algorithm, err := c.putAlgorithm()
	if err != nil {
		return err
	}
	p, err := c.openPayload(algorithm)
	if err != nil {
		return err
	}
	if algorithm == checksum.None {
		algorithm = p.sent()
	}
	var sum checksum.Value
	info, err := c.cfg.Core.Put(c.ctx(), c.ref(), core.PutRequest{
		Body: p, Size: p.size, Metadata: m, Check: check,
		Finish: func(md5Hex string, size int64, m *core.Metadata) error {
			err := p.finish(algorithm, keepChecksum)(md5Hex, size, m)
			sum = storedChecksum(m.System)
			return err
		},
	})
	if err != nil {
		return c.writeError(p.failed(err), check != nil)
	}
	h := c.w.Header()
	h.Set("Etag", `"`+info.ETag+`"`)
	checksumHeaders(h, sum)
	h.Set("X-Amz-Object-Size", strconv.FormatInt(info.Size, 10))
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// putAlgorithm is the checksum that PutObject keeps: what the client sends (None), or CRC64NVME when it sends none.
func (c *call) putAlgorithm() (checksum.Algorithm, error) {
	given, err := checksumHeader(c.r.Header)
	if err != nil {
		return checksum.None, err
	}
	if given.IsZero() && c.r.Header.Get("X-Amz-Trailer") == "" {
		return checksum.CRC64NVME, nil
	}
	return checksum.None, nil
}

// writeError turns the errors of a write into S3's. A write under a condition that somebody else's write decided is a conflict that the client may
// try again.
func (c *call) writeError(err error, conditional bool) error {
	switch {
	case err == nil, isFault(err):
		return err
	case conditional && errs.Is(err, errs.Conflict):
		return fault.Wrap(fault.ConditionalRequestConflict, err).With("Key", c.key)
	}
	return c.absent(err, fault.NoSuchBucket)
}

func (c *call) deleteObject() error {
	check, err := writeCondition(c.r.Header)
	if err != nil {
		return err
	}
	if c.r.Header.Get("If-None-Match") != "" {
		return notImplemented("If-None-Match")
	}
	if err := c.deleteError(c.cfg.Core.Delete(c.ctx(), c.ref(), check), check != nil); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// tooLargeToCopy refuses what is larger than one object may be; clients copy such in parts.
func tooLargeToCopy(size int64) error {
	if size <= limits.ObjectBytesMax {
		return nil
	}
	return fault.Newf(fault.InvalidRequest, "The specified copy source is larger than the maximum allowable size for a copy source: %d", int64(limits.ObjectBytesMax))
}
