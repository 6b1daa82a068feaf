package telemetry

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func observation(version release.VersionID, weight release.Weight) *release.Observation {
	return &release.Observation{
		Release: "hello", Version: version, Weight: weight, Begin: time.Now(),
		FirstByte: 3 * time.Millisecond, Total: 20 * time.Millisecond, Status: 200, In: 10, Out: 100,
	}
}

func TestBinsAreTheJudges(t *testing.T) {
	if last := judge.BinOf(scale, math.Inf(1)); last != numBins-1 {
		t.Fatalf("the judge's last bin is %d, a dense histogram ends at %d", last, numBins-1)
	}
	for _, d := range []time.Duration{-1, 0, 1, time.Microsecond, 20 * time.Millisecond, time.Hour, math.MaxInt64} {
		if b := binOf(d); b < 0 || b >= numBins {
			t.Errorf("%v has bin %d", d, b)
		}
	}
	if m := middle(int(binOf(20 * time.Millisecond))); math.Abs(m/.02-1) > .01 {
		t.Errorf("20 ms are told as %v s", m)
	}
}

func TestEveryObservationIsCountedOnce(t *testing.T) {
	r := New()
	tap := r.Tap("hello", "a", "b", TapOptions{})
	defer tap.Close()
	const observers, each = 8, 5000
	var got Portion
	take := func() {
		for _, p := range tap.Drain().Portions {
			got.Stable.N += p.Stable.N
			got.Canary.N += p.Canary.N
			got.Canary.Bad += p.Canary.Bad
			got.Canary.Bins = append(got.Canary.Bins, p.Canary.Bins...)
		}
	}
	var all sync.WaitGroup
	for range observers {
		all.Go(func() {
			for i := range each {
				r.Observe(observation("a", 9000))
				o := observation("b", 1000)
				if i%10 == 0 {
					o.Outcome, o.Status = release.Failed, 503
				}
				r.Observe(o)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for busy := true; busy; {
		select {
		case <-done:
			busy = false
		default:
			take()
			runtime.Gosched()
		}
	}
	take()
	var latencies int64
	for _, b := range got.Canary.Bins {
		latencies += b.Count
	}
	const n = observers * each
	if got.Stable.N != n || got.Canary.N != n || got.Canary.Bad != n/10 || latencies != n-n/10 {
		t.Errorf("drained %d and %d requests, %d bad, %d latencies; want %d each, %d, %d",
			got.Stable.N, got.Canary.N, got.Canary.Bad, latencies, n, n/10, n-n/10)
	}
	var sum tally
	r.of(key{"hello", "b"}).read(&sum)
	if sum.codes[2][release.OK] != n-n/10 || sum.codes[5][release.Failed] != n/10 || sum.inBytes != n*10 {
		t.Errorf("counted %v, %d bytes in", sum.codes, sum.inBytes)
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	r := New()
	tap := r.Tap("hello", "a", "b", TapOptions{})
	defer tap.Close()
	o := observation("b", 1000)
	for range 1000 {
		r.Observe(o)
	}
	if n := testing.AllocsPerRun(1000, func() { r.Observe(o) }); n != 0 {
		t.Errorf("%v allocations for each observation", n)
	}
}

func TestRatesOfTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		go r.Run(t.Context())
		for i := range 30 {
			for range 10 {
				o := observation("a", 9000)
				o.Total = time.Duration(i+1) * time.Millisecond
				r.Observe(o)
			}
			o := observation("b", 1000)
			o.Outcome, o.Status, o.Shielded = release.Failed, 500, true
			r.Observe(o)
			mirrored := observation("b", 0)
			mirrored.Route = release.ByMirror
			r.Observe(mirrored)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		got := r.Rates("hello", 10*time.Second)
		if len(got) != 2 || got[0].Version != "a" || got[1].Version != "b" {
			t.Fatalf("rates %+v", got)
		}
		a, b := got[0], got[1]
		if a.Requests != 100 || a.PerSecond != 10 || *a.ErrorShare != 0 {
			t.Errorf("a: %+v", a)
		}
		if math.Abs(*a.P50/.025-1) > .02 || math.Abs(*a.P99/.030-1) > .02 {
			t.Errorf("a: p50 %v, p99 %v, want 25 ms and 30 ms", *a.P50, *a.P99)
		}
		if b.Requests != 10 || *b.ErrorShare != 1 || b.Shielded != 10 || b.Mirrored != 10 || b.P50 != nil {
			t.Errorf("b: %+v", b)
		}
		if s := r.Seconds("hello", "a", time.Now().Add(-5*time.Second)); len(s) != 5 || s[4].Requests != 10 {
			t.Errorf("seconds %+v", s)
		}
		if got := r.Rates("other", time.Minute); got != nil {
			t.Errorf("an unknown release has rates %+v", got)
		}
	})
}

func TestRingIsBounded(t *testing.T) {
	var r ring
	start := time.Unix(1000, 0)
	for i := range 3 * keptSeconds {
		r.push(second{end: start.Add(time.Duration(i) * time.Second), requests: int64(i)})
	}
	var seen []int64
	r.between(start, start.Add(time.Hour*10), func(s *second) { seen = append(seen, s.requests) })
	if len(seen) != keptSeconds || seen[0] != 2*keptSeconds || seen[keptSeconds-1] != 3*keptSeconds-1 {
		t.Errorf("%d seconds from %d to %d", len(seen), seen[0], seen[len(seen)-1])
	}
}

func TestVersionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		r.Observe(observation("old", 9000))
		r.Observe(observation("used", 9000))
		r.SetUsage(func() []Usage { return []Usage{{Release: "hello", Version: "used", Instance: "0"}} })
		tap := r.Tap("hello", "tapped", "tapped2", TapOptions{})
		time.Sleep(keptIdle + time.Minute)
		r.Observe(observation("new", 9000))
		r.Tick(time.Now())
		if got := versions(r); got != "[new tapped tapped2 used]" {
			t.Errorf("after an idle hour: %s", got)
		}
		tap.Close()
		r.Tick(time.Now())
		if got := versions(r); got != "[new used]" {
			t.Errorf("after the tap was closed: %s", got)
		}
		r.Forget("hello")
		if got := versions(r); got != "[]" {
			t.Errorf("after the release was forgotten: %s", got)
		}
	})
}

func versions(r *Recorder) string {
	var out []release.VersionID
	for _, x := range r.Rates("hello", time.Minute) {
		out = append(out, x.Version)
	}
	return fmt.Sprint(out)
}

// BenchmarkObserve is one observer, and all processors at once, with a tap.
func BenchmarkObserve(b *testing.B) {
	r := New()
	tap := r.Tap("hello", "a", "b", TapOptions{})
	defer tap.Close()
	o := observation("b", 1000)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Observe(o)
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				r.Observe(o)
			}
		})
	})
}

// BenchmarkDrain is what a pass costs every 100 ms.
func BenchmarkDrain(b *testing.B) {
	r := New()
	tap := r.Tap("hello", "a", "b", TapOptions{})
	defer tap.Close()
	o := observation("b", 1000)
	for b.Loop() {
		r.Observe(o)
		tap.Drain()
	}
}
