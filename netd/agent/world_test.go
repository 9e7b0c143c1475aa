package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"henge/cluster/state"
	"henge/internal/clock"
	"henge/netd/model"
)

// The tests run in a network and a mount namespace of their own, and within them each host is one more pair. An agent is a process in a host's namespaces, so
// that it can be killed; it shares the tables with the test over its standard input and output. A guest is a process that holds the tap, as QEMU
// does, and passes frames to a tap in a namespace of its own, which stands for the guest's kernel.

// roleVariable says what a process of this test binary is.
const roleVariable = "HENGE_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch role, rest, _ := strings.Cut(os.Getenv(roleVariable), " "); role {
	case "":
		os.Exit(again())
	case "tests":
		os.Exit(m.Run())
	case "agent":
		err = agentMain(rest)
	case "guest":
		err = guestMain(rest)
	case "call":
		err = callMain(rest)
	case "echo":
		err = echoMain(rest)
	case "frames":
		err = framesMain(rest)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// again runs the tests in namespaces of their own. Who is not root becomes it in one more, for users.
func again() int {
	args := []string{"-m", "-n", "--propagation", "private"}
	if os.Geteuid() != 0 {
		args = append(args, "-U", "-r")
	}
	script := `mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up && exec "$@"`
	cmd := exec.Command("unshare", append(append(args, "sh", "-c", script, "sh"), os.Args...)...)
	cmd.Env = append(os.Environ(), roleVariable+"=tests")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "tests in namespaces:", err)
		return 1
	}
	return 0
}

// patience is how long anything may take on a loaded machine.
const patience = 60 * time.Second

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for: %s", what)
		}
		<-tick.C
	}
}

// host is a machine: a process that holds its namespaces, and the agent in them.
type host struct {
	t       *testing.T
	world   *world
	id      string
	address netip.Addr
	holder  *exec.Cmd
	agent   *exec.Cmd
	in      io.WriteCloser
	log     *safeBuffer
	extra   string // of the agent's settings
}

// world is the tables and the hosts of one test.
type world struct {
	t     *testing.T
	store *state.Memory
	made  int
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	return &world{t: t, store: state.NewMemory()}
}

// host makes a machine with an underlay address.
func (w *world) host(id, address string) *host {
	w.t.Helper()
	h := &host{t: w.t, world: w, id: id, address: netip.MustParseAddr(address), log: &safeBuffer{}}
	h.holder = exec.Command("unshare", "-m", "-n", "--propagation", "private", "sh", "-c",
		"mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up && ip link add under0 type bridge && ip link set under0 up && echo ready && exec sleep 100000")
	out, err := h.holder.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	h.holder.Stderr = os.Stderr
	h.holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.holder.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = h.holder.Process.Kill(); _ = h.holder.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		w.t.Fatalf("host %s did not come up: %q, %v", id, line, err)
	}
	h.run("ip", "addr", "add", address+"/24", "dev", "under0")
	return h
}

