package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/embedded"
	"github.com/haldane-project/haldane/internal/metric/metrictest"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry"
)

func bubble(t *testing.T, f func(*testing.T)) { synctest.Test(t, f) }

// world is a recorder with two versions, v2 at 10 %.
type world struct {
	recorder *telemetry.Recorder
	subject  metric.Subject
	weight   release.Weight
}

func newWorld(metrics ...release.Metric) *world {
	w := &world{recorder: telemetry.New(), weight: 1000}
	w.subject = metric.Subject{
		Release: release.Release{Name: "hello", Version: release.Version{
			ID: "canary0000", Workload: release.Workload{Process: &release.Process{}},
		}},
		Run:     "hello-1",
		Stable:  release.Version{ID: "stable0000", Name: "v1"},
		Canary:  release.Version{ID: "canary0000", Name: "v2"},
		Started: time.Now(),
		Metrics: metrics,
	}
	return w
}

func (w *world) observe(v release.VersionID, outcome release.Outcome, change ...func(*release.Observation)) {
	o := release.Observation{
		Release: "hello", Version: v, Weight: release.Full - w.weight,
		Begin: time.Now(), Total: 10 * time.Millisecond, Status: 200, Outcome: outcome,
	}
	if v == w.subject.Canary.ID {
		o.Weight = w.weight
	}
	if outcome == release.Failed {
		o.Status = 500
	}
	for _, f := range change {
		f(&o)
	}
	w.recorder.Observe(&o)
}

func (w *world) serve(v release.VersionID, good, failed int) {
	for range good {
		w.observe(v, release.OK)
	}
	for range failed {
		w.observe(v, release.Failed)
	}
}

func (w *world) open(t *testing.T, p *embedded.Provider, cursor []byte) metric.Reader {
	t.Helper()
	r, err := p.Open(context.Background(), w.subject, cursor)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func read(t *testing.T, r metric.Reader) metric.Reading {
	t.Helper()
	got, err := r.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var requestMetrics = []release.Metric{
	{Name: "errors", Kind: release.Errors},
	{Name: "latency", Kind: release.Latency},
	{Name: "rate", Kind: release.Rate},
}

func TestConformance(t *testing.T) {
	metrictest.Run(t, bubble, func(t *testing.T) metrictest.Harness {
		w := newWorld(requestMetrics...)
		return metrictest.Harness{
			Provider: embedded.New(w.recorder, nil),
			Subject:  w.subject,
			Serve:    w.serve,
			Silence:  func() { time.Sleep(30 * time.Second) },
			Wakes:    true,
		}
	})
}

func TestOnlyRandomlySplitRequestsAreEvidence(t *testing.T) {
	w := newWorld(requestMetrics[0])
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	id := w.subject.Canary.ID
	for _, route := range []release.Route{release.ByMatch, release.ByTest, release.ByFallback, release.ByMirror, release.ByShield} {
		w.observe(id, release.Failed, func(o *release.Observation) { o.Route = route })
	}
	w.observe(id, release.ClientFault)
	w.weight = 0
	w.observe(w.subject.Stable.ID, release.OK)
	w.weight = release.Full
	w.observe(id, release.Failed)
	if got := read(t, r); len(got.Samples) != 0 {
		t.Errorf("got evidence %+v out of requests that tell nothing", got.Samples)
	}
	select {
	case <-r.Wake():
		t.Error("woke for a request that is no evidence")
	default:
	}
}

func TestBatchesCarryTheExactShare(t *testing.T) {
	w := newWorld(requestMetrics...)
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	for _, weight := range []release.Weight{1000, 500} {
		w.weight = weight
		w.serve(w.subject.Stable.ID, int(weight), 0)
		w.serve(w.subject.Canary.ID, 7, 1)
	}
	seen := map[float64]judge.Batch{}
	for _, s := range read(t, r).Samples {
		switch s.Metric {
		case 0:
			seen[s.Batch.Share] = s.Batch
		case 1:
			if n := s.Batch.Canary.Bins[0].Count; n != 7 {
				t.Errorf("share %v: latency of %d requests, want the 7 that succeeded", s.Batch.Share, n)
			}
		case 2:
			if s.Batch.Canary.N != 8 || s.Batch.Canary.Bad != 8 {
				t.Errorf("share %v: rate %+v, want 8 events", s.Batch.Share, s.Batch.Canary)
			}
		}
	}
	for share, stable := range map[float64]int64{0.1: 1000, 0.05: 500} {
		if b, ok := seen[share]; !ok || b.Stable.N != stable || b.Canary.N != 8 || b.Canary.Bad != 1 {
			t.Errorf("share %v: %+v, want 8 of the canary, 1 bad, and %d of stable", share, b, stable)
		}
	}
}

func TestWarmUpLeavesOutBothSides(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(requestMetrics[0])
		w.subject.Release.Analysis.WarmUp = 20 * time.Second
		p := embedded.New(w.recorder, nil)
		r := w.open(t, p, nil)
		w.serve(w.subject.Stable.ID, 5, 0)
		w.serve(w.subject.Canary.ID, 0, 5)
		got := read(t, r)
		if len(got.Samples) != 0 || !strings.Contains(got.Missing, "warming up") {
			t.Errorf("during the warm-up: %+v, missing %q", got.Samples, got.Missing)
		}
		time.Sleep(12 * time.Second)
		r.Close()
		w.recorder = telemetry.New() // the daemon starts again
		p = embedded.New(w.recorder, nil)
		r = w.open(t, p, got.Cursor)
		time.Sleep(9 * time.Second) // 21 s after the first request
		w.serve(w.subject.Stable.ID, 4, 0)
		w.serve(w.subject.Canary.ID, 3, 0)
		got = read(t, r)
		if len(got.Samples) != 1 || got.Samples[0].Batch.Canary.N != 3 || got.Samples[0].Batch.Stable.N != 4 {
			t.Errorf("after the warm-up: %+v, want 3 and 4 requests", got.Samples)
		}
		if at := got.Samples[0].Batch.At; at != 21 {
			t.Errorf("batch at %v s, want 21", at)
		}
	})
}

