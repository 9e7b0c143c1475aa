package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"henge/e2e/henged"
)

func TestAWSCLI_SyncAndMultipart(t *testing.T) {
	c := sharedCloud(t, 1)
	dir, back := tree(t), t.TempDir()
	aws := func(args ...string) string {
		return client(t, c, dir, append([]string{"aws", "--endpoint-url", c.Environment["AWS_ENDPOINT_URL"]}, args...)...)
	}
	aws("s3", "mb", "s3://aws-tree")
	aws("s3", "sync", "--only-show-errors", ".", "s3://aws-tree/in/")
	aws("s3", "sync", "--only-show-errors", "s3://aws-tree/in/", back)
	sameTrees(t, dir, back)
	if out := aws("s3", "ls", "--recursive", "s3://aws-tree/in/deep/"); !strings.Contains(out, "in/deep/er/and/deeper.txt") {
		t.Errorf("ls says:\n%s", out)
	}
	// 20 MiB goes in parts of 8 MiB.
	writeFile(t, filepath.Join(dir, "big"), pattern(20<<20+1))
	aws("s3", "cp", "--only-show-errors", "big", "s3://aws-tree/big")
	aws("s3", "cp", "--only-show-errors", "s3://aws-tree/big", "s3://aws-tree/big-copy")
	aws("s3", "cp", "--only-show-errors", "s3://aws-tree/big-copy", filepath.Join(back, "big"))
	sameTrees(t, dir, back)
	if out := aws("s3api", "head-object", "--bucket", "aws-tree", "--key", "big", "--query", "ETag"); !strings.Contains(out, "-3") {
		t.Errorf("the ETag of three parts: %s", out)
	}
	presigned := strings.TrimSpace(aws("s3", "presign", "s3://aws-tree/in/plain.txt"))
	if out := client(t, c, dir, "curl", "-sf", "-o", "/dev/null", "-w", "%{http_code}", presigned); out != "200" {
		t.Errorf("a presigned URL answers %s", out)
	}
	aws("s3", "rb", "--force", "s3://aws-tree")
	if out := aws("s3", "ls"); strings.Contains(out, "aws-tree") {
		t.Errorf("still listed:\n%s", out)
	}
}

func TestS3cmd_SyncAndMultipart(t *testing.T) {
	c := sharedCloud(t, 1)
	dir, back := tree(t), t.TempDir()
	endpoint, err := url.Parse(c.Environment["AWS_ENDPOINT_URL"])
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "s3cfg")
	writeFile(t, conf, fmt.Appendf(nil, "[default]\naccess_key = %s\nsecret_key = %s\nhost_base = %s\nhost_bucket = %s\nuse_https = False\nbucket_location = us-east-1\n",
		c.Environment["AWS_ACCESS_KEY_ID"], c.Environment["AWS_SECRET_ACCESS_KEY"], endpoint.Host, endpoint.Host))
	s3cmd := func(args ...string) string {
		return client(t, c, dir, append([]string{"s3cmd", "-c", conf, "--no-progress"}, args...)...)
	}
	s3cmd("mb", "s3://s3cmd-tree")
	s3cmd("sync", "./", "s3://s3cmd-tree/in/")
	s3cmd("sync", "s3://s3cmd-tree/in/", back+"/")
	sameTrees(t, dir, back)
	writeFile(t, filepath.Join(dir, "big"), pattern(16<<20))
	s3cmd("put", "--multipart-chunk-size-mb=5", "big", "s3://s3cmd-tree/big")
	s3cmd("get", "s3://s3cmd-tree/big", filepath.Join(back, "big"))
	sameTrees(t, dir, back)
	if out := s3cmd("info", "s3://s3cmd-tree/big"); !strings.Contains(out, "16777216") {
		t.Errorf("info says:\n%s", out)
	}
	s3cmd("del", "--recursive", "--force", "s3://s3cmd-tree/")
	s3cmd("rb", "s3://s3cmd-tree")
}

