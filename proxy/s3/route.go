package s3

import (
	"net/http"
	"slices"
	"strings"

	"henge/proxy/s3/fault"
)

type level uint8

const (
	service level = iota
	bucket
	object
)

// operation is one operation of the API: what chooses it, what else it understands, and what it does.
type operation struct {
	name   string
	level  level
	method string
	needs  []string // the query parameters that choose it
	copies bool     // x-amz-copy-source chooses it too
	may    []string // the other query parameters that it understands
	write  bool     // readers may not
	serve  func(*call) error
}

// operations lists all operations. The first that fits is taken: those that need more come first.
func operations() []operation {
	all := slices.Concat(serviceOperations(), bucketOperations(), objectOperations())
	slices.SortStableFunc(all, func(a, b operation) int {
		return weight(b) - weight(a)
	})
	return all
}

func weight(o operation) int {
	n := 2 * len(o.needs)
	if o.copies {
		n++
	}
	return n
}

func serviceOperations() []operation {
	return []operation{
		{name: "ListBuckets", level: service, method: http.MethodGet, may: []string{"max-buckets", "continuation-token", "prefix", "bucket-region"}, serve: (*call).listBuckets},
		{name: "HeadService", level: service, method: http.MethodHead, serve: (*call).headService},
	}
}

func bucketOperations() []operation {
	page := []string{"prefix", "delimiter", "encoding-type", "max-keys"}
	with := func(more ...string) []string { return append(slices.Clone(page), more...) }
	ops := []operation{
		{name: "CreateBucket", method: http.MethodPut, write: true, serve: (*call).createBucket},
		{name: "DeleteBucket", method: http.MethodDelete, write: true, serve: (*call).deleteBucket},
		{name: "HeadBucket", method: http.MethodHead, serve: (*call).headBucket},
		{name: "GetBucketLocation", method: http.MethodGet, needs: []string{"location"}, serve: (*call).bucketLocation},
		{name: "ListObjects", method: http.MethodGet, may: with("marker"), serve: (*call).listObjectsV1},
		{name: "ListObjectsV2", method: http.MethodGet, needs: []string{"list-type"}, may: with("continuation-token", "start-after", "fetch-owner"), serve: (*call).listObjectsV2},
		{name: "ListObjectVersions", method: http.MethodGet, needs: []string{"versions"}, may: with("key-marker", "version-id-marker"), serve: (*call).listVersions},
		{name: "DeleteObjects", method: http.MethodPost, needs: []string{"delete"}, write: true, serve: (*call).deleteObjects},
		{name: "ListMultipartUploads", method: http.MethodGet, needs: []string{"uploads"}, may: []string{"prefix", "delimiter", "encoding-type", "max-uploads", "key-marker", "upload-id-marker"}, serve: (*call).listUploads},
		{name: "GetBucketVersioning", method: http.MethodGet, needs: []string{"versioning"}, serve: (*call).bucketVersioning},
		{name: "GetBucketAcl", method: http.MethodGet, needs: []string{"acl"}, serve: (*call).bucketACL},
		{name: "PutBucketAcl", method: http.MethodPut, needs: []string{"acl"}, write: true, serve: (*call).putBucketACL},
		{name: "GetBucketOwnershipControls", method: http.MethodGet, needs: []string{"ownershipControls"}, serve: (*call).ownership},
		{name: "GetBucketPolicyStatus", method: http.MethodGet, needs: []string{"policyStatus"}, serve: (*call).policyStatus},
		{name: "GetBucketRequestPayment", method: http.MethodGet, needs: []string{"requestPayment"}, serve: (*call).requestPayment},
		{name: "GetBucketLogging", method: http.MethodGet, needs: []string{"logging"}, serve: emptyDocument("BucketLoggingStatus")},
		{name: "GetBucketNotificationConfiguration", method: http.MethodGet, needs: []string{"notification"}, serve: emptyDocument("NotificationConfiguration")},
		{name: "GetBucketAccelerateConfiguration", method: http.MethodGet, needs: []string{"accelerate"}, serve: emptyDocument("AccelerateConfiguration")},
	}
	for _, none := range []struct {
		sub  string
		code fault.Code
	}{
		{"policy", fault.NoSuchBucketPolicy}, {"lifecycle", fault.NoSuchLifecycle}, {"tagging", fault.NoSuchTagSet}, {"cors", fault.NoSuchCORSConfiguration},
		{"website", fault.NoSuchWebsiteConfiguration}, {"encryption", fault.EncryptionNotFound}, {"object-lock", fault.ObjectLockNotFound},
		{"publicAccessBlock", fault.NoSuchPublicAccessBlock}, {"replication", fault.ReplicationNotFound},
	} {
		ops = append(ops, operation{name: "GetBucket:" + none.sub, method: http.MethodGet, needs: []string{none.sub}, serve: nothing(none.code)})
	}
	// To delete what is not there is a success, and clients that tidy up count on it.
	for _, sub := range []string{"policy", "lifecycle", "tagging", "cors", "website", "encryption", "publicAccessBlock", "replication", "ownershipControls"} {
		ops = append(ops, operation{name: "DeleteBucket:" + sub, method: http.MethodDelete, needs: []string{sub}, write: true, serve: (*call).deleteNothing})
	}
	for i := range ops {
		ops[i].level = bucket
	}
	return ops
}

