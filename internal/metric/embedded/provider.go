// Package embedded is the metric.Provider of the embedded default: errors,
// latency and rate are what the proxy saw of every request (telemetry taps),
// cpu and memory are those of the versions' processes, and PromQL runs on the
// embedded store. It knows no router, no run's plan and no statistics.
//
// Read this file first, then reader.go (what becomes evidence), requests.go
// (what the proxy saw), facts.go (what models answered), copies.go (answers to
// copied requests), evaluations.go (what evaluators say) and sampler.go (queries).
package embedded

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/compare"
	"github.com/haldane-project/haldane/internal/evaluate"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry"
)

// Querier evaluates PromQL on the embedded store. ok is false where the result
// is empty; a result of several series is an error.
type Querier interface {
	Value(ctx context.Context, promql string, at time.Time) (value float64, ok bool, err error)
}

// Provider serves evidence from a Recorder.
type Provider struct {
	recorder *telemetry.Recorder
	querier  Querier
	settled  func(release string, patience time.Duration) time.Time
	overdue  func(release string, age time.Duration)
	copies   *compare.Recorder // nil: copies are no evidence
	evals    *evaluate.Recorder
}

var _ metric.Provider = (*Provider)(nil)

// New returns a Provider. Without a Querier, metrics with a Prometheus source
// are refused.
func New(r *telemetry.Recorder, q Querier) *Provider { return &Provider{recorder: r, querier: q} }

// SetSettled names who knows the moment up to which every request that a
// release's split sent has been observed, apart from those under way for longer
// than patience; requests are evidence once that moment has passed them.
// Without it they are evidence as they end.
func (p *Provider) SetSettled(f func(release string, patience time.Duration) time.Time) {
	p.settled = f
}

// SetOverdue names who tells the recorder of a release's requests that have been
// under way for longer than age. Without it a request that hangs is evidence
// only when it is given up.
func (p *Provider) SetOverdue(f func(release string, age time.Duration)) { p.overdue = f }

// SetCopies names who compares the answers to copied requests.
func (p *Provider) SetCopies(r *compare.Recorder) { p.copies = r }

// Check implements metric.Provider.
func (p *Provider) Check(_ context.Context, rel release.Release, metrics []release.Metric) error {
	for _, m := range metrics {
		if err := p.check(rel, m); err != nil {
			return fmt.Errorf("metric %s of release %s: %w", m.Name, rel.Name, err)
		}
	}
	return nil
}

func (p *Provider) check(rel release.Release, m release.Metric) error {
	switch from := m.Source; {
	case from.Server.Name != "":
		return fmt.Errorf("what %s exports is read from the metrics history, which this daemon does not keep; its log says why", from.Server.Name)
	case from.Pods != "":
		return errors.New("pods are known on Kubernetes only")
	case from.Prometheus != "":
		if m.Kind != release.Gauge {
			return fmt.Errorf("a query gives a level over time, so the kind must be gauge, not %s", m.Kind)
		}
		if p.querier == nil {
			return fmt.Errorf("this daemon keeps no metrics history to run a query on: remove the source, or start it with a data directory")
		}
		_, err := query.Parse(from.Prometheus)
		return err
	case from.Process != "":
		return checkProcess(rel, m)
	case from.Response != "":
		return checkResponse(m)
	case from.LLM != "":
		return checkFact(rel, m)
	case from.Feedback != "":
		return checkFeedback(rel, m)
	case from.Evaluator != nil:
		return p.checkEvaluator(m)
	}
	switch m.Kind {
	case release.Errors, release.Latency, release.Rate:
		return nil
	case release.Agreement:
		if p.copies == nil {
			return fmt.Errorf("answers to copies are not compared here")
		}
		return nil
	}
	return fmt.Errorf("kind %s needs a source; the proxy itself measures errors, latency and rate", m.Kind)
}

// What source.response can name, and the kind that it is of.
var responses = map[string]release.MetricKind{
	clientErrors: release.Proportion, serverErrors: release.Proportion, size: release.Amount,
}

// The values of release.Source.Response.
const (
	clientErrors = "4xx"
	serverErrors = "5xx"
	size         = "bytes"
)

func checkResponse(m release.Metric) error {
	kind, ok := responses[m.Source.Response]
	switch {
	case !ok:
		return fmt.Errorf("of an answer %q is not measured; known: %s", m.Source.Response, strings.Join([]string{clientErrors, serverErrors, size}, ", "))
	case kind != m.Kind:
		return fmt.Errorf("%s of an answer must be of kind %s, not %s", m.Source.Response, kind, m.Kind)
	}
	return nil
}

func checkProcess(rel release.Release, m release.Metric) error {
	if m.Kind != release.Gauge {
		return fmt.Errorf("%s of a process is a level, so the kind must be gauge, not %s", m.Source.Process, m.Kind)
	}
	if m.Source.Process != cpu && m.Source.Process != memory {
		return fmt.Errorf("a process has no %q; known: %s", m.Source.Process, strings.Join([]string{cpu, memory}, ", "))
	}
	if rel.Version.Workload.Process == nil {
		return fmt.Errorf("%s is known only of processes that Haldane starts (workload.process)", m.Source.Process)
	}
	return nil
}

// The values of release.Source.Process.
const (
	cpu    = "cpu"
	memory = "memory"
)

// Open implements metric.Provider.
func (p *Provider) Open(ctx context.Context, s metric.Subject, cursor []byte) (metric.Reader, error) {
	if err := p.Check(ctx, s.Release, s.Metrics); err != nil {
		return nil, err
	}
	c, err := parseCursor(cursor)
	if err != nil {
		return nil, fmt.Errorf("open the evidence of run %s: %w", s.Run, err)
	}
	c.Boot = p.recorder.Boot()
	p.recorder.Label(s.Release.Name, s.Stable.ID, telemetry.Label{Name: s.Stable.Name, Role: "stable"})
	p.recorder.Label(s.Release.Name, s.Canary.ID, telemetry.Label{Name: s.Canary.Name, Role: "canary"})
	return newReader(p, s, c)
}
