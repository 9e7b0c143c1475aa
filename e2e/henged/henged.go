// Package henged runs the built binary as a user would: `bin/henge up` in a directory of its own, on loopback addresses and ports of its own, to be used by real
// clients and ended by its pid.
package henged

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say what to run.
type Options struct {
	Binary  string // bin/henge
	Dir     string // the data directory
	Peers   int    // 0: one, in one process
	Devices int    // 0: the default
	Args    []string
	Output  io.Writer // what henge up prints; nil: kept, for error messages
	// Ports, when set, are used again (a restart).
	Ports *Ports
}

// Ports are the ports that all peers share, each on its own address.
type Ports struct{ Identity, Object, Peers, Gossip, Metrics, Image, Network, Volume, ISCSI, Scheduler, Compute, Metadata, Console int }

// Cloud is a running henge up.
type Cloud struct {
	Dir   string
	Ports Ports
	// Environment has what openrc and aws.env export, by name.
	Environment map[string]string

	cmd    *exec.Cmd
	ended  chan struct{}
	endErr error
	mu     sync.Mutex // guards output
	output strings.Builder
}

// startWait is how long a start may take on a loaded machine.
const startWait = 90 * time.Second

// Start runs henge up and waits until it says that it is ready.
func Start(ctx context.Context, o Options) (*Cloud, error) {
	ports := o.Ports
	if ports == nil {
		var err error
		if ports, err = FreePorts(); err != nil {
			return nil, err
		}
	}
	// A test that wants networks wired and guests run is in namespaces of its own, and says so in Args.
	args := append([]string{"up", "--data-dir", o.Dir, "--wire-networks", "off", "--virt-type", "off"}, ports.flags()...)
	if o.Peers > 0 {
		args = append(args, "--peers", strconv.Itoa(o.Peers))
	}
	if o.Devices > 0 {
		args = append(args, "--devices", strconv.Itoa(o.Devices))
	}
	c := &Cloud{Dir: o.Dir, Ports: *ports, ended: make(chan struct{}), cmd: exec.Command(o.Binary, append(args, o.Args...)...)}
	// A parent that is killed must not leave clouds behind.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.cmd.Stderr = c.cmd.Stdout
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Binary, err)
	}
	ready := make(chan struct{})
	go c.read(out, o.Output, ready)
	select {
	case <-ready:
	case <-c.ended:
		return nil, fmt.Errorf("henge up ended: %w\n%s", c.endErr, c.Output())
	case <-time.After(startWait):
		c.Kill()
		return nil, fmt.Errorf("henge up was not ready after %v:\n%s", startWait, c.Output())
	case <-ctx.Done():
		c.Kill()
		return nil, ctx.Err()
	}
	if c.Environment, err = Environment(filepath.Join(o.Dir, "openrc"), filepath.Join(o.Dir, "aws.env")); err != nil {
		c.Kill()
		return nil, err
	}
	return c, nil
}

// read copies what henge up prints until it ends, and says when it is ready.
func (c *Cloud) read(out io.Reader, also io.Writer, ready chan<- struct{}) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		c.mu.Lock()
		c.output.WriteString(lines.Text() + "\n")
		c.mu.Unlock()
		if also != nil {
			fmt.Fprintln(also, lines.Text())
		}
		if lines.Text() == "henge is ready" {
			close(ready)
		}
	}
	c.endErr = c.cmd.Wait()
	close(c.ended)
}

// Output is all that henge up has printed so far.
func (c *Cloud) Output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.output.String()
}

// Troubles are the last lines of the peers' logs that are worse than information: what a test that failed shows.
func (c *Cloud) Troubles() string {
	var b strings.Builder
	paths, _ := filepath.Glob(filepath.Join(c.Dir, "peer-*", "henge.log")) // the pattern is good
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			fmt.Fprintln(&b, err)
			continue
		}
		var lines []string
		for line := range strings.Lines(string(raw)) {
			if !strings.Contains(line, "level=INFO") {
				lines = append(lines, line)
			}
		}
		fmt.Fprintf(&b, "%s:\n%s", path, strings.Join(lines[max(0, len(lines)-20):], ""))
	}
	return b.String()
}

// Stop asks henge up to end, and waits for it; its exit status must be 0.
func (c *Cloud) Stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.ended:
		if c.endErr != nil {
			return fmt.Errorf("henge up ended with %w\n%s", c.endErr, c.Output())
		}
		return nil
	case <-time.After(60 * time.Second):
		c.Kill()
		return fmt.Errorf("henge up did not end within a minute\n%s", c.Output())
	}
}

