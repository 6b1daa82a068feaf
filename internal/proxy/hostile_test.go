package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/haldane-project/haldane/internal/release"
)

// endless writes a piece again and again until the peer has had enough.
func endless(c net.Conn, head, piece string) {
	io.WriteString(c, head)
	for {
		if _, err := io.WriteString(c, piece); err != nil {
			return
		}
	}
}

func reset(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }

func hang(r *bufio.Reader) { io.Copy(io.Discard, r) }

// hostile are versions that attack the proxy. early: the failure is seen before
// the first byte, so that stable answers.
var hostile = []struct {
	name  string
	early bool
	do    func(c net.Conn, r *bufio.Reader)
}{
	{"closes", true, func(c net.Conn, r *bufio.Reader) {}},
	{"resets", true, func(c net.Conn, r *bufio.Reader) { reset(c) }},
	{"garbage", true, say("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")},
	{"HTTP/0.9", true, say("<html>hello</html>")},
	{"no status code", true, say("HTTP/1.1 \r\n\r\n")},
	{"status of two digits", true, say("HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n")},
	{"negative status", true, say("HTTP/1.1 -20 Low\r\nContent-Length: 0\r\n\r\n")},
	{"HTTP/9.9", true, say("HTTP/x.y 200 OK\r\n\r\n")},
	{"endless status line", true, func(c net.Conn, r *bufio.Reader) { endless(c, "HTTP/1.1 200 ", strings.Repeat("a", 1000)) }},
	{"endless header line", true, func(c net.Conn, r *bufio.Reader) {
		endless(c, "HTTP/1.1 200 OK\r\nX: ", strings.Repeat("a", 1000))
	}},
	{"endless header fields", true, func(c net.Conn, r *bufio.Reader) { endless(c, "HTTP/1.1 200 OK\r\n", "X-A: b\r\n") }},
	{"endless folding", true, func(c net.Conn, r *bufio.Reader) { endless(c, "HTTP/1.1 200 OK\r\nX: a\r\n", " b\r\n") }},
	{"endless interim answers", true, func(c net.Conn, r *bufio.Reader) {
		endless(c, "", "HTTP/1.1 102 Processing\r\n\r\n")
	}},
	{"endless 100", true, func(c net.Conn, r *bufio.Reader) { endless(c, "", "HTTP/1.1 100 Continue\r\n\r\n") }},
	{"field without a colon", true, say("HTTP/1.1 200 OK\r\nno colon\r\n\r\n")},
	{"empty field name", true, say("HTTP/1.1 200 OK\r\n: x\r\n\r\n")},
	{"NUL in a field", true, say("HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n")},
	{"line feed by carriage return", true, say("HTTP/1.1 200 OK\r\nX-A: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n")},
	{"negative length", true, say("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")},
	{"length in words", true, say("HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n")},
	{"two lengths", true, say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")},
	{"unknown coding", true, say("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab")},
	{"coding twice", true, say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n")},
	{"101 unasked", true, say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")},
	{"half a header, then silence", true, func(c net.Conn, r *bufio.Reader) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nX-A")
		hang(r)
	}},
	{"silence", true, func(c net.Conn, r *bufio.Reader) { hang(r) }},
	{"short body", true, say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")},
	{"short body of a long answer", false, say("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc")},
	{"reset within the body", false, func(c net.Conn, r *bufio.Reader) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc")
		reset(c)
	}},
	{"bad chunk size", false, say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc")},
	{"chunk size of 17 digits", false, say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nabc")},
	{"chunks without an end", false, say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")},
	{"endless chunk extension", false, func(c net.Conn, r *bufio.Reader) {
		endless(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "aaaaaaaa")
	}},
	{"endless tiny chunks with extensions", false, func(c net.Conn, r *bufio.Reader) {
		endless(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1;"+strings.Repeat("a", 2000)+"\r\na\r\n")
	}},
	{"endless trailer", false, func(c net.Conn, r *bufio.Reader) {
		endless(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-A: b\r\n")
	}},
}

func say(s string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, _ *bufio.Reader) { io.WriteString(c, s) }
}

func TestHostileVersions(t *testing.T) {
	good := serve(t, named("s"))
	for _, k := range hostile {
		t.Run(k.name, func(t *testing.T) {
			meetHostile(t, good, "http://"+raw(t, k.do), k.early, strings.HasSuffix(k.name, silence))
		})
	}
}

// silence is how the names end of what a proxy notices by its timeout alone.
const silence = "silence"

// meetHostile sends a request that a hostile canary gets first, then one for stable.
// Only what is silent is timed: of the others none must be a matter of time.
func meetHostile(t *testing.T, good, bad string, early, silent bool) {
	w := newWorld(t, Options{})
	r := Routing{
		Config: release.Embedded{
			Shield:   release.Shield{Enabled: true},
			Timeouts: release.Timeouts{Response: patience},
		},
		Split: shares(release.Full), Backends: backends(good, bad),
	}
	if silent {
		r.Config.Timeouts.Response = 2 * time.Second
	}
	w.set(t, r)
	c := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer c.CloseIdleConnections()
	res, err := c.Get(w.url)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if early && (err != nil || string(body) != "s") {
		t.Errorf("answer %q, %v: want stable's", body, err)
	}
	if !early && err == nil {
		t.Errorf("an answer that broke off was taken for a whole one: %d bytes", len(body))
	}
	o := w.seen.wait(t, 1)[0]
	if o.Version != canary || o.Outcome != release.Failed || o.Shielded != early {
		t.Errorf("observation %+v: want the canary blamed", o)
	}
	r.Split = shares(0)
	w.set(t, r)
	if _, b, _ := get(t, c, request("GET", w.url, nil)); b != "s" {
		t.Errorf("then stable answered %q", b)
	}
}

// Bytes beyond an answer must never become part of another one.
func TestNoPoisonedConnections(t *testing.T) {
	for name, extra := range map[string]string{
		"long body":           "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
		"body behind 204":     "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
		"length and chunks":   "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
		"answer to a HEAD":    "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
		"answer out of order": "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
	} {
		t.Run(name, func(t *testing.T) {
			back := raw(t, func(c net.Conn, r *bufio.Reader) {
				for {
					io.WriteString(c, extra)
					if _, err := http.ReadRequest(r); err != nil {
						return
					}
				}
			})
			w := newWorld(t, Options{})
			w.set(t, Routing{Split: shares(0), Backends: backends("http://"+back, "")})
			method := "GET"
			if strings.Contains(name, "HEAD") {
				method = "HEAD"
			}
			for range 10 {
				res, err := http.DefaultClient.Do(request(method, w.url, nil))
				if err != nil {
					continue // an error is an answer that poisons nobody
				}
				b, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if strings.Contains(string(b), "poison") {
					t.Fatal("a client got an answer that was not to its request")
				}
			}
		})
	}
}

// framer plays an HTTP/2 server by hand.
func framer(t *testing.T, do func(f *http2.Framer, c net.Conn)) string {
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
				preface := make([]byte, len(http2.ClientPreface))
				if _, err := io.ReadFull(c, preface); err != nil {
					return
				}
				do(http2.NewFramer(c, c), c)
			}()
		}
	}()
	return "h2c://" + l.Addr().String()
}

// headersOf reads frames until a request's header comes.
func headersOf(f *http2.Framer) uint32 {
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return 0
		}
		if h, ok := fr.(*http2.HeadersFrame); ok {
			return h.StreamID
		}
	}
}

func block(fields ...string) []byte {
	var b strings.Builder
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return []byte(b.String())
}

func TestHostileHTTP2Versions(t *testing.T) {
	good := serve(t, named("s"))
	answer := func(f *http2.Framer, id uint32, end bool, fields ...string) {
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block(fields...), EndHeaders: true, EndStream: end})
	}
	for name, k := range map[string]struct {
		early bool
		do    func(f *http2.Framer, c net.Conn)
	}{
		"garbage":         {true, func(_ *http2.Framer, c net.Conn) { io.WriteString(c, strings.Repeat("garbage", 100)) }},
		"HTTP/1.1 answer": {true, func(_ *http2.Framer, c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }},
		"closes":          {true, func(*http2.Framer, net.Conn) {}},
		"frame size zero": {true, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 0})
			headersOf(f)
			headersOf(f)
		}},
		"silence": {true, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			headersOf(f)
			headersOf(f)
		}},
		"reset of the stream": {true, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			f.WriteRSTStream(headersOf(f), http2.ErrCodeInternal)
			headersOf(f)
		}},
		"no status": {true, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			answer(f, headersOf(f), true, "x-a", "b")
			headersOf(f)
		}},
		"upper-case field": {true, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			answer(f, headersOf(f), true, ":status", "200", "X-A", "b")
			headersOf(f)
		}},
		"line feed in a value": {true, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			answer(f, headersOf(f), true, ":status", "200", "x-a", "b\r\nset-cookie: c")
			headersOf(f)
		}},
		"header of a megabyte": {true, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			id := headersOf(f)
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block(":status", "200")})
			for range 1000 {
				if f.WriteContinuation(id, false, block("x-a", strings.Repeat("b", 1000))) != nil {
					return
				}
			}
			f.WriteContinuation(id, true, nil)
			headersOf(f)
		}},
		"data beyond the window": {false, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			id := headersOf(f)
			answer(f, id, false, ":status", "200")
			for range 10_000 {
				if f.WriteData(id, false, make([]byte, 16<<10)) != nil {
					return
				}
			}
		}},
		"reset within the body": {false, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			id := headersOf(f)
			answer(f, id, false, ":status", "200")
			f.WriteData(id, false, []byte("abc"))
			f.WriteRSTStream(id, http2.ErrCodeInternal)
			headersOf(f)
		}},
		"shorter than its length": {true, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			id := headersOf(f)
			answer(f, id, false, ":status", "200", "content-length", "10")
			f.WriteData(id, true, []byte("abc"))
			headersOf(f)
		}},
	} {
		t.Run(name, func(t *testing.T) { meetHostile(t, good, framer(t, k.do), k.early, name == silence) })
	}
}

