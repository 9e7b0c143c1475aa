package sigv4

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/s3/fault"
)

type keys map[string]string

func (k keys) Key(_ context.Context, access string) (string, *authn.Identity, error) {
	secret, ok := k[access]
	if !ok {
		return "", nil, errs.New(errs.Unauthenticated, "no key %q", access)
	}
	return secret, &authn.Identity{ProjectID: "p", Roles: []string{"member"}}, nil
}

// The credentials and the moment of the examples in Amazon's documentation.
const (
	exampleAccess = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

func exampleVerifier(t *testing.T, at string) *Verifier {
	t.Helper()
	now, err := time.Parse(dateLayout, at)
	if err != nil {
		t.Fatal(err)
	}
	return New(keys{exampleAccess: exampleSecret}, clock.NewManual(now), "us-east-1")
}

func request(t *testing.T, text string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func verify(v *Verifier, r *http.Request, bucket string) (*Auth, error) {
	ps, ok := ParseQuery(r.URL.RawQuery)
	if !ok {
		return nil, errors.New("query")
	}
	return v.Verify(r, ps, bucket)
}

func codeOf(err error) fault.Code {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Code
	}
	return ""
}

const scope20130524 = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"

// Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header", the examples.
func TestVerify_AmazonsExamples(t *testing.T) {
	requests := map[string]string{
		"get object with range": `GET /test.txt HTTP/1.1
Host: examplebucket.s3.amazonaws.com
Range: bytes=0-9
x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
x-amz-date: 20130524T000000Z
Authorization: ` + scope20130524 + `SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41`,
		"put object": `PUT /test$file.text HTTP/1.1
Host: examplebucket.s3.amazonaws.com
Date: Fri, 24 May 2013 00:00:00 GMT
x-amz-date: 20130524T000000Z
x-amz-storage-class: REDUCED_REDUNDANCY
x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072
Authorization: ` + scope20130524 + `SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd`,
		"get lifecycle": `GET /?lifecycle HTTP/1.1
Host: examplebucket.s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
Authorization: ` + scope20130524 + `SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543`,
		"list objects": `GET /?max-keys=2&prefix=J HTTP/1.1
Host: examplebucket.s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
Authorization: ` + scope20130524 + `SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7`,
		"presigned": `GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404 HTTP/1.1
Host: examplebucket.s3.amazonaws.com`,
	}
	for name, text := range requests {
		t.Run(name, func(t *testing.T) {
			a, err := verify(exampleVerifier(t, "20130524T000000Z"), request(t, text), "")
			if err != nil {
				t.Fatal(err)
			}
			if a.Access != exampleAccess || a.Version != 4 || a.Presigned != (name == "presigned") {
				t.Errorf("signature says %+v", a)
			}
			// One letter of the path changed, and the signature is another request's.
			r := request(t, text)
			r.URL.Path += "x"
			if _, err := verify(exampleVerifier(t, "20130524T000000Z"), r, ""); codeOf(err) != fault.SignatureDoesNotMatch {
				t.Errorf("another path: %v", err)
			}
		})
	}
}

const streaming = `PUT /examplebucket/chunkObject.txt HTTP/1.1
Host: s3.amazonaws.com
x-amz-date: 20130524T000000Z
x-amz-storage-class: REDUCED_REDUNDANCY
Authorization: ` + scope20130524 + `SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9
x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD
Content-Encoding: aws-chunked
x-amz-decoded-content-length: 66560
Content-Length: 66824`

// Source: Amazon S3 API Reference, "Transferring Payload in Multiple Chunks", the example of 65 KiB of the letter a.
func TestChain_AmazonsExample(t *testing.T) {
	a, err := verify(exampleVerifier(t, "20130524T000000Z"), request(t, streaming), "")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		bytes     int
		signature string
	}{
		{65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"},
		{1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"},
		{0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"},
	} {
		if !a.Chain.Chunk(c.signature, sha256.Sum256([]byte(strings.Repeat("a", c.bytes)))) {
			t.Errorf("chunk %d: the signature does not match", i)
		}
	}
}

// Source: Amazon S3 API Reference, "Signature calculations for trailing headers", the same with a CRC32C trailer.
func TestChain_AmazonsTrailerExample(t *testing.T) {
	text := strings.NewReplacer("SHA256-PAYLOAD\n", "SHA256-PAYLOAD-TRAILER\nx-amz-trailer: x-amz-checksum-crc32c\n", "Content-Length: 66824", "",
		"content-encoding;content-length;host", "content-encoding;host", "x-amz-storage-class,", "x-amz-storage-class;x-amz-trailer,",
		"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9", "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e").Replace(streaming)
	a, err := verify(exampleVerifier(t, "20130524T000000Z"), request(t, strings.TrimSpace(text)), "")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		bytes     int
		signature string
	}{
		{65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"},
		{1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"},
		{0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"},
	} {
		if !a.Chain.Chunk(c.signature, sha256.Sum256([]byte(strings.Repeat("a", c.bytes)))) {
			t.Errorf("chunk %d: the signature does not match", i)
		}
	}
	if !a.Chain.Trailer("d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435", sha256.Sum256([]byte("x-amz-checksum-crc32c:sOO8/Q==\n"))) {
		t.Error("the signature of the trailer does not match")
	}
}

// Source: Amazon S3 User Guide, "Signing and authenticating REST requests", the examples.
func TestVerify_AmazonsExamplesOfVersion2(t *testing.T) {
	for name, text := range map[string]string{
		"get": `GET /photos/puppy.jpg HTTP/1.1
Host: awsexamplebucket1.us-west-1.s3.amazonaws.com
Date: Tue, 27 Mar 2007 19:36:42 +0000
Authorization: AWS AKIAIOSFODNN7EXAMPLE:qgk2+6Sv9/oM7G3qLEjTH1a1l1g=`,
		"put": `PUT /photos/puppy.jpg HTTP/1.1
Content-Type: image/jpeg
Content-Length: 94328
Host: awsexamplebucket1.s3.us-west-1.amazonaws.com
Date: Tue, 27 Mar 2007 21:15:45 +0000
Authorization: AWS AKIAIOSFODNN7EXAMPLE:iqRzw+ileNPu1fhspnRs8nOjjIA=`,
		"list": `GET /?prefix=photos&max-keys=50&marker=puppy HTTP/1.1
Host: awsexamplebucket1.us-west-1.s3.amazonaws.com
Date: Tue, 27 Mar 2007 19:42:41 +0000
Authorization: AWS AKIAIOSFODNN7EXAMPLE:m0WP8eCtspQl5Ahe6L1SozdX9YA=`,
		"acl": `GET /?acl HTTP/1.1
Host: awsexamplebucket1.us-west-1.s3.amazonaws.com
Date: Tue, 27 Mar 2007 19:44:46 +0000
Authorization: AWS AKIAIOSFODNN7EXAMPLE:82ZHiFIjc+WbcwFKGUVEQspPn+0=`,
		"presigned": `GET /photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620 HTTP/1.1
Host: awsexamplebucket1.us-west-1.s3.amazonaws.com`,
	} {
		t.Run(name, func(t *testing.T) {
			now, bucket := "20070327T194000Z", "awsexamplebucket1"
			switch name {
			case "put":
				now = "20070327T211545Z"
			case "presigned":
				bucket = "johnsmith" // whose signature the documentation still gives
			}
			a, err := verify(exampleVerifier(t, now), request(t, text), bucket)
			if err != nil {
				t.Fatal(err)
			}
			if a.Version != 2 || a.Access != exampleAccess {
				t.Errorf("signature says %+v", a)
			}
			r := request(t, text)
			r.Header.Set("X-Amz-Meta-Added", "on the way")
			if _, err := verify(exampleVerifier(t, now), r, bucket); codeOf(err) != fault.SignatureDoesNotMatch {
				t.Errorf("a header was added on the way: %v", err)
			}
		})
	}
}

// Of a bucket in the path botocore signs "/bucket/", whether or not it asks for it so (botocore 1.43, signature_version="s3"); others sign what they ask for.
func TestVerify_Version2BucketInPath(t *testing.T) {
	const date = "Tue, 27 Mar 2007 19:42:41 +0000"
	for _, c := range []struct {
		target, signed string
		code           fault.Code
	}{
		{"/bucket?uploads&prefix=p", "/bucket/?uploads", ""}, {"/bucket?uploads", "/bucket?uploads", ""}, {"/bucket/?uploads", "/bucket/?uploads", ""},
		{"/bucket/?uploads", "/bucket?uploads", fault.SignatureDoesNotMatch}, {"/bucket/key", "/bucket/key/", fault.SignatureDoesNotMatch},
		{"/", "/", ""}, {"/", "//", fault.SignatureDoesNotMatch},
	} {
		signature := sign2(exampleSecret, "GET\n\n\n"+date+"\n"+c.signed)
		r := request(t, "GET "+c.target+" HTTP/1.1\nHost: s3.example.org\nDate: "+date+"\nAuthorization: AWS "+exampleAccess+":"+signature)
		if _, err := verify(exampleVerifier(t, "20070327T194000Z"), r, ""); codeOf(err) != c.code {
			t.Errorf("%s signed as %s: %v", c.target, c.signed, err)
		}
	}
}
