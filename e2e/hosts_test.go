package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"henge/e2e/henged"
)

// host is one peer that is set up by hand, as on a real host: its configuration, and henge agent.
type host struct {
	dir, config, address string
	ports                henged.Ports
}

func newHost(t *testing.T, number int, ports henged.Ports) *host {
	t.Helper()
	dir := t.TempDir()
	h := &host{dir: dir, config: filepath.Join(dir, "henge.toml"), address: fmt.Sprintf("127.0.0.%d", number), ports: ports}
	writeFile(t, h.config, fmt.Appendf(nil, `data_dir = %q
peer_id = "host-%d"
address = %q
zone = %d

[ports]
%s
[wiring]
networks = "off"

[compute]
virt_type = "off"

[[device]]
name = "d1"
path = %q
weight = 100.0
`, filepath.Join(dir, "data"), number, h.address, number, ports.Config(), filepath.Join(dir, "d1")))
	return h
}

// henge runs a command of the binary on the host.
func (h *host) henge(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary(t), append(args, "--config", h.config)...).CombinedOutput()
	if err != nil {
		t.Fatalf("henge %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// agent starts henge agent, which ends with the test.
func (h *host) agent(t *testing.T) {
	t.Helper()
	var log bytes.Buffer
	// Held by a pipe, it also ends when the test is killed.
	cmd := exec.Command(binary(t), "agent", "--config", h.config, "--end-with-stdin")
	cmd.Stdout, cmd.Stderr = &log, &log
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("henge agent on %s: %v\n%s", h.address, err, log.String())
		}
	})
}

// TestHosts_InitJoinAndAddDevices is what the README says of several hosts, with a loopback address for each.
func TestHosts_InitJoinAndAddDevices(t *testing.T) {
	ports, err := henged.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	var hosts []*host
	for i := 1; i <= 3; i++ {
		hosts = append(hosts, newHost(t, i, *ports))
	}
	first := hosts[0]
	first.henge(t, "init")
	first.agent(t)
	eventually(t, "the first peer answers", func() bool {
		out, err := exec.Command(binary(t), "status", "--config", first.config).CombinedOutput()
		return err == nil && strings.Contains(string(out), "host-1")
	})
	for _, h := range hosts[1:] {
		h.henge(t, "join", strings.TrimSpace(first.henge(t, "token")))
		h.agent(t)
	}
	for _, ring := range []string{"account", "container", "object"} {
		for i := range hosts[1:] {
			first.henge(t, "ring", "--ring", ring, "add", fmt.Sprintf("r1z%d-host-%d/d1", i+2, i+2), "100")
		}
		first.henge(t, "ring", "--ring", ring, "set-replicas", "3")
		first.henge(t, "ring", "--ring", ring, "pretend-min-part-hours-passed")
		first.henge(t, "ring", "--ring", ring, "rebalance")
	}
	out := first.henge(t, "status", "--wait")
	for _, want := range []string{"host-1", "host-2", "host-3", "3 of 3"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	env, err := henged.Environment(filepath.Join(first.dir, "data", "aws.env"))
	if err != nil {
		t.Fatal(err)
	}
	at := func(h *host) *s3.Client {
		return s3.New(s3.Options{BaseEndpoint: aws.String(fmt.Sprintf("http://%s:%d", h.address, ports.Object)), Region: "us-east-1", UsePathStyle: true,
			Credentials: credentials.NewStaticCredentialsProvider(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], "")})
	}
	if _, err := at(hosts[1]).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("hosts")}); err != nil {
		t.Fatal(err)
	}
	body := pattern(200_000)
	if _, err := at(hosts[1]).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("hosts"), Key: aws.String("k"), Body: bytes.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
	checkObject(t, at(hosts[2]), "hosts", "k", body)
	if files, err := os.ReadDir(filepath.Join(hosts[2].dir, "d1")); err != nil || len(files) == 0 {
		t.Errorf("nothing lies on the third host's device: %v, %v", files, err)
	}
}
