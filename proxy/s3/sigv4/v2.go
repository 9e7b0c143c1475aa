package sigv4

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"henge/proxy/s3/fault"
)

// signedInV2 tells whether a query parameter is part of what version 2 signs.
func signedInV2(name string) bool {
	switch name {
	case "accelerate", "acl", "analytics", "cors", "delete", "encryption", "intelligent-tiering", "inventory", "legal-hold", "lifecycle", "location",
		"logging", "metrics", "notification", "object-lock", "ownershipControls", "partNumber", "policy", "policyStatus", "publicAccessBlock", "replication", "requestPayment",
		"restore", "retention", "select", "select-type", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website",
		"response-cache-control", "response-content-disposition", "response-content-encoding", "response-content-language",
		"response-content-type", "response-expires":
		return true
	}
	return false
}

// text2 is the text that version 2 signs, for the path given. date is that of the header, or the Expires of a presigned request.
func text2(r *http.Request, ps []Parameter, path, date string) string {
	var b strings.Builder
	for _, s := range []string{r.Method, r.Header.Get("Content-Md5"), r.Header.Get("Content-Type"), date} {
		b.WriteString(s)
		b.WriteByte('\n')
	}
	var names []string
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") {
			names = append(names, lower)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		b.WriteString(name + ":" + strings.Join(r.Header.Values(name), ",") + "\n")
	}
	b.WriteString(path)
	var subs []string
	for _, p := range ps {
		if signedInV2(p.Name) {
			sub := p.Name
			if p.Value != "" {
				sub += "=" + p.Value
			}
			subs = append(subs, sub)
		}
	}
	slices.Sort(subs)
	if len(subs) > 0 {
		b.WriteString("?" + strings.Join(subs, "&"))
	}
	return b.String()
}

// paths2 are the paths that a version 2 signature may cover. It names the bucket also when that stands in the host. For a bucket in the path without a slash after
// it, botocore signs one all the same, as if the bucket were in the host; Amazon takes both.
func paths2(r *http.Request, bucket string) []string {
	path := r.URL.EscapedPath()
	if bucket != "" {
		return []string{"/" + bucket + path}
	}
	if strings.LastIndexByte(path, '/') == 0 && len(path) > 1 {
		return []string{path, path + "/"}
	}
	return []string{path}
}

// Sign2 is the version 2 signature of a text.
func sign2(secret, text string) string {
	h := hmac.New(sha1.New, []byte(secret))
	h.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func (v *Verifier) header2(r *http.Request, ps []Parameter, bucket, rest string) (*Auth, error) {
	access, signature, ok := strings.Cut(rest, ":")
	if !ok || access == "" || signature == "" {
		return nil, fault.Newf(fault.InvalidArgument, "AWS authorization header is invalid. Expected AwsAccessKeyId:signature").With("ArgumentName", "Authorization")
	}
	t, err := headerTime(r)
	if err != nil {
		return nil, err
	}
	if err := v.checkSkew(t); err != nil {
		return nil, err
	}
	date := r.Header.Get("Date")
	if r.Header.Get("X-Amz-Date") != "" {
		date = ""
	}
	return v.check2(r, ps, bucket, date, access, signature)
}

func (v *Verifier) presigned2(r *http.Request, ps []Parameter, bucket string) (*Auth, error) {
	expires, err := strconv.ParseInt(get(ps, "Expires"), 10, 64)
	if err != nil {
		return nil, fault.Newf(fault.AccessDenied, "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
	}
	if now := v.clock.Now(); now.Unix() > expires {
		return nil, fault.Newf(fault.AccessDenied, "Request has expired").With("Expires", time.Unix(expires, 0).UTC().Format(time.RFC3339)).
			With("ServerTime", now.UTC().Format(time.RFC3339))
	}
	a, err := v.check2(r, ps, bucket, get(ps, "Expires"), get(ps, "AWSAccessKeyId"), get(ps, "Signature"))
	if err != nil {
		return nil, err
	}
	a.Presigned = true
	return a, nil
}

// check2 compares the signature with ours. Version 2 covers no body, so that one that comes in signed chunks cannot be checked.
func (v *Verifier) check2(r *http.Request, ps []Parameter, bucket, date, access, signature string) (*Auth, error) {
	secret, id, err := v.secret(r.Context(), access)
	if err != nil {
		return nil, err
	}
	paths := paths2(r, bucket)
	if !slices.ContainsFunc(paths, func(path string) bool { return equal(sign2(secret, text2(r, ps, path, date)), signature) }) {
		return nil, fault.New(fault.SignatureDoesNotMatch).With("AWSAccessKeyId", access).With("StringToSign", text2(r, ps, paths[0], date)).
			With("SignatureProvided", signature)
	}
	payload := r.Header.Get("X-Amz-Content-Sha256")
	switch payload {
	case "":
		payload = UnsignedPayload
	case StreamingSigned, StreamingSignedTrailer:
		return nil, fault.Newf(fault.InvalidRequest, "Signed chunks need a version 4 signature.")
	}
	if err := checkPayload(payload); err != nil {
		return nil, err
	}
	return &Auth{Identity: id, Access: access, Version: 2, Payload: payload}, nil
}

// VerifyForm checks the signature of an upload form: field gives the form's fields by lower-case name. It covers the policy alone, which must be checked too.
func (v *Verifier) VerifyForm(r *http.Request, field func(string) string) (*Auth, error) {
	policy := field("policy")
	if access := field("awsaccesskeyid"); access != "" {
		return v.check2Form(r, access, field("signature"), policy)
	}
	if a := field("x-amz-algorithm"); a != algorithmHMAC {
		return nil, fault.Newf(fault.InvalidArgument, "x-amz-algorithm must be %s", algorithmHMAC)
	}
	var c claim
	var ok bool
	if c.access, c.scope, ok = parseCredential(field("x-amz-credential")); !ok {
		return nil, fault.Newf(fault.InvalidArgument, "Error parsing the X-Amz-Credential field")
	}
	if err := v.checkScope(c, fault.AuthorizationQueryBad); err != nil {
		return nil, err
	}
	secret, id, err := v.secret(r.Context(), c.access)
	if err != nil {
		return nil, err
	}
	if !equal(sign(v.cache.get(c.access, secret, c.scope), policy), field("x-amz-signature")) {
		return nil, fault.New(fault.SignatureDoesNotMatch).With("AWSAccessKeyId", c.access).With("StringToSign", policy)
	}
	return &Auth{Identity: id, Access: c.access, Version: 4, Payload: UnsignedPayload}, nil
}

func (v *Verifier) check2Form(r *http.Request, access, signature, policy string) (*Auth, error) {
	secret, id, err := v.secret(r.Context(), access)
	if err != nil {
		return nil, err
	}
	if !equal(sign2(secret, policy), signature) {
		return nil, fault.New(fault.SignatureDoesNotMatch).With("AWSAccessKeyId", access).With("StringToSign", policy)
	}
	return &Auth{Identity: id, Access: access, Version: 2, Payload: UnsignedPayload}, nil
}
