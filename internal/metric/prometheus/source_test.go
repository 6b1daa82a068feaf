package prometheus

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry/history"
)

// page is a server whose /metrics a test writes.
type page struct {
	mu   sync.Mutex
	text string
}

func (p *page) write(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = fmt.Sprintf(format, args...)
}

func (p *page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprint(w, p.text)
}

// exporting opens a reader of two real servers that a real store scrapes, once
// both were polled.
func exporting(t *testing.T, pages [2]*page, metrics ...release.Metric) (metric.Reader, *Provider) {
	t.Helper()
	const every = 250 * time.Millisecond // of which a scrape may take most: pages of several tests are read at once
	store, err := history.Open(history.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Interval: every})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	s := subject(metrics...)
	var targets []history.Target
	for who, v := range []release.VersionID{s.Stable.ID, s.Canary.ID} {
		server := httptest.NewServer(pages[who])
		t.Cleanup(server.Close)
		targets = append(targets, history.Target{Release: "hello", Version: string(v), Instance: fmt.Sprint(who), URL: server.URL})
	}
	store.SetTargets(targets)
	p, err := New(Options{URL: "http://inside", Transport: Inside(store.QueryHandler()), Scraped: "up", Interval: every})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "two scrapes of both that succeeded", func() bool {
		v, ok, err := store.Value(t.Context(), "min(sum_over_time(up[1m]))", time.Now())
		n, _, _ := store.Value(t.Context(), "count(up == 1)", time.Now())
		return err == nil && ok && v >= 2 && n == 2
	})
	if err := p.Check(t.Context(), s.Release, metrics); err != nil {
		t.Fatal(err)
	}
	r, err := p.Open(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	eventually(t, "polls", func() bool { return p.polls.Load() > 2 })
	return r, p
}

