package accesskey

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/url"
	"slices"
	"strings"
	"time"

	"henge/internal/errs"
	"henge/internal/limits"
)

// Signed is a signed request as a service that received it describes it to /v3/ec2tokens, or, with only Token, to /v3/s3tokens.
type Signed struct {
	Access    string            `json:"access"`
	Signature string            `json:"signature"`
	Token     string            `json:"token"` // the string that was signed, in base64 (s3tokens)
	Host      string            `json:"host"`
	Verb      string            `json:"verb"`
	Path      string            `json:"path"`
	Params    map[string]string `json:"params"`
	Headers   map[string]string `json:"headers"`
	BodyHash  string            `json:"body_hash"`
}

const algorithm4 = "AWS4-HMAC-SHA256"

func refused(format string, args ...any) error {
	return errs.New(errs.Unauthenticated, format, args...)
}

// VerifyString checks a signature over the string in Token: AWS signature version 4, or version 2 (HMAC-SHA1). errs.Unauthenticated when it
// does not hold, or when a version 4 string is older than limits.ClockSkewS3Max.
func (s *Signed) VerifyString(secret string, now time.Time) error {
	text, err := base64.URLEncoding.DecodeString(s.Token)
	if err != nil {
		if text, err = base64.StdEncoding.DecodeString(s.Token); err != nil {
			return errs.New(errs.Invalid, "Invalid input for field 'token': it is not base64")
		}
	}
	if !strings.HasPrefix(string(text), "AWS4") {
		return s.compare(base64.StdEncoding.EncodeToString(sum(sha1.New, []byte(secret), string(text))))
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) != 4 || lines[0] != algorithm4 {
		return refused("the string that was signed is not of version 4")
	}
	if err := fresh(lines[1], now); err != nil {
		return err
	}
	scope := strings.Split(lines[2], "/")
	if len(scope) != 4 || scope[2] != "s3" || scope[3] != "aws4_request" {
		return refused("the credential scope is not s3's")
	}
	return s.compare(hex.EncodeToString(sum(sha256.New, key4(secret, scope), string(text))))
}

// VerifyRequest checks a signature over the whole request: version 4, or version 2 with HMAC-SHA256 or HMAC-SHA1.
func (s *Signed) VerifyRequest(secret string, now time.Time) error {
	if s.header("Authorization") != "" || s.Params["X-Amz-Algorithm"] != "" {
		return s.verify4(secret, now)
	}
	if s.Params["SignatureVersion"] != "2" {
		return refused("signature version %q is not supported", s.Params["SignatureVersion"])
	}
	if at := s.Params["Timestamp"]; at != "" {
		if err := fresh(at, now); err != nil {
			return err
		}
	}
	text := s.Verb + "\n" + strings.ToLower(s.Host) + "\n" + s.Path + "\n" + s.query("Signature")
	digest := sha1.New
	if s.Params["SignatureMethod"] == "HmacSHA256" {
		digest = sha256.New
	}
	return s.compare(base64.StdEncoding.EncodeToString(sum(digest, []byte(secret), text)))
}

func (s *Signed) verify4(secret string, now time.Time) error {
	signed := s.authorization()
	if signed["Algorithm"] != algorithm4 {
		return refused("algorithm %q is not supported", signed["Algorithm"])
	}
	date := s.header("X-Amz-Date")
	if date == "" {
		date = s.Params["X-Amz-Date"]
	}
	if err := fresh(date, now); err != nil {
		return err
	}
	_, scope, _ := strings.Cut(signed["Credential"], "/")
	parts := strings.Split(scope, "/")
	if len(parts) != 4 || parts[3] != "aws4_request" || !strings.HasPrefix(date, parts[0]) {
		return refused("the credential scope %q is malformed", scope)
	}
	var headers strings.Builder
	for _, name := range strings.Split(signed["SignedHeaders"], ";") {
		value := s.header(name)
		if value == "" && strings.EqualFold(name, "host") {
			value = s.Host
		}
		fmt.Fprintf(&headers, "%s:%s\n", strings.ToLower(name), strings.Join(strings.Fields(value), " "))
	}
	body := s.BodyHash
	if body == "" {
		body = s.header("X-Amz-Content-Sha256")
	}
	request := strings.Join([]string{s.Verb, s.Path, s.query("X-Amz-Signature"), headers.String(), signed["SignedHeaders"], body}, "\n")
	hashed := sha256.Sum256([]byte(request))
	text := strings.Join([]string{algorithm4, date, scope, hex.EncodeToString(hashed[:])}, "\n")
	return s.compare(hex.EncodeToString(sum(sha256.New, key4(secret, parts), text)))
}

// authorization is the signature's data, from the header Authorization or from a presigned query.
func (s *Signed) authorization() map[string]string {
	found := map[string]string{}
	header := s.header("Authorization")
	if header == "" {
		for _, name := range []string{"Algorithm", "Credential", "SignedHeaders"} {
			found[name] = s.Params["X-Amz-"+name]
		}
		return found
	}
	algorithm, rest, _ := strings.Cut(header, " ")
	found["Algorithm"] = algorithm
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		found[name] = value
	}
	return found
}

func (s *Signed) header(name string) string {
	for k, v := range s.Headers {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// query is the canonical query string without the signature itself.
func (s *Signed) query(without string) string {
	var pairs []string
	for k, v := range s.Params {
		if k != without {
			pairs = append(pairs, escape(k)+"="+escape(v))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// escape is RFC 3986's: a space is %20.
func escape(s string) string {
	return strings.NewReplacer("+", "%20", "%7E", "~", "*", "%2A").Replace(url.QueryEscape(s))
}

func (s *Signed) compare(want string) error {
	if subtle.ConstantTimeCompare([]byte(s.Signature), []byte(want)) != 1 {
		return refused("the signature does not match")
	}
	return nil
}

// fresh tells whether a request was signed about now.
func fresh(date string, now time.Time) error {
	for _, layout := range []string{"20060102T150405Z", time.RFC3339, "2006-01-02T15:04:05"} {
		if at, err := time.Parse(layout, date); err == nil {
			if now.Sub(at).Abs() > limits.ClockSkewS3Max {
				return refused("signed at %s, which is too long ago or to come", date)
			}
			return nil
		}
	}
	return refused("the date %q is malformed", date)
}

// key4 derives version 4's signing key for a scope: date, region, service, "aws4_request".
func key4(secret string, scope []string) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range scope {
		key = sum(sha256.New, key, part)
	}
	return key
}

func sum(digest func() hash.Hash, key []byte, text string) []byte {
	mac := hmac.New(digest, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
