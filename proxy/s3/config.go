package s3

import (
	"encoding/xml"
	"net/http"
	"strings"

	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/fault"
)

// The configuration of buckets and objects that S3 has and we do not: what is asked for answers as on a bucket where it was never set.

// nothing answers the error that says that there is no such configuration.
func nothing(code fault.Code) func(*call) error {
	return func(c *call) error {
		if _, err := c.needBucket(); err != nil {
			return err
		}
		return fault.New(code).With("BucketName", c.bucket)
	}
}

// emptyDocument answers a configuration in which nothing is set.
func emptyDocument(root string) func(*call) error {
	return func(c *call) error {
		if _, err := c.needBucket(); err != nil {
			return err
		}
		return newDocument(root).send(c.w, root)
	}
}

func (c *call) bucketVersioning() error { return emptyDocument("VersioningConfiguration")(c) }

// deleteNothing deletes a configuration that is never there.
func (c *call) deleteNothing() error {
	if _, err := c.needBucket(); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) ownership() error {
	if _, err := c.needBucket(); err != nil {
		return err
	}
	d := newDocument("OwnershipControls")
	d.open("Rule")
	d.text("ObjectOwnership", "BucketOwnerEnforced")
	d.close("Rule")
	return d.send(c.w, "OwnershipControls")
}

func (c *call) policyStatus() error {
	if _, err := c.needBucket(); err != nil {
		return err
	}
	return fault.New(fault.NoSuchBucketPolicy).With("BucketName", c.bucket)
}

func (c *call) requestPayment() error {
	if _, err := c.needBucket(); err != nil {
		return err
	}
	d := newDocument("RequestPaymentConfiguration")
	d.text("Payer", "BucketOwner")
	return d.send(c.w, "RequestPaymentConfiguration")
}

func (c *call) bucketACL() error {
	if _, err := c.needBucket(); err != nil {
		return err
	}
	return c.sendACL()
}

func (c *call) objectACL() error {
	if err := c.needObject(); err != nil {
		return err
	}
	return c.sendACL()
}

// needObject answers NoSuchKey or NoSuchBucket when the object is not there.
func (c *call) needObject() error {
	o, err := c.cfg.Core.Open(c.ctx(), c.ref(), core.OpenOptions{HeadOnly: true})
	if err != nil {
		return c.absent(err, fault.NoSuchKey)
	}
	return o.Close()
}

// sendACL answers the one list that there is: the owner's project has FULL_CONTROL.
func (c *call) sendACL() error {
	d := newDocument("AccessControlPolicy")
	c.ownerElement(d, "Owner")
	d.open("AccessControlList")
	d.open("Grant")
	d.b = append(d.b, `<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">`...)
	d.text("ID", c.owner())
	d.text("DisplayName", c.auth.Identity.ProjectName)
	d.close("Grantee")
	d.text("Permission", "FULL_CONTROL")
	d.close("Grant")
	d.close("AccessControlList")
	return d.send(c.w, "AccessControlPolicy")
}

func (c *call) ownerElement(d *document, name string) {
	d.open(name)
	d.text("ID", c.owner())
	d.text("DisplayName", c.auth.Identity.ProjectName)
	d.close(name)
}

// accessControlPolicy is the body of PutBucketAcl and PutObjectAcl.
type accessControlPolicy struct {
	XMLName xml.Name `xml:"AccessControlPolicy"`
	Grants  []struct {
		Grantee struct {
			ID  string `xml:"ID"`
			URI string `xml:"URI"`
		} `xml:"Grantee"`
		Permission string `xml:"Permission"`
	} `xml:"AccessControlList>Grant"`
}

func (c *call) putBucketACL() error {
	if _, err := c.needBucket(); err != nil {
		return err
	}
	return c.putACL()
}

func (c *call) putObjectACL() error {
	if err := c.needObject(); err != nil {
		return err
	}
	return c.putACL()
}

// putACL takes the list that is there already, canned (checkHeaders has refused the others) or spelled out, and nothing else.
func (c *call) putACL() error {
	body, err := c.readDocument(limits.RequestBodyBytesMax, false)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		if c.r.Header.Get("X-Amz-Acl") == "" {
			return fault.Newf(fault.MissingSecurityHeader, "Your request was missing a required header: x-amz-acl")
		}
		return nil
	}
	var policy accessControlPolicy
	if err := parse(body, &policy); err != nil {
		return err
	}
	for _, g := range policy.Grants {
		if g.Grantee.ID != c.owner() || g.Permission != "FULL_CONTROL" {
			return fault.Newf(fault.NotImplemented, "Grants to others are not supported: only the owner's project has access.")
		}
	}
	return nil
}

