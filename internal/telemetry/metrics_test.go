package telemetry

import (
	"io"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/haldane-project/haldane/internal/release"
)

// busy is a Recorder with something of everything.
func busy() *Recorder {
	r := New()
	for i := range 1000 {
		o := observation("b", 1000)
		o.Total = time.Duration(i+1) * time.Millisecond
		if i%100 == 0 {
			o.Outcome, o.Status, o.Shielded = release.Failed, 503, true
		}
		r.Observe(o)
	}
	mirrored := observation("b", 0)
	mirrored.Route = release.ByMirror
	r.Observe(mirrored)
	r.Label("hello", "b", Label{Name: "v2", Role: "canary"})
	r.SetUsage(func() []Usage {
		return []Usage{{Release: "hello", Version: "b", Instance: "0", CPUSeconds: 2.5, Memory: 4096}}
	})
	r.SetInFlight(func() []InFlight { return []InFlight{{"hello", "b", 7}} })
	r.Tick(time.Now())
	return r
}

func TestMetricsAreWellNamed(t *testing.T) {
	r := busy()
	r.Observe(spoken())
	if r.Feedback("hello", release.Feedback{ID: "none"}, time.Hour) == nil {
		t.Fatal("feedback on nothing was taken")
	}
	problems, err := testutil.GatherAndLint(r.Registry("v0"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetricsTellTheCounts(t *testing.T) {
	r := busy()
	server := httptest.NewServer(Handler(r.Registry("v0")))
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`haldane_requests_total{code="2xx",outcome="ok",release="hello",version="b"} 990`,
		`haldane_requests_total{code="5xx",outcome="failed",release="hello",version="b"} 10`,
		`haldane_shielded_requests_total{release="hello",version="b"} 10`,
		`haldane_mirrored_requests_total{outcome="ok",release="hello",version="b"} 1`,
		`haldane_request_duration_seconds_bucket{release="hello",version="b",le="+Inf"} 1000`,
		`haldane_request_duration_seconds_count{release="hello",version="b"} 1000`,
		`haldane_requests_in_flight{release="hello",version="b"} 7`,
		`haldane_process_cpu_seconds_total{instance="0",release="hello",version="b"} 2.5`,
		`haldane_version_info{name="v2",release="hello",role="canary",version="b"} 1`,
		`version="v0"} 1`,
	} {
		if !strings.Contains(string(body), line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	r.Forget("hello")
	if n := testutil.CollectAndCount(collector{r}, "haldane_requests_total"); n != 0 {
		t.Errorf("%d series of a release that was forgotten", n)
	}
}

func TestBothHistogramsAgree(t *testing.T) {
	var h *dto.Histogram
	families, err := gather(busy())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "haldane_request_duration_seconds" {
			h = f.GetMetric()[0].GetHistogram()
		}
	}
	if h.GetSampleCount() != 1000 || math.Abs(h.GetSampleSum()-500.5) > 1e-6 {
		t.Errorf("%d values, sum %v", h.GetSampleCount(), h.GetSampleSum())
	}
	for _, b := range h.GetBucket() {
		want := min(b.GetUpperBound()*1000, 1000)
		if math.Abs(float64(b.GetCumulativeCount())-want) > max(1, .011*want) {
			t.Errorf("%d values up to %v s, want %v", b.GetCumulativeCount(), b.GetUpperBound(), want)
		}
	}
	var native, count int64
	for _, d := range h.GetPositiveDelta() {
		count += d
		native += count
	}
	if h.GetSchema() != schema || native != 1000 {
		t.Errorf("native histogram of schema %d has %d values", h.GetSchema(), native)
	}
}

func gather(r *Recorder) ([]*dto.MetricFamily, error) {
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(collector{r})
	return reg.Gather()
}
