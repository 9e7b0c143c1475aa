package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"henge/e2e/henged"
)

// TestCoded_TwoDisksLost keeps objects in a 4+2 policy on six devices, written by Swift and S3 clients, and replaces two of the disks: everything reads back, and is whole again.
func TestCoded_TwoDisksLost(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	first, err := firstCloud(t, henged.Options{Dir: dir, Devices: 6})
	if err != nil {
		t.Fatal(err)
	}
	ring := func(name string, args ...string) {
		t.Helper()
		client(t, first, dir, append([]string{binary(t), "ring", "--ring", name, "--data-dir", dir}, args...)...)
	}
	ring("object-1", "create", "8", "6", "0")
	for i := range 6 {
		ring("object-1", "add", fmt.Sprintf("r1z1-peer-1/d%d", i+1), "100")
	}
	ring("object-1", "rebalance")
	ring("object-1", "set-policy", "archive", "--ec", "4+2")
	client(t, first, dir, "swift", "post", "-H", "X-Storage-Policy: archive", "tapes")
	if _, err := awsClient(first, 1).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("vault"),
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: ":archive"}}); err != nil {
		t.Fatal(err)
	}
	sizes := []int{0, 1000, 70_000, 3_000_000}
	for _, n := range sizes {
		name := fmt.Sprint("o-", n)
		writeFile(t, filepath.Join(dir, name), pattern(n))
		client(t, first, dir, "swift", "upload", "tapes", name)
		if _, err := awsClient(first, 1).PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("vault"), Key: &name, Body: bytes.NewReader(pattern(n))}); err != nil {
			t.Fatal(err)
		}
	}
	client(t, first, dir, "swift", "upload", "-S", "1048576", "--object-name", "segmented", "tapes", "o-3000000")
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"d2", "d5"} {
		if err := os.RemoveAll(filepath.Join(dir, "peer-1", "devices", d)); err != nil {
			t.Fatal(err)
		}
	}
	c := ownCloud(t, henged.Options{Dir: dir, Ports: &first.Ports})
	eventually(t, "both disks are filled", func() bool {
		_, err := tryClient(c, dir, binary(t), "status", "--data-dir", dir)
		return err == nil
	})
	for _, n := range sizes {
		name := fmt.Sprint("o-", n)
		checkObject(t, awsClient(c, 1), "vault", name, pattern(n))
		checkObject(t, awsClient(c, 1), "tapes", name, pattern(n))
	}
	checkObject(t, awsClient(c, 1), "tapes", "segmented", pattern(3_000_000))
	held := objectsHeld(t, c)
	if held["peer-1/d2"] == "0" || held["peer-1/d5"] == "0" {
		t.Errorf("the disks are empty: %v", held)
	}
}
