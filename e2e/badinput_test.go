package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"henge/e2e/henged"
	"henge/internal/limits"
)

// token logs in by password and gives a token and the storage URL.
func token(t *testing.T, c *henged.Cloud) (id, storage string) {
	t.Helper()
	env := c.Environment
	body, err := json.Marshal(map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": map[string]any{
			"name": env["OS_USERNAME"], "password": env["OS_PASSWORD"], "domain": map[string]string{"name": "Default"}}}},
		"scope": map[string]any{"project": map[string]any{"name": env["OS_PROJECT_NAME"], "domain": map[string]string{"name": "Default"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(env["OS_AUTH_URL"]+"/auth/tokens", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token struct{ Project struct{ ID string } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	return resp.Header.Get("X-Subject-Token"), c.ObjectURL(1) + "/v1/AUTH_" + answer.Token.Project.ID
}

// request sends one request as it is given and reads the whole answer.
func request(t *testing.T, method, url string, body io.Reader, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func TestBadInput_Swift(t *testing.T) {
	c := sharedCloud(t, 1)
	id, storage := token(t, c)
	if status, text, _ := request(t, "PUT", storage+"/bad", nil, "X-Auth-Token", id); status != http.StatusCreated {
		t.Fatal(status, text)
	}
	for _, b := range []struct {
		name, method, path, body string
		header                   []string
		want                     int
	}{
		{"no token", "GET", "", "", []string{"X-Auth-Token", ""}, 401},
		{"a made up token", "GET", "", "", []string{"X-Auth-Token", "gAAAAABmade-up"}, 401},
		{"a changed token", "GET", "", "", []string{"X-Auth-Token", id[:len(id)-4] + "AAAA"}, 401},
		{"an account of our own", "GET", "/../.multipart_AUTH_other", "", nil, 403},
		{"a wrong ETag", "PUT", "/bad/o", "hello", []string{"Etag", "00000000000000000000000000000000"}, 422},
		{"an object's name too long", "PUT", "/bad/" + strings.Repeat("n", limits.ObjectNameBytesMax+1), "x", nil, 400},
		{"a container's name too long", "PUT", "/" + strings.Repeat("n", limits.ContainerNameBytesMax+1), "", nil, 400},
		{"a name that is not UTF-8", "PUT", "/bad/%ff%fe", "x", nil, 412},
		{"no such container", "PUT", "/nowhere/o", "x", nil, 404},
		{"too long metadata", "PUT", "/bad/o", "x", []string{"X-Object-Meta-A", strings.Repeat("v", limits.MetaValueBytesMax+1)}, 400},
		{"a bad limit", "GET", "/bad?limit=1000000", "", nil, 412},
		{"a delete time that is no number", "PUT", "/bad/o", "x", []string{"X-Delete-At", "soon"}, 400},
		{"a manifest that is no JSON", "PUT", "/bad/o?multipart-manifest=put", "{{{", nil, 400},
		{"a method that is none", "FROB", "/bad", "", nil, 405},
		{"a source that is not there", "PUT", "/bad/o", "", []string{"X-Copy-From", "/nowhere/x"}, 404},
	} {
		t.Run(b.name, func(t *testing.T) {
			url := strings.Replace(storage+b.path, storage+"/../", c.ObjectURL(1)+"/v1/", 1)
			status, text, _ := request(t, b.method, url, strings.NewReader(b.body), append([]string{"X-Auth-Token", id}, b.header...)...)
			if status != b.want {
				t.Errorf("%d, want %d: %s", status, b.want, text)
			}
		})
	}
	if status, text, _ := request(t, "GET", storage+"/bad", nil, "X-Auth-Token", id); status != http.StatusNoContent && strings.TrimSpace(text) != "" {
		t.Errorf("something of it is visible: %d %q", status, text)
	}
}

// raw sends bytes as they are and gives the status of the answer; 0 when the connection ended without one.
func raw(t *testing.T, c *henged.Cloud, port int, closeWrite bool, parts ...string) int {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort(c.Address(1), fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if _, err := io.WriteString(conn, p); err != nil {
			break // refused before it was all sent: the answer tells
		}
	}
	if closeWrite {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestBadInput_Connections(t *testing.T) {
	c := sharedCloud(t, 1)
	id, storage := token(t, c)
	if status, text, _ := request(t, "PUT", storage+"/cut", nil, "X-Auth-Token", id); status != http.StatusCreated {
		t.Fatal(status, text)
	}
	path := strings.TrimPrefix(storage, c.ObjectURL(1))
	head := fmt.Sprintf("PUT %s/cut/short HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\n", path, id)
	if status := raw(t, c, c.Ports.Object, true, head+"Content-Length: 100000\r\n\r\n", "only this"); status != 0 && status != 499 && status != 408 && status != 400 {
		t.Errorf("a body shorter than its Content-Length: %d", status)
	}
	if status := raw(t, c, c.Ports.Object, true, head+"Transfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n"); status/100 == 2 {
		t.Errorf("chunks without an end: %d", status)
	}
	if status := raw(t, c, c.Ports.Object, true, head+"Transfer-Encoding: chunked\r\n\r\n", "zz\r\nhello\r\n"); status/100 == 2 {
		t.Errorf("a chunk of no size: %d", status)
	}
	for _, port := range []int{c.Ports.Object, c.Ports.Identity} {
		bomb := "GET /v3 HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 2000) + "\r\n"
		if status := raw(t, c, port, false, bomb); status != 431 && status != 400 && status != 0 {
			t.Errorf("a header bomb: %d", status)
		}
		if status := raw(t, c, port, true, "\x16\x03\x01 this is not HTTP\r\n\r\n"); status != 400 && status != 0 {
			t.Errorf("garbage: %d", status)
		}
	}
	if status, text, _ := request(t, "HEAD", storage+"/cut/short", nil, "X-Auth-Token", id); status != http.StatusNotFound {
		t.Errorf("part of a write shows: %d %s", status, text)
	}
}

func TestBadInput_Identity(t *testing.T) {
	c := sharedCloud(t, 1)
	url := c.Environment["OS_AUTH_URL"]
	deep := strings.Repeat(`{"a":`, 100_000)
	for name, body := range map[string]string{
		"nothing": "", "not JSON": "{", "null": "null", "a list": "[]", "a number": "1", "an empty object": "{}", "very deep": deep, "wrong types": `{"auth":{"identity":{"methods":"password"}}}`,
		"no method": `{"auth":{"identity":{"methods":[]}}}`, "an unknown method": `{"auth":{"identity":{"methods":["magic"],"magic":{}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			status, text, _ := request(t, "POST", url+"/auth/tokens", strings.NewReader(body), "Content-Type", "application/json")
			if status < 400 || status >= 500 {
				t.Errorf("%d %.200s", status, text)
			}
			var fault struct {
				Error struct {
					Code    int
					Message string
				}
			}
			if err := json.Unmarshal([]byte(text), &fault); err != nil || fault.Error.Code != status || fault.Error.Message == "" {
				t.Errorf("not Keystone's form: %.200s", text)
			}
		})
	}
	status, _, _ := request(t, "POST", url+"/auth/tokens", io.LimitReader(zeros{}, 50<<20), "Content-Type", "application/json")
	if status != 413 && status != 400 {
		t.Errorf("a huge body: %d", status)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func TestPeers_AnswerNobodyWithoutACertificate(t *testing.T) {
	c := sharedCloud(t, 1)
	// curl without a certificate of the cluster: the handshake must fail, whatever it asks for.
	if out, err := tryClient(c, c.Dir, "curl", "-sk", "--max-time", "10", fmt.Sprintf("https://127.0.0.1:%d/", c.Ports.Peers)); err == nil {
		t.Errorf("it was answered: %s", out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", c.Ports.Gossip))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(bytes.Repeat([]byte{6}, 512)); err != nil {
		return
	}
	// It may say something, but only sealed with a key that a stranger does not have: memberlist's message type 10.
	answer := make([]byte, 100)
	if n, err := conn.Read(answer); err == nil && n > 0 && answer[0] != 10 {
		t.Errorf("gossip answered a stranger in the clear: %q", answer[:n])
	}
}
