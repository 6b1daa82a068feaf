package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/haldane-project/haldane/internal/release"
)

// h2cServer is a backend that speaks HTTP/2 without TLS.
func h2cServer(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return "h2c://" + s.Listener.Addr().String()
}

func h2cClient() *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: tr}
}

// everyPath runs a test for both protocols on both sides.
func everyPath(t *testing.T, h http.HandlerFunc, test func(t *testing.T, w *world, c *http.Client)) {
	for name, back := range map[string]func(testing.TB, http.HandlerFunc) string{"h1": serve, "h2": h2cServer} {
		for front, c := range map[string]*http.Client{"h1": {Transport: &http.Transport{}}, "h2": h2cClient()} {
			t.Run(front+" to "+name, func(t *testing.T) {
				w := newWorld(t, Options{})
				w.set(t, Routing{Split: shares(0), Backends: backends(back(t, h), "")})
				test(t, w, c)
				c.CloseIdleConnections()
			})
		}
	}
}

func TestServerSentEvents(t *testing.T) {
	next := make(chan string)
	everyPath(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for e := range next {
			if e == "" {
				return
			}
			io.WriteString(w, e)
			w.(http.Flusher).Flush()
		}
	}, func(t *testing.T, w *world, c *http.Client) {
		res, err := c.Get(w.url) // returns once the header came, before any event
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		r := bufio.NewReader(res.Body)
		for i := range 5 {
			event := fmt.Sprintf("data: %d\n", i)
			next <- event // is not sent before the one before it was read
			if got, err := r.ReadString('\n'); got != event {
				t.Fatalf("event %q, %v: want %q", got, err, event)
			}
		}
		next <- ""
		if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
			t.Errorf("after the last event: %q, %v", rest, err)
		}
	})
}

func TestStreamingBothWays(t *testing.T) {
	everyPath(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		b := make([]byte, 100)
		for {
			n, err := r.Body.Read(b)
			w.Write(b[:n])
			w.(http.Flusher).Flush()
			if err != nil {
				return
			}
		}
	}, func(t *testing.T, w *world, c *http.Client) {
		in, out := io.Pipe()
		res, err := c.Post(w.url, "application/octet-stream", in)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		r := bufio.NewReader(res.Body)
		for i := range 20 {
			line := fmt.Sprintf("line %d\n", i)
			io.WriteString(out, line)
			if got, err := r.ReadString('\n'); got != line {
				t.Fatalf("%q came back, %v: want %q", got, err, line)
			}
		}
		out.Close()
		if _, err := io.ReadAll(r); err != nil {
			t.Error(err)
		}
	})
}

func TestBodiesAndTrailers(t *testing.T) {
	everyPath(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		w.Header().Set("Trailer", "X-Announced")
		w.Header().Set("X-Request-Trailer", r.Trailer.Get("X-Sum"))
		w.Write(b)
		w.Header().Set("X-Announced", "1")
		w.Header().Set(http.TrailerPrefix+"X-Late", "2")
		w.Header().Set(http.TrailerPrefix+"X-Forwarded-For", "6.6.6.6")
	}, func(t *testing.T, w *world, c *http.Client) {
		for _, size := range []int{0, 1, 100, smallBody, smallBody + 1, 1 << 20} {
			for _, known := range []bool{true, false} {
				body := make([]byte, size)
				rand.Read(body)
				var src io.Reader = bytes.NewReader(body)
				if !known {
					src = struct{ io.Reader }{src}
				}
				r := request("POST", w.url, src)
				if !known {
					r.Trailer = http.Header{"X-Sum": {"42"}}
				}
				res, err := c.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || !bytes.Equal(got, body) {
					t.Fatalf("%d bytes, length known %v: %d came back, %v", size, known, len(got), err)
				}
				if !known && res.Header.Get("X-Request-Trailer") != "42" {
					t.Errorf("%d bytes: the request's trailer did not arrive", size)
				}
				tr := res.Trailer
				if tr.Get("X-Announced") != "1" || tr.Get("X-Late") != "2" || tr.Get("X-Forwarded-For") != "" {
					t.Errorf("%d bytes: trailer %v", size, tr)
				}
			}
		}
	})
}

