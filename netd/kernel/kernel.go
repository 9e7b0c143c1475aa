package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"henge/internal/errs"
)

// commandWait bounds one run of a tool.
const commandWait = 20 * time.Second

// Kernel is the network of the namespace that the process is in. Safe for concurrent use, though who calls it for one device from two places gets one or the
// other.
type Kernel struct {
	lock net.Listener // says to others that this network namespace has its agent

	mu     sync.Mutex
	spaces map[string]*Namespace // opened
}

// Open takes the machine's network in hand. It answers errs.Unsupported, with a line for the operator, when the machine lacks something, and errs.Conflict when
// another process has taken it.
func Open() (*Kernel, error) {
	if err := able(); err != nil {
		return nil, err
	}
	// Abstract sockets belong to a network namespace and die with their process: just what the lock has to do.
	lock, err := net.Listen("unix", "@henge-network")
	if err != nil {
		return nil, errs.New(errs.Conflict, "another peer wires the networks of this machine")
	}
	return &Kernel{lock: lock, spaces: map[string]*Namespace{}}, nil
}

// Close lets go. What was wired stays wired.
func (k *Kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, ns := range k.spaces {
		ns.handle.Close()
	}
	k.spaces = map[string]*Namespace{}
	return k.lock.Close()
}

// able tells what the machine lacks.
func able() error {
	if os.Geteuid() != 0 {
		return errs.New(errs.Unsupported, "it needs root")
	}
	var missing []string
	for _, tool := range []string{"nft", "iptables-restore", "ip6tables-restore", "iptables-save", "ip6tables-save", "ipset"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return errs.New(errs.Unsupported, "these commands are missing: %s (Debian packages nftables, iptables, ipset)", strings.Join(missing, ", "))
	}
	// Where they are modules, they may not be loaded yet; where they are built in, there is nothing to load.
	ctx, cancel := context.WithTimeout(context.Background(), commandWait)
	defer cancel()
	_ = exec.CommandContext(ctx, "modprobe", "-qa", "bridge", "br_netfilter", "vxlan", "tun", "veth", "ip_set_hash_net", "xt_physdev", "xt_set").Run()
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return errs.New(errs.Unsupported, "there is no /dev/net/tun")
	}
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		return errs.New(errs.Unsupported, "the kernel does not show frames on bridges to the packet filter (br_netfilter)")
	}
	return tryBridge()
}

func tryBridge() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("hgtry%d", os.Getpid())
	probe := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(probe); err != nil {
		return errs.New(errs.Unsupported, "no bridge can be made: %v", err)
	}
	return netlink.LinkDel(probe)
}

// run runs a tool and answers what it wrote; its error carries what the tool said.
func run(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(said.String())
		if text == "" {
			text = err.Error()
		}
		return out.String(), fmt.Errorf("%s: %s", name, firstLines(text, 3))
	}
	return out.String(), nil
}

func firstLines(text string, n int) string {
	lines := strings.SplitN(text, "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "; ")
}

// Sysctl sets a kernel parameter of the process's network, such as net/ipv4/ip_forward, unless it is so already.
func (k *Kernel) Sysctl(key, value string) error { return sysctl(key, value) }

func sysctl(key, value string) error {
	path := "/proc/sys/" + key
	if was, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(was)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(key, "net/ipv6/") {
			return nil // the machine has no IPv6
		}
		return fmt.Errorf("set %s: %w", key, err)
	}
	return nil
}
