package cloud

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// peer is one henge agent, and where it keeps what it has.
type peer struct {
	number int
	dir    string

	mu     sync.Mutex // guards the fields below
	cmd    *exec.Cmd
	done   chan struct{} // closed when cmd has ended
	endErr error         // why; valid then
}

func newPeer(dir string, number int) (*peer, error) {
	p := &peer{number: number, dir: filepath.Join(dir, fmt.Sprintf("peer-%d", number))}
	if err := os.MkdirAll(p.device(), 0o700); err != nil {
		return nil, err
	}
	if err := p.SetClock(0); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`data_dir = %q
peer_id = "peer-%d"
address = %q
zone = %d
roles = ["proxy", "storage", "identity"]

[storage]
reserve_mib = 16
audit_mib_per_second = 64

[wiring]
networks = "off"

[[device]]
name = "d1"
path = %q
weight = 100.0
`, p.data(), number, address(number), number, p.device())
	return p, os.WriteFile(p.config(), []byte(config), 0o600)
}

func (p *peer) config() string { return filepath.Join(p.dir, "henge.toml") }
func (p *peer) data() string   { return filepath.Join(p.dir, "data") }
func (p *peer) device() string { return filepath.Join(p.dir, "devices", "d1") }
func (p *peer) log() string    { return filepath.Join(p.dir, "henge.log") }
func (p *peer) clock() string  { return filepath.Join(p.dir, "clock-offset") }

// SetClock moves the peer's clock away from the machine's.
func (p *peer) SetClock(offset time.Duration) error {
	// In one step: the peer reads it at any time.
	if err := os.WriteFile(p.clock()+".new", []byte(offset.String()+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(p.clock()+".new", p.clock())
}

// start runs the peer; it must not be running.
func (p *peer) start(binary string) error {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := in(p.number, binary+" agent --config "+p.config()+" --clock-offset-file "+p.clock())
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C in the terminal reaches the laboratory alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start peer %d: %w", p.number, err)
	}
	done := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.done = cmd, done
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.endErr = err
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

// ended is why the peer does not run; nil while it does.
func (p *peer) ended() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return errors.New("it was never started")
	}
	select {
	case <-p.done:
		if p.endErr != nil {
			return p.endErr
		}
		return errors.New("it ended by itself")
	default:
		return nil
	}
}

func (p *peer) signal(s syscall.Signal) error {
	if err := p.ended(); err != nil {
		return fmt.Errorf("peer %d: %w", p.number, err)
	}
	return p.cmd.Process.Signal(s)
}

// stopWait is how long a peer may take to end in order.
const stopWait = 30 * time.Second

// stop ends the peer in order; a peer that does not run is stopped already.
func (p *peer) stop() error {
	if p.ended() != nil {
		return nil
	}
	_ = p.signal(syscall.SIGCONT) // it may be paused, or gone by now
	_ = p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopWait):
		return errors.Join(fmt.Errorf("peer %d did not end in %v", p.number, stopWait), p.kill())
	}
}

func (p *peer) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Kill ends a peer by SIGKILL; Revive starts it again.
func (c *Cloud) Kill(peer int) error { return c.peers[peer-1].kill() }

// Revive starts a peer that was killed.
func (c *Cloud) Revive(peer int) error { return c.peers[peer-1].start(c.binary) }

// Pause makes a peer hang: its connections stay, and it says nothing. Resume lets it go on.
func (c *Cloud) Pause(peer int) error { return c.peers[peer-1].signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (c *Cloud) Resume(peer int) error { return c.peers[peer-1].signal(syscall.SIGCONT) }

// SetClock moves a peer's clock away from the machine's, at once.
func (c *Cloud) SetClock(peer int, offset time.Duration) error {
	return c.peers[peer-1].SetClock(offset)
}