func TestHistoryIsStablesLastMinuteBeforeTheRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(requestMetrics...)
		w.weight = 0
		ctx, stop := context.WithCancel(t.Context())
		go w.recorder.Run(ctx)
		time.Sleep(500 * time.Millisecond) // between two ticks of the recorder
		for range 100 {                    // 100 s, ten requests each, one bad
			time.Sleep(time.Second)
			w.serve(w.subject.Stable.ID, 9, 1)
		}
		time.Sleep(time.Second)
		w.subject.Started = time.Now()
		w.weight = 1000
		time.Sleep(3 * time.Second)
		w.serve(w.subject.Stable.ID, 1000, 0)
		r := w.open(t, embedded.New(w.recorder, nil), nil)
		h, err := r.History(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if h[0].N < 590 || h[0].N > 600 || h[0].Bad*10 != h[0].N {
			t.Errorf("errors: %d of %d, want a tenth of the 600 requests of 60 s", h[0].Bad, h[0].N)
		}
		if len(h[1].Bins) != 1 || h[1].Bins[0].Count != h[0].N-h[0].Bad {
			t.Errorf("latency: %v, want one bin with the successes", h[1].Bins)
		}
		stop()
		synctest.Wait()
	})
}

func TestProcessUsageIsPaired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(
			release.Metric{Name: "cpu", Kind: release.Gauge, Source: release.Source{Process: "cpu"}},
			release.Metric{Name: "memory", Kind: release.Gauge, Source: release.Source{Process: "memory"}},
		)
		begin := time.Now()
		w.recorder.SetUsage(func() []telemetry.Usage {
			s := time.Since(begin).Seconds()
			u := []telemetry.Usage{
				{Release: "hello", Version: w.subject.Stable.ID, Instance: "0", CPUSeconds: s * .5, Memory: 100},
				{Release: "hello", Version: w.subject.Stable.ID, Instance: "1", CPUSeconds: s * .7, Memory: 300},
			}
			if s > 3 {
				u = append(u, telemetry.Usage{Release: "hello", Version: w.subject.Canary.ID, Instance: "0", CPUSeconds: s * .9, Memory: 500})
			}
			return u
		})
		r := w.open(t, embedded.New(w.recorder, nil), nil)
		ctx, stop := context.WithCancel(t.Context())
		go w.recorder.Run(ctx)
		time.Sleep(10*time.Second + time.Millisecond)
		got := read(t, r)
		cpu, memory := values(got, 0), values(got, 1)
		if len(memory) != 7 || len(cpu) != 6 {
			t.Fatalf("%d memory and %d cpu samples in the 7 s that both ran, want 7 and 6", len(memory), len(cpu))
		}
		if near(cpu[0][0], .6) || near(cpu[0][1], .9) || memory[0] != [2]float64{200, 500} {
			t.Errorf("cpu %v, memory %v", cpu[0], memory[0])
		}
		time.Sleep(time.Second)
		if got = read(t, r); len(values(got, 0)) != 1 || len(values(got, 1)) != 1 {
			t.Errorf("a second later: %+v, want one sample of each", got.Samples)
		}
		stop()
		synctest.Wait()
	})
}

func near(a, b float64) bool { return a-b > 1e-9 || b-a > 1e-9 }

func values(g metric.Reading, m int) (out [][2]float64) {
	for _, s := range g.Samples {
		if s.Metric == m {
			out = append(out, [2]float64{s.Batch.Stable.Value, s.Batch.Canary.Value})
		}
	}
	return out
}

// querier answers by query; an absent one is empty.
type querier struct {
	mu      sync.Mutex
	answers map[string]float64
	every   time.Duration // between scrapes; 0: as often as it is asked
	err     error
}

