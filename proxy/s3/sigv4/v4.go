package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"henge/internal/limits"
	"henge/proxy/s3/fault"
)

// scope is what a signing key is good for.
type scope struct {
	date, region, service string
}

func (s scope) String() string { return s.date + "/" + s.region + "/" + s.service + "/aws4_request" }

// claim is a version 4 signature before it is checked.
type claim struct {
	access    string
	scope     scope
	signed    []string
	signature string
}

// parseCredential reads "KEY/20130524/us-east-1/s3/aws4_request". The key may have slashes.
func parseCredential(text string) (access string, s scope, ok bool) {
	f := strings.Split(text, "/")
	n := len(f)
	if n < 5 || f[n-1] != "aws4_request" {
		return "", scope{}, false
	}
	access = strings.Join(f[:n-4], "/")
	s = scope{f[n-4], f[n-3], f[n-2]}
	if _, err := time.Parse(dayLayout, s.date); err != nil || access == "" {
		return "", scope{}, false
	}
	return access, s, true
}

// parseAuthorization reads what follows the algorithm in an Authorization header.
func parseAuthorization(text string) (c claim, err error) {
	for field := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok {
			return c, malformed("the field %q has no value; Credential, SignedHeaders and Signature are needed", field)
		}
		switch name {
		case "Credential":
			if c.access, c.scope, ok = parseCredential(value); !ok {
				return c, malformed("the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
			}
		case "SignedHeaders":
			c.signed = parseSigned(value)
		case "Signature":
			c.signature = value
		}
	}
	switch {
	case c.access == "":
		return c, malformed("missing Credential")
	case len(c.signed) == 0:
		return c, malformed("missing SignedHeaders")
	case len(c.signature) != 2*sha256.Size:
		return c, malformed("missing Signature of 64 hex digits")
	}
	return c, nil
}

func parseSigned(text string) []string {
	if text == "" {
		return nil
	}
	names := strings.Split(strings.ToLower(text), ";")
	slices.Sort(names)
	return names
}

func malformed(format string, args ...any) *fault.Error {
	return fault.Newf(fault.AuthorizationHeaderBad, "The authorization header is malformed; "+format, args...)
}

func (v *Verifier) header4(r *http.Request, ps []Parameter, rest string) (*Auth, error) {
	c, err := parseAuthorization(rest)
	if err != nil {
		return nil, err
	}
	t, err := headerTime(r)
	if err != nil {
		return nil, err
	}
	if t.UTC().Format(dayLayout) != c.scope.date {
		return nil, malformed("Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", c.scope.date, t.UTC().Format(dayLayout))
	}
	if err := v.checkScope(c, fault.AuthorizationHeaderBad); err != nil {
		return nil, err
	}
	if err := v.checkSkew(t); err != nil {
		return nil, err
	}
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if payload == "" && r.ContentLength == 0 {
		payload = emptyHash // Debian 12's curl signs this without saying so; Amazon refuses it
	}
	if err := checkPayload(payload); err != nil {
		return nil, err
	}
	if err := checkSigned(r, c.signed, false); err != nil {
		return nil, err
	}
	return v.check4(r, ps, c, t, payload)
}

// checkScope holds the credential's scope to this service and region.
func (v *Verifier) checkScope(c claim, code fault.Code) error {
	if c.scope.service != "s3" {
		return fault.Newf(code, "The authorization header is malformed; incorrect service %q. This endpoint belongs to \"s3\".", c.scope.service)
	}
	if c.scope.region != v.region {
		return fault.Newf(code, "The authorization header is malformed; the region '%s' is wrong; expecting '%s'", c.scope.region, v.region).With("Region", v.region)
	}
	return nil
}

// checkPayload refuses what x-amz-content-sha256 must not say.
func checkPayload(payload string) error {
	switch payload {
	case UnsignedPayload, StreamingUnsignedTrailer, StreamingSigned, StreamingSignedTrailer:
		return nil
	case "":
		return fault.Newf(fault.InvalidRequest, "Missing required header for this request: x-amz-content-sha256")
	}
	if strings.HasPrefix(payload, streamingECDSA) {
		return fault.Newf(fault.NotImplemented, "Chunks signed by ECDSA are not supported; use %s.", StreamingSigned)
	}
	if b, err := hex.DecodeString(payload); err != nil || len(b) != sha256.Size || strings.ToLower(payload) != payload {
		return fault.Newf(fault.InvalidArgument, "x-amz-content-sha256 must be %s, %s, %s, %s or a valid sha256 value.", UnsignedPayload, StreamingSigned,
			StreamingSignedTrailer, StreamingUnsignedTrailer).With("ArgumentName", "x-amz-content-sha256").With("ArgumentValue", payload)
	}
	return nil
}

// checkSigned refuses a request that has headers of weight which its signature does not cover: anyone on the way could have added them.
func checkSigned(r *http.Request, signed []string, presigned bool) error {
	if !slices.Contains(signed, "host") {
		return fault.Newf(fault.AccessDenied, "There were headers present in the request which were not signed").With("HeadersNotSigned", "host")
	}
	for name, values := range r.Header {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, "x-amz-") || slices.Contains(signed, lower) {
			continue
		}
		if presigned && lower == "x-amz-content-sha256" && values[0] == UnsignedPayload {
			continue // says what is the case anyway
		}
		return fault.Newf(fault.AccessDenied, "There were headers present in the request which were not signed").With("HeadersNotSigned", lower)
	}
	return nil
}

