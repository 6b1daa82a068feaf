package cluster

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Wire is a TCP proxy before a server that can be cut: what is open breaks and
// nothing new gets through.
type Wire struct {
	Address string // to dial in the server's place
	to      string

	mu   sync.Mutex
	cut  bool
	open map[net.Conn]bool
}

// NewWire puts a wire before a server (HOST:PORT) until the test's end.
func NewWire(t testing.TB, to string) *Wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{Address: l.Addr().String(), to: to, open: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); w.Cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go w.pass(in)
		}
	}()
	return w
}

func (w *Wire) pass(in net.Conn) {
	defer func() { _ = in.Close() }() // it is done with
	out, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }() // it is done with
	w.mu.Lock()
	cut := w.cut
	w.open[in] = true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.open, in)
	}()
	if cut {
		return
	}
	go func() { _, _ = io.Copy(out, in); _ = out.Close() }() // either end ends both
	_, _ = io.Copy(in, out)
}

// Cut breaks all connections and lets none through until Mend.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for c := range w.open {
		_ = c.Close() // that is the point
	}
}

// Mend lets connections through again.
func (w *Wire) Mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = false
}
