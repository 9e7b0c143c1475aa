package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a peer in a process of its own.
type child struct {
	number  int
	config  string
	logPath string
	pidPath string
	cmd     *exec.Cmd
	leash   io.Closer     // the child ends when this is closed, even if we are killed
	ended   chan struct{} // closed when the process has ended
	err     error         // why; valid once ended is closed
}

// stopWait is how long a peer may take for an orderly end before it is killed.
const stopWait = 20 * time.Second

// startChild starts `henge agent` for a peer of henge up, which holds lock open while it runs. Its log goes to logPath.
func startChild(l layout, lock *os.File, number int, extra ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find our own program: %w", err)
	}
	log, err := os.OpenFile(l.peerLog(number), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of peer %d: %w", number, err)
	}
	defer log.Close()
	c := &child{number: number, config: l.peerConfig(number), logPath: l.peerLog(number), pidPath: l.peerPID(number), ended: make(chan struct{})}
	c.cmd = exec.Command(self, append([]string{"agent", "--config", c.config, "--end-with-stdin"}, extra...)...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.ExtraFiles = []*os.File{lock}
	// A group of its own: Ctrl-C in the terminal reaches henge up alone, which then stops the peers in order.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.leash, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start peer %d: %w", number, err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start peer %d: %w", number, err)
	}
	go c.wait()
	if err := os.WriteFile(c.pidPath, []byte(strconv.Itoa(c.cmd.Process.Pid)+"\n"), 0o600); err != nil {
		c.stop()
		return nil, fmt.Errorf("note the process of peer %d: %w", number, err)
	}
	return c, nil
}

func (c *child) wait() {
	c.err = c.cmd.Wait()
	os.Remove(c.pidPath)
	close(c.ended)
}

// stop asks the peer to end, and kills it if it does not.
func (c *child) stop() {
	// The process may be gone already; then there is nobody to tell.
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(stopWait):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
	c.leash.Close()
}

func stopChildren(children []*child) {
	var wg sync.WaitGroup
	for _, c := range children {
		wg.Go(c.stop)
	}
	wg.Wait()
}

// reason tells why the peer ended, in its own last words.
func (c *child) reason() string {
	why := "ended"
	var exit *exec.ExitError
	if errors.As(c.err, &exit) {
		why = exit.String()
	}
	if last := lastLine(c.logPath); last != "" {
		why += "; its last words: " + last
	}
	return why
}

func lastLine(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
	return strings.TrimSpace(string(lines[len(lines)-1]))
}

// untilReady waits for ready, for the end of one of the children, or for ctx.
func untilReady(ctx context.Context, children []*child, ready func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- ready(ctx) }()
	dead := make(chan *child, len(children))
	for _, c := range children {
		go func() {
			select {
			case <-c.ended:
				dead <- c
			case <-ctx.Done():
			}
		}()
	}
	select {
	case err := <-done:
		return err
	case c := <-dead:
		return fmt.Errorf("peer %d did not start: %s", c.number, c.reason())
	}
}
