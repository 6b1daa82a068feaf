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

// decision measures, under a constant load, how long after the decision to
// take a version's traffic off (the call of Set) its last request arrives at
// it, over many changes from 50 % to 0.
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
	p := proxy.New(proxy.Options{Name: "bench", Observer: count{}})
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
	took, sets, err := flips(set, &last, rounds)
	stop()
	r := <-done
	if err != nil {
		return err
	}
	fmt.Printf("decision to last request at the canary, %.0f requests/s, %d changes: p50 %v, p99 %v; the change itself p99 %v; %d of %d requests failed\n",
		rate, rounds, quantile(took, 0.5), quantile(took, 0.99), quantile(sets, 0.99), r.Failed, r.Requests)
	return nil
}

func flips(set func(release.Weight) error, last *atomic.Int64, rounds int) (took, sets []time.Duration, err error) {
	for range rounds {
		if err := set(5000); err != nil {
			return nil, nil, err
		}
		time.Sleep(20 * time.Millisecond)
		decided := time.Now()
		if err := set(0); err != nil {
			return nil, nil, err
		}
		sets = append(sets, time.Since(decided))
		time.Sleep(30 * time.Millisecond)
		took = append(took, max(0, time.Duration(last.Load()-decided.UnixNano())))
	}
	return took, sets, nil
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
