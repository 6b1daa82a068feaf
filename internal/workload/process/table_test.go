package process_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/time/rate"

	"github.com/haldane-project/haldane/internal/workload"
)

// table is the smallest router there can be: the addresses in force and the
// requests in flight at each.
type table struct {
	transport http.Transport
	mu        sync.Mutex
	addresses []string
	flying    map[string]int64
}

func newTable() *table {
	return &table{flying: map[string]int64{}, transport: http.Transport{MaxIdleConnsPerHost: 8}}
}

// set swaps the addresses and, as a proxy does, lets go of idle connections.
func (t *table) set(f workload.Fleet) {
	defer t.transport.CloseIdleConnections()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addresses = nil
	for _, b := range f.Backends {
		t.addresses = append(t.addresses, b.Addresses...)
	}
}

func (t *table) enter() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.addresses[rand.IntN(len(t.addresses))]
	t.flying[a]++
	return a
}

func (t *table) leave(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flying[address]--
}

// inFlight counts an address that is still in force as busy.
func (t *table) inFlight(host string) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.flying["http://"+host]
	if slices.Contains(t.addresses, "http://"+host) {
		n++
	}
	return n
}

// startLoad sends 300 requests a second from several clients until ctx ends; the
// function it returns waits for them and tells how many were sent and what failed.
func startLoad(ctx context.Context, t *table) func() (int, []string) {
	var (
		clients  sync.WaitGroup
		mu       sync.Mutex
		sent     int
		failures []string
	)
	pace := rate.NewLimiter(300, 1)
	client := &http.Client{Transport: &t.transport}
	for n := range 4 {
		clients.Go(func() {
			for pace.Wait(ctx) == nil {
				address := t.enter()
				err := send(client, address, n%2 == 0)
				t.leave(address)
				mu.Lock()
				sent++
				if err != nil {
					failures = append(failures, strings.TrimSpace(err.Error()))
				}
				mu.Unlock()
			}
		})
	}
	return func() (int, []string) {
		clients.Wait()
		t.transport.CloseIdleConnections()
		return sent, failures
	}
}