// Clients that send nothing, or never end their header, are let go; others
// are served meanwhile.
func TestSlowClients(t *testing.T) {
	w := newWorld(t, Options{})
	w.set(t, Routing{
		Config: release.Embedded{Timeouts: release.Timeouts{Header: 2 * time.Second, Idle: 2 * time.Second}},
		Split:  shares(0), Backends: backends(serve(t, named("s")), ""),
	})
	for name, begin := range map[string]string{
		"nothing": "", "one byte": "G", "half a preface": "PRI * HT", "a preface": http2.ClientPreface[:20],
		"half a header": "GET / HTTP/1.1\r\nHost: a", "a request, then nothing": h("GET / HTTP/1.1", host),
	} {
		for range 20 {
			c, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, begin)
			defer func() {
				c.SetReadDeadline(time.Now().Add(patience))
				if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
					t.Errorf("%s: the connection stays open", name)
				}
			}()
		}
	}
	for range 50 {
		if _, b, _ := get(t, http.DefaultClient, request("GET", w.url, nil)); b != "s" {
			t.Fatalf("answer %q", b)
		}
	}
}

// Floods of one HTTP/2 connection end with that connection at worst.
func TestHTTP2Floods(t *testing.T) {
	w := newWorld(t, Options{})
	w.set(t, Routing{Split: shares(0), Backends: backends(serve(t, named("s")), "")})
	request := block(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
	floods := map[string]func(f *http2.Framer, c net.Conn, i uint32) error{
		"rapid reset": func(f *http2.Framer, _ net.Conn, i uint32) error {
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: request, EndHeaders: true, EndStream: true})
			return f.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		},
		"settings": func(f *http2.Framer, _ net.Conn, _ uint32) error { return f.WriteSettings() },
		"ping":     func(f *http2.Framer, _ net.Conn, _ uint32) error { return f.WritePing(false, [8]byte{}) },
		"unknown types": func(f *http2.Framer, _ net.Conn, i uint32) error {
			return f.WriteRawFrame(http2.FrameType(0x0a+i%6), 0, i%7, []byte("abcdefgh"))
		},
		"continuation": func(f *http2.Framer, _ net.Conn, i uint32) error {
			if i == 0 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: request})
			}
			return f.WriteContinuation(1, false, block("x-a", strings.Repeat("b", 100)))
		},
		"window updates of zero": func(f *http2.Framer, _ net.Conn, i uint32) error {
			return f.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 4))
		},
		"made resets": func(f *http2.Framer, _ net.Conn, i uint32) error {
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: request, EndHeaders: true, EndStream: true})
			return f.WriteRawFrame(http2.FrameWindowUpdate, 0, 2*i+1, make([]byte, 4))
		},
	}
	before := runtime.NumGoroutine()
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			go io.Copy(io.Discard, c)
			c.SetWriteDeadline(time.Now().Add(2 * time.Second))
			io.WriteString(c, http2.ClientPreface)
			f := http2.NewFramer(bufferless{c}, nil)
			f.AllowIllegalWrites = true
			f.WriteSettings()
			for i := range uint32(3000) {
				if flood(f, c, i) != nil {
					break
				}
			}
			for range 5 {
				if _, b, _ := get(t, http.DefaultClient, httpGet(w.url)); b != "s" {
					t.Fatalf("answer %q", b)
				}
			}
		})
	}
	http.DefaultClient.CloseIdleConnections()
	eventually(t, func() bool { return runtime.NumGoroutine() <= before+10 }, "the goroutines of the floods end: %s", goroutines())
}

func goroutines() string { return fmt.Sprint(runtime.NumGoroutine(), " now") }

func httpGet(url string) *http.Request { return request("GET", url, nil) }

type bufferless struct{ io.Writer }
