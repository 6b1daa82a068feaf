package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/haldane-project/haldane/internal/proxy"
	"github.com/haldane-project/haldane/internal/release"
)

// child is this program as the backend or as the proxy under test.
func child(args []string) {
	runtime.GOMAXPROCS(1)
	if err := play(args); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func play(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	if args[0] == "backend" {
		go backend(l)
		<-ctx.Done()
		return nil
	}
	p := proxy.New(proxy.Options{Name: "bench", Observer: count{}})
	err = p.Set(proxy.Routing{
		Split: release.Split{Salt: "bench-1", Rest: "stable", Shares: []release.Share{
			{Version: "canary", Weight: 1000}, {Version: "stable", Weight: 9000},
		}},
		Backends: []release.Backend{
			{Version: "canary", Addresses: []string{args[1]}}, {Version: "stable", Addresses: []string{args[1]}},
		},
	})
	if err != nil {
		return err
	}
	go p.Serve(l)
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p.Shutdown(end) // what is left is a load that was cut off
	return nil
}

// count is an observer that costs nothing.
type count struct{}

func (count) Observe(*release.Observation) {}

var answer = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n" + string(bytes.Repeat([]byte("x"), 128)))

// backend answers every request header with the same bytes: as little work as
// a server can do, so that it is never what is measured.
func backend(l net.Listener) {
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
				if len(line) > 2 {
					continue
				}
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}
