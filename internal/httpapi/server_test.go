package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"henge/internal/limits"
)

func start(t *testing.T, cfg Config) string {
	t.Helper()
	cfg.Name, cfg.Logger = "test", slog.New(slog.DiscardHandler)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(cfg)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func TestServe_GivesEachRequestAnID(t *testing.T) {
	addr := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, RequestID(r.Context())) })})
	form := regexp.MustCompile(`^tx[0-9a-f]{21}-[0-9a-f]{10}$`)
	seen := map[string]bool{}
	for range 3 {
		resp, err := http.Get("http://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !form.Match(id) || seen[string(id)] {
			t.Fatalf("request id %q", id)
		}
		seen[string(id)] = true
	}
}

func TestServe_SaysContinueAlsoWhenThereIsNoBody(t *testing.T) {
	addr := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "PUT /o HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n")
	from := bufio.NewReader(conn)
	for _, want := range []int{http.StatusContinue, http.StatusCreated} {
		resp, err := http.ReadResponse(from, nil)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%v, %v; want %d", resp, err, want)
		}
	}
}

func TestServe_RefusesTooManyHeaders(t *testing.T) {
	addr := start(t, Config{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("handled") })})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", strings.Repeat("a: b\r\n", limits.HeaderCountMax+1))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Fatalf("status %d", resp.StatusCode)
	}
}

func TestServe_AnswersAfterAPanic(t *testing.T) {
	observed := make(chan int, 1)
	addr := start(t, Config{
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken") }),
		Observe: func(r Request) { observed <- r.Status },
	})
	resp, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := <-observed; resp.StatusCode != http.StatusInternalServerError || got != resp.StatusCode {
		t.Fatalf("status %d, observed %d", resp.StatusCode, got)
	}
}

func TestServe_CutsOffAnAnswerThatPanickedHalfWay(t *testing.T) {
	addr := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	})})
	resp, err := http.Get("http://" + addr)
	if err != nil {
		return // cut off before the header was sent: as good
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Fatal("half an answer looked whole")
	}
}

func TestServe_BoundsRequestsUnderWay(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{}, 2)
	addr := start(t, Config{RequestsMax: 1, QueueWait: 10 * time.Millisecond, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-hold
	})})
	results := make(chan int, 2)
	get := func() {
		resp, err := http.Get("http://" + addr)
		if err != nil {
			results <- 0
			return
		}
		resp.Body.Close()
		results <- resp.StatusCode
	}
	go get()
	<-entered
	go get()
	select {
	case <-entered:
		t.Fatal("two requests under way at once")
	case status := <-results:
		if status != http.StatusServiceUnavailable {
			t.Fatalf("status %d", status)
		}
	}
	close(hold)
	if status := <-results; status != http.StatusOK {
		t.Fatalf("the first request ended with %d", status)
	}
}
