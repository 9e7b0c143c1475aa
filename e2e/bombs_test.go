package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"henge/e2e/henged"
)

// signed makes a request of S3 that is signed as the payload says ("UNSIGNED-PAYLOAD", "STREAMING-..."), whatever its body is.
func signed(t *testing.T, c *henged.Cloud, method, path, payload string, body io.Reader, length int64, header ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, c.ObjectURL(1)+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = length
	req.Header.Set("X-Amz-Content-Sha256", payload)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	keys := aws.Credentials{AccessKeyID: c.Environment["AWS_ACCESS_KEY_ID"], SecretAccessKey: c.Environment["AWS_SECRET_ACCESS_KEY"]}
	if err := v4.NewSigner().SignHTTP(context.Background(), keys, req, payload, "s3", c.Environment["AWS_DEFAULT_REGION"], time.Now()); err != nil {
		t.Fatal(err)
	}
	return req
}

// answer sends the request and gives its status and text; it must come within half a minute.
func answer(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	resp, err := http.DefaultClient.Do(req.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// billionLaughs grows to a gigabyte where entities are expanded.
func billionLaughs(root string) string {
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY e0 \"lol\">")
	for i := 1; i <= 9; i++ {
		fmt.Fprintf(&b, "<!ENTITY e%d %q>", i, strings.Repeat(fmt.Sprintf("&e%d;", i-1), 10))
	}
	fmt.Fprintf(&b, "]><%s>&e9;</%s>", root, root)
	return b.String()
}

// bombs are bodies that cost more to read than to send.
func bombs(root string) map[string]string {
	return map[string]string{
		"entities":     billionLaughs(root),
		"deep":         strings.Repeat("<"+root+">", 100_000),
		"huge":         "<" + root + ">" + strings.Repeat("<Object><Key>k</Key></Object>", 400_000) + "</" + root + ">",
		"long name":    "<" + root + "><" + strings.Repeat("n", 3<<20) + "/></" + root + ">",
		"not XML":      "\x00\x01\x02{}",
		"cut":          "<" + root + "><Object><Key>k",
		"external":     `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><` + root + `><Object><Key>&e;</Key></Object></` + root + `>`,
		"another root": "<Wrong/>",
	}
}

func TestBadInput_XMLBombs(t *testing.T) {
	c := sharedCloud(t, 1)
	ctx, client := context.Background(), awsClient(c, 1)
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("bombs")}); err != nil {
		t.Fatal(err)
	}
	up, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String("bombs"), Key: aws.String("o")})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []struct{ method, path, root string }{
		{"POST", "/bombs?delete=", "Delete"},
		{"POST", "/bombs/o?uploadId=" + *up.UploadId, "CompleteMultipartUpload"},
		{"PUT", "/bombs-made", "CreateBucketConfiguration"},
	} {
		for name, body := range bombs(target.root) {
			t.Run(target.root+" "+name, func(t *testing.T) {
				status, text := answer(t, signed(t, c, target.method, target.path, "UNSIGNED-PAYLOAD", strings.NewReader(body), int64(len(body))))
				if status < 400 || status >= 500 || !strings.Contains(text, "<Error>") || strings.Contains(text, "root:") {
					t.Errorf("%d %.300s", status, text)
				}
			})
		}
	}
}

func TestBadInput_ManifestBombs(t *testing.T) {
	c := sharedCloud(t, 1)
	id, storage := token(t, c)
	if status, text, _ := request(t, "PUT", storage+"/manifests", nil, "X-Auth-Token", id); status != http.StatusCreated {
		t.Fatal(status, text)
	}
	for name, body := range map[string]string{
		"deep":        strings.Repeat("[", 1_000_000),
		"deep object": `[{"path":` + strings.Repeat(`{"a":`, 100_000),
		"too many":    "[" + strings.Repeat(`{"path":"/a/b"},`, 5000) + `{"path":"/a/b"}]`,
		"huge":        `[{"path":"` + strings.Repeat("p", 20<<20) + `"}]`,
		"a number":    "1e999999999",
		"not UTF-8":   "[{\"path\":\"/manifests/\xff\xfe\"}]",
	} {
		t.Run(name, func(t *testing.T) {
			status, text, _ := request(t, "PUT", storage+"/manifests/o?multipart-manifest=put", strings.NewReader(body), "X-Auth-Token", id)
			if status < 400 || status >= 500 {
				t.Errorf("%d %.300s", status, text)
			}
		})
	}
	if status, text, _ := request(t, "HEAD", storage+"/manifests/o", nil, "X-Auth-Token", id); status != http.StatusNotFound {
		t.Errorf("a refused manifest shows: %d %s", status, text)
	}
}

// TestBadInput_ChunksCutShort sends aws-chunked bodies that end, lie or go on in the wrong place: each must be answered, and nothing of it may show.
func TestBadInput_ChunksCutShort(t *testing.T) {
	c := sharedCloud(t, 1)
	if _, err := awsClient(c, 1).CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: aws.String("chunks")}); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("b", 100_000)
	for name, body := range map[string]string{
		"nothing":                 "",
		"cut in a size":           "1",
		"cut in a chunk":          "186a0\r\n" + big[:500],
		"no last chunk":           "186a0\r\n" + big + "\r\n",
		"cut in the last chunk":   "186a0\r\n" + big + "\r\n0\r\n",
		"a size that is none":     "zzz\r\nhello\r\n0\r\n\r\n",
		"a size of 64 bits":       "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
		"a size line without end": strings.Repeat("0", 1<<20),
		"no line end":             "5\r\nhelloXX0\r\n\r\n",
		"a wrong checksum":        "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
		"shorter than declared":   "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n",
	} {
		for _, payload := range []string{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"} {
			t.Run(payload+" "+name, func(t *testing.T) {
				header := []string{"Content-Encoding", "aws-chunked", "X-Amz-Decoded-Content-Length", "100000"}
				if name == "a wrong checksum" {
					header[3] = "5"
				}
				if strings.HasSuffix(payload, "TRAILER") {
					header = append(header, "X-Amz-Trailer", "x-amz-checksum-crc32")
				}
				status, text := answer(t, signed(t, c, "PUT", "/chunks/o", payload, bytes.NewReader([]byte(body)), int64(len(body)), header...))
				if status < 400 || status >= 500 || !strings.Contains(text, "<Code>") {
					t.Errorf("%d %.300s", status, text)
				}
			})
		}
	}
	listed, err := awsClient(c, 1).ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: aws.String("chunks")})
	if err != nil || len(listed.Contents) != 0 {
		t.Errorf("something of it shows: %v, %v", listed.Contents, err)
	}
}
