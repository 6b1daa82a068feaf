package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/haldane-project/haldane/internal/release"
)

func TestWebSocket(t *testing.T) {
	back := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(32 << 20)
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, b); err != nil {
				return
			}
		}
	})
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: backends(back, "")})
	ctx := context.Background()
	c, res, err := websocket.Dial(ctx, "ws://"+w.addr+"/chat", &websocket.DialOptions{Subprotocols: []string{"echo"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if res.Header.Get("Sec-WebSocket-Protocol") != "echo" {
		t.Errorf("answer header %v", res.Header)
	}
	c.SetReadLimit(32 << 20)
	for _, size := range []int{0, 1, 125, 126, 65536, 1 << 20} {
		message := make([]byte, size)
		rand.Read(message)
		done := make(chan error, 1)
		go func() { done <- c.Write(ctx, websocket.MessageBinary, message) }()
		_, got, err := c.Read(ctx)
		if err != nil || !bytes.Equal(got, message) {
			t.Fatalf("message of %d bytes: %d came back, %v", size, len(got), err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if n := w.InFlight()[0].Count; n != 1 {
		t.Errorf("%d in flight with one tunnel open", n)
	}
	c.Close(websocket.StatusNormalClosure, "")
	o := w.seen.wait(t, 1)[0]
	if o.Status != 101 || o.Outcome != release.OK || o.Out < 1<<20 || o.In < 1<<20 {
		t.Errorf("observation %+v", o)
	}
}

// Bytes that a client sends right behind its upgrade request reach the
// instance, and a half that ends is passed on.
func TestTunnelEarlyDataAndHalfClose(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		http.ReadRequest(r)
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
		b, _ := io.ReadAll(r)
		got <- string(b)
		io.WriteString(c, " bye")
	}()
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: backends("http://"+l.Addr().String(), "")})
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, h("GET / HTTP/1.1", host, "Connection: keep-alive, Upgrade", "Upgrade: WebSocket")+"early")
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	io.WriteString(c, " late")
	c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(r); string(b) != "hello bye" {
		t.Errorf("the client got %q, %v", b, err)
	}
	if s := <-got; s != "early late" {
		t.Errorf("the instance got %q", s)
	}
}

func TestUpgradeThatIsRefused(t *testing.T) {
	for name, answer := range map[string]string{
		"200":            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
		"426":            "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno",
		"101 to h2c":     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
		"101 to nothing": "HTTP/1.1 101 Switching Protocols\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			w.set(t, Routing{Split: shares(0), Backends: backends("http://"+scripted(t, answer), "")})
			status, _, _ := get(t, http.DefaultClient, request("GET", w.url, nil, "Connection", "Upgrade", "Upgrade", "websocket"))
			o := w.seen.wait(t, 1)[0]
			if strings.HasPrefix(name, "101") {
				if status != 502 || o.Outcome != release.Failed || o.Cause != causeBad {
					t.Errorf("status %d, observation %+v: want a bad answer", status, o)
				}
			} else if fmt.Sprint(status) != name || o.Outcome != release.OK {
				t.Errorf("status %d, observation %+v", status, o)
			}
		})
	}
}

// A 101 that nobody asked for is not taken for one.
func TestUnwantedUpgrade(t *testing.T) {
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: backends("http://"+scripted(t, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), "")})
	if status, _, _ := get(t, http.DefaultClient, request("GET", w.url, nil)); status != 502 {
		t.Errorf("status %d", status)
	}
}

// A tunnel whose instance resets it is the instance's failure.
func TestTunnelReset(t *testing.T) {
	back := raw(t, func(c net.Conn, r *bufio.Reader) {
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		r.ReadByte()
		reset(c)
	})
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: backends("http://"+back, "")})
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, h("GET / HTTP/1.1", host, "Connection: Upgrade", "Upgrade: websocket")+"x")
	io.Copy(io.Discard, c)
	if o := w.seen.wait(t, 1)[0]; o.Outcome != release.Failed || o.Cause != causeReset {
		t.Errorf("observation %+v", o)
	}
}
