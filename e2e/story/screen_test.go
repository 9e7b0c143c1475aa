package story

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/remoteconsoles"
)

// screen looks at a guest's screen, as noVNC does: by the address that the API gives, which serves once.
func (g *guest) screen() {
	g.Helper()
	console, err := remoteconsoles.Create(g.Context(), g.compute, g.id, remoteconsoles.CreateOpts{Protocol: remoteconsoles.ConsoleProtocolVNC, Type: remoteconsoles.ConsoleTypeNoVNC}).Extract()
	must(g.T, err)
	page, err := url.Parse(console.URL)
	must(g.T, err)
	door := &url.URL{Scheme: "ws", Host: page.Host, Path: "/"}
	_, door.RawQuery, _ = strings.Cut(page.Query().Get("path"), "?")
	ctx, cancel := context.WithTimeout(g.Context(), time.Minute)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, door.String(), &websocket.DialOptions{Subprotocols: []string{"binary"}})
	must(g.T, err)
	ws.SetReadLimit(8 << 20)
	conn := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	defer conn.Close()
	width, height, name := g.greetScreen(conn)
	if width < 320 || height < 200 || !strings.Contains(name, g.id) {
		g.Errorf("a screen of %d x %d, %q", width, height, name)
	}
	if pixels := g.picture(conn, width, height); len(bytes.Trim(pixels, "\x00")) == 0 {
		g.Error("the screen is black")
	}
	_, answer, err := websocket.Dial(ctx, door.String(), nil)
	if err == nil || answer == nil || answer.StatusCode != http.StatusForbidden {
		g.Errorf("the address served twice: %v", err)
	}
}

// greetScreen goes through the handshake of RFB 3.8 (RFC 6143).
func (g *guest) greetScreen(conn net.Conn) (width, height uint16, name string) {
	g.Helper()
	if version := g.take(conn, 12); string(version) != "RFB 003.008\n" {
		g.Fatalf("not a screen: %q", version)
	}
	g.send(conn, []byte("RFB 003.008\n"))
	kinds := g.take(conn, int(g.take(conn, 1)[0]))
	if !bytes.Contains(kinds, []byte{1}) {
		g.Fatalf("security types %v, without None", kinds)
	}
	g.send(conn, []byte{1})
	if result := g.take(conn, 4); !bytes.Equal(result, make([]byte, 4)) {
		g.Fatalf("the screen refuses: %v", result)
	}
	g.send(conn, []byte{1}) // others may look, too
	head := g.take(conn, 24)
	name = string(g.take(conn, int(binary.BigEndian.Uint32(head[20:]))))
	return binary.BigEndian.Uint16(head), binary.BigEndian.Uint16(head[2:]), name
}

// picture asks for the screen as raw pixels of four bytes, and reads the first update.
func (g *guest) picture(conn net.Conn, width, height uint16) (pixels []byte) {
	g.Helper()
	g.send(conn, []byte{2, 0, 0, 1, 0, 0, 0, 0}) // SetEncodings: raw
	ask := []byte{3, 0, 0, 0, 0, 0}              // FramebufferUpdateRequest: all of it
	g.send(conn, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(ask, width), height))
	head := g.take(conn, 4)
	if head[0] != 0 {
		g.Fatalf("not an update of the screen: message %d", head[0])
	}
	for range binary.BigEndian.Uint16(head[2:]) {
		rect := g.take(conn, 12)
		pixels = append(pixels, g.take(conn, int(binary.BigEndian.Uint16(rect[4:]))*int(binary.BigEndian.Uint16(rect[6:]))*4)...)
	}
	return pixels
}

func (g *guest) take(conn net.Conn, n int) []byte {
	g.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(conn, b)
	must(g.T, err)
	return b
}

func (g *guest) send(conn net.Conn, b []byte) {
	g.Helper()
	_, err := conn.Write(b)
	must(g.T, err)
}