func objectOperations() []operation {
	overrides := []string{"partNumber", "versionId", "response-cache-control", "response-content-disposition", "response-content-encoding",
		"response-content-language", "response-content-type", "response-expires"}
	version := []string{"versionId"}
	ops := []operation{
		{name: "PutObject", method: http.MethodPut, write: true, serve: (*call).putObject},
		{name: "GetObject", method: http.MethodGet, may: overrides, serve: (*call).getObject},
		{name: "HeadObject", method: http.MethodHead, may: overrides, serve: (*call).getObject},
		{name: "DeleteObject", method: http.MethodDelete, may: version, write: true, serve: (*call).deleteObject},
		{name: "CopyObject", method: http.MethodPut, copies: true, write: true, serve: (*call).copyObject},
		{name: "GetObjectAttributes", method: http.MethodGet, needs: []string{"attributes"}, may: version, serve: (*call).getAttributes},
		{name: "GetObjectAcl", method: http.MethodGet, needs: []string{"acl"}, may: version, serve: (*call).objectACL},
		{name: "PutObjectAcl", method: http.MethodPut, needs: []string{"acl"}, may: version, write: true, serve: (*call).putObjectACL},
		{name: "GetObjectTagging", method: http.MethodGet, needs: []string{"tagging"}, may: version, serve: (*call).objectTagging},
		{name: "DeleteObjectTagging", method: http.MethodDelete, needs: []string{"tagging"}, may: version, write: true, serve: (*call).deleteObjectTagging},
		{name: "GetObjectRetention", method: http.MethodGet, needs: []string{"retention"}, may: version, serve: (*call).objectLock},
		{name: "GetObjectLegalHold", method: http.MethodGet, needs: []string{"legal-hold"}, may: version, serve: (*call).objectLock},
		{name: "CreateMultipartUpload", method: http.MethodPost, needs: []string{"uploads"}, write: true, serve: (*call).createUpload},
		{name: "UploadPart", method: http.MethodPut, needs: []string{"uploadId", "partNumber"}, write: true, serve: (*call).uploadPart},
		{name: "UploadPartCopy", method: http.MethodPut, needs: []string{"uploadId", "partNumber"}, copies: true, write: true, serve: (*call).uploadPartCopy},
		{name: "ListParts", method: http.MethodGet, needs: []string{"uploadId"}, may: []string{"max-parts", "part-number-marker", "encoding-type"}, serve: (*call).listParts},
		{name: "CompleteMultipartUpload", method: http.MethodPost, needs: []string{"uploadId"}, write: true, serve: (*call).completeUpload},
		{name: "AbortMultipartUpload", method: http.MethodDelete, needs: []string{"uploadId"}, write: true, serve: (*call).abortUpload},
	}
	for i := range ops {
		ops[i].level = object
	}
	return ops
}

// ignorable tells whether a query parameter may be there in any request: those of signatures, and "x-..." ones, which Amazon gives to clients for
// their own logs. A version 2 signature does not cover x-amz-* parameters, so that with one they are refused.
func (c *call) ignorable(name string) bool {
	lower := strings.ToLower(name)
	switch {
	case strings.HasPrefix(lower, "x-amz-"):
		return c.auth.Version == 4
	case strings.HasPrefix(lower, "x-"):
		return true
	}
	return c.auth.Version == 2 && c.auth.Presigned && (name == "AWSAccessKeyId" || name == "Signature" || name == "Expires")
}

// route finds the operation. A parameter that it does not understand is a sub-resource that we do not have: 501, and never the operation without it.
func (c *call) route() (*operation, error) {
	at := object
	switch {
	case c.bucket == "":
		at = service
	case c.key == "":
		at = bucket
	}
	copies := c.r.Header.Get("X-Amz-Copy-Source") != ""
	methods := false
	for i := range c.operations {
		o := &c.operations[i]
		if o.level != at || o.method != c.r.Method {
			continue
		}
		methods = true
		if o.copies && !copies || slices.ContainsFunc(o.needs, func(n string) bool { return !c.hasParam(n) }) {
			continue
		}
		return o, c.checkParams(o)
	}
	if methods || len(c.query) > 0 {
		return nil, c.checkParams(&operation{})
	}
	if at == bucket && c.r.Method == http.MethodPost {
		return nil, fault.Newf(fault.MethodNotAllowed, "POST on a bucket needs a form (multipart/form-data) or a sub-resource.")
	}
	return nil, fault.New(fault.MethodNotAllowed).With("Method", c.r.Method)
}

func (c *call) checkParams(o *operation) error {
	for i, p := range c.query {
		if c.ignorable(p.Name) {
			continue
		}
		if !slices.Contains(o.needs, p.Name) && !slices.Contains(o.may, p.Name) {
			return fault.Newf(fault.NotImplemented, "The sub-resource or parameter %q is not supported for this request.", p.Name).With("Parameter", p.Name)
		}
		for _, q := range c.query[:i] {
			if q.Name == p.Name {
				return fault.Newf(fault.InvalidArgument, "The parameter %s is there twice.", p.Name)
			}
		}
	}
	if o.serve == nil {
		return fault.New(fault.MethodNotAllowed)
	}
	return c.checkVersion()
}

// checkVersion: nothing is versioned, so that every object is the version "null".
func (c *call) checkVersion() error {
	switch v := c.param("versionId"); {
	case !c.hasParam("versionId") || v == "null":
		return nil
	case v == "":
		return fault.Newf(fault.InvalidArgument, "Version id cannot be the empty string").With("ArgumentName", "versionId")
	default:
		return fault.New(fault.NoSuchVersion).With("VersionId", v)
	}
}
