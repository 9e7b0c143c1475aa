package fault

import (
	"errors"
	"fmt"
	"net/http"

	"henge/internal/errs"
)

// Code is an error code of the S3 API.
type Code string

// The codes that Henge answers with.
const (
	AccessDenied                Code = "AccessDenied"
	AccessForbidden             Code = "AccessForbidden"
	AuthorizationHeaderBad      Code = "AuthorizationHeaderMalformed"
	AuthorizationQueryBad       Code = "AuthorizationQueryParametersError"
	BadDigest                   Code = "BadDigest"
	BadRequest                  Code = "BadRequest"
	BucketAlreadyOwnedByYou     Code = "BucketAlreadyOwnedByYou"
	BucketNotEmpty              Code = "BucketNotEmpty"
	ConditionalRequestConflict  Code = "ConditionalRequestConflict"
	EntityTooLarge              Code = "EntityTooLarge"
	EntityTooSmall              Code = "EntityTooSmall"
	ExpiredToken                Code = "ExpiredToken"
	IllegalLocationConstraint   Code = "IllegalLocationConstraintException"
	IncompleteBody              Code = "IncompleteBody"
	InternalError               Code = "InternalError"
	InvalidAccessKeyID          Code = "InvalidAccessKeyId"
	InvalidArgument             Code = "InvalidArgument"
	InvalidBucketName           Code = "InvalidBucketName"
	InvalidChunkSize            Code = "InvalidChunkSizeError"
	InvalidDigest               Code = "InvalidDigest"
	InvalidLocationConstraint   Code = "InvalidLocationConstraint"
	InvalidPart                 Code = "InvalidPart"
	InvalidPartNumber           Code = "InvalidPartNumber"
	InvalidPartOrder            Code = "InvalidPartOrder"
	InvalidPolicyDocument       Code = "InvalidPolicyDocument"
	InvalidRange                Code = "InvalidRange"
	InvalidRequest              Code = "InvalidRequest"
	InvalidSecurity             Code = "InvalidSecurity"
	InvalidStorageClass         Code = "InvalidStorageClass"
	InvalidToken                Code = "InvalidToken"
	InvalidURI                  Code = "InvalidURI"
	KeyTooLong                  Code = "KeyTooLongError"
	MalformedPOSTRequest        Code = "MalformedPOSTRequest"
	MalformedTrailer            Code = "MalformedTrailerError"
	MalformedXML                Code = "MalformedXML"
	MetadataTooLarge            Code = "MetadataTooLarge"
	MethodNotAllowed            Code = "MethodNotAllowed"
	MissingContentLength        Code = "MissingContentLength"
	MissingSecurityHeader       Code = "MissingSecurityHeader"
	NoSuchBucket                Code = "NoSuchBucket"
	NoSuchBucketPolicy          Code = "NoSuchBucketPolicy"
	NoSuchCORSConfiguration     Code = "NoSuchCORSConfiguration"
	NoSuchKey                   Code = "NoSuchKey"
	NoSuchLifecycle             Code = "NoSuchLifecycleConfiguration"
	NoSuchObjectLock            Code = "NoSuchObjectLockConfiguration"
	NoSuchPublicAccessBlock     Code = "NoSuchPublicAccessBlockConfiguration"
	NoSuchTagSet                Code = "NoSuchTagSet"
	NoSuchUpload                Code = "NoSuchUpload"
	NoSuchVersion               Code = "NoSuchVersion"
	NoSuchWebsiteConfiguration  Code = "NoSuchWebsiteConfiguration"
	NotImplemented              Code = "NotImplemented"
	NotModified                 Code = "NotModified"
	ObjectLockNotFound          Code = "ObjectLockConfigurationNotFoundError"
	OperationAborted            Code = "OperationAborted"
	OwnershipControlsNotFound   Code = "OwnershipControlsNotFoundError"
	PreconditionFailed          Code = "PreconditionFailed"
	QuotaExceeded               Code = "QuotaExceeded"
	ReplicationNotFound         Code = "ReplicationConfigurationNotFoundError"
	RequestHeaderSectionTooBig  Code = "RequestHeaderSectionTooLarge"
	RequestTimeTooSkewed        Code = "RequestTimeTooSkewed"
	RequestTimeout              Code = "RequestTimeout"
	EncryptionNotFound          Code = "ServerSideEncryptionConfigurationNotFoundError"
	ServiceUnavailable          Code = "ServiceUnavailable"
	SignatureDoesNotMatch       Code = "SignatureDoesNotMatch"
	SlowDown                    Code = "SlowDown"
	UserKeyMustBeSpecified      Code = "UserKeyMustBeSpecified"
	XAmzContentSHA256Mismatch   Code = "XAmzContentSHA256Mismatch"
	MaxMessageLengthExceeded    Code = "MaxMessageLengthExceeded"
	MaxPostPreDataLengthExceed  Code = "MaxPostPreDataLengthExceededError"
	IncorrectNumberOfFilesInPOS Code = "IncorrectNumberOfFilesInPostRequest"
)

