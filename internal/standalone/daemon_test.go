package standalone

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// record notes what happens in its order.
type record struct {
	mu  sync.Mutex
	log []string
}

func (r *record) add(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, what)
}

// part runs until its context ends, or at once with an error.
func (r *record) part(name string, fails error) func(context.Context) error {
	return func(ctx context.Context) error {
		if fails != nil {
			return fails
		}
		<-ctx.Done()
		r.add(name + " ends")
		return ctx.Err()
	}
}

func (r *record) drain(name string, fails error) func(context.Context) error {
	return func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			return errors.New("a drain without a bound")
		}
		r.add("drain " + name)
		return fails
	}
}

func (r *record) close(name string, fails error) func() error {
	return func() error { r.add("close " + name); return fails }
}

func (r *record) parts() Parts {
	web := r.part("web", nil)
	return Parts{
		Passes: r.part("passes", nil), Background: []func(context.Context) error{r.part("recorder", nil)},
		Web:    func(ctx context.Context, _ net.Listener) error { return web(ctx) },
		Drains: []func(context.Context) error{r.drain("router", nil), r.drain("instances", nil)},
		Closes: []func() error{r.close("history", nil), r.close("store", nil)},
		Grace:  time.Minute,
	}
}

// ordered fails the test unless the words happened, in this order.
func (r *record) ordered(t *testing.T, words ...string) {
	t.Helper()
	at := -1
	for _, w := range words {
		i := slices.Index(r.log, w)
		if i <= at {
			t.Fatalf("%v, expected the order %v", r.log, words)
		}
		at = i
	}
}

func TestStopLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r record
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Run(ctx, r.parts()) }()
		synctest.Wait()
		if len(r.log) > 0 {
			t.Fatalf("before the stop: %v", r.log)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		r.ordered(t, "passes ends", "drain router", "drain instances", "web ends", "close history", "close store")
		r.ordered(t, "drain instances", "recorder ends", "close history")
	})
}

func TestFailingPartStopsTheDaemon(t *testing.T) {
	failed := errors.New("it failed")
	for name, fail := range map[string]func(*record, *Parts){
		"passes":     func(r *record, p *Parts) { p.Passes = r.part("", failed) },
		"background": func(r *record, p *Parts) { p.Background = append(p.Background, r.part("", failed)) },
		"web": func(_ *record, p *Parts) {
			p.Web = func(context.Context, net.Listener) error { return failed }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r record
				p := r.parts()
				fail(&r, &p)
				err := Run(t.Context(), p)
				if !errors.Is(err, failed) || !strings.Contains(err.Error(), name+": it failed") {
					t.Errorf("error %v, expected it to name %s", err, name)
				}
				r.ordered(t, "drain router", "drain instances", "close history", "close store")
				if name != "passes" {
					r.ordered(t, "passes ends", "drain router")
				}
			})
		})
	}
}

func TestEveryPartIsStoppedWhateverAnotherSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r record
		first, second := errors.New("the router hangs"), errors.New("the history is full")
		p := r.parts()
		p.Drains[0], p.Closes[0] = r.drain("router", first), r.close("history", second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := Run(ctx, p)
		if !errors.Is(err, first) || !errors.Is(err, second) {
			t.Errorf("error %v, expected both", err)
		}
		r.ordered(t, "drain router", "drain instances", "close history", "close store")
	})
}

// A drain that takes all of the time leaves the next one an ended context, not none.
func TestGraceBoundsAllDrainsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r record
		p := r.parts()
		p.Drains[0] = func(ctx context.Context) error { <-ctx.Done(); return nil }
		p.Drains[1] = func(ctx context.Context) error { r.add("instances"); return ctx.Err() }
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		if err := Run(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(begun); took != p.Grace { // the bubble's clock
			t.Errorf("the stop took %v, expected %v", took, p.Grace)
		}
		r.ordered(t, "instances", "close history", "close store")
	})
}
