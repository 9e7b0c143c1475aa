package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaceDir is where ip(8) looks for namespaces, too.
const namespaceDir = "/run/netns"

// Namespace is a network namespace that the agent made.
type Namespace struct {
	name   string
	handle *netlink.Handle
}

// Namespaces lists those that are there, ours and others.
func (k *Kernel) Namespaces() ([]string, error) {
	entries, err := os.ReadDir(namespaceDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Namespace opens a namespace, and makes it if it is not there.
func (k *Kernel) Namespace(name string) (*Namespace, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	path := filepath.Join(namespaceDir, name)
	alive := isNamespace(path)
	if ns, ok := k.spaces[name]; ok {
		if alive {
			return ns, nil
		}
		ns.handle.Close()
		delete(k.spaces, name)
	}
	if !alive {
		if err := makeNamespace(path); err != nil {
			return nil, fmt.Errorf("make namespace %s: %w", name, err)
		}
	}
	ns, err := openNamespace(name, path)
	if err == nil {
		k.spaces[name] = ns
	}
	return ns, err
}

func openNamespace(name, path string) (*Namespace, error) {
	fd, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", name, err)
	}
	defer fd.Close()
	handle, err := netlink.NewHandleAt(fd)
	if err != nil {
		return nil, fmt.Errorf("enter namespace %s: %w", name, err)
	}
	return &Namespace{name: name, handle: handle}, nil
}

// isNamespace tells whether a namespace is mounted there. A kill between the making of the file and the mount leaves a plain file.
func isNamespace(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

func makeNamespace(path string) error {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return apart(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
}

// DeleteNamespace removes a namespace and all that is in it, if it is there.
func (k *Kernel) DeleteNamespace(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ns, ok := k.spaces[name]; ok {
		ns.handle.Close()
		delete(k.spaces, name)
	}
	path := filepath.Join(namespaceDir, name)
	if isNamespace(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("remove namespace %s: %w", name, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	return nil
}

// Do runs fn in the namespace: sockets that it opens and processes that it starts belong there.
func (ns *Namespace) Do(fn func() error) error {
	return apart(func() error {
		fd, err := netns.GetFromPath(filepath.Join(namespaceDir, ns.name))
		if err != nil {
			return fmt.Errorf("open namespace %s: %w", ns.name, err)
		}
		defer fd.Close()
		if err := netns.Set(fd); err != nil {
			return fmt.Errorf("enter namespace %s: %w", ns.name, err)
		}
		return fn()
	})
}

// apart runs fn on a thread of its own, which fn may take to another namespace. The thread comes back, or ends.
func apart(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		err = fn()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread() // otherwise the thread ends with the goroutine
		}
		done <- err
	}()
	return <-done
}

// Name is the namespace's name.
func (ns *Namespace) Name() string { return ns.name }

// Sysctl sets a kernel parameter in the namespace.
func (ns *Namespace) Sysctl(key, value string) error {
	return ns.Do(func() error { return sysctl(key, value) })
}

// NFT runs an nft script in the namespace: all of it or nothing.
func (ns *Namespace) NFT(script string) error {
	return ns.Do(func() error {
		_, err := run(script, "nft", "-f", "-")
		return err
	})
}