// check4 compares the signature with ours.
func (v *Verifier) check4(r *http.Request, ps []Parameter, c claim, t time.Time, payload string) (*Auth, error) {
	secret, id, err := v.secret(r.Context(), c.access)
	if err != nil {
		return nil, err
	}
	key := v.cache.get(c.access, secret, c.scope)
	date := t.UTC().Format(dateLayout)
	text := textToSign(date, c.scope, canonicalRequest(r, canonicalPath(r), ps, c.signed, payload))
	if !equal(sign(key, text), c.signature) {
		// Some clients sign the path just as they send it ("+" for "%2B"). It is the same request, so that this is no weaker.
		sent := textToSign(date, c.scope, canonicalRequest(r, r.URL.EscapedPath(), ps, c.signed, payload))
		if !equal(sign(key, sent), c.signature) {
			return nil, fault.New(fault.SignatureDoesNotMatch).With("AWSAccessKeyId", c.access).With("StringToSign", text).With("SignatureProvided", c.signature)
		}
	}
	a := &Auth{Identity: id, Access: c.access, Version: 4, Payload: payload}
	if payload == StreamingSigned || payload == StreamingSignedTrailer {
		a.Chain = &Chain{key: key, date: date, scope: c.scope.String(), previous: c.signature}
	}
	return a, nil
}

func textToSign(date string, s scope, canonical []byte) string {
	sum := sha256.Sum256(canonical)
	return algorithmHMAC + "\n" + date + "\n" + s.String() + "\n" + hex.EncodeToString(sum[:])
}

func badQuery(format string, args ...any) *fault.Error {
	return fault.Newf(fault.AuthorizationQueryBad, format, args...)
}

func (v *Verifier) presigned4(r *http.Request, ps []Parameter) (*Auth, error) {
	c, t, err := v.parsePresigned(ps)
	if err != nil {
		return nil, err
	}
	now := v.clock.Now()
	seconds, err := strconv.ParseInt(get(ps, "X-Amz-Expires"), 10, 64)
	switch {
	case err != nil:
		return nil, badQuery("X-Amz-Expires should be a number")
	case seconds < 0:
		return nil, badQuery("X-Amz-Expires must be non-negative")
	case seconds > int64(limits.PresignMax/time.Second):
		return nil, badQuery("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than %d seconds", int64(limits.PresignMax/time.Second))
	case t.Sub(now) > limits.ClockSkewS3Max:
		return nil, fault.Newf(fault.AccessDenied, "Request is not yet valid").With("X-Amz-Date", get(ps, "X-Amz-Date")).With("ServerTime", now.UTC().Format(time.RFC3339))
	case now.After(t.Add(time.Duration(seconds) * time.Second)):
		return nil, fault.Newf(fault.AccessDenied, "Request has expired").With("X-Amz-Expires", get(ps, "X-Amz-Expires")).
			With("Expires", t.Add(time.Duration(seconds)*time.Second).Format(time.RFC3339)).With("ServerTime", now.UTC().Format(time.RFC3339))
	}
	payload := get(ps, "X-Amz-Content-Sha256")
	if payload == "" {
		payload = r.Header.Get("X-Amz-Content-Sha256")
	}
	if payload == "" {
		payload = UnsignedPayload
	}
	if err := checkPayload(payload); err != nil {
		return nil, err
	}
	if err := checkSigned(r, c.signed, true); err != nil {
		return nil, err
	}
	a, err := v.check4(r, ps, c, t, payload)
	if err != nil {
		return nil, err
	}
	a.Presigned = true
	return a, nil
}

// parsePresigned reads the claim of a presigned request. Each parameter may be there once only: a second one might be read by somebody else.
func (v *Verifier) parsePresigned(ps []Parameter) (c claim, t time.Time, err error) {
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires"} {
		n := 0
		for _, p := range ps {
			if p.Name == name {
				n++
			}
		}
		if n != 1 || get(ps, name) == "" {
			return c, t, badQuery("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters, each once.")
		}
	}
	switch get(ps, "X-Amz-Algorithm") {
	case algorithmHMAC:
	case algorithmECDSA:
		return c, t, fault.Newf(fault.NotImplemented, "Signatures by %s are not supported; sign with %s.", algorithmECDSA, algorithmHMAC)
	default:
		return c, t, badQuery("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"")
	}
	var ok bool
	if c.access, c.scope, ok = parseCredential(get(ps, "X-Amz-Credential")); !ok {
		return c, t, badQuery("Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
	}
	t, err = time.Parse(dateLayout, get(ps, "X-Amz-Date"))
	if err != nil {
		return c, t, badQuery("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	if t.Format(dayLayout) != c.scope.date {
		return c, t, badQuery("Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", c.scope.date, t.Format(dayLayout))
	}
	if err := v.checkScope(c, fault.AuthorizationQueryBad); err != nil {
		return c, t, err
	}
	c.signed = parseSigned(get(ps, "X-Amz-SignedHeaders"))
	c.signature = get(ps, "X-Amz-Signature")
	return c, t, nil
}