type entry struct {
	status  int
	message string
}

// lookup gives a code's status and its usual message. Codes that are not here are 400.
func lookup(c Code) entry {
	switch c {
	case AccessDenied:
		return entry{http.StatusForbidden, "Access Denied"}
	case AccessForbidden:
		return entry{http.StatusForbidden, "CORSResponse: CORS is not enabled for this bucket."}
	case InvalidAccessKeyID:
		return entry{http.StatusForbidden, "The AWS Access Key Id you provided does not exist in our records."}
	case SignatureDoesNotMatch:
		return entry{http.StatusForbidden, "The request signature we calculated does not match the signature you provided. Check your key and signing method."}
	case RequestTimeTooSkewed:
		return entry{http.StatusForbidden, "The difference between the request time and the server's time is too large."}
	case QuotaExceeded:
		return entry{http.StatusForbidden, "The quota of the project does not allow this."}
	case BucketAlreadyOwnedByYou:
		return entry{http.StatusConflict, "Your previous request to create the named bucket succeeded and you already own it."}
	case BucketNotEmpty:
		return entry{http.StatusConflict, "The bucket you tried to delete is not empty"}
	case ConditionalRequestConflict:
		return entry{http.StatusConflict, "The conditional request cannot succeed due to a conflicting operation against this resource."}
	case OperationAborted:
		return entry{http.StatusConflict, "A conflicting conditional operation is currently in progress against this resource. Try again."}
	case InternalError:
		return entry{http.StatusInternalServerError, "We encountered an internal error. Please try again."}
	case InvalidPartNumber, InvalidRange:
		return entry{http.StatusRequestedRangeNotSatisfiable, "The requested range is not satisfiable"}
	case MethodNotAllowed:
		return entry{http.StatusMethodNotAllowed, "The specified method is not allowed against this resource."}
	case MissingContentLength:
		return entry{http.StatusLengthRequired, "You must provide the Content-Length HTTP header."}
	case NotImplemented:
		return entry{http.StatusNotImplemented, "A header or query parameter you provided implies functionality that is not implemented."}
	case NotModified:
		return entry{http.StatusNotModified, "Not Modified"}
	case PreconditionFailed:
		return entry{http.StatusPreconditionFailed, "At least one of the pre-conditions you specified did not hold"}
	case ServiceUnavailable:
		return entry{http.StatusServiceUnavailable, "Too few storage peers answered. Please try again."}
	case SlowDown:
		return entry{http.StatusServiceUnavailable, "Please reduce your request rate."}
	}
	if m, ok := absent(c); ok {
		return entry{http.StatusNotFound, m}
	}
	return entry{http.StatusBadRequest, invalid(c)}
}

// absent gives the message of the codes that are 404.
func absent(c Code) (string, bool) {
	switch c {
	case NoSuchBucket:
		return "The specified bucket does not exist", true
	case NoSuchKey:
		return "The specified key does not exist.", true
	case NoSuchUpload:
		return "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.", true
	case NoSuchVersion:
		return "The specified version does not exist.", true
	case NoSuchBucketPolicy:
		return "The bucket policy does not exist", true
	case NoSuchCORSConfiguration:
		return "The CORS configuration does not exist", true
	case NoSuchLifecycle:
		return "The lifecycle configuration does not exist", true
	case NoSuchObjectLock:
		return "The specified object does not have a ObjectLock configuration", true
	case NoSuchPublicAccessBlock:
		return "The public access block configuration was not found", true
	case NoSuchTagSet:
		return "The TagSet does not exist", true
	case NoSuchWebsiteConfiguration:
		return "The specified bucket does not have a website configuration", true
	case ObjectLockNotFound:
		return "Object Lock configuration does not exist for this bucket", true
	case OwnershipControlsNotFound:
		return "The bucket ownership controls were not found", true
	case ReplicationNotFound:
		return "The replication configuration was not found", true
	case EncryptionNotFound:
		return "The server side encryption configuration was not found", true
	}
	return "", false
}

