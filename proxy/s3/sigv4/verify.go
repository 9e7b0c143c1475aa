package sigv4

import (
	"context"
	"net/http"
	"strings"
	"time"

	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/limits"
	"henge/proxy/s3/fault"
)

// What x-amz-content-sha256 may say besides a SHA-256 in hex.
const (
	UnsignedPayload          = "UNSIGNED-PAYLOAD"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	StreamingSigned          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingSignedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	streamingECDSA           = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
)

const (
	algorithmHMAC  = "AWS4-HMAC-SHA256"
	algorithmECDSA = "AWS4-ECDSA-P256-SHA256"
	dateLayout     = "20060102T150405Z"
	dayLayout      = "20060102"
)

// Verifier checks signatures. Make it with New. Safe for concurrent use.
type Verifier struct {
	keys   authn.Keys
	clock  clock.Clock
	region string
	cache  keyCache
}

// New makes a Verifier that finds secrets in keys and takes requests signed for region.
func New(keys authn.Keys, c clock.Clock, region string) *Verifier {
	return &Verifier{keys: keys, clock: c, region: region}
}

// Auth is what a good signature says.
type Auth struct {
	Identity  *authn.Identity
	Access    string
	Version   int    // 2 or 4
	Presigned bool   // in the query
	Payload   string // what x-amz-content-sha256 says; UnsignedPayload when the signature does not cover the body
	Chain     *Chain // for StreamingSigned and StreamingSignedTrailer
}

// Verify checks a request's signature. bucket is the one that the host name gave (virtual-host style), or "". Its errors are *fault.Error, but for those of Keys that
// are no answer about the key (errs.Unavailable and the like).
func (v *Verifier) Verify(r *http.Request, ps []Parameter, bucket string) (*Auth, error) {
	inQuery := has(ps, "X-Amz-Algorithm") || has(ps, "X-Amz-Signature") || has(ps, "X-Amz-Credential") || has(ps, "Signature") && has(ps, "AWSAccessKeyId")
	values := r.Header.Values("Authorization")
	if len(values) > 1 || len(values) == 1 && inQuery {
		return nil, fault.Newf(fault.InvalidArgument, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	}
	if r.Header.Get("X-Amz-Security-Token") != "" || has(ps, "X-Amz-Security-Token") {
		return nil, fault.New(fault.InvalidToken)
	}
	if len(values) == 0 {
		switch {
		case has(ps, "X-Amz-Algorithm") || has(ps, "X-Amz-Signature") || has(ps, "X-Amz-Credential"):
			return v.presigned4(r, ps)
		case inQuery:
			return v.presigned2(r, ps, bucket)
		}
		return nil, fault.New(fault.AccessDenied)
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	switch scheme {
	case algorithmHMAC:
		return v.header4(r, ps, rest)
	case algorithmECDSA:
		return nil, fault.Newf(fault.NotImplemented, "Signatures by %s are not supported; sign with %s.", algorithmECDSA, algorithmHMAC)
	case "AWS":
		return v.header2(r, ps, bucket, rest)
	}
	return nil, fault.Newf(fault.InvalidArgument, "Unsupported Authorization Type").With("ArgumentName", "Authorization").With("ArgumentValue", scheme)
}

// secret finds the secret of an access key.
func (v *Verifier) secret(ctx context.Context, access string) (string, *authn.Identity, error) {
	secret, id, err := v.keys.Key(ctx, access)
	switch {
	case errs.Is(err, errs.Unauthenticated) || errs.Is(err, errs.NotFound):
		return "", nil, fault.Wrap(fault.InvalidAccessKeyID, err).With("AWSAccessKeyId", access)
	case err != nil:
		return "", nil, err
	}
	return secret, id, nil
}

func has(ps []Parameter, name string) bool {
	for _, p := range ps {
		if p.Name == name {
			return true
		}
	}
	return false
}

func get(ps []Parameter, name string) string {
	for _, p := range ps {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// checkSkew refuses a request that is too old or too new.
func (v *Verifier) checkSkew(t time.Time) error {
	now := v.clock.Now()
	if d := now.Sub(t); d > limits.ClockSkewS3Max || d < -limits.ClockSkewS3Max {
		return fault.New(fault.RequestTimeTooSkewed).With("RequestTime", t.UTC().Format(dateLayout)).
			With("ServerTime", now.UTC().Format(time.RFC3339)).With("MaxAllowedSkewMilliseconds", "900000")
	}
	return nil
}

// headerTime is the date that a request's headers state.
func headerTime(r *http.Request) (time.Time, error) {
	text := r.Header.Get("X-Amz-Date")
	if text == "" {
		text = r.Header.Get("Date")
	}
	for _, layout := range []string{dateLayout, http.TimeFormat, time.RFC1123Z, time.RFC850, time.ANSIC, "Mon, 2 Jan 2006 15:04:05 -0700"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fault.Newf(fault.AccessDenied, "AWS authentication requires a valid Date or x-amz-date header")
}
