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

// A body that comes slowly has no less time on a connection that another request has
// just used, whose answer was waited for briefly.
func TestSlowUploadOnAUsedConnection(t *testing.T) {
	peers := make(chan string, 2)
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: backends(serve(t, func(w http.ResponseWriter, r *http.Request) {
		peers <- r.RemoteAddr
		io.Copy(w, r.Body)
	}), "")})
	eventually(t, func() bool {
		get(t, http.DefaultClient, request("GET", w.url, nil))
		first := <-peers
		in, out := io.Pipe()
		go func() {
			time.Sleep(2 * brisk) // the client's own pace
			io.WriteString(out, "slow")
			out.Close()
		}()
		if status, b, _ := get(t, http.DefaultClient, request("POST", w.url, in)); status != 200 || b != "slow" {
			t.Fatalf("answer %d %q", status, b)
		}
		return <-peers == first
	}, "an upload on the connection of the request before")
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
	ctx, expire := context.WithCancel(context.Background())
	defer expire()
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
	expire() // the bound
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown with a tunnel that stays: %v", err)
	}
	if _, _, err := c.Read(context.Background()); err == nil {
		t.Error("the tunnel outlived the bound")
	}
}

// Versions that differ in their prompt alone are served at one address: each counts
// its own requests, so that the one drains while the other is busy there.
func TestDrainsAtOneAddress(t *testing.T) {
	arrived, finish := make(chan string, 2), map[string]chan struct{}{"/old": make(chan struct{}), "/new": make(chan struct{})}
	back := serve(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- r.URL.Path
		<-finish[r.URL.Path]
	})
	w := newWorld(t, Options{})
	inside := func(v release.VersionID) (n int64) {
		for _, f := range w.InFlight() {
			if f.Version == v {
				n += f.Count
			}
		}
		return n
	}
	var users sync.WaitGroup
	ask := func(path string) {
		users.Go(func() { get(t, http.DefaultClient, request("GET", w.url+path, nil)) })
		<-arrived
	}
	w.set(t, Routing{Split: shares(0), Backends: backends(back, back)})
	ask("/old")
	w.set(t, Routing{Split: shares(release.Full), Backends: backends(back, back)})
	ask("/new")
	if s, c := inside(stable), inside(canary); s != 1 || c != 1 {
		t.Errorf("stable has %d requests and canary %d, one each was sent to their address", s, c)
	}
	close(finish["/old"])
	eventually(t, func() bool { return inside(stable) == 0 }, "stable has drained")
	if c := inside(canary); c != 1 {
		t.Errorf("canary has %d requests, expected the one that is under way", c)
	}
	close(finish["/new"])
	users.Wait()
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