// rcloneConf writes a configuration with a remote for each dialect.
func rcloneConf(t *testing.T, c *henged.Cloud) string {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "rclone.conf")
	env := c.Environment
	text := fmt.Sprintf(`[s3]
type = s3
provider = Other
access_key_id = %s
secret_access_key = %s
endpoint = %s
region = us-east-1

[swift]
type = swift
user = %s
key = %s
auth = %s
tenant = %s
domain = Default
tenant_domain = Default
region = %s
auth_version = 3
`, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_ENDPOINT_URL"],
		env["OS_USERNAME"], env["OS_PASSWORD"], env["OS_AUTH_URL"], env["OS_PROJECT_NAME"], env["OS_REGION_NAME"])
	writeFile(t, conf, []byte(text))
	return conf
}

func TestRclone_BothDialectsSeeTheSame(t *testing.T) {
	c := sharedCloud(t, 1)
	dir := tree(t)
	writeFile(t, filepath.Join(dir, "big"), pattern(12<<20))
	conf := rcloneConf(t, c)
	rclone := func(args ...string) string {
		return client(t, c, dir, append([]string{"rclone", "--config", conf, "--s3-upload-cutoff", "8M"}, args...)...)
	}
	for _, way := range []struct{ write, read string }{{"s3", "swift"}, {"swift", "s3"}, {"s3", "s3"}, {"swift", "swift"}} {
		t.Run(way.write+" to "+way.read, func(t *testing.T) {
			bucket := "rclone-" + way.write + "-" + way.read
			back := t.TempDir()
			rclone("mkdir", way.write+":"+bucket)
			rclone("copy", ".", way.write+":"+bucket+"/x")
			rclone("copy", way.read+":"+bucket+"/x", back)
			sameTrees(t, dir, back)
			rclone("check", ".", way.read+":"+bucket+"/x", "--download")
			rclone("purge", way.read+":"+bucket)
		})
	}
}

func TestLargeObjectsOfSwift_ReadByS3(t *testing.T) {
	c := sharedCloud(t, 1)
	dir, back := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(dir, "dynamic"), pattern(7<<20+1))
	writeFile(t, filepath.Join(dir, "static"), pattern(7<<20+2))
	client(t, c, dir, "swift", "upload", "-S", "2000000", "swift-to-s3", "dynamic")
	client(t, c, dir, "swift", "upload", "-S", "2000000", "--use-slo", "swift-to-s3", "static")
	for _, name := range []string{"dynamic", "static"} {
		client(t, c, back, "aws", "--endpoint-url", c.Environment["AWS_ENDPOINT_URL"], "s3", "cp", "--only-show-errors", "s3://swift-to-s3/"+name, name)
	}
	sameTrees(t, dir, back)
}

func TestManySmallObjects(t *testing.T) {
	c := sharedCloud(t, 4)
	const count = 10_000
	dir, back := t.TempDir(), t.TempDir()
	for i := range count {
		sub := filepath.Join(dir, fmt.Sprintf("%02d", i%100))
		if i < 100 {
			if err := os.Mkdir(sub, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		writeFile(t, filepath.Join(sub, fmt.Sprintf("object-%05d", i)), pattern(100+i%5000))
	}
	conf := rcloneConf(t, c)
	rclone := func(args ...string) string {
		return client(t, c, dir, append([]string{"rclone", "--config", conf, "--transfers", "16", "--checkers", "16"}, args...)...)
	}
	rclone("copy", ".", "s3:many")
	if out := rclone("size", "swift:many"); !strings.Contains(out, "(10000)") && !strings.Contains(out, "10000") {
		t.Errorf("size says:\n%s", out)
	}
	rclone("copy", "s3:many", back)
	sameTrees(t, dir, back)
	rclone("delete", "s3:many")
	if out := rclone("lsf", "-R", "--files-only", "swift:many"); strings.TrimSpace(out) != "" {
		t.Errorf("left over after deleting all:\n%.500s", out)
	}
}

func TestJavaScriptSDK(t *testing.T) {
	c := sharedCloud(t, 1)
	script, err := filepath.Abs("sdk.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if out := client(t, c, filepath.Dir(script), "node", script); !strings.Contains(out, "all is well") {
		t.Errorf("it says:\n%s", out)
	}
}