// Kill ends henge up and its peers by SIGKILL.
func (c *Cloud) Kill() {
	for i := range c.PeerPIDs() {
		c.KillPeer(i + 1)
	}
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// Ended tells whether henge up has ended.
func (c *Cloud) Ended() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// PeerPIDs are the processes of the peers, by number from 1; with one peer, henge up itself.
func (c *Cloud) PeerPIDs() []int {
	var pids []int
	for i := 1; ; i++ {
		raw, err := os.ReadFile(filepath.Join(c.Dir, fmt.Sprintf("peer-%d", i), "henge.pid"))
		if err != nil && !exists(filepath.Join(c.Dir, fmt.Sprintf("peer-%d", i))) {
			break
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
		pids = append(pids, pid)
	}
	if len(pids) == 1 && pids[0] == 0 {
		return []int{c.cmd.Process.Pid}
	}
	return pids
}

// PIDs are all processes of the cloud that are alive.
func (c *Cloud) PIDs() []int {
	pids := []int{c.cmd.Process.Pid}
	for _, pid := range c.PeerPIDs() {
		if pid != 0 && pid != pids[0] {
			pids = append(pids, pid)
		}
	}
	return pids
}

// KillPeer ends one peer by SIGKILL.
func (c *Cloud) KillPeer(number int) error { return c.signal(number, syscall.SIGKILL) }

// PausePeer makes one peer hang: its connections stay, and it says nothing. ResumePeer lets it go on.
func (c *Cloud) PausePeer(number int) error { return c.signal(number, syscall.SIGSTOP) }

// ResumePeer ends what PausePeer began.
func (c *Cloud) ResumePeer(number int) error { return c.signal(number, syscall.SIGCONT) }

func (c *Cloud) signal(number int, s syscall.Signal) error {
	pids := c.PeerPIDs()
	if number > len(pids) || pids[number-1] == 0 {
		return fmt.Errorf("peer %d is not running", number)
	}
	return syscall.Kill(pids[number-1], s)
}

// Address is the i-th peer's, from 1.
func (c *Cloud) Address(i int) string { return fmt.Sprintf("127.0.0.%d", i) }

// ObjectURL is the i-th peer's object service.
func (c *Cloud) ObjectURL(i int) string {
	return fmt.Sprintf("http://%s:%d", c.Address(i), c.Ports.Object)
}

// Env is the environment for a client: the process's own without what configures the clients, the cloud's over it, and HOME in the data directory so that no
// configuration of the user is read.
func (c *Cloud) Env() []string {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return slices.ContainsFunc([]string{"AWS_", "OS_", "ST_", "RCLONE_"}, func(prefix string) bool { return strings.HasPrefix(entry, prefix) })
	})
	env = append(env, "HOME="+c.Dir, "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=")
	for name, value := range c.Environment {
		env = append(env, name+"="+value)
	}
	return env
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// each yields every port with the name of its flag: a field X is set by --x-port.
func (p *Ports) each(yield func(flag string, port *int)) {
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		yield("--"+strings.ToLower(v.Type().Field(i).Name)+"-port", v.Field(i).Addr().Interface().(*int))
	}
}

// flags set the ports for henge up.
func (p *Ports) flags() []string {
	var all []string
	p.each(func(flag string, port *int) { all = append(all, flag, strconv.Itoa(*port)) })
	return all
}

// Config is the [ports] section of henge.toml that sets the ports.
func (p *Ports) Config() string {
	var b strings.Builder
	p.each(func(flag string, port *int) {
		fmt.Fprintf(&b, "%s = %d\n", strings.TrimSuffix(strings.TrimPrefix(flag, "--"), "-port"), *port)
	})
	return b.String()
}

// FreePorts finds ports that nobody listens on, on the first loopback address.
func FreePorts() (*Ports, error) {
	ports := &Ports{}
	var failed error
	var held []net.Listener // until all are found, so that none is found twice
	defer func() {
		for _, ln := range held {
			ln.Close()
		}
	}()
	ports.each(func(_ string, port *int) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			failed = err
			return
		}
		held = append(held, ln)
		*port = ln.Addr().(*net.TCPAddr).Port
	})
	return ports, failed
}

// Environment reads the assignments of shell files that henge up wrote.
func Environment(paths ...string) (map[string]string, error) {
	env := map[string]string{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(raw)) {
			name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
			if ok {
				env[name] = strings.Trim(value, "'")
			}
		}
	}
	return env, nil
}
