package prometheus

import (
	"encoding/json"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// What a counter's samples may be on a bad day, and the requests in them.
var badDays = map[string]struct {
	samples []sample
	want    int64 // requests
}{
	"a good one":               {[]sample{{110, 20}}, 20},
	"began again":              {[]sample{{105, 20}, {108, 3}, {110, 5}}, 25},
	"not a number":             {[]sample{{110, math.NaN()}, {111, 20}}, 20},
	"infinite":                 {[]sample{{110, math.Inf(1)}, {111, 20}}, 20},
	"minus infinite":           {[]sample{{110, math.Inf(-1)}, {111, 20}}, 20},
	"negative":                 {[]sample{{110, -7}, {111, 20}}, 20},
	"beyond all counts":        {[]sample{{110, 1e300}, {111, 20}}, 20},
	"a billion":                {[]sample{{110, 1e9}}, 1e9},
	"not whole":                {[]sample{{110, 19.7}}, 20},
	"the clock went back":      {[]sample{{110, 20}, {104, 3}, {109, 4}}, 20},
	"the same moment again":    {[]sample{{110, 20}, {110, 900}}, 20},
	"a time that is no time":   {[]sample{{math.NaN(), 900}, {110, 20}}, 20},
	"a time without end":       {[]sample{{math.Inf(1), 900}, {110, 20}}, 20},
	"a time far in the future": {[]sample{{110, 20}, {1e12, 900}}, 20},
}

// counted are both versions' totals of a flow that a bad day was fed to, judged.
func counted(t *testing.T, kind release.MetricKind, canarySeries ...series) (n [2]int64) {
	t.Helper()
	layout := httpLayout(t)
	m := release.Metric{Name: "x", Kind: kind}
	f := newFlow("x", nil, time.Unix(100, 0))
	f.metrics = []int{0}
	run := judged(t, m)
	feed := func(at int64, stableSeries, canarySeries []series) {
		for who, s := range [][]series{stableSeries, canarySeries} {
			p := part{layout: layout, total: answer{s}}
			if kind == release.Latency {
				p = part{layout: layout, bins: answer{s}}
			}
			f.count(who, p, time.Unix(at, 0), births{since: 100})
		}
		got, err := f.batches(float64(at-100), []release.Metric{m})
		if err != nil {
			t.Fatalf("batches: %v", err)
		}
		for _, b := range got {
			if err := run.Update(0, b); err != nil {
				t.Fatalf("a batch made of a server's samples was refused: %v", err)
			}
			for who, s := range []judge.Side{b.Stable, b.Canary} {
				n[who] += s.N
				for _, c := range s.Bins {
					n[who] += c.Count
				}
			}
		}
	}
	stable := func(v float64, at float64) []series {
		return []series{{labels: map[string]string{"code": "200", "le": "+Inf"}, samples: []sample{{at, v}}}}
	}
	feed(101, stable(50, 101), nil)
	feed(112, stable(90, 112), canarySeries)
	feed(113, stable(95, 113), canarySeries)
	return n
}

func judged(t testing.TB, m release.Metric) *judge.Run {
	t.Helper()
	kind := judge.Proportion
	if m.Kind == release.Latency {
		kind = judge.Latency
	}
	run, err := judge.New(judge.Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1},
		Metrics: []judge.Metric{{Name: m.Name, Kind: kind, Share: 1, Limit: math.NaN()}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// TestNoCounterSaysThis: what can not be is left out, and the rest counts.
func TestNoCounterSaysThis(t *testing.T) {
	for name, c := range badDays {
		labels := map[string]string{"code": "200", "le": "0.1"}
		if got := counted(t, release.Errors, series{labels, c.samples}); got[canary] != c.want {
			t.Errorf("%s: %d requests counted, want %d", name, got[canary], c.want)
		}
		if got := counted(t, release.Latency, series{labels, c.samples}); got[canary] != c.want {
			t.Errorf("%s: %d times counted, want %d", name, got[canary], c.want)
		}
	}
}

// TestBoundsThatNoHistogramHas: buckets whose bound is no number, and bounds that
// are others than in the scrape before.
func TestBoundsThatNoHistogramHas(t *testing.T) {
	bucket := func(le string, samples ...sample) series {
		return series{labels: map[string]string{"le": le, "code": "200"}, samples: samples}
	}
	for name, c := range map[string]struct {
		series []series
		want   int64
	}{
		"a bound that is no number":  {[]series{bucket("NaN", sample{110, 5}), bucket("+Inf", sample{110, 9})}, 9},
		"a bound that is a word":     {[]series{bucket("many", sample{110, 5}), bucket("+Inf", sample{110, 9})}, 9},
		"a negative bound":           {[]series{bucket("-1", sample{110, 5}), bucket("+Inf", sample{110, 9})}, 4},
		"a bound twice":              {[]series{bucket("0.1", sample{110, 5}), bucket("1e-1", sample{110, 5}), bucket("+Inf", sample{110, 9})}, 9},
		"counts that fall with it":   {[]series{bucket("0.1", sample{110, 7}), bucket("0.5", sample{110, 5}), bucket("+Inf", sample{110, 9})}, 9},
		"no bound without end":       {[]series{bucket("0.1", sample{110, 5}), bucket("0.5", sample{110, 9})}, 9},
		"other bounds than before":   {[]series{bucket("0.1", sample{105, 5}), bucket("+Inf", sample{105, 5}, sample{110, 9}), bucket("0.2", sample{110, 9})}, 9},
		"a billion in every bucket":  {[]series{bucket("0.1", sample{110, 1e9}), bucket("+Inf", sample{110, 2e9})}, 2e9},
		"only one that has no bound": {[]series{{labels: map[string]string{"code": "200"}, samples: []sample{{110, 9}}}}, 0},
	} {
		if got := counted(t, release.Latency, c.series...); got[canary] != c.want {
			t.Errorf("%s: %d values counted, want %d", name, got[canary], c.want)
		}
	}
}

// FuzzSamples: whatever a server says of counters and histograms, what comes of it
// is evidence that the judge takes.
func FuzzSamples(f *testing.F) {
	f.Add(110.0, 5.0, 111.0, 9.0, 112.0, 2.0, 0.1, 0.5)
	f.Add(110.0, math.NaN(), 109.0, math.Inf(1), 112.0, -2.0, math.NaN(), math.Inf(-1))
	f.Add(1e12, 1e9, 1e300, 1e300, 0.0, 1e18, -1.0, 0.0)
	f.Fuzz(func(t *testing.T, t1, v1, t2, v2, t3, v3, low, high float64) {
		one := []sample{{t1, v1}, {t2, v2}, {t3, v3}}
		other := []sample{{t3, v2}, {t1, v3}, {t2, v1}}
		text := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
		a := answer{[]series{
			{map[string]string{"code": "200", "le": text(low)}, one}, {map[string]string{"code": "200", "le": text(high)}, other},
			{map[string]string{"code": "500", "le": "+Inf"}, one}, {map[string]string{"code": "200", "le": "+Inf"}, other},
		}}
		for _, kind := range []release.MetricKind{release.Errors, release.Latency} {
			m := release.Metric{Name: "x", Kind: kind}
			fl := newFlow("x", nil, time.Unix(100, 0))
			fl.metrics = []int{0}
			run := judged(t, m)
			for poll := range 3 {
				for _, who := range []int{canary, stable} {
					p := part{layout: httpLayout(t), total: answer{a.series[poll%2:]}}
					if kind == release.Latency {
						p = part{layout: httpLayout(t), bins: answer{a.series[poll%2:]}}
					}
					fl.count(who, p, time.Unix(100+int64(poll), 0), births{since: 100 - float64(poll)})
				}
				got, err := fl.batches(float64(poll), []release.Metric{m})
				if err != nil {
					t.Fatalf("no batch could be made: %v", err)
				}
				for _, b := range got {
					if err := run.Update(0, b); err != nil {
						t.Fatalf("a batch made of a server's samples was refused: %v", err)
					}
				}
			}
		}
	})
}

// TestSampleIsATimeAndAValue: anything else is no answer of a Prometheus server.
func TestSampleIsATimeAndAValue(t *testing.T) {
	for text, want := range map[string]rawSample{
		`[1.5,"2"]`:               {1.5, 2},
		`[ 1700000000 , "+Inf" ]`: {1.7e9, math.Inf(1)},
	} {
		var got rawSample
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s is %v (%v), want %v", text, got, err, want)
		}
	}
	for _, text := range []string{`[]`, `[1]`, `[1,2]`, `["1","2"]`, `[1,""]`, `[1,"x"]`, `[1,"2",3]`, `[1,"2","3"]`, `[[1],"2"]`, `{}`, `null`, `"1,2"`, `1`} {
		var got []rawSample
		if err := json.Unmarshal([]byte("["+text+"]"), &got); err == nil {
			t.Errorf("%s is taken for %v", text, got)
		}
	}
}