// wireTo lays a cable between the underlays of two hosts.
func (h *host) wireTo(o *host, mtu int) {
	h.t.Helper()
	for _, x := range []*host{h, o} {
		x.run("ip", "link", "del", "under0")
	}
	must(h.t, "ip", "link", "add", "ca"+h.id, "type", "veth", "peer", "name", "cb"+h.id)
	for name, x := range map[string]*host{"ca" + h.id: h, "cb" + h.id: o} {
		must(h.t, "ip", "link", "set", name, "netns", strconv.Itoa(x.holder.Process.Pid))
		x.run("ip", "link", "set", name, "name", "under0", "mtu", strconv.Itoa(mtu), "up")
		x.run("ip", "addr", "add", x.address.String()+"/24", "dev", "under0")
	}
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// command prepares a command on the host.
func (h *host) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(h.holder.Process.Pid), "-m", "-n", "--"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (h *host) try(args ...string) (string, error) {
	out, err := h.command(args...).CombinedOutput()
	return string(out), err
}

func (h *host) run(args ...string) string {
	h.t.Helper()
	out, err := h.try(args...)
	if err != nil {
		h.t.Fatalf("on host %s: %v: %v: %s", h.id, args, err, out)
	}
	return out
}

// start starts the agent.
func (h *host) start() {
	h.t.Helper()
	h.agent = h.command(os.Args[0])
	h.agent.Env = append(os.Environ(), roleVariable+"=agent "+h.id+" "+h.address.String()+" "+h.extra)
	var err error
	if h.in, err = h.agent.StdinPipe(); err != nil {
		h.t.Fatal(err)
	}
	out, err := h.agent.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	h.agent.Stderr = h.log
	if err := h.agent.Start(); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	process := h.agent
	in := h.in
	go func() {
		send(ctx, h.world.store, in, func(key string) bool { return !strings.Contains(key, observedKeys) })
	}()
	go func() {
		defer close(gone)
		receive(h.world.store, out)
		cancel()
		_ = process.Wait()
	}()
	h.t.Cleanup(func() {
		_ = process.Process.Kill()
		<-gone
		if h.t.Failed() {
			h.t.Logf("agent of %s:\n%s", h.id, h.log.take())
			out, _ := h.try("sh", "-c", "ip -br a; bridge link; bridge fdb show | grep 00:00:00:00:00:00; iptables-save; nft list ruleset | grep -v '^table ip'; ls /run/netns")
			h.t.Logf("host %s:\n%s", h.id, out)
		}
	})
}

// kill ends the agent at once; what it wired stays.
func (h *host) kill() {
	_ = h.agent.Process.Kill()
	eventually(h.t, "the agent's end", func() bool { return h.agent.Process.Signal(syscall.Signal(0)) != nil })
}

const observedKeys = "network.observed_"

// line is one change of the tables on its way between two processes.
type line struct {
	Key     string
	Value   []byte
	Deleted bool
}

// send passes on all changes that pass, from the beginning.
func send(ctx context.Context, store state.Store, out io.Writer, pass func(string) bool) {
	enc := json.NewEncoder(out)
	var all [][]line
	push := func(changes []state.Change) bool {
		var lines []line
		for _, c := range changes {
			if pass(c.Key) {
				lines = append(lines, line{c.Key, c.Value, c.Deleted})
			}
		}
		return len(lines) == 0 || enc.Encode(lines) == nil
	}
	var from state.Index
	_ = store.View(ctx, func(r state.Reader) error {
		var lines []line
		for key, value := range r.Scan("") {
			if pass(key) {
				lines = append(lines, line{key, value, false})
			}
		}
		all, from = append(all, lines), r.Index()
		return nil
	})
	if enc.Encode(all[0]) != nil {
		return
	}
	for event, err := range store.Watch(ctx, "", from) {
		if err != nil || !push(event.Changes) {
			return
		}
	}
}

// receive applies what send sent. What is so already is not written, or it would go round for ever.
func receive(store state.Store, in io.Reader) {
	dec := json.NewDecoder(in)
	for {
		var lines []line
		if dec.Decode(&lines) != nil {
			return
		}
		_ = store.Update(context.Background(), func(w state.Writer) error {
			for _, l := range lines {
				was, there := w.Get(l.Key)
				switch {
				case l.Deleted && there:
					w.Delete(l.Key)
				case !l.Deleted && (!there || !bytes.Equal(was, l.Value)):
					w.Put(l.Key, l.Value)
				}
			}
			return nil
		})
	}
}

// agentMain is the agent's process: "ID ADDRESS [masquerade]".
func agentMain(args string) error {
	fields := strings.Fields(args)
	store := state.NewMemory()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first := make(chan struct{})
	go func() {
		r := bufio.NewReader(os.Stdin)
		raw, err := r.ReadBytes('\n')
		if err == nil {
			receive(store, bytes.NewReader(raw))
		}
		close(first)
		receive(store, r)
		cancel()
	}()
	<-first
	a, err := New(Config{
		Store: store, Host: fields[0], Address: netip.MustParseAddr(fields[1]), Routers: true, Metadata: echoMetadata{}, Clock: clock.System{},
		Physical: []Physical{{Name: "public", Bridge: "henge-public", Address: netip.MustParsePrefix("172.24.4.1/24"), Masquerade: len(fields) > 2}},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return err
	}
	go send(ctx, store, os.Stdout, func(key string) bool {
		return strings.Contains(key, observedKeys) || strings.Contains(key, "network.agents")
	})
	return a.Run(ctx)
}

// echoMetadata says who it took the guest for.
type echoMetadata struct{}

func (echoMetadata) ServeGuest(w http.ResponseWriter, r *http.Request, portID, deviceID, projectID string) {
	fmt.Fprintf(w, "%s %s %s %s", r.URL.Path, portID, deviceID, projectID)
}

// guest is a guest of a port.
type guest struct {
	t    *testing.T
	cmd  *exec.Cmd
	port model.Port
}

// guest starts a guest on a port that is wired, and waits until its device is there.
func (h *host) guest(port model.Port) *guest {
	h.t.Helper()
	g := &guest{t: h.t, port: port}
	g.cmd = h.command(os.Args[0])
	g.cmd.Env = append(os.Environ(), roleVariable+"=guest "+port.Tap()+" "+port.MAC)
	g.cmd.Stderr = os.Stderr
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = g.cmd.Process.Kill(); _ = g.cmd.Wait() })
	if text, err := bufio.NewReader(out).ReadString('\n'); err != nil || text != "ready\n" {
		h.t.Fatalf("guest of port %s did not start: %q, %v", port.ID, text, err)
	}
	return g
}

