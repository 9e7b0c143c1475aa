package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// tempestWait bounds the whole run: it takes about a minute and a half, and several times that on a machine that does other things as well.
const tempestWait = 9 * time.Minute

// What a user does first with compute, and the calls beside it, as tempest checks them: `make tempest` runs all of the selection that docs/tempest.md tells of.
var tempestSelection = []string{
	`tempest.scenario.test_server_basic_ops`,
	`tempest.api.compute.flavors.test_flavors.*smoke`, `tempest.api.compute.security_groups.*smoke`, `tempest.api.compute.test_versions`,
	`tempest.api.identity.admin.v3.test_trusts`, `tempest.api.object_storage.*smoke`,
}

func TestTempest(t *testing.T) {
	binary(t)
	ctx, cancel := context.WithTimeout(t.Context(), tempestWait)
	defer cancel()
	// The namespace of processes ends with unshare, and with it guests, libvirtd and the cloud, come what may.
	args := []string{"--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "tempest/cloud", "e2e/tempest/run"}
	cmd := exec.CommandContext(ctx, "unshare", append(args, tempestSelection...)...)
	cmd.Env = append(os.Environ(), "TEMPEST_OUT="+t.TempDir(), "TEMPEST_WORK="+filepath.Join(t.TempDir(), "work"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
}