// invalid gives the message of the codes that are 400.
func invalid(c Code) string {
	switch c {
	case BadDigest:
		return "The Content-MD5 or checksum value that you specified did not match what the server received."
	case EntityTooLarge:
		return "Your proposed upload exceeds the maximum allowed object size."
	case EntityTooSmall:
		return "Your proposed upload is smaller than the minimum allowed object size."
	case IncompleteBody:
		return "You did not provide the number of bytes specified by the Content-Length HTTP header"
	case InvalidDigest:
		return "The Content-MD5 you specified is not valid."
	case InvalidBucketName:
		return "The specified bucket is not valid."
	case InvalidPart:
		return "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag."
	case InvalidPartOrder:
		return "The list of parts was not in ascending order. Parts must be ordered by part number."
	case InvalidStorageClass:
		return "The storage class you specified is not valid"
	case InvalidToken:
		return "The provided token is malformed or otherwise invalid."
	case InvalidURI:
		return "Couldn't parse the specified URI."
	case KeyTooLong:
		return "Your key is too long"
	case MalformedTrailer:
		return "The request contained trailing data that was not well-formed or did not conform to our published schema."
	case MalformedXML:
		return "The XML you provided was not well-formed or did not validate against our published schema"
	case MetadataTooLarge:
		return "Your metadata headers exceed the maximum allowed metadata size"
	case RequestTimeout:
		return "Your socket connection to the server was not read from or written to within the timeout period."
	case XAmzContentSHA256Mismatch:
		return "The provided 'x-amz-content-sha256' header does not match what was computed."
	case InvalidLocationConstraint:
		return "The specified location-constraint is not valid"
	}
	return "The request is not valid."
}

// Field is one of the fields that an error adds to Code and Message, such as Region.
type Field struct {
	Name, Value string
}

// Error is an error of the S3 API.
type Error struct {
	Code    Code
	Message string
	Fields  []Field
	cause   error
}

// Error implements error.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap gives the cause, if there is one: it is for the log, clients never see it.
func (e *Error) Unwrap() error { return e.cause }

// Status is the HTTP status that goes with the code.
func (e *Error) Status() int { return lookup(e.Code).status }

// With adds a field and gives e back.
func (e *Error) With(name, value string) *Error {
	e.Fields = append(e.Fields, Field{name, value})
	return e
}

// New makes an error with the usual message of its code.
func New(c Code) *Error { return &Error{Code: c, Message: lookup(c).message} }

// Newf makes an error with a message of its own, which says what was wrong and what would be right.
func Newf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an error of a cause that is logged and not shown.
func Wrap(c Code, cause error) *Error {
	e := New(c)
	e.cause = cause
	return e
}

// From turns any error into one of the S3 API: one that is in err's chain, or one by err's kind. notFound is the code for errs.NotFound, conflict the one
// for errs.Conflict; only the operation knows what was missing.
func From(err error, notFound, conflict Code) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	switch errs.KindOf(err) {
	case errs.NotFound:
		return Wrap(notFound, err)
	case errs.Conflict:
		return Wrap(conflict, err)
	case errs.Exists:
		return Wrap(BucketAlreadyOwnedByYou, err)
	case errs.Precondition:
		return Wrap(PreconditionFailed, err)
	case errs.Invalid:
		return Wrap(InvalidRequest, err)
	case errs.Denied:
		return Wrap(AccessDenied, err)
	case errs.Unauthenticated:
		return Wrap(InvalidAccessKeyID, err)
	case errs.Quota:
		return Wrap(QuotaExceeded, err)
	case errs.NoSpace:
		e := Wrap(SlowDown, err)
		e.Message = "The storage is full up to what is held back for deletes. Delete something, or try again later."
		return e
	case errs.Unavailable, errs.Timeout:
		return Wrap(ServiceUnavailable, err)
	case errs.Unsupported:
		return Wrap(NotImplemented, err)
	case errs.TooLarge:
		return Wrap(EntityTooLarge, err)
	case errs.BadDigest:
		return Wrap(BadDigest, err)
	case errs.Incomplete:
		return Wrap(IncompleteBody, err)
	}
	return Wrap(InternalError, err)
}