// polled waits until what the canary's page now says was scraped and polled: what
// stable does before the canary was asked anything is no evidence.
func polled(t *testing.T, p *Provider) {
	t.Helper()
	now := fmt.Sprintf("%.3f", seconds(time.Now()))
	eventually(t, "scrapes that begin now", func() bool {
		a, err := p.client.query(t.Context(), "count(timestamp(up == 1) > "+now+")", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		n, ok, err := a.number()
		return err == nil && ok && n == 2
	})
	seen := p.polls.Load()
	eventually(t, "their polls", func() bool { return p.polls.Load() >= seen+2 })
}

// gather reads until both versions' counts of the first metric are so many.
func gather(t *testing.T, r metric.Reader, size func(judge.Side) int64, stable, canary int64) (sum [2]judge.Side) {
	t.Helper()
	var n [2]int64
	eventually(t, "the evidence", func() bool {
		got, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range got.Samples {
			for who, side := range [2]judge.Side{s.Batch.Stable, s.Batch.Canary} {
				n[who] += size(side)
				sum[who].N, sum[who].Bad, sum[who].Value = sum[who].N+side.N, sum[who].Bad+side.Bad, side.Value
				sum[who].Bins = append(sum[who].Bins, side.Bins...)
			}
		}
		return n[0] >= stable && n[1] >= canary
	})
	if n != [2]int64{stable, canary} {
		t.Errorf("counted %v, want %d and %d", n, stable, canary)
	}
	return sum
}

func binned(s judge.Side) int64 {
	n := int64(0)
	for _, b := range s.Bins {
		n += b.Count
	}
	return n
}

// TestNamesDriftBetweenVersions: the release moves from a vLLM with old names to
// one with new names, and both are read.
func TestNamesDriftBetweenVersions(t *testing.T) {
	const histogram = "vllm:%[1]s_bucket{le=\"0.025\",model_name=\"m\"} %[2]d\nvllm:%[1]s_bucket{le=\"0.05\",model_name=\"m\"} %[3]d\nvllm:%[1]s_bucket{le=\"+Inf\",model_name=\"m\"} %[3]d\n"
	pages := [2]*page{{}, {}}
	pages[0].write(histogram, "time_per_output_token_seconds", 100, 100)
	// The new one exports both names for a while: what it counts, it counts once.
	both := histogram + "vllm:time_per_output_token_seconds_bucket{le=\"+Inf\",model_name=\"m\"} %[3]d\n"
	pages[1].write(both, "inter_token_latency_seconds", 0, 0)
	r, p := exporting(t, pages, release.Metric{
		Name: "itl", Kind: release.Latency, Quantile: 0.9, Source: release.Source{Server: release.ServerMetric{Name: "vllm", Metric: "interTokenLatency", Labels: `model_name="m"`}},
	})
	pages[1].write(both, "inter_token_latency_seconds", 0, 7)
	polled(t, p)
	pages[0].write(histogram, "time_per_output_token_seconds", 110, 110)
	sum := gather(t, r, binned, 10, 7)
	if s, c := judge.BinValue(judge.Latency, sum[0].Bins[0].Bin), judge.BinValue(judge.Latency, sum[1].Bins[0].Bin); s > 0.026 || c < 0.04 {
		t.Errorf("read %v s of stable and %v s of the canary", s, c)
	}
}

// TestTwoCounters: events of all, whatever is scraped first, with a restart of
// the process midway.
func TestTwoCounters(t *testing.T) {
	const counters = "jobs_total %d\ndropped_total %d\n"
	pages := [2]*page{{}, {}}
	pages[0].write(counters, 1000, 50)
	pages[1].write(counters, 0, 0)
	r, p := exporting(t, pages, release.Metric{
		Name: "dropped", Kind: release.Proportion, Source: release.Source{Prometheus: `dropped_total{version="$version"} / (jobs_total{version="$version"})`},
	})
	size := func(s judge.Side) int64 { return s.N }
	pages[1].write(counters, 10, 4)
	polled(t, p)
	pages[0].write(counters, 1020, 51)
	first := gather(t, r, size, 20, 10)
	pages[0].write(counters, 1030, 51)
	pages[1].write(counters, 3, 1) // began again
	second := gather(t, r, size, 10, 3)
	if first[0].Bad != 1 || first[1].Bad != 4 || second[0].Bad != 0 || second[1].Bad != 1 {
		t.Errorf("dropped %d of stable and %d of the canary, then %d and %d", first[0].Bad, first[1].Bad, second[0].Bad, second[1].Bad)
	}
}

// TestALevelByItsNewName: gauges are found by name, too.
func TestALevelByItsNewName(t *testing.T) {
	pages := [2]*page{{}, {}}
	pages[0].write("vllm:gpu_cache_usage_perc 0.25\n")
	pages[1].write("vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.7\n")
	r, _ := exporting(t, pages, release.Metric{Name: "cache", Kind: release.Gauge, Source: release.Source{Server: release.ServerMetric{Name: "vllm", Metric: "cacheUsage"}}})
	var last judge.Batch
	eventually(t, "a level", func() bool {
		got, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range got.Samples {
			last = s.Batch
		}
		return len(got.Samples) > 0
	})
	if last.Stable.Value != 0.25 || last.Canary.Value != 0.6 {
		t.Errorf("read %v and %v, want 0.25 and 0.6", last.Stable.Value, last.Canary.Value)
	}
}

// TestAbsentSeriesAreNamed: none of the known names, with the nearest that are there.
func TestAbsentSeriesAreNamed(t *testing.T) {
	pages := [2]*page{{}, {}}
	for _, p := range pages {
		p.write("vllm:time_to_first_answer_seconds_count 4\ngo_goroutines 8\n")
	}
	r, p := exporting(t, pages, release.Metric{Name: "ttft", Kind: release.Latency, Source: release.Source{Server: release.ServerMetric{Name: "vllm", Metric: "timeToFirstToken"}}})
	p.options.Stale = time.Nanosecond // nothing will come
	got, err := r.Read(t.Context())
	want := "exports no vllm:time_to_first_token_seconds of vllm; it offers vllm:time_to_first_answer_seconds_count, "
	if err != nil || len(got.Samples) != 0 || !contains(got.Missing, want) {
		t.Errorf("missing %q %v, want %q", got.Missing, err, want)
	}
}

// TestEveryKnownSeriesParses: all servers, all metrics, all of their kinds.
func TestEveryKnownSeriesParses(t *testing.T) {
	p, err := New(Options{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range release.Servers() {
		for _, name := range release.ServerMetrics(server) {
			m := release.ServerMetric{Name: server, Metric: name, Labels: `model="m"`}
			if len(m.Kinds()) == 0 {
				t.Errorf("%s of %s is of no kind", name, server)
			}
			for _, k := range m.Kinds() {
				if err := p.check(release.Metric{Name: "x", Kind: k, Source: release.Source{Server: m}}); err != nil {
					t.Errorf("%s of %s as %s: %v", name, server, k, err)
				}
			}
		}
	}
}

// TestWhatCannotBeCountedIsRefused: with a way to write it.
func TestWhatCannotBeCountedIsRefused(t *testing.T) {
	p, err := New(Options{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind        release.MetricKind
		query, want string
	}{
		{release.Amount, `histogram_quantile(0.9, x_bucket)`, "plain selector"},
		{release.Latency, `x_bucket{version="$version"}`, "does not say its unit"},
		{release.Proportion, `sum(rate(a[1m])) / sum(rate(b[1m]))`, "two counters with a division sign"},
		{release.Category, `x`, "must be gauge"},
		{release.Rate, `a_total{version="$release_name"} / b_total`, "unknown variable"},
		{release.Rate, "", "give two counters"},
	} {
		err := p.check(release.Metric{Name: "x", Kind: c.kind, Source: release.Source{Prometheus: c.query}})
		if err == nil || !contains(err.Error(), c.want) {
			t.Errorf("%s of %s: %v, want %q", c.kind, c.query, err, c.want)
		}
	}
	for query, unit := range map[string]float64{`x_seconds_bucket{a="b"}`: 1, `x_milliseconds{a="b"}`: 1e-3, `{__name__=~"x_us(_bucket)?"}`: 1e-6} {
		if got, err := unitOf(query); err != nil || got != unit {
			t.Errorf("the unit of %s is %v, %v", query, got, err)
		}
	}
}
