package prometheus

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/release"
)

// levelReader is a reader of one level, without a server.
func levelReader(began time.Time) *reader {
	s := &source{chosen: &selected{}}
	return &reader{
		subject: metric.Subject{Started: began, Metrics: []release.Metric{queueMetric}}, levels: [][2]*source{{s, s}},
	}
}

// TestRepeatedSamplesFailNoGoodVersion: a level that is scraped every 15 seconds
// and asked for every second. Of equal versions about one in a hundred runs may
// fail at most; one that is half as high again is found.
func TestRepeatedSamplesFailNoGoodVersion(t *testing.T) {
	const runs, scrape, length = 300, 15, 1800
	failed := func(higher float64) (n int) {
		for seed := range uint64(runs) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			draw := func(mean float64) float64 { return mean * math.Exp(0.15*rnd.NormFloat64()) }
			var past []float64
			for range 40 {
				past = append(past, draw(100))
			}
			run, err := judge.New(judge.Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1}, Metrics: []judge.Metric{
				{Name: "queue", Kind: judge.Gauge, Share: 1, Ratio: 1.2, Limit: math.NaN()}}}, []judge.History{{Values: past}})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Unix(1_000_000, 0)
			r := levelReader(began)
			var now level
			for sec := range length {
				at := began.Add(time.Duration(sec) * time.Second)
				for who, phase := range []int{3, 8} {
					if sec%scrape == phase || sec == 0 {
						now.values[who] = draw(100 * (1 + higher*float64(who)))
						now.spans[who] = query.Span{Oldest: seconds(at), Newest: seconds(at)}
					}
				}
				for _, s := range r.takeLevels(&poll{at: at, levels: []level{now}}) {
					s.Batch.At = float64(sec)
					if err := run.Update(0, s.Batch); err != nil {
						t.Fatal(err)
					}
				}
			}
			if run.Report(0).Verdict == judge.Fail {
				n++
			}
		}
		return n
	}
	same, worse := failed(0), failed(0.5)
	t.Logf("of %d runs failed: %d of equal versions, %d where the canary is half as high again", runs, same, worse)
	if same > runs/50 || worse < runs*95/100 {
		t.Errorf("of %d runs failed: %d of equal versions, %d where the canary is half as high again", runs, same, worse)
	}
}

// TestNewEvidenceOfALevel: all of what is behind a value is newer than what was
// behind the last one.
func TestNewEvidenceOfALevel(t *testing.T) {
	for name, c := range map[string]struct {
		window time.Duration
		polls  []float64 // seconds
		spans  func(sec float64) [2]query.Span
		want   int
	}{
		"one sample again and again": {0, []float64{10, 11, 12, 13}, func(float64) [2]query.Span { return [2]query.Span{{Oldest: 9, Newest: 9}, {Oldest: 9, Newest: 9}} }, 1},
		"one of ten pods is newer": {0, []float64{10, 11, 12}, func(sec float64) [2]query.Span {
			return [2]query.Span{{Oldest: sec - 9, Newest: sec}, {Oldest: sec - 9, Newest: sec}}
		}, 1},
		"all are newer": {0, []float64{10, 15, 20, 30}, func(sec float64) [2]query.Span {
			return [2]query.Span{{Oldest: sec - 9, Newest: sec}, {Oldest: sec - 9, Newest: sec}}
		}, 3},
		"stable's is an old one": {0, []float64{10, 20, 30}, func(sec float64) [2]query.Span {
			return [2]query.Span{{Oldest: 5, Newest: 5}, {Oldest: sec, Newest: sec}}
		}, 1},
		"stable is not known": {0, []float64{10, 20, 30}, func(sec float64) [2]query.Span { return [2]query.Span{{}, {Oldest: sec, Newest: sec}} }, 3},
		"ranges that overlap": {time.Minute, []float64{60, 75, 90, 105, 120}, func(sec float64) [2]query.Span {
			return [2]query.Span{{Oldest: sec, Newest: sec}, {Oldest: sec, Newest: sec}}
		}, 2},
		"no samples": {0, []float64{10, 20}, func(float64) [2]query.Span { return [2]query.Span{} }, 0},
	} {
		var step query.Step
		n := 0
		for _, sec := range c.polls {
			if step.Next(time.UnixMilli(int64(sec*1000)), c.window, c.spans(sec)) {
				n++
			}
		}
		if n != c.want {
			t.Errorf("%s: %d pieces of evidence, want %d", name, n, c.want)
		}
	}
}

// TestTimesOfSamples: a real store tells when they were taken, for a level, a range
// and a query of two series; and the same of the past.
func TestTimesOfSamples(t *testing.T) {
	pages := [2]*page{{}, {}}
	for who, p := range pages {
		p.write("queue{pod=\"a\"} %[1]d\nqueue{pod=\"b\"} %[1]d\nslots 10\n", 4+2*who)
	}
	source := func(promql string) release.Metric {
		return release.Metric{Name: "queue", Kind: release.Gauge, Source: release.Source{Prometheus: promql}}
	}
	r, p := exporting(t, pages, source(`avg(queue{version="$version"})`))
	for promql, want := range map[string]float64{
		`avg(queue{version="$version"})`:                                             6,
		`sum(queue{version="$version"}) / scalar(slots{version="$version"})`:         1.2,
		`scalar(slots{version="$version"}) + 1`:                                      11,
		`max_over_time(sum(queue{version="$version"})[10s:10ms])`:                    12,
		`queue{version="$version",pod="a"} or absent(queue{version="$version"})`:     6,
		`sum(rate(queue{version="$version"}[10s])) + sum(slots{version="$version"})`: 10,
	} {
		list, err := p.candidates(source(promql), stable)
		if err != nil {
			t.Fatal(err)
		}
		x, err := list[0].bind(query.Vars{Version: "canary0000", Window: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		var at time.Time
		var span query.Span
		eventually(t, promql, func() bool { // scrapes of a busy machine may fail
			at = time.Now()
			a, err := p.client.query(t.Context(), x.timing.All, at)
			if err != nil {
				t.Fatalf("%s: %v", x.timing.All, err)
			}
			var values answer
			values, span = a.timed()
			v, ok, err := values.number()
			return err == nil && ok && span.Oldest > 0 && math.Abs(v-want) < 1e-9
		})
		if span.Oldest < seconds(at)-30 || span.Newest > seconds(at) || span.Oldest > span.Newest {
			t.Errorf("%s was taken between %v and %v, asked at %v", promql, span.Oldest, span.Newest, seconds(at))
		}
	}
	eventually(t, "two values of the past", func() bool {
		s := r.(*reader)
		return len(s.pastValues(t.Context(), s.levels[0][stable], time.Now())) >= 2
	})
	if err := p.check(source("vector(1)")); err == nil || !contains(err.Error(), "reads no series") {
		t.Errorf("a query of nothing: %v", err)
	}
}
