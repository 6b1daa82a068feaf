package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/haldane-project/haldane/internal/compare"
	"github.com/haldane-project/haldane/internal/evaluate"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/embedded"
	"github.com/haldane-project/haldane/internal/metric/join"
	"github.com/haldane-project/haldane/internal/metric/prometheus"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/telemetry"
	"github.com/haldane-project/haldane/internal/telemetry/history"
	router "github.com/haldane-project/haldane/internal/traffic/embedded"
	"github.com/haldane-project/haldane/internal/workload/process"
)

// metrics is everything that is measured: the recorder of requests, and the
// queryable history that scrapes it and the versions.
type metrics struct {
	recorder   *telemetry.Recorder
	registry   *client.Registry
	history    *history.Store // nil: it can not be opened
	querier    embedded.Querier
	handler    http.Handler // /metrics
	query      http.Handler // Prometheus' query API
	background []func(context.Context) error

	mu      sync.Mutex
	targets map[string][]history.Target // by release
}

// openMetrics opens the history. Where it can not be opened (no permission, no
// space) the daemon does without: users are served and versions compared, and
// what needs a query is refused or said to be missing.
func openMetrics(o Options) *metrics {
	m := &metrics{recorder: telemetry.New(), targets: map[string][]history.Target{}}
	m.registry = m.recorder.Registry(Version)
	m.handler = telemetry.Handler(m.registry)
	m.background = append(m.background, func(ctx context.Context) error { m.recorder.Run(ctx); return nil })
	h, err := history.Open(history.Options{Dir: filepath.Join(o.Data, "metrics"), Log: o.Log, Own: m.registry})
	if err != nil {
		o.Log.Warn("there is no metrics history until the next start: queries have no answer, all else works", "error", err)
		m.querier, m.query = noHistory{err}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "there is no metrics history: it could not be opened when Haldane was started; its log says why", http.StatusServiceUnavailable)
		})
		return m
	}
	m.history, m.querier, m.query = h, h, h.QueryHandler()
	return m
}

// noHistory answers every query with why there is no answer.
type noHistory struct{ cause error }

// Value implements embedded.Querier.
func (n noHistory) Value(context.Context, string, time.Time) (float64, bool, error) {
	return 0, false, fmt.Errorf("there is no metrics history: %w", n.cause)
}

// refuse says why a metric can not be had now; nil: it can.
func (m *metrics) refuse(list []release.Metric) error {
	none, ok := m.querier.(noHistory)
	if !ok {
		return nil
	}
	for _, x := range list {
		if x.Source.Prometheus != "" || x.Source.Server.Name != "" {
			return fmt.Errorf("metric %s needs the metrics history, which could not be opened: %w; mend that and start Haldane again, or remove the metric", x.Name, none.cause)
		}
	}
	return nil
}

// storeStale is how old the newest scraped sample may be, and how long a metric
// may go without a request.
const storeStale = 10 * time.Second

// provider reads what the versions export from the history, and all else from
// what the proxy sees.
func (m *metrics) provider(rt *router.Router, copies *compare.Recorder, evals *evaluate.Recorder) (metric.Provider, error) {
	proxy := embedded.New(m.recorder, m.querier)
	proxy.SetSettled(rt.Settled)
	proxy.SetOverdue(rt.Overdue)
	proxy.SetCopies(copies)
	proxy.SetEvaluations(evals)
	parts := []join.Part{{Name: "proxy", Provider: proxy, Always: true}}
	if m.history != nil {
		store, err := prometheus.New(prometheus.Options{
			URL: "http://inside", Transport: prometheus.Inside(m.query), Scraped: "up", Stale: storeStale,
		})
		if err != nil {
			return nil, err
		}
		parts = append([]join.Part{{Name: "store", Provider: store, Serves: isExported}}, parts...)
	}
	return join.New(parts...), nil
}

// isExported reports whether a metric is counted from what versions export.
func isExported(m release.Metric) bool {
	return m.Source.Server.Name != "" || m.Source.Prometheus != "" && m.Kind != release.Gauge
}

func (m *metrics) close() error {
	if m.history == nil {
		return nil
	}
	return m.history.Close()
}

// seen tells those who measure which versions there are and where they answer.
func (m *metrics) seen(rel release.Release, st rollout.State, backends []release.Backend, gone bool) {
	if gone {
		m.recorder.Forget(rel.Name)
	}
	var list []history.Target
	for _, b := range backends {
		role := roleOf(st, b.Version)
		m.recorder.Label(rel.Name, b.Version, telemetry.Label{Name: nameOf(rel, st, b.Version), Role: role})
		for _, a := range b.Addresses {
			_, host, _ := strings.Cut(a, "://")
			list = append(list, history.Target{Release: rel.Name, Version: string(b.Version), Role: role,
				Instance: host, URL: strings.Replace(a, "h2c://", "http://", 1) + "/metrics"})
		}
	}
	if m.history == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Equal(m.targets[rel.Name], list) {
		return
	}
	if m.targets[rel.Name] = list; len(list) == 0 {
		delete(m.targets, rel.Name)
	}
	var all []history.Target
	for _, name := range slices.Sorted(maps.Keys(m.targets)) {
		all = append(all, m.targets[name]...)
	}
	m.history.SetTargets(all)
}

func roleOf(st rollout.State, v release.VersionID) string {
	switch {
	case st.Stable != nil && st.Stable.ID == v:
		return "stable"
	case st.Run != nil && !st.Run.Phase.Ended() && st.Run.To.ID == v:
		return "canary"
	}
	return ""
}

func nameOf(rel release.Release, st rollout.State, v release.VersionID) string {
	switch {
	case st.Stable != nil && st.Stable.ID == v:
		return st.Stable.Name
	case st.Run != nil && st.Run.To.ID == v:
		return st.Run.To.Name
	case rel.Version.ID == v:
		return rel.Version.Name
	}
	return string(v)
}

// follow measures what runs, and counts what is not done of what was to be.
func (m *metrics) follow(procs *process.Runtime, rt *router.Router, evals *evaluate.Recorder, log *slog.Logger) {
	m.recorder.SetUsage(usage(procs, log))
	m.recorder.SetInFlight(inFlight(rt))
	m.countLosses(rt, evals)
}

// countLosses adds the counters of what was to be done beside the traffic and was not.
func (m *metrics) countLosses(rt *router.Router, evals *evaluate.Recorder) {
	m.registry.MustRegister(telemetry.Losses("mirror_dropped", "Copies of requests that were to be made and were not.", func() []telemetry.Loss {
		var list []telemetry.Loss
		for name, n := range rt.Drops() {
			list = append(list, telemetry.Loss{Release: name, Reason: "budget", Count: n})
		}
		return list
	}), telemetry.Losses("evaluations_lost", "Answers that an evaluator was to tell of and did not.", func() []telemetry.Loss {
		var list []telemetry.Loss
		for name, n := range evals.Lost() {
			list = append(list, telemetry.Loss{Release: name, Reason: "budget", Count: n.Passed},
				telemetry.Loss{Release: name, Reason: "unclear", Count: n.Unclear}, telemetry.Loss{Release: name, Reason: "failed", Count: n.Failed})
		}
		return list
	}))
}
