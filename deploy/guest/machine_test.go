package guest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// machine is a QEMU process under the test's control.
type machine struct {
	port    int
	log     string
	control *json.Decoder
	send    *json.Encoder
	ended   chan struct{}
}

// boot starts QEMU without KVM, with one network card of the kind given; %d in it is a port of loopback.
func boot(t *testing.T, dir, disk, card string, args ...string) *machine {
	t.Helper()
	heavy(t)
	m := &machine{port: freePort(t), log: filepath.Join(dir, "console"), ended: make(chan struct{})}
	socket := filepath.Join(dir, "qmp")
	cmd := exec.Command("qemu-system-x86_64", append([]string{"-accel", "tcg", "-m", "128", "-display", "none", "-nodefaults", "-serial", "file:" + m.log,
		"-drive", "file=" + disk + ",if=none,id=root", "-device", "virtio-blk-pci,drive=root,bootindex=1", "-netdev", fmt.Sprintf(card, m.port), "-device", "virtio-net-pci,netdev=net0", "-qmp", "unix:" + socket + ",server=on,wait=off"}, args...)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(m.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-m.ended
		if t.Failed() {
			text, _ := os.ReadFile(m.log)
			t.Logf("the console:\n%s", text[max(0, len(text)-6000):])
		}
	})
	m.connect(t, socket)
	return m
}

// heavy keeps this test from running beside others that load the machine as much: one lock for all who take it.
func heavy(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "henge-test-guest.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (m *machine) connect(t *testing.T, socket string) {
	t.Helper()
	var conn net.Conn
	poll(t, "the control socket", func() bool {
		var err error
		conn, err = net.Dial("unix", socket)
		return err == nil
	})
	t.Cleanup(func() { _ = conn.Close() })
	m.control, m.send = json.NewDecoder(conn), json.NewEncoder(conn)
	var greeting map[string]any
	if err := m.control.Decode(&greeting); err != nil {
		t.Fatal(err)
	}
	m.command(t, "qmp_capabilities", nil)
}

// command runs one QMP command.
func (m *machine) command(t *testing.T, name string, arguments map[string]any) {
	t.Helper()
	request := map[string]any{"execute": name}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := m.send.Encode(request); err != nil {
		t.Fatal(err)
	}
	for {
		var answer map[string]any
		if err := m.control.Decode(&answer); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if answer["error"] != nil {
			t.Fatalf("%s: %v", name, answer["error"])
		}
		if _, ok := answer["return"]; ok {
			return
		}
	}
}

// console waits until the serial console has shown a text so many times.
func (m *machine) console(t *testing.T, text string, times int) {
	t.Helper()
	began := time.Now()
	poll(t, fmt.Sprintf("%q on the console", text), func() bool {
		shown, err := os.ReadFile(m.log)
		return err == nil && strings.Count(string(shown), text) >= times
	})
	t.Logf("%q on the console after %.1f s", text, time.Since(began).Seconds())
}

func (m *machine) powerOff(t *testing.T) {
	t.Helper()
	m.command(t, "system_powerdown", nil)
	select {
	case <-m.ended:
	case <-time.After(within):
		t.Fatal("the guest did not power off")
	}
}

// client is a login by SSH.
type client struct{ *ssh.Client }

func (m *machine) login(t *testing.T, signer ssh.Signer) *client {
	t.Helper()
	var c *ssh.Client
	poll(t, "a login by SSH", func() bool {
		var err error
		c, err = ssh.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.port), &ssh.ClientConfig{User: "henge", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
			HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: within})
		return err == nil
	})
	t.Cleanup(func() { _ = c.Close() })
	return &client{c}
}

// run gives what a command printed, without the last line's end.
func (c *client) run(t *testing.T, command string) string {
	t.Helper()
	session, err := c.NewSession()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	defer session.Close()
	out, err := session.CombinedOutput(command)
	if err != nil {
		t.Logf("%s: %v", command, err)
	}
	return strings.TrimSpace(string(out))
}

func (c *client) until(t *testing.T, command, want string) {
	t.Helper()
	poll(t, command+" to print "+want, func() bool { return c.run(t, command) == want })
}