// An answer that comes before the request's end is passed on at once, and the
// client is not made to send the rest.
func TestEarlyAnswer(t *testing.T) {
	everyPath(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}, func(t *testing.T, w *world, c *http.Client) {
		in, out := io.Pipe()
		defer out.Close()
		go io.WriteString(out, "begin")
		res, err := c.Post(w.url, "text/plain", in)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d", res.StatusCode)
		}
		if o := w.seen.wait(t, 1)[0]; o.Outcome != release.OK {
			t.Errorf("observation %+v", o)
		}
		eventually(t, func() bool { return w.InFlight()[1].Count == 0 }, "nothing in flight")
	})
}

func TestAnswersWithoutBody(t *testing.T) {
	everyPath(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(304)
		case "/head":
			w.Header().Set("Content-Length", "1234")
		}
	}, func(t *testing.T, w *world, c *http.Client) {
		for range 3 {
			if s, b, _ := get(t, c, request("GET", w.url+"/204", nil)); s != 204 || b != "" {
				t.Errorf("%d %q", s, b)
			}
			if s, _, h := get(t, c, request("GET", w.url+"/304", nil)); s != 304 || h.Get("Etag") != `"x"` {
				t.Errorf("%d %v", s, h)
			}
			if s, b, h := get(t, c, request("HEAD", w.url+"/head", nil)); s != 200 || b != "" || h.Get("Content-Length") != "1234" {
				t.Errorf("%d %q %v", s, b, h)
			}
		}
	})
}

func TestEarlyHints(t *testing.T) {
	everyPath(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		io.WriteString(w, "done")
	}, func(t *testing.T, w *world, c *http.Client) {
		hinted := &recorderOfHints{}
		r := request("GET", w.url, nil)
		status, body, h := get(t, c, r.WithContext(hinted.trace(r.Context())))
		if status != 200 || body != "done" || h.Get("Link") != "" || hinted.link != "</a.css>; rel=preload" {
			t.Errorf("%d %q, Link %q, hinted %q", status, body, h.Get("Link"), hinted.link)
		}
	})
}

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

// Shutdown lets requests and tunnels end, and bounds the wait.
func TestShutdownDrains(t *testing.T) {
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	back := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer c.CloseNow()
			arrived <- struct{}{}
			c.Read(r.Context())
			return
		}
		arrived <- struct{}{}
		<-release
		io.WriteString(w, "whole")
	})
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: backends(back, "")})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, b, _ := get(t, http.DefaultClient, request("GET", w.url, nil)); b != "whole" {
			t.Errorf("answer %q", b)
		}
	})
	c, _, err := websocket.Dial(context.Background(), "ws://"+w.addr+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	<-arrived
	<-arrived
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.Shutdown(ctx) }()
	eventually(t, func() bool {
		c, err := net.Dial("tcp", w.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	}, "the listener closed")
	close(release)
	wg.Wait()
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown with a tunnel that stays: %v", err)
	}
	if _, _, err := c.Read(context.Background()); err == nil {
		t.Error("the tunnel outlived the bound")
	}
}

// A change of timeouts puts a new server behind the listener; Shutdown drains
// the requests of the former one as well.
func TestFormerServerDrains(t *testing.T) {
	arrived, finish := make(chan struct{}), make(chan struct{})
	back := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-finish
		io.WriteString(w, "whole")
	})
	w := newWorld(t, Options{})
	r := Routing{Split: shares(0), Backends: backends(back, "")}
	w.set(t, r)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, b, _ := get(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, request("GET", w.url, nil)); b != "whole" {
			t.Errorf("answer %q", b)
		}
	})
	<-arrived
	r.Config.Timeouts.Header = time.Second
	w.set(t, r)
	ended := make(chan error, 1)
	go func() { ended <- w.Shutdown(context.Background()) }()
	select {
	case err := <-ended:
		t.Errorf("Shutdown returned %v with a request under way", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(finish)
	wg.Wait()
	if err := <-ended; err != nil {
		t.Error(err)
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

// scripted is a backend that reads a request header and answers these bytes on
// every connection, then closes it.
func scripted(t testing.TB, answer string) string {
	return raw(t, func(c net.Conn, r *bufio.Reader) { io.WriteString(c, answer) })
}

// raw is a backend that does as it likes with a connection once a request
// header came.
func raw(t testing.TB, do func(c net.Conn, r *bufio.Reader)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				if _, err := http.ReadRequest(r); err == nil {
					do(c, r)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// newIdleServer closes connections that were idle for d.
func newIdleServer(t testing.TB, d time.Duration) string {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	s.Config.IdleTimeout = d
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}
