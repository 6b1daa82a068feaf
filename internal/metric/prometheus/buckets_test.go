package prometheus

import (
	"log/slog"
	"math"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry/history"
)

func TestLayoutsCompile(t *testing.T) {
	if !cmp.Equal(LayoutNames(), release.SeriesLayouts) {
		t.Errorf("layouts are %v, a manifest takes %v", LayoutNames(), release.SeriesLayouts)
	}
	for _, name := range LayoutNames() {
		l, err := KnownLayout(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.compile(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := KnownLayout("apache"); err == nil || !contains(err.Error(), "known: envoy, http, istio") {
		t.Errorf("error %v", err)
	}
}

// TestBucketsGain: per bucket, without failures, whatever the server does.
func TestBucketsGain(t *testing.T) {
	bucket := func(le, code string, samples ...sample) series {
		return series{labels: map[string]string{"le": le, "code": code}, samples: samples}
	}
	inf := math.Inf(1)
	for name, c := range map[string]struct {
		polls []answer
		want  bounds
		gaps  int
	}{
		"summed up series": {[]answer{{[]series{
			bucket("0.1", "200", sample{90, 10}, sample{110, 12}), bucket("0.5", "200", sample{90, 10}, sample{110, 15}),
			bucket("+Inf", "200", sample{90, 11}, sample{110, 17}),
		}}}, bounds{0.1: 2, 0.5: 3, inf: 1}, 0},
		"failures are not times": {[]answer{{[]series{
			bucket("0.1", "503", sample{90, 10}, sample{110, 99}), bucket("+Inf", "503", sample{90, 10}, sample{110, 99}),
		}}}, bounds{}, 0},
		"began again": {[]answer{{[]series{
			bucket("0.1", "200", sample{90, 10}, sample{110, 3}), bucket("+Inf", "200", sample{90, 10}, sample{110, 4}),
		}}}, bounds{0.1: 3, inf: 1}, 0},
		"a native histogram": {[]answer{{nativeSeries(rawSeries{Histograms: []rawHistogram{
			{t: 90, count: 5, buckets: []rawBucket{{"0.1", "0.2", 5}}},
			{t: 110, count: 9, buckets: []rawBucket{{"0.1", "0.2", 6}, {"0.2", "0.4", 3}}},
		}})}}, bounds{0.2: 1, 0.4: 3}, 0},
		"one that was cut into wider buckets": {[]answer{{nativeSeries(rawSeries{Histograms: []rawHistogram{
			{t: 90, count: 5, buckets: []rawBucket{{"0.1", "0.2", 2}, {"0.2", "0.4", 3}}},
			{t: 110, count: 7, buckets: []rawBucket{{"0.1", "0.4", 7}}},
		}})}}, bounds{}, 1},
	} {
		m, sum, gaps := marks{}, bounds{}, 0
		for _, a := range c.polls {
			got, _, g := m.gainBuckets(a, births{since: 100}, httpLayout(t))
			sum.add(got)
			gaps += g
		}
		if !cmp.Equal(sum, c.want) || gaps != c.gaps {
			t.Errorf("%s: %v with %d gaps, want %v with %d", name, sum, gaps, c.want, c.gaps)
		}
		if back := sum.saved().bounds(); !cmp.Equal(back, sum) {
			t.Errorf("%s: saved and read again it is %v", name, back)
		}
	}
}

// TestLatencyOfARealHistogram: a real client library, a real scraper and store,
// read inside the process; classic and native histograms tell the judge alike.
func TestLatencyOfARealHistogram(t *testing.T) {
	s := subject(release.Metric{Name: "latency", Kind: release.Latency, Quantile: 0.9, Margin: release.Margin{Ratio: 1.2}})
	store, err := history.Open(history.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Interval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	histograms := map[release.VersionID]*prometheus.HistogramVec{}
	var targets []history.Target
	for _, v := range []release.VersionID{s.Stable.ID, s.Canary.ID} {
		registry := prometheus.NewRegistry()
		histograms[v] = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_server_request_duration_seconds", Help: "x", Buckets: []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1},
		}, []string{"code"})
		registry.MustRegister(histograms[v])
		histograms[v].WithLabelValues("200").Observe(0.015)
		server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
		defer server.Close()
		targets = append(targets, history.Target{Release: "hello", Version: string(v), Instance: "0", URL: server.URL})
	}
	store.SetTargets(targets)
	p, err := New(Options{URL: "http://inside", Transport: Inside(store.QueryHandler()), Interval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	value := func(query string) float64 {
		v, _, err := store.Value(t.Context(), query, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	eventually(t, "the first scrape", func() bool { return value("sum(http_server_request_duration_seconds_count)") == 2 })
	r, err := p.Open(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	eventually(t, "a poll", func() bool { return p.polls.Load() > 1 })
	for range 10 {
		histograms[s.Canary.ID].WithLabelValues("200").Observe(0.3)
		histograms[s.Canary.ID].WithLabelValues("500").Observe(0.001)
	}
	eventually(t, "the canary's scrape", func() bool { return value("sum(http_server_request_duration_seconds_count)") == 22 })
	seen := p.polls.Load()
	eventually(t, "its polls", func() bool { return p.polls.Load() >= seen+2 }) // what stable does alone before may be left out
	for range 10 {
		histograms[s.Stable.ID].WithLabelValues("200").Observe(0.015)
	}
	eventually(t, "the scrape", func() bool { return value("sum(http_server_request_duration_seconds_count)") == 32 })
	var times [2]map[float64]int64
	seen = p.polls.Load()
	eventually(t, "its polls", func() bool { return p.polls.Load() >= seen+2 }) // one before may have read a scrape of some of the ten
	eventually(t, "the evidence", func() bool {
		got, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range got.Samples {
			for who, side := range [2]judge.Side{x.Batch.Stable, x.Batch.Canary} {
				for _, b := range side.Bins {
					if times[who] == nil {
						times[who] = map[float64]int64{}
					}
					times[who][math.Round(1000*judge.BinValue(judge.Latency, b.Bin))] += b.Count
				}
			}
		}
		return len(times[0]) > 0 && len(times[1]) > 0
	})
	near := func(m map[float64]int64, low, high float64) bool {
		n := int64(0)
		for ms, c := range m {
			if ms >= low && ms <= high {
				n += c
			}
		}
		return n >= 10 && n <= 11 // the canary's first one was before the run, or in it
	}
	if !near(times[0], 10, 21) || !near(times[1], 190, 510) {
		t.Errorf("read %v", times)
	}
}
