package app

import (
	"context"
	"sync"

	client "github.com/prometheus/client_golang/prometheus"
	served "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/haldane-project/haldane/internal/notify"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// tallies are what the controller counts of its own work, beside what
// controller-runtime counts, on the same page.
type tallies struct {
	releases            *client.GaugeVec
	runs                *client.CounterVec
	passes, fails, look client.Counter

	mu    sync.Mutex
	phase map[string]string // by release
}

// ownTallies are registered once in a process.
var ownTallies = sync.OnceValue(func() *tallies {
	count := func(name, help string) client.Counter {
		return client.NewCounter(client.CounterOpts{Namespace: "haldane", Name: name, Help: help})
	}
	t := &tallies{phase: map[string]string{},
		releases: client.NewGaugeVec(client.GaugeOpts{Namespace: "haldane", Name: "releases", Help: "Releases that this controller works on, by phase."}, []string{"phase"}),
		runs:     client.NewCounterVec(client.CounterOpts{Namespace: "haldane", Name: "runs_total", Help: "Runs that ended, by outcome."}, []string{"outcome"}),
		passes:   count("passes_total", "Passes: observe, decide, act, save, notify."),
		fails:    count("pass_errors_total", "Passes that could not do everything."),
		look:     count("looks_total", "Passes in which the judge looked at evidence."),
	}
	served.Registry.MustRegister(t.releases, t.runs, t.passes, t.fails, t.look)
	return t
})

// passed implements reconcile's Passed.
func (t *tallies) passed(looked bool, err error) {
	t.passes.Inc()
	if looked {
		t.look.Inc()
	}
	if err != nil {
		t.fails.Inc()
	}
}

// seen notes the phase of a release.
func (t *tallies) seen(name string, st rollout.State, gone bool) {
	now := status.Phase(store.Record{State: st})
	if gone {
		now = ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.phase[name]
	if was == now {
		return
	}
	if was != "" {
		t.releases.WithLabelValues(was).Dec()
	}
	if t.phase[name] = now; now == "" {
		delete(t.phase, name)
		return
	}
	t.releases.WithLabelValues(now).Inc()
}

// outcomes of runs, by the event that tells their end.
var outcomes = map[string]string{
	"RunPromoted": "promoted", "RunRolledBack": "rolledBack", "RunAborted": "aborted", "RunSuperseded": "superseded",
}

// Notify implements notify.Sink.
func (t *tallies) Notify(_ context.Context, n notify.Notice) error {
	for _, e := range n.Events {
		if outcome := outcomes[e.Reason]; outcome != "" {
			t.runs.WithLabelValues(outcome).Inc()
		}
	}
	return nil
}
