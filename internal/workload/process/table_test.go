package process_test

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/haldane-project/haldane/internal/workload"
)

// table is the smallest router there can be: the addresses in force and the
// requests in flight at each.
type table struct {
	mu        sync.Mutex
	addresses []string
	flying    map[string]int64
}

func newTable() *table { return &table{flying: map[string]int64{}} }

func (t *table) set(f workload.Fleet) {
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

// startLoad sends from several clients until stop; the function it returns
// waits for them and tells how many requests were sent and what failed.
func startLoad(t *table, stop <-chan struct{}) func() (int, []string) {
	var (
		clients  sync.WaitGroup
		mu       sync.Mutex
		sent     int
		failures []string
	)
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	client := &http.Client{Transport: transport}
	for n := range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
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
		transport.CloseIdleConnections()
		return sent, failures
	}
}
