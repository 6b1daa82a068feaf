package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/haldane-project/haldane/internal/release"
)

// BenchmarkRequest is one keep-alive GET through the proxy to a raw backend.
func BenchmarkRequest(b *testing.B) {
	back := rawBackend(b)
	w := newWorld(b, Options{Observer: nobody{}})
	w.set(b, Routing{Split: shares(1000), Backends: backends("http://"+back, "http://"+back)})
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	b.ReportAllocs()
	for b.Loop() {
		io.WriteString(c, "GET /hello HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
		for n := 0; n < 2; { // the header's end, then the body's line
			line, err := r.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if len(line) == 2 || string(line) == "hello\n" {
				n++
			}
		}
	}
}

type nobody struct{}

func (nobody) Observe(*release.Observation) {}

// rawBackend answers each request header with as little work as possible.
func rawBackend(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n")
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
					line, err := r.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) == 2 {
						c.Write(answer)
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// BenchmarkSet is one change of weights while nothing else happens.
func BenchmarkSet(b *testing.B) {
	w := newWorld(b, Options{Observer: nobody{}})
	bs := backends("http://127.0.0.1:1,http://127.0.0.1:2", "http://127.0.0.1:3")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.set(b, Routing{Split: shares(release.Weight(i % 10000)), Backends: bs})
	}
}

func BenchmarkDraw(b *testing.B) {
	for _, sticky := range []bool{false, true} {
		b.Run(fmt.Sprint("sticky=", sticky), func(b *testing.B) {
			w := newWorld(b, Options{Observer: nobody{}})
			w.set(b, Routing{Split: shares(1000)})
			t := w.Table()
			k := key{}
			for b.Loop() {
				if sticky {
					k = t.keyOf("user-12345678")
				}
				t.draw(k)
			}
		})
	}
}
