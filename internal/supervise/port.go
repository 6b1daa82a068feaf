package supervise

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
)

// ports hands out free loopback ports, never one twice at a time. It prefers
// ports below the range that the kernel takes for outgoing connections: a port
// of that range may be gone before the program listens on it.
type ports struct {
	mu       sync.Mutex
	used     map[int]bool
	low, end int // candidates are low <= port < end; empty: any port
}

func newPorts() *ports {
	p := &ports{used: map[int]bool{}}
	var from, to int
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if n, _ := fmt.Sscan(string(b), &from, &to); n == 2 && from > 12_000 {
			p.low, p.end = from-10_000, from
		}
	}
	return p
}

func (p *ports) take() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 100 {
		want := 0
		if p.end > p.low {
			want = p.low + rand.IntN(p.end-p.low) //nolint:gosec // a port is no secret
		}
		if port, ok := free(want); ok && !p.used[port] {
			p.used[port] = true
			return port, nil
		}
	}
	port, ok := free(0)
	if !ok || p.used[port] {
		return 0, fmt.Errorf("finding a free loopback port: none of 101 that were tried is free")
	}
	p.used[port] = true
	return port, nil
}

func (p *ports) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, port)
}

func free(port int) (int, bool) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return 0, false
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, true
}