func (q *querier) Value(_ context.Context, text string, at time.Time) (float64, bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	v, ok := q.answers[text]
	if strings.Contains(text, "(timestamp(") {
		v, ok = float64(at.Truncate(max(q.every, time.Millisecond)).UnixMilli())/1000, true
	}
	return v, ok, q.err
}

func (q *querier) change(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f()
}

func TestQueryIsAskedForBothVersions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(release.Metric{Name: "queue", Kind: release.Gauge,
			Source: release.Source{Prometheus: `avg(queue{version="$version"})`}})
		q := &querier{answers: map[string]float64{
			`avg(queue{version="stable0000"})`: 3, `avg(queue{version="canary0000"})`: 5,
		}}
		r := w.open(t, embedded.New(w.recorder, q), nil)
		time.Sleep(3*time.Second + time.Millisecond)
		got := values(read(t, r), 0)
		if len(got) != 3 || got[0] != [2]float64{3, 5} {
			t.Errorf("after 3 s: %v, want three times [3 5]", got)
		}
		q.change(func() { delete(q.answers, `avg(queue{version="canary0000"})`) })
		time.Sleep(15 * time.Second)
		reading := read(t, r)
		if len(reading.Samples) != 0 || !strings.Contains(reading.Missing, "nothing for v2") {
			t.Errorf("without a value: %+v, missing %q", reading.Samples, reading.Missing)
		}
		q.change(func() { q.err = errors.New("found 3 series, expected one") })
		time.Sleep(2 * time.Second)
		if reading = read(t, r); !strings.Contains(reading.Missing, "found 3 series") {
			t.Errorf("missing %q does not say why", reading.Missing)
		}
	})
}

// TestOneSampleIsOnePieceOfEvidence: however often it is asked for, and a range's
// seconds count once.
func TestOneSampleIsOnePieceOfEvidence(t *testing.T) {
	for name, c := range map[string]struct {
		query string
		want  int
	}{
		"a level": {`queue{version=%q}`, 8},
		"a range": {`rate(jobs_total{version=%q}[30s])`, 4},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(release.Metric{Name: "queue", Kind: release.Gauge, Source: release.Source{Prometheus: fmt.Sprintf(c.query, "$version")}})
				q := &querier{answers: map[string]float64{fmt.Sprintf(c.query, "stable0000"): 3, fmt.Sprintf(c.query, "canary0000"): 5}, every: 15 * time.Second}
				p := embedded.New(w.recorder, q)
				r := w.open(t, p, nil)
				time.Sleep(time.Minute)
				first := read(t, r)
				r.Close()
				r = w.open(t, p, first.Cursor)
				time.Sleep(time.Minute)
				second := read(t, r)
				if n := len(first.Samples) + len(second.Samples); n < c.want || n > c.want+1 {
					t.Errorf("%d and %d pairs in two minutes, want %d in all", len(first.Samples), len(second.Samples), c.want)
				}
				if second.Missing != "" {
					t.Errorf("values are there, and missing is %q", second.Missing)
				}
			})
		})
	}
}

func TestLimitNeedsTheCanarysValueOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(release.Metric{Name: "queue", Kind: release.Gauge, Limit: &release.Limit{Below: true, Value: 50},
			Source: release.Source{Prometheus: `new_queue{version="$version"}`}})
		q := &querier{answers: map[string]float64{`new_queue{version="canary0000"}`: 5}}
		r := w.open(t, embedded.New(w.recorder, q), nil)
		time.Sleep(time.Second + time.Millisecond)
		if got := values(read(t, r), 0); len(got) != 1 || got[0][1] != 5 || !math.IsNaN(got[0][0]) {
			t.Errorf("%v, want 5 for the canary and nothing for stable", got)
		}
	})
}

func TestCheckSaysWhatIsKnown(t *testing.T) {
	w := newWorld()
	p := embedded.New(w.recorder, nil)
	cases := []struct {
		metric release.Metric
		want   string
	}{
		{release.Metric{Name: "a", Kind: release.Proportion}, "errors, latency and rate"},
		{release.Metric{Name: "a", Kind: release.Latency, Source: release.Source{Process: "cpu"}}, "must be gauge"},
		{release.Metric{Name: "a", Kind: release.Gauge, Source: release.Source{Process: "disk"}}, "cpu, memory"},
		{release.Metric{Name: "a", Kind: release.Gauge, Source: release.Source{Prometheus: "up"}}, "data directory"},
		{release.Metric{Name: "a", Kind: release.Amount, Source: release.Source{LLM: "tokens"}}, "known: [abandoned"},
		{release.Metric{Name: "a", Kind: release.Rate, Source: release.Source{LLM: release.FactRefusal}}, "of kind [proportion]"},
		{release.Metric{Name: "a", Kind: release.Proportion, Source: release.Source{LLM: release.FactRefusal}}, "set traffic.embedded.model"},
	}
	for _, c := range cases {
		err := p.Check(context.Background(), w.subject.Release, []release.Metric{c.metric})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "metric a of release hello") {
			t.Errorf("%+v: error %v, want one about %q", c.metric, err, c.want)
		}
	}
}
