package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"henge/e2e/henged"
)

// objectsHeld is how many objects each device says that it holds, by peer/device.
func objectsHeld(t *testing.T, c *henged.Cloud) map[string]string {
	t.Helper()
	out, _ := tryClient(c, c.Dir, binary(t), "status", "--data-dir", c.Dir) // a status other than 0 says that not all is well
	held := map[string]string{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 7 && strings.HasPrefix(f[0], "peer-") && strings.Contains(f[0], "/") {
			held[f[0]] = f[4]
		}
	}
	return held
}

func putMany(t *testing.T, c *henged.Cloud, bucket, prefix string, count int, body []byte) {
	t.Helper()
	for i := range count {
		key := fmt.Sprint(prefix, i)
		if _, err := awsClient(c, 1).PutObject(context.Background(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRepair_AReplacedDiskIsFilled empties the only disk of one of three peers, as if it had been replaced: without anyone's help it holds all objects and listings again, and with
// a second peer dead everything is still there.
func TestRepair_AReplacedDiskIsFilled(t *testing.T) {
	const objects = 30
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	first, err := firstCloud(t, henged.Options{Dir: dir, Peers: 3, Devices: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := awsClient(first, 1).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("filled")}); err != nil {
		t.Fatal(err)
	}
	small, large := pattern(3000), pattern(300_000)
	putMany(t, first, "filled", "small-", objects/2, small)
	putMany(t, first, "filled", "large-", objects/2, large)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(dir, "peer-3", "devices", "d1")
	if err := os.RemoveAll(device); err != nil {
		t.Fatal(err)
	}
	c := ownCloud(t, henged.Options{Dir: dir, Ports: &first.Ports})
	eventually(t, "the disk is filled", func() bool {
		out, err := tryClient(c, dir, binary(t), "status", "--data-dir", dir)
		return err == nil && objectsHeld(t, c)["peer-3/d1"] == fmt.Sprint(objects) && strings.Contains(out, "well")
	})
	if err := c.KillPeer(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "peer 2 goes on without peer 1", func() bool {
		_, err := awsClient(c, 2).HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("filled")})
		return err == nil
	})
	listed, err := awsClient(c, 3).ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("filled")})
	if err != nil || len(listed.Contents) != objects {
		t.Fatalf("%d of %d listed, %v", len(listed.Contents), objects, err)
	}
	for i := range objects / 2 {
		checkObject(t, awsClient(c, 3), "filled", fmt.Sprint("small-", i), small)
		checkObject(t, awsClient(c, 3), "filled", fmt.Sprint("large-", i), large)
	}
}

// TestRepair_ADeadPeerCatchesUp kills one of four peers, writes and deletes meanwhile, and lets it come back: what stood in for it goes home, and what it missed it takes.
func TestRepair_ADeadPeerCatchesUp(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	first, err := firstCloud(t, henged.Options{Dir: dir, Peers: 4, Devices: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := awsClient(first, 1).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("back")}); err != nil {
		t.Fatal(err)
	}
	body := pattern(100_000)
	putMany(t, first, "back", "before-", 20, body)
	if err := first.KillPeer(4); err != nil {
		t.Fatal(err)
	}
	putMany(t, first, "back", "while-", 40, body)
	for i := range 10 {
		if _, err := awsClient(first, 1).DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("back"), Key: aws.String(fmt.Sprint("before-", i))}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := tryClient(first, dir, binary(t), "recon", "--data-dir", dir)
	if err == nil || !strings.Contains(out, "peer-4 does not answer") || !strings.Contains(out, "3 of 4 peers answered, with 3 devices") {
		t.Errorf("recon with peer 4 down: %v\n%s", err, out)
	}
	t.Log(out)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	c := ownCloud(t, henged.Options{Dir: dir, Ports: &first.Ports})
	eventually(t, "each object is held three times and no more", func() bool {
		total := 0
		for _, n := range objectsHeld(t, c) {
			held, err := strconv.Atoi(n)
			if err != nil {
				return false
			}
			total += held
		}
		return total == 3*50
	})
	client(t, c, dir, binary(t), "status", "--wait", "--data-dir", dir)
}

// TestRepair_DamageIsFoundAndUndone flips bits in the data files of one device: the auditor finds them before any reader does, and the versions are whole again.
func TestRepair_DamageIsFoundAndUndone(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	first, err := firstCloud(t, henged.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := awsClient(first, 1).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("damage")}); err != nil {
		t.Fatal(err)
	}
	body := pattern(300_000)
	putMany(t, first, "damage", "o-", 8, body)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	flipped := 0
	for _, path := range dataFiles(t, filepath.Join(dir, "peer-1", "devices", "d1", "data")) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/3] ^= 0x10
		writeFile(t, path, raw)
		flipped++
	}
	if flipped == 0 {
		t.Fatal("the device has no data files")
	}
	c := ownCloud(t, henged.Options{Dir: dir, Ports: &first.Ports})
	eventually(t, "the auditor finds all the damage, and all is well again", func() bool {
		out, err := tryClient(c, dir, "curl", "-s", fmt.Sprintf("http://127.0.0.1:%d/metrics", c.Ports.Metrics))
		if err != nil || !strings.Contains(out, fmt.Sprintf("henge_audit_corrupt_total %d\n", flipped)) {
			return false
		}
		_, err = tryClient(c, dir, binary(t), "status", "--data-dir", dir)
		return err == nil
	})
	// The device's own copies are good: with them alone the objects are read.
	if held := dataFiles(t, filepath.Join(dir, "peer-1", "devices", "d1", "data")); len(held) != flipped {
		t.Errorf("%d data files, there were %d", len(held), flipped)
	}
	for i := range 8 {
		checkObject(t, awsClient(c, 1), "damage", fmt.Sprint("o-", i), body)
	}
}
