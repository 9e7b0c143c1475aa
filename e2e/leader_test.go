package e2e

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"henge/e2e/henged"
)

// TestNoLeader_ObjectsGoOn puts all data on the peers that do not vote, kills the majority of those that do, and uses the object store as if nothing had happened.
func TestNoLeader_ObjectsGoOn(t *testing.T) {
	c := ownCloud(t, henged.Options{Peers: 6, Devices: 1})
	henge := binary(t)
	run := func(args ...string) string {
		return client(t, c, c.Dir, append([]string{henge, args[0], "--data-dir", c.Dir}, args[1:]...)...)
	}
	var voters []string
	eventually(t, "three peers vote", func() bool {
		voters = nil
		for _, m := range regexp.MustCompile(`(?m)^(peer-\d) .*\((leader|voter)\)`).FindAllStringSubmatch(run("status"), -1) {
			voters = append(voters, m[1])
		}
		return len(voters) == 3
	})
	for _, ring := range []string{"account", "container", "object"} {
		for _, v := range voters {
			run("ring", "--ring", ring, "set-weight", "--peer", v, "--yes", "0")
		}
		// One replica of a partition moves at a time, and all three may have been with those that vote.
		eventually(t, "the "+ring+" ring leaves those that vote", func() bool {
			run("ring", "--ring", ring, "pretend-min-part-hours-passed")
			return !strings.Contains(run("ring", "--ring", ring, "rebalance"), "wait for that")
		})
	}
	run("status", "--wait")
	for _, v := range voters[:2] {
		if err := c.KillPeer(int(v[len(v)-1] - '0')); err != nil {
			t.Fatal(err)
		}
	}
	last := int(voters[2][len(voters[2])-1] - '0')
	eventually(t, "there is no leader any more", func() bool {
		out, err := tryClient(c, c.Dir, "curl", "-s", fmt.Sprintf("http://%s:%d/healthcheck", c.Address(last), c.Ports.Metrics))
		return err == nil && strings.Contains(out, "no leader")
	})
	ctx, s3c := context.Background(), awsClient(c, last)
	if _, err := s3c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("leaderless")}); err != nil {
		t.Fatal(err)
	}
	body := pattern(100_000)
	for i := range 20 {
		key := fmt.Sprint("key-", i)
		if _, err := s3c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("leaderless"), Key: &key, Body: bytes.NewReader(body), IfNoneMatch: aws.String("*")}); err != nil {
			t.Fatal(err)
		}
		checkObject(t, s3c, "leaderless", key, body)
	}
	listed, err := s3c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("leaderless")})
	if err != nil || len(listed.Contents) != 20 {
		t.Fatalf("%d listed, %v", len(listed.Contents), err)
	}
}
