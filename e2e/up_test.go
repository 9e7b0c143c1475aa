package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"henge/e2e/henged"
)

// upFails runs henge up, which must end by itself with a status other than 0 and one line that says why.
func upFails(t *testing.T, want string, command ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err == nil {
		t.Errorf("%v ended with status 0:\n%s", command, text)
	}
	if ctx.Err() != nil {
		t.Errorf("%v did not end:\n%s", command, text)
	}
	if !strings.Contains(text, want) || strings.Contains(text, "\n") {
		t.Errorf("%v says\n%s\nwant one line with %q", command, text, want)
	}
}

func TestUp_SaysWhatIsWrong(t *testing.T) {
	c := sharedCloud(t, 1)
	henge := binary(t)
	free := func(skip string) []string {
		args := []string{}
		for _, name := range []string{"identity", "object", "peers", "gossip", "metrics"} {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			if name != skip {
				args = append(args, "--"+name+"-port", fmt.Sprint(ln.Addr().(*net.TCPAddr).Port))
			}
		}
		return args
	}
	t.Run("a second one on the same directory", func(t *testing.T) {
		upFails(t, "in use by another henge up", append([]string{henge, "up", "--data-dir", c.Dir}, free("")...)...)
	})
	t.Run("a port in use", func(t *testing.T) {
		port := fmt.Sprint(c.Ports.Object)
		upFails(t, "127.0.0.1:"+port+" is in use", append([]string{henge, "up", "--data-dir", t.TempDir(), "--object-port", port}, free("object")...)...)
	})
	t.Run("a directory that cannot be made", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		writeFile(t, file, nil)
		upFails(t, "cannot be made", append([]string{henge, "up", "--data-dir", filepath.Join(file, "d")}, free("")...)...)
	})
	t.Run("a disk nearly full", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Fatal("mounting a small file system needs root")
		}
		dir := t.TempDir()
		// In a mount namespace of its own: nothing is left behind.
		script := fmt.Sprintf("mount -t tmpfs -o size=64m henge-e2e %s && exec %s up --data-dir %s/d %s", dir, henge, dir, strings.Join(free(""), " "))
		upFails(t, "nearly full", "unshare", "-m", "sh", "-c", script)
	})
	t.Run("another number of peers", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "d")
		own, err := henged.Start(context.Background(), henged.Options{Binary: henge, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := own.Stop(); err != nil {
			t.Fatal(err)
		}
		upFails(t, "was made with 1 peer", append([]string{henge, "up", "--data-dir", dir, "--peers", "3"}, free("")...)...)
	})
}

func TestUp_EverythingIsThereAfterARestart(t *testing.T) {
	for _, peers := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d peers", peers), func(t *testing.T) {
			ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
			first, err := henged.Start(ctx, henged.Options{Binary: binary(t), Dir: dir, Peers: peers})
			if err != nil {
				t.Fatal(err)
			}
			small, large := pattern(5000), pattern(3<<20)
			c := awsClient(first, 1)
			if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("kept")}); err != nil {
				t.Fatal(err)
			}
			for key, body := range map[string][]byte{"small": small, "large": large} {
				if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("kept"), Key: &key, Body: bytes.NewReader(body)}); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			if err := first.Stop(); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("stopping took %v", took)
			}
			second := ownCloud(t, henged.Options{Dir: dir, Ports: &first.Ports})
			for name, value := range first.Environment {
				if second.Environment[name] != value {
					t.Errorf("%s was %q, and is %q", name, value, second.Environment[name])
				}
			}
			checkObject(t, awsClient(second, peers), "kept", "small", small)
			checkObject(t, awsClient(second, peers), "kept", "large", large)
		})
	}
}

// TestUp_GoesOnWithoutABrokenDevice starts a peer one of whose four devices cannot be used: the other three hold everything that was written and take what is new,
// and henge status names the device and the reason.
func TestUp_GoesOnWithoutABrokenDevice(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	first, err := firstCloud(t, henged.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	bucket := aws.String("broken")
	if _, err := awsClient(first, 1).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	body := pattern(100_000)
	put := func(c *henged.Cloud, from, to int) {
		for i := from; i < to; i++ {
			key := fmt.Sprint("key-", i)
			if _, err := awsClient(c, 1).PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: bytes.NewReader(body)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(first, 0, 10)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(dir, "peer-1", "devices", "d2")
	if err := os.Rename(device, device+".away"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, device, []byte("this is no folder"))
	second := ownCloud(t, henged.Options{Dir: dir, Ports: &first.Ports})
	out, err := tryClient(second, dir, binary(t), "status", "--data-dir", dir)
	if err == nil || !strings.Contains(out, "device d2: ") || !strings.Contains(out, "not a directory") {
		t.Errorf("status, %v:\n%s", err, out)
	}
	put(second, 10, 20)
	listed, err := awsClient(second, 1).ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})
	if err != nil || len(listed.Contents) != 20 {
		t.Errorf("%d listed, %v", len(listed.Contents), err)
	}
	for i := range 20 {
		checkObject(t, awsClient(second, 1), "broken", fmt.Sprint("key-", i), body)
	}
}

func checkObject(t *testing.T, c *s3.Client, bucket, key string, want []byte) {
	t.Helper()
	got, err := c.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Errorf("get %s: %v", key, err)
		return
	}
	defer got.Body.Close()
	var back bytes.Buffer
	if _, err := back.ReadFrom(got.Body); err != nil || !bytes.Equal(back.Bytes(), want) {
		t.Errorf("%s came back with %d bytes, %v", key, back.Len(), err)
	}
}

func TestStatus(t *testing.T) {
	c := ownCloud(t, henged.Options{Peers: 3, Devices: 2})
	henge := binary(t)
	out := client(t, c, c.Dir, henge, "status", "--wait", "--data-dir", c.Dir)
	for _, want := range []string{"peer-1", "peer-2", "peer-3", "proxy", "storage", "identity", "d1", "d2", "object"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if err := c.KillPeer(2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "henge status tells of the dead peer", func() bool {
		out, err := tryClient(c, c.Dir, henge, "status", "--data-dir", c.Dir)
		return err != nil && strings.Contains(out, "peer-2")
	})
	eventually(t, "henge up tells of the dead peer", func() bool { return strings.Contains(c.Output(), "peer 2") })
}

func TestUp_RestartsAPeerWhenAsked(t *testing.T) {
	c := ownCloud(t, henged.Options{Peers: 3, Devices: 1, Args: []string{"--restart"}})
	before := c.PeerPIDs()[1]
	if err := c.KillPeer(2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peer comes back", func() bool {
		pid := c.PeerPIDs()[1]
		return pid != 0 && pid != before
	})
	client(t, c, c.Dir, binary(t), "status", "--wait", "--data-dir", c.Dir)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen within a minute: %s", what)
		}
		<-tick.C
	}
}

// TestUp_AtOnceAfterItWasKilled kills henge up alone: its peers end by themselves, and a new one, at other ports, waits for that and goes on.
func TestUp_AtOnceAfterItWasKilled(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	first, err := henged.Start(ctx, henged.Options{Binary: binary(t), Dir: dir, Peers: 3, Devices: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := awsClient(first, 2).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("kept")}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first.PIDs()[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := ownCloud(t, henged.Options{Dir: dir})
	for peer := 1; peer <= 3; peer++ {
		if _, err := awsClient(second, peer).HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("kept")}); err != nil {
			t.Errorf("peer %d: %v", peer, err)
		}
	}
}
