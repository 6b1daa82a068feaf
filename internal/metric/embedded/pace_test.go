package embedded_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric/embedded"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// TestAgeOfOverdueRequests: well above all that stable does, its margin and its
// limit, so that only what hangs is cut.
func TestAgeOfOverdueRequests(t *testing.T) {
	latency := func(margin float64, limit *release.Limit) release.Metric {
		return release.Metric{Name: "latency", Kind: release.Latency, Margin: release.Margin{Ratio: margin}, Limit: limit}
	}
	for name, c := range map[string]struct {
		metric release.Metric
		times  time.Duration // of stable's requests
		least  time.Duration
		most   time.Duration
	}{
		"a fast service":          {latency(1.2, nil), 10 * time.Millisecond, 3 * time.Second, 3 * time.Second},
		"a slow one":              {latency(1.2, nil), 20 * time.Second, 78 * time.Second, 82 * time.Second},
		"a wide margin":           {latency(5, nil), 2 * time.Second, 19 * time.Second, 21 * time.Second},
		"a high limit":            {latency(1.2, &release.Limit{Below: true, Value: 30}), time.Millisecond, time.Minute, time.Minute},
		"nobody asks how long":    {release.Metric{Name: "errors", Kind: release.Errors}, time.Second, 0, 0},
		"times from other places": {release.Metric{Name: "own", Kind: release.Gauge, Source: release.Source{Process: "cpu"}}, time.Second, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(c.metric)
				p := embedded.New(w.recorder, nil)
				var asked []time.Duration
				p.SetOverdue(func(rel string, age time.Duration) {
					if rel != "hello" {
						t.Errorf("asked of release %q", rel)
					}
					asked = append(asked, age)
				})
				r := w.open(t, p, nil)
				read(t, r)
				for range 2000 {
					w.observe(w.subject.Stable.ID, release.OK, func(o *release.Observation) { o.Total = c.times })
				}
				read(t, r)
				read(t, r)
				if c.most == 0 {
					if len(asked) > 0 {
						t.Errorf("asked %v", asked)
					}
					return
				}
				if got := asked[len(asked)-1]; got < c.least || got > c.most {
					t.Errorf("overdue after %v, want %v to %v (%v)", got, c.least, c.most, asked)
				}
			})
		})
	}
}

// TestHangIsEvidence: a request of the canary that hangs is evidence of latency
// once, with its age, and of errors when it ends.
func TestHangIsEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(requestMetrics...)
		p := embedded.New(w.recorder, nil)
		begin, told := time.Now(), false
		p.SetOverdue(func(_ string, age time.Duration) {
			if d := time.Since(begin); d > age && !told {
				told = true
				w.observe(w.subject.Canary.ID, release.OK, func(o *release.Observation) {
					o.Begin, o.Total, o.Stage = begin, d, release.Overdue
				})
			}
		})
		r := w.open(t, p, nil)
		values := func() (n, latencies int64) {
			got := read(t, r)
			if d := time.Until(got.Again); d <= 0 || d > 100*time.Millisecond {
				t.Errorf("to be read again after %s: nothing tells that a request has hung for too long", d)
			}
			for _, s := range got.Samples {
				n += s.Batch.Canary.N * int64(1-min(s.Metric, 1))
				for _, b := range s.Batch.Canary.Bins {
					latencies += b.Count
				}
			}
			return n, latencies
		}
		if n, l := values(); n+l != 0 {
			t.Errorf("at once: %d requests, %d times", n, l)
		}
		time.Sleep(4 * time.Second)
		if n, l := values(); n != 0 || l != 1 {
			t.Errorf("after 4 s: %d requests, %d times, want its time alone", n, l)
		}
		time.Sleep(56 * time.Second)
		w.observe(w.subject.Canary.ID, release.Failed, func(o *release.Observation) {
			o.Begin, o.Total, o.Stage = begin, time.Minute, release.EndedOverdue
		})
		if n, l := values(); n != 1 || l != 0 {
			t.Errorf("at its end: %d requests, %d times, want the request alone", n, l)
		}
	})
}

// TestSlowerWithinItsMarginIsNotAccused: every answer takes seconds, and the
// canary's a tenth more. While the first of them are under way only stable's
// have ended; to judge those alone would find the canary missing.
func TestSlowerWithinItsMarginIsNotAccused(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("stable's past is known: %v", known), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { slowerWithinMargin(t, known) })
		})
	}
}

func slowerWithinMargin(t *testing.T, known bool) {
	metrics := []release.Metric{
		{Name: "errors", Kind: release.Errors, Required: true, Share: 0.5, Margin: release.Margin{Ratio: 1.5, Difference: 0.001}},
		{Name: "latency", Kind: release.Latency, Required: true, Share: 0.5, Quantile: 0.99, Margin: release.Margin{Ratio: 1.2}},
	}
	w := newWorld(metrics...)
	w.weight = release.Full / 2
	took := map[release.VersionID]time.Duration{w.subject.Stable.ID: 8 * time.Second, w.subject.Canary.ID: 9400 * time.Millisecond}
	if known {
		for range 60 {
			for range 20 {
				w.observe(w.subject.Stable.ID, release.OK, func(o *release.Observation) { o.Weight, o.Total = release.Full, took[o.Version] })
			}
			time.Sleep(time.Second)
			w.recorder.Tick(time.Now())
		}
	}
	w.subject.Started = time.Now()
	p := embedded.New(w.recorder, nil)
	under := map[time.Time]release.VersionID{} // by begin
	p.SetSettled(func(_ string, patience time.Duration) time.Time {
		settled := time.Now()
		for begin := range under {
			if time.Since(begin) <= patience && begin.Before(settled) {
				settled = begin
			}
		}
		return settled
	})
	told := map[time.Time]bool{}
	tell := func(begin time.Time, stage release.Stage) {
		w.observe(under[begin], release.OK, func(o *release.Observation) {
			o.Begin, o.Total, o.Stage = begin, time.Since(begin), stage
		})
	}
	p.SetOverdue(func(_ string, age time.Duration) {
		for begin := range under {
			if time.Since(begin) > age && !told[begin] {
				told[begin] = true
				tell(begin, release.Overdue)
			}
		}
	})
	r := w.open(t, p, nil)
	run, err := judge.New(rollout.Policy(release.Analysis{FalseRollback: 0.01, FalsePromotion: 0.05, Metrics: metrics}, release.Plan{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	draw := rand.New(rand.NewPCG(1, 2))
	for i := range 2400 { // a minute at 40 a second
		v := w.subject.Stable.ID
		if draw.IntN(2) == 0 {
			v = w.subject.Canary.ID
		}
		under[time.Now()] = v
		time.Sleep(25 * time.Millisecond)
		for begin, v := range under {
			if time.Since(begin) < took[v] {
				continue
			}
			stage := release.Ended
			if told[begin] {
				stage = release.EndedOverdue
			}
			tell(begin, stage)
			delete(under, begin)
		}
		if i%4 != 0 {
			continue
		}
		for _, s := range read(t, r).Samples {
			if err := run.Update(s.Metric, s.Batch); err != nil {
				t.Fatal(err)
			}
		}
		if run.Failed() {
			t.Fatalf("failed after %v: %s", time.Since(w.subject.Started), run.Report(0).Reason)
		}
	}
	if rep := run.Report(0); rep.Canary < 300 || rep.Stable < 300 {
		t.Errorf("%d and %d requests were judged", rep.Canary, rep.Stable)
	}
}
