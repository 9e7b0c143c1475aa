package console

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/internal/clock"
)

// bench is a console server with one guest whose screen greets and echoes.
func bench(t *testing.T) (address string, store *state.Memory, now *clock.Manual) {
	t.Helper()
	dir := t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, "s1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, "RFB 003.008\n")
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	store, now = state.NewMemory(), clock.NewManual(time.Now())
	srv := httptest.NewServer(New(Config{Store: store, Clock: now, Logger: slog.New(slog.DiscardHandler), Socket: func(_ context.Context, id string) (string, error) { return filepath.Join(dir, id), nil }}))
	t.Cleanup(srv.Close)
	return srv.URL, store, now
}

func admit(t *testing.T, store state.Store, server string, now time.Time) string {
	t.Helper()
	token := NewToken()
	if err := store.Update(t.Context(), func(w state.Writer) error { return Admit(w, token, model.Server{ID: server}, now) }); err != nil {
		t.Fatal(err)
	}
	return token
}

func dial(t *testing.T, address, token string, header http.Header) (*websocket.Conn, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ws, res, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(address, "http")+"/?token="+token, &websocket.DialOptions{HTTPHeader: header, Subprotocols: []string{"binary"}})
	if err != nil && res == nil {
		t.Fatal(err)
	}
	return ws, res.StatusCode
}

func TestConsole_OneTimeToken(t *testing.T) {
	address, store, now := bench(t)
	token := admit(t, store, "s1", now.Now())
	ws, _ := dial(t, address, token, nil)
	if ws == nil {
		t.Fatal("a good token was refused")
	}
	c := websocket.NetConn(t.Context(), ws, websocket.MessageBinary)
	buf := make([]byte, 12)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "RFB 003.008\n" {
		t.Errorf("greeting %q, %v", buf, err)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(c, buf[:5]); err != nil || string(buf[:5]) != "hello" {
		t.Errorf("echo %q, %v", buf[:5], err)
	}
	c.Close()
	for name, c := range map[string]struct {
		token  string
		header http.Header
		status int
	}{
		"used":           {token, nil, 403},
		"made up":        {NewToken(), nil, 403},
		"none":           {"", nil, 403},
		"another site":   {admit(t, store, "s1", now.Now()), http.Header{"Origin": {"http://evil.example"}}, 403},
		"not running":    {admit(t, store, "s2", now.Now()), nil, 502},
		"expired":        {admit(t, store, "s1", now.Now().Add(-time.Hour)), nil, 403},
		"from this page": {admit(t, store, "s1", now.Now()), http.Header{"Origin": {address}}, 101},
	} {
		ws, status := dial(t, address, c.token, c.header)
		if status != c.status {
			t.Errorf("%s: %d, want %d", name, status, c.status)
		}
		if ws != nil {
			ws.CloseNow()
		}
	}
}

func TestConsole_TokensAreBounded(t *testing.T) {
	_, store, now := bench(t)
	for range 3 * tokensPerGuestMax {
		admit(t, store, "s1", now.Now())
	}
	n := 0
	err := store.View(t.Context(), func(r state.Reader) error {
		for range model.Tokens.Where(r, "server", "s1") {
			n++
		}
		return nil
	})
	if err != nil || n > tokensPerGuestMax+1 {
		t.Errorf("%d tokens, %v", n, err)
	}
}

func TestConsole_Pages(t *testing.T) {
	address, _, _ := bench(t)
	for path, want := range map[string]string{"/vnc_lite.html?path=x": "noVNC", "/vnc_auto.html": "noVNC", "/console.js": "novnc/core/rfb.js"} {
		res, err := http.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !strings.Contains(string(raw), want) {
			t.Errorf("%s: %d %s, %v", path, res.StatusCode, raw, err)
		}
		if Bundled() && res.StatusCode != 200 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}