func (c *call) objectTagging() error {
	if err := c.needObject(); err != nil {
		return err
	}
	d := newDocument("Tagging")
	d.open("TagSet")
	d.close("TagSet")
	return d.send(c.w, "Tagging")
}

func (c *call) deleteObjectTagging() error {
	if err := c.needObject(); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// objectLock says that neither retention nor legal hold was ever set.
func (c *call) objectLock() error {
	if err := c.needObject(); err != nil {
		return err
	}
	return fault.Newf(fault.InvalidRequest, "Bucket is missing Object Lock Configuration")
}

// createBucketConfiguration is the body of CreateBucket.
type createBucketConfiguration struct {
	XMLName            xml.Name  `xml:"CreateBucketConfiguration"`
	LocationConstraint string    `xml:"LocationConstraint"`
	Location           *struct{} `xml:"Location"`
	Bucket             *struct{} `xml:"Bucket"`
	Tags               *struct{} `xml:"Tags"`
}

func (c *call) createBucket() error {
	if err := checkNewBucketName(c.bucket); err != nil {
		return err
	}
	body, err := c.readDocument(limits.RequestBodyBytesMax, false)
	if err != nil {
		return err
	}
	location := ""
	if len(strings.TrimSpace(string(body))) > 0 {
		var cfg createBucketConfiguration
		if err := parse(body, &cfg); err != nil {
			return err
		}
		if cfg.Location != nil || cfg.Bucket != nil || cfg.Tags != nil {
			return fault.Newf(fault.NotImplemented, "Of CreateBucketConfiguration only LocationConstraint is supported.")
		}
		location = cfg.LocationConstraint
	}
	policy, err := c.storagePolicy(location)
	if err != nil {
		return err
	}
	_, err = c.cfg.Core.PutContainer(c.ctx(), c.account(), c.bucket, core.PutContainer{Policy: policy, MustMake: true})
	if errs.Is(err, errs.Exists) {
		return fault.Wrap(fault.BucketAlreadyOwnedByYou, err).With("BucketName", c.bucket)
	}
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/"+c.bucket)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// deleteBucket deletes an empty bucket; uploads that were never completed go with it.
func (c *call) deleteBucket() error {
	err := c.cfg.Core.DeleteContainer(c.ctx(), c.account(), c.bucket)
	if errs.Is(err, errs.Conflict) {
		if err = c.abortAll(); err == nil {
			err = c.cfg.Core.DeleteContainer(c.ctx(), c.account(), c.bucket)
		}
	}
	switch {
	case isFault(err):
		return err
	case errs.Is(err, errs.Conflict):
		return fault.Wrap(fault.BucketNotEmpty, err).With("BucketName", c.bucket)
	case err != nil:
		return c.absent(err, fault.NoSuchBucket)
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// abortAll ends the uploads of a bucket that has no objects.
func (c *call) abortAll() error {
	l, err := c.cfg.Core.ListObjects(c.ctx(), c.account(), c.bucket, core.ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	if len(l.Entries) > 0 {
		return fault.New(fault.BucketNotEmpty).With("BucketName", c.bucket)
	}
	o := core.ListUploadsOptions{Limit: limits.ListingS3Max}
	for {
		page, err := c.cfg.Core.ListUploads(c.ctx(), c.account(), c.bucket, o)
		if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			if err := c.cfg.Core.AbortUpload(c.ctx(), u.Ref, u.ID); err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
		}
		if !page.More || len(page.Uploads) == 0 {
			return nil
		}
		o.KeyMarker, o.UploadMarker = page.NextKey, page.NextID
	}
}

func (c *call) headBucket() error {
	if _, err := c.needBucket(); err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("X-Amz-Bucket-Region", c.cfg.Region)
	h.Set("X-Amz-Access-Point-Alias", "false")
	h.Set("Content-Type", "application/xml")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) bucketLocation() error {
	if _, err := c.needBucket(); err != nil {
		return err
	}
	d := newDocument("LocationConstraint")
	if c.cfg.Region != "us-east-1" { // which is where everything is that says nothing
		d.b = appendEscaped(d.b, c.cfg.Region)
	}
	return d.send(c.w, "LocationConstraint")
}
