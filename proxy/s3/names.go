package s3

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"unicode/utf8"

	"henge/internal/limits"
	"henge/proxy/s3/fault"
)

// target finds bucket and key in a request. The path is taken as it comes: "a//b" and "../x" are names like any other.
// hosted tells that the bucket is in the host name.
func target(r *http.Request, domains []string) (bucket, key string, hosted bool) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if bucket := hostBucket(r.Host, domains); bucket != "" {
		return bucket, path, true
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key, false
}

// hostBucket is the bucket in a virtual-host style name: BUCKET.DOMAIN[:PORT].
func hostBucket(host string, domains []string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(host)
	for _, d := range domains {
		if bucket, ok := strings.CutSuffix(host, "."+strings.ToLower(d)); ok && bucket != "" {
			return bucket
		}
	}
	return ""
}

// checkBucketName refuses what can be no container: it does not hold to S3's own rules, as Swift makes containers by wider ones.
func checkBucketName(name string) error {
	if len(name) > limits.ContainerNameBytesMax || !utf8.ValidString(name) || strings.ContainsAny(name, "/\x00") {
		return fault.New(fault.InvalidBucketName).With("BucketName", strings.ToValidUTF8(name, "\uFFFD"))
	}
	return nil
}

// checkNewBucketName holds the name of a bucket to be made to S3's rules.
//
// Source: Amazon S3 User Guide, "General purpose bucket naming rules".
func checkNewBucketName(name string) error {
	bad := len(name) < 3 || len(name) > 63 || strings.Contains(name, "..")
	for i := range len(name) {
		c := name[i]
		alphanumeric := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		bad = bad || !alphanumeric && (i == 0 || i == len(name)-1 || c != '-' && c != '.')
	}
	if _, err := netip.ParseAddr(name); err == nil {
		bad = true
	}
	for _, p := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		bad = bad || strings.HasPrefix(name, p)
	}
	for _, s := range []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		bad = bad || strings.HasSuffix(name, s)
	}
	if bad {
		return fault.New(fault.InvalidBucketName).With("BucketName", strings.ToValidUTF8(name, "\uFFFD"))
	}
	return nil
}

func checkKey(key string) error {
	if len(key) > limits.ObjectNameBytesMax {
		return fault.New(fault.KeyTooLong).With("Size", itoa(len(key))).With("MaxSizeAllowed", itoa(limits.ObjectNameBytesMax))
	}
	if !utf8.ValidString(key) || strings.Contains(key, "\x00") {
		return fault.Newf(fault.InvalidURI, "A key must be UTF-8 without NUL.")
	}
	return nil
}
