package embedded

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// readings are the ways in which a release can read along.
var readings = map[string]*release.Model{"off": nil, "on": {}, "usage": {Usage: true}}

// streamer answers each request of a connection by a stream of tokens, one write
// each. It tells nobody of what it was asked.
func streamer(t testing.TB, tokens int, wait func()) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var events []string
	for i := range tokens {
		e := chunk(fmt.Sprintf(" token%d", i))
		events = append(events, fmt.Sprintf("%x\r\n%s\r\n", len(e), e))
	}
	end := usageChunk + doneChunk
	events = append(events, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(end), end))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					q, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					io.Copy(io.Discard, q.Body)
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
					wait()
					for _, e := range events {
						io.WriteString(c, e)
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

const streamRequest = `{"model":"m","stream":true,"messages":[{"role":"user","content":"Tell me about canaries in coal mines."}]}`

// talk asks for one stream on a connection and reads it to its end.
func talk(b testing.TB, c net.Conn, r *bufio.Reader) {
	fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(streamRequest), streamRequest)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		if bytes.Equal(line, []byte("0\r\n")) {
			if _, err := r.Discard(2); err != nil {
				b.Fatal(err)
			}
			return
		}
	}
}

// BenchmarkFirstToken compares the time to the first token as read along with
// the backend's own, from the request it got to the token it sent.
func BenchmarkFirstToken(b *testing.B) {
	var mu sync.Mutex
	var own []time.Duration
	back := streamer(b, 3, func() {
		begin := time.Now()
		time.Sleep(5 * time.Millisecond) // the model thinks
		mu.Lock()
		own = append(own, time.Since(begin))
		mu.Unlock()
	})
	url, s := serveModel(b, readings["on"], nil, back)
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	var off []time.Duration
	for b.Loop() {
		talk(b, c, r)
		first := s.next(b).Answer.FirstToken
		mu.Lock()
		off = append(off, first-own[len(own)-1])
		mu.Unlock()
	}
	slices.Sort(off)
	b.ReportMetric(float64(off[len(off)/2].Microseconds()), "µs-off-median")
	b.ReportMetric(float64(off[len(off)*99/100].Microseconds()), "µs-off-p99")
}

const openStreams = 2000

// BenchmarkOpenStreams is what the proxy holds for each of 2,000 streams that are
// open at once: heap and stacks with it, less those of the same streams without.
func BenchmarkOpenStreams(b *testing.B) {
	for b.Loop() {
		direct := holding(b, func(back string) string { return back })
		for _, name := range []string{"off", "on", "usage"} {
			with := holding(b, func(back string) string {
				url, _ := serveModel(b, readings[name], nil, back)
				return url
			})
			b.ReportMetric((with-direct)/1024, "KiB/stream-"+name)
		}
	}
}

// holding measures the bytes for each stream that is open.
func holding(b *testing.B, front func(back string) string) float64 {
	hold := make(chan struct{})
	begun := chunk(strings.Repeat("word ", 50))
	back := rawModel(b, func(c net.Conn, _ string) {
		io.WriteString(c, stream+begun+begun)
		<-hold
	})
	address := strings.TrimPrefix(front(back), "http://")
	before := inUse()
	var conns []net.Conn
	buf := make([]byte, 4096)
	for range openStreams {
		c, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		conns = append(conns, c)
		fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(streamRequest), streamRequest)
		for n := 0; n < len(begun)*2; {
			m, err := c.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			n += m
		}
	}
	used := inUse() - before
	close(hold)
	for _, c := range conns {
		c.Close()
	}
	return float64(used) / openStreams
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
