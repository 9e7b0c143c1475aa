package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/internal/errs"
)

// childEnv holds a childPeer when the test binary is to be a peer instead of running tests.
const childEnv = "HENGE_TEST_PEER"

type childPeer struct {
	Config  Config
	Token   string
	Updates int
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := childMain(text); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// childMain is a peer that counts up in the state as soon as three peers vote, and prints each acknowledged step. It ends with its stdin.
func childMain(text string) error {
	var c childPeer
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	ctx := context.Background()
	n, err := Open(c.Config)
	switch {
	case errs.Is(err, errs.NotFound) && c.Token != "":
		n, err = Join(ctx, c.Config, c.Token)
	case errs.Is(err, errs.NotFound):
		n, err = Bootstrap(c.Config)
	}
	if err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	if err := n.Ready(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		if _, err := bufio.NewReader(os.Stdin).ReadString(0); err != nil {
			os.Exit(0)
		}
	}()
	for tick := time.NewTicker(5 * time.Millisecond); len(n.Voters()) != 3; {
		<-tick.C
	}
	if n.Leader() == n.ID() {
		fmt.Println("leading")
	}
	for i := range c.Updates {
		err := n.State().Update(ctx, func(w state.Writer) error {
			raw, _ := w.Get("sum/" + n.ID())
			sum, _ := strconv.Atoi(string(raw))
			w.Put("sum/"+n.ID(), []byte(strconv.Itoa(sum+1)))
			w.Put(fmt.Sprintf("step/%s/%d", n.ID(), i), nil)
			return nil
		})
		if err != nil {
			return err
		}
		fmt.Println("ack")
	}
	fmt.Println("done")
	select {}
}

// crowd is a few peers as processes, and what they have printed.
type crowd struct {
	c         *circle
	processes map[int]*exec.Cmd
	readers   sync.WaitGroup

	mu           sync.Mutex // guards the fields below
	acknowledged map[int]int
	said         map[string]bool // "ready 1", "done 2"
	leading      int
}

func newCrowd(c *circle) *crowd {
	w := &crowd{c: c, processes: map[int]*exec.Cmd{}, acknowledged: map[int]int{}, said: map[string]bool{}}
	c.t.Cleanup(func() {
		for _, cmd := range w.processes {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		w.readers.Wait()
	})
	return w
}

func (w *crowd) launch(i int, token string, updates int) {
	cfg := w.c.config(i)
	text, err := json.Marshal(childPeer{cfg, token, updates})
	must(w.c.t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	_, err = cmd.StdinPipe() // closed when this process ends, however it does
	must(w.c.t, err)
	out, err := cmd.StdoutPipe()
	must(w.c.t, err)
	must(w.c.t, cmd.Start())
	w.processes[i] = cmd
	w.readers.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			w.note(i, lines.Text())
		}
	})
}

func (w *crowd) note(i int, line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case line == "ack":
		w.acknowledged[i]++
	case line == "leading":
		w.leading = i
	case strings.HasPrefix(line, "error"):
		w.c.t.Errorf("p%d: %s", i, line)
	default:
		w.said[fmt.Sprint(line, " ", i)] = true
	}
}

func (w *crowd) wait(what string, is func() bool) {
	w.c.t.Helper()
	eventually(w.c.t, what, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return is() })
}

// A real kill -9 of the leader's process amid a thousand updates: what was acknowledged is there afterwards, each once.
func TestKillMinus9_LosesNothingAcknowledged(t *testing.T) {
	c := newCircle(t)
	w := newCrowd(c)
	const each = 334
	admin := func(i int) *AdminConn {
		a, err := DialAdmin(t.Context(), AdminFile(c.config(1).Dir), fmt.Sprintf("%s:%d", c.address(i), c.rpc))
		must(t, err)
		return a
	}
	w.launch(1, "", each)
	w.wait("the first peer is ready", func() bool { return w.said["ready 1"] })
	a := admin(1)
	for i := 2; i <= 3; i++ {
		token, err := a.CreateJoinToken(t.Context(), time.Minute)
		must(t, err)
		w.launch(i, token, each)
	}
	a.Close()
	w.wait("three hundred updates are acknowledged", func() bool {
		return w.leading > 0 && w.acknowledged[1]+w.acknowledged[2]+w.acknowledged[3] >= 300
	})
	killed := w.leading
	must(t, w.processes[killed].Process.Kill())
	_ = w.processes[killed].Wait()
	w.wait("the others are done", func() bool {
		return w.said[fmt.Sprint("done ", killed%3+1)] && w.said[fmt.Sprint("done ", (killed+1)%3+1)]
	})
	a = admin(killed%3 + 1)
	defer a.Close()
	must(t, a.State().Barrier(t.Context()))
	must(t, a.State().View(t.Context(), func(r state.Reader) error {
		for i := 1; i <= 3; i++ {
			raw, _ := r.Get(fmt.Sprintf("sum/p%d", i))
			sum, _ := strconv.Atoi(string(raw))
			steps := 0
			for range r.Scan(fmt.Sprintf("step/p%d/", i)) {
				steps++
			}
			w.mu.Lock()
			acked := w.acknowledged[i]
			w.mu.Unlock()
			// The one that was killed may have had one more under way.
			if sum != steps || sum < acked || sum > acked && (i != killed || sum > acked+1) {
				t.Errorf("p%d: %d acknowledged, %d counted, %d steps", i, acked, sum, steps)
			}
		}
		return nil
	}))
}