func (g *guest) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(g.cmd.Process.Pid), "-m", "-n", "--"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (g *guest) try(args ...string) (string, error) {
	out, err := g.command(args...).CombinedOutput()
	return string(out), err
}

func (g *guest) run(args ...string) string {
	g.t.Helper()
	out, err := g.try(args...)
	if err != nil {
		g.t.Fatalf("in the guest of %s: %v: %v: %s", g.port.Name, args, err, out)
	}
	return out
}

// guestMain opens the tap of a port, as QEMU does, and goes on in a namespace of its own.
func guestMain(args string) error {
	tap, mac, _ := strings.Cut(args, " ")
	fd, err := openTap(tap)
	if err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
		return err
	}
	if err := os.Setenv(roleVariable, "frames "+strconv.Itoa(fd)+" "+mac); err != nil {
		return err
	}
	return syscall.Exec("/usr/bin/unshare", []string{"unshare", "-n", "-m", os.Args[0]}, os.Environ())
}

// callMain says hello by TCP, "IP PORT", and fails unless it hears it back.
func callMain(args string) error {
	ip, port, _ := strings.Cut(args, " ")
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip, port), 2*time.Second)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 5))
	return err
}

// echoMain answers TCP with what it is told.
func echoMain(port string) error {
	ln, err := net.Listen("tcp", ":"+port)
	for err == nil {
		var conn net.Conn
		if conn, err = ln.Accept(); err == nil {
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}
	return err
}

func openTap(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return -1, err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	return fd, unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
}

// framesMain is the guest itself: eth0, and frames between it and the port's tap.
func framesMain(args string) error {
	number, mac, _ := strings.Cut(args, " ")
	outside, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	inside, err := openTap("eth0")
	if err != nil {
		return err
	}
	for _, c := range []string{"ip link set lo up", "ip link set eth0 address " + mac, "ip link set eth0 up"} {
		if out, err := exec.Command("sh", "-c", c).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %s", c, out)
		}
	}
	fmt.Println("ready")
	done := make(chan error, 2)
	for from, to := range map[int]int{outside: inside, inside: outside} {
		go func() {
			buf := make([]byte, 70000)
			for {
				n, err := unix.Read(from, buf)
				if err != nil {
					done <- err
					return
				}
				_, _ = unix.Write(to, buf[:n]) // a device that is down takes none
			}
		}()
	}
	return <-done
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
