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

// A real kill -9 of the leader's process amid a thousand updates: what was acknowledged is there afterwards, each once.
func TestKillMinus9_LosesNothingAcknowledged(t *testing.T) {
	c := newCircle(t)
	const each = 334
	var mu sync.Mutex
	acknowledged, leading, done := map[int]int{}, 0, map[int]bool{}
	children := map[int]*exec.Cmd{}
	read := func(what func() bool) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return what() }
	}
	ready := map[int]bool{}
	var readers sync.WaitGroup
	launch := func(i int, token string) {
		cfg := c.config(i)
		cfg.Logger = nil
		text, err := json.Marshal(childPeer{cfg, token, each})
		must(t, err)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+string(text))
		_, err = cmd.StdinPipe() // closed when this process ends, however it does
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		children[i] = cmd
		readers.Go(func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				mu.Lock()
				switch line := lines.Text(); {
				case line == "ack":
					acknowledged[i]++
				case line == "leading":
					leading = i
				case line == "ready":
					ready[i] = true
				case line == "done":
					done[i] = true
				case strings.HasPrefix(line, "error"):
					t.Errorf("p%d: %s", i, line)
				}
				mu.Unlock()
			}
		})
	}
	t.Cleanup(func() {
		for _, cmd := range children {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		readers.Wait()
	})
	admin := func(i int) *AdminConn {
		a, err := DialAdmin(t.Context(), AdminFile(c.config(1).Dir), fmt.Sprintf("%s:%d", c.address(i), c.rpc))
		must(t, err)
		return a
	}
	launch(1, "")
	eventually(t, "the first peer is ready", read(func() bool { return ready[1] }))
	a := admin(1)
	for i := 2; i <= 3; i++ {
		token, err := a.CreateJoinToken(t.Context(), time.Minute)
		must(t, err)
		launch(i, token)
	}
	a.Close()
	eventually(t, "three hundred updates are acknowledged", read(func() bool {
		return leading > 0 && acknowledged[1]+acknowledged[2]+acknowledged[3] >= 300
	}))
	must(t, children[leading].Process.Kill())
	_ = children[leading].Wait()
	eventually(t, "the others are done", read(func() bool { return len(done) >= 2 }))

	a = admin(leading%3 + 1)
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
			mu.Lock()
			acked := acknowledged[i]
			mu.Unlock()
			// The one that was killed may have had one more under way.
			if sum != steps || sum < acked || sum > acked && (i != leading || sum > acked+1) {
				t.Errorf("p%d: %d acknowledged, %d counted, %d steps", i, acked, sum, steps)
			}
		}
		return nil
	}))
}
