package join_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/embedded"
	"github.com/haldane-project/haldane/internal/metric/join"
	"github.com/haldane-project/haldane/internal/metric/metrictest"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry"
)

func isPods(m release.Metric) bool { return m.Source.Pods != "" }

// TestConformance: a join of one part that serves everything is that part.
func TestConformance(t *testing.T) {
	metrictest.Run(t, func(t *testing.T, f func(*testing.T)) { synctest.Test(t, f) }, func(t *testing.T) metrictest.Harness {
		r := telemetry.New()
		s := metric.Subject{
			Release: release.Release{Name: "hello"}, Run: "hello-1", Started: time.Now(),
			Stable: release.Version{ID: "stable0000", Name: "v1"}, Canary: release.Version{ID: "canary0000", Name: "v2"},
			Metrics: []release.Metric{{Name: "errors", Kind: release.Errors}, {Name: "latency", Kind: release.Latency}},
		}
		return metrictest.Harness{
			Provider: join.New(join.Part{Name: "none", Serves: isPods}, join.Part{Name: "proxy", Provider: embedded.New(r, nil), Always: true}),
			Subject:  s,
			Serve: func(v release.VersionID, good, failed int) {
				for i := range good + failed {
					o := release.Observation{
						Release: "hello", Version: v, Weight: release.Full - 1000, Begin: time.Now(), Total: 10 * time.Millisecond, Status: 200,
					}
					if v == s.Canary.ID {
						o.Weight = 1000
					}
					if i >= good {
						o.Status, o.Outcome = 500, release.Failed
					}
					r.Observe(&o)
				}
				synctest.Wait() // until the wake has come through
			},
			Silence: func() { time.Sleep(time.Minute) },
			Wakes:   true,
		}
	})
}

// part is a provider whose reader gives what a test puts into it.
type part struct {
	metrics []string
	cursor  string
	reading metric.Reading
	err     error
	wake    chan struct{}
	closed  int
}

func (p *part) Check(_ context.Context, _ release.Release, metrics []release.Metric) error {
	p.metrics = nil
	for _, m := range metrics {
		p.metrics = append(p.metrics, m.Name)
	}
	return p.err
}

func (p *part) Open(_ context.Context, s metric.Subject, cursor []byte) (metric.Reader, error) {
	p.cursor = string(cursor)
	return p, p.Check(context.Background(), s.Release, s.Metrics)
}

func (p *part) History(context.Context) ([]judge.History, error) {
	out := make([]judge.History, len(p.metrics))
	for i := range out {
		out[i].N = int64(len(p.metrics[i]))
	}
	return out, nil
}

func (p *part) Read(context.Context) (metric.Reading, error) { return p.reading, p.err }
func (p *part) Wake() <-chan struct{}                        { return p.wake }
func (p *part) Close() error                                 { p.closed++; return nil }

// TestEachMetricComesFromItsPart: with the subject's indices, all cursors kept,
// and one part's failure leaves the evidence of the other.
func TestEachMetricComesFromItsPart(t *testing.T) {
	begun := time.Now()
	pods, proxy := &part{wake: make(chan struct{}, 1)}, &part{wake: make(chan struct{}, 1)}
	p := join.New(join.Part{Name: "pods", Provider: pods, Serves: isPods}, join.Part{Name: "proxy", Provider: proxy})
	s := metric.Subject{Run: "hello-1", Metrics: []release.Metric{
		{Name: "errors"}, {Name: "restarts", Source: release.Source{Pods: release.PodRestarts}}, {Name: "latency"},
	}}
	r, err := p.Open(t.Context(), s, []byte(`{"pods":{"a":1},"proxy":"b"}`))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(pods.metrics, " ") != "restarts" || strings.Join(proxy.metrics, " ") != "errors latency" || pods.cursor != `{"a":1}` || proxy.cursor != `"b"` {
		t.Errorf("opened %v at %s, %v at %s", pods.metrics, pods.cursor, proxy.metrics, proxy.cursor)
	}
	h, err := r.History(t.Context())
	if err != nil || h[0].N != 6 || h[1].N != 8 || h[2].N != 7 {
		t.Errorf("history %+v %v", h, err)
	}
	pods.reading = metric.Reading{Samples: []metric.Sample{{Metric: 0}}, Cursor: []byte(`{"a":2}`), Newest: begun.Add(time.Second), Missing: "no pod", Again: begun.Add(time.Minute)}
	proxy.reading = metric.Reading{
		Samples: []metric.Sample{{Metric: 0}, {Metric: 1}}, Placebo: []metric.Sample{{Metric: 1}},
		Division: []judge.Batch{{Share: 0.1}}, Cursor: []byte(`"c"`), Newest: begun,
		Critical: "harm", Caveats: []string{"a colder cache"}, Again: begun.Add(time.Second),
	}
	got, err := r.Read(t.Context())
	if err != nil || len(got.Samples) != 3 || len(got.Division) != 1 || !got.Newest.Equal(begun.Add(time.Second)) || got.Missing != "no pod" {
		t.Fatalf("read %+v %v", got, err)
	}
	if got.Samples[0].Metric != 1 || got.Samples[1].Metric != 0 || got.Samples[2].Metric != 2 || got.Placebo[0].Metric != 2 {
		t.Errorf("samples of metrics %+v, placebo of %+v", got.Samples, got.Placebo)
	}
	if !got.Again.Equal(begun.Add(time.Second)) {
		t.Errorf("to be read again at %s, the first part asked for %s", got.Again, begun.Add(time.Second))
	}
	if got.Critical != "harm" || len(got.Caveats) != 1 {
		t.Errorf("critical %q, caveats %q", got.Critical, got.Caveats)
	}
	if string(got.Cursor) != `{"pods":{"a":2},"proxy":"c"}` {
		t.Errorf("cursor %s", got.Cursor)
	}
	pods.err = errors.New("the API is away")
	proxy.reading.Samples = []metric.Sample{{Metric: 0}}
	if got, err = r.Read(t.Context()); err != nil || len(got.Samples) != 1 || got.Missing != "the API is away" || string(got.Cursor) != `{"pods":{"a":2},"proxy":"c"}` {
		t.Errorf("with a part that fails: %+v %v", got, err)
	}
	pods.wake <- struct{}{}
	<-r.Wake()
	if err := errors.Join(r.Close(), r.Close()); err != nil || pods.closed != 1 || proxy.closed != 1 {
		t.Errorf("closed %d and %d times, %v", pods.closed, proxy.closed, err)
	}
}

// TestARefusalIsThePartsOwn: also that of the last one, for what none serves.
func TestARefusalIsThePartsOwn(t *testing.T) {
	pods, last := &part{}, &part{err: errors.New("metric odd: unknown")}
	p := join.New(join.Part{Name: "pods", Provider: pods, Serves: isPods}, join.Part{Name: "last", Provider: last})
	if err := p.Check(t.Context(), release.Release{}, []release.Metric{{Name: "odd"}}); !errors.Is(err, last.err) {
		t.Errorf("error %v", err)
	}
	if err := p.Check(t.Context(), release.Release{}, []release.Metric{{Name: "x", Source: release.Source{Pods: release.PodRestarts}}}); err != nil {
		t.Errorf("error %v of a part that has no metric", err)
	}
}
