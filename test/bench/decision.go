package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/load"
	"github.com/haldane-project/haldane/internal/proxy"
	"github.com/haldane-project/haldane/internal/release"
)

// routed notes when the proxy last began to route a request to the canary.
type routed struct{ last atomic.Int64 }

func (r *routed) Observe(o *release.Observation) {
	if o.Version != "canary" {
		return
	}
	for at := o.Begin.UnixNano(); ; {
		was := r.last.Load()
		if was >= at || r.last.CompareAndSwap(was, at) {
			return
		}
	}
}

// decision measures, under a constant load, how long after the decision to
// take a version's traffic off (the call of Set) the proxy last begins to
// route a request to it, and the last one arrives there, over many changes
// from 50 % to 0.
func decision(ctx context.Context, rate float64, rounds int) error {
	var last atomic.Int64 // when a request last arrived at the canary
	stable, err := clocked(new(atomic.Int64))
	if err != nil {
		return err
	}
	defer stable.Close()
	canary, err := clocked(&last)
	if err != nil {
		return err
	}
	defer canary.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	seen := &routed{}
	p := proxy.New(proxy.Options{Name: "bench", Observer: seen})
	set := func(w release.Weight) error {
		return p.Set(proxy.Routing{
			Split: release.Split{Salt: "bench-1", Rest: "stable", Shares: []release.Share{
				{Version: "canary", Weight: w}, {Version: "stable", Weight: release.Full - w},
			}},
			Backends: []release.Backend{
				{Version: "canary", Addresses: []string{canary.Addr().String()}},
				{Version: "stable", Addresses: []string{stable.Addr().String()}},
			},
		})
	}
	if err := set(0); err != nil {
		return err
	}
	go p.Serve(l)
	defer p.Shutdown(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, err := load.New(load.Options{URL: "http://" + l.Addr().String() + "/hello", Rate: rate})
	if err != nil {
		return err
	}
	done := make(chan load.Report, 1)
	go func() { done <- g.Run(ctx) }()
	f, err := flips(set, seen, &last, rounds)
	stop()
	r := <-done
	if err != nil {
		return err
	}
	fmt.Printf("decision to the last request at a version, %.0f requests/s, %d changes: routed p50 %v p99 %v, arrived p50 %v p99 %v; the change itself p99 %v; %d of %d requests failed\n",
		rate, rounds, quantile(f.routed, 0.5), quantile(f.routed, 0.99), quantile(f.arrived, 0.5), quantile(f.arrived, 0.99), quantile(f.sets, 0.99), r.Failed, r.Requests)
	return nil
}

// flipped are the times of many changes.
type flipped struct{ routed, arrived, sets []time.Duration }

func flips(set func(release.Weight) error, seen *routed, last *atomic.Int64, rounds int) (f flipped, err error) {
	for range rounds {
		if err := set(5000); err != nil {
			return f, err
		}
		time.Sleep(20 * time.Millisecond)
		decided := time.Now()
		if err := set(0); err != nil {
			return f, err
		}
		f.sets = append(f.sets, time.Since(decided))
		time.Sleep(30 * time.Millisecond)
		f.arrived = append(f.arrived, max(0, time.Duration(last.Load()-decided.UnixNano())))
		f.routed = append(f.routed, max(0, time.Duration(seen.last.Load()-decided.UnixNano())))
	}
	return f, nil
}

func quantile(d []time.Duration, q float64) time.Duration {
	slices.Sort(d)
	return d[int(q*float64(len(d)-1))].Round(time.Microsecond)
}

// clocked is a backend that notes when a request arrives.
func clocked(at *atomic.Int64) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for first := true; ; {
					line, err := r.ReadSlice('\n')
					if err != nil {
						return
					}
					if first {
						at.Store(time.Now().UnixNano())
					}
					if first = len(line) == 2; !first {
						continue
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l, nil
}
