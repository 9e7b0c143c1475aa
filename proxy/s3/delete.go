package s3

import (
	"encoding/xml"
	"net/http"
	"sync"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/fault"
)

// deletesAtOnce is how many of one request's keys are deleted at the same time.
const deletesAtOnce = 16

// deleteRequest is the body of DeleteObjects.
type deleteRequest struct {
	XMLName xml.Name       `xml:"Delete"`
	Quiet   bool           `xml:"Quiet"`
	Objects []deleteTarget `xml:"Object"`
}

type deleteTarget struct {
	Key              string  `xml:"Key"`
	VersionID        *string `xml:"VersionId"`
	ETag             *string `xml:"ETag"`
	LastModifiedTime *string `xml:"LastModifiedTime"`
	Size             *string `xml:"Size"`
}

func (c *call) deleteObjects() error {
	body, err := c.readDocument(limits.ManifestBytesMax, true)
	if err != nil {
		return err
	}
	var req deleteRequest
	if err := parse(body, &req); err != nil {
		return err
	}
	if len(req.Objects) == 0 || len(req.Objects) > limits.MultiDeleteMax {
		return fault.New(fault.MalformedXML)
	}
	for _, o := range req.Objects {
		if o.Key == "" {
			return fault.Newf(fault.UserKeyMustBeSpecified, "The key to delete must be given.")
		}
	}
	if err := c.checkBucket(); err != nil {
		return err
	}
	failures := c.deleteAll(req.Objects)
	d := newDocument("DeleteResult")
	for i, o := range req.Objects {
		switch f := failures[i]; {
		case f != nil:
			d.open("Error")
			d.text("Key", o.Key)
			if o.VersionID != nil {
				d.text("VersionId", *o.VersionID)
			}
			d.text("Code", string(f.Code))
			d.text("Message", f.Message)
			d.close("Error")
		case !req.Quiet:
			d.open("Deleted")
			d.text("Key", o.Key)
			if o.VersionID != nil {
				d.text("VersionId", *o.VersionID)
			}
			d.close("Deleted")
		}
	}
	return d.send(c.w, "DeleteResult")
}

// deleteAll deletes the targets, several at once, and gives the error of each that failed.
func (c *call) deleteAll(targets []deleteTarget) []*fault.Error {
	failures := make([]*fault.Error, len(targets))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(deletesAtOnce, len(targets)) {
		workers.Go(func() {
			for i := range next {
				if err := c.deleteOne(targets[i]); err != nil {
					failures[i] = fault.From(err, fault.NoSuchKey, fault.OperationAborted)
				}
			}
		})
	}
	for i := range targets {
		next <- i
	}
	close(next)
	workers.Wait()
	for i, f := range failures {
		if f != nil && f.Status() >= http.StatusInternalServerError && f.Code != fault.NotImplemented {
			c.cfg.Logger.ErrorContext(c.ctx(), "s3 delete failed", "bucket", c.bucket, "key", targets[i].Key, "error", f)
		}
	}
	return failures
}

func (c *call) deleteOne(t deleteTarget) error {
	if err := checkKey(t.Key); err != nil {
		return err
	}
	if t.VersionID != nil && *t.VersionID != "null" && *t.VersionID != "" {
		return fault.New(fault.NoSuchVersion)
	}
	if t.LastModifiedTime != nil || t.Size != nil {
		return notImplemented("LastModifiedTime and Size")
	}
	var check core.Check
	if t.ETag != nil && *t.ETag != "" {
		check = mustMatch(*t.ETag)
	}
	err := c.cfg.Core.Delete(c.ctx(), core.Ref{Account: c.account(), Container: c.bucket, Object: t.Key}, check)
	return c.deleteError(err, check != nil)
}

// deleteError is writeError for deletes: without a condition, to delete what is not there is a success.
func (c *call) deleteError(err error, conditional bool) error {
	if errs.Is(err, errs.NotFound) && !isFault(err) {
		err = c.absent(err, fault.NoSuchKey)
		if isCode(err, fault.NoSuchKey) && !conditional {
			return nil
		}
		return err
	}
	return c.writeError(err, conditional)
}
