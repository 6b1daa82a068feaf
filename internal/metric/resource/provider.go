// Package resource is the metric.Provider of what a cluster tells of a version's
// pods: cpu and memory from the resource metrics API (metrics.k8s.io), restarts
// and kills for want of memory from the pods' own status. It knows no router and
// no statistics, and asks the API only while a run is judged.
//
// Read this file first, then pods.go (which pods are whose), restarts.go (what is
// counted) and usage.go (what is sampled).
package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// The values of release.Source.Process.
const (
	cpu    = "cpu"
	memory = "memory"
)

// Reader reads objects: List from a cache, ListLive from the API (cluster.Client).
type Reader interface {
	Get(ctx context.Context, key client.ObjectKey, obj client.Object) error
	List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error
	ListLive(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error
}

// Options of a Provider; zero values mean the defaults that stand beside them.
type Options struct {
	Interval time.Duration    // between readings of metrics.k8s.io, which has new figures every 15 seconds: 15 seconds
	Now      func() time.Time // time.Now
}

// Provider reads what one cluster tells of pods.
type Provider struct {
	client  Reader
	options Options
}

var _ metric.Provider = (*Provider)(nil)

// New returns a Provider.
func New(c Reader, o Options) *Provider {
	if o.Interval == 0 {
		o.Interval = 15 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Provider{client: c, options: o}
}

// Serves reports whether a metric is one of this provider's.
func Serves(m release.Metric) bool { return m.Source.Process != "" || m.Source.Pods != "" }

// Check implements metric.Provider.
func (p *Provider) Check(_ context.Context, rel release.Release, metrics []release.Metric) error {
	for _, m := range metrics {
		if err := check(rel, m); err != nil {
			return fmt.Errorf("metric %s of release %s: %w", m.Name, rel.Name, err)
		}
	}
	return nil
}

func check(rel release.Release, m release.Metric) error {
	known := append([]string{cpu, memory}, release.PodCounts()...)
	switch what := m.Source.Process + m.Source.Pods; {
	case !Serves(m) || !slices.Contains(known, what):
		return fmt.Errorf("of pods %q is not known; known: %s", what, strings.Join(known, ", "))
	case m.Source.Process != "" && m.Kind != release.Gauge:
		return fmt.Errorf("%s is a level, so the kind must be gauge, not %s", what, m.Kind)
	case m.Source.Pods != "" && m.Kind != release.Proportion:
		return fmt.Errorf("%s are a share of the time of pods, so the kind must be proportion, not %s", what, m.Kind)
	case rel.Version.Workload.Deployment == nil:
		return errors.New("pods are those of a Deployment (spec.workload.deployment)")
	}
	return nil
}

// cursor is where a reader ended.
type cursor struct {
	At    float64             `json:"at"`   // seconds since the run began, of the last batch
	Seen  time.Time           `json:"seen"` // of the last look at the pods
	Pods  map[string]mark     `json:"pods,omitempty"`
	Time  [2]float64          `json:"time"`            // seconds of pods of stable and canary that no batch has told yet
	Count [2]map[string]int64 `json:"count,omitempty"` // the same of events, by their word
	Usage time.Time           `json:"usage,omitzero"`  // of the last sample of cpu and memory
}

// Open implements metric.Provider.
func (p *Provider) Open(ctx context.Context, s metric.Subject, saved []byte) (metric.Reader, error) {
	if err := p.Check(ctx, s.Release, s.Metrics); err != nil {
		return nil, err
	}
	c := cursor{}
	if len(saved) > 0 {
		if err := json.Unmarshal(saved, &c); err != nil {
			return nil, fmt.Errorf("open the evidence of run %s: the saved cursor is not one of this provider: %w", s.Run, err)
		}
	}
	r := &reader{provider: p, subject: s, cursor: c, opened: p.options.Now(), wake: make(chan struct{}, 1), names: [2]string{s.Stable.Name, s.Canary.Name}}
	if r.cursor.Pods == nil {
		r.cursor.Pods = map[string]mark{}
	}
	for who := range r.cursor.Count {
		if r.cursor.Count[who] == nil {
			r.cursor.Count[who] = map[string]int64{}
		}
	}
	if slices.ContainsFunc(s.Metrics, func(m release.Metric) bool { return m.Source.Process != "" }) {
		r.sampler = startSampler(p, s, c.Usage, r.wake)
	}
	return r, nil
}

// reader is the evidence of one run.
type reader struct {
	provider *Provider
	subject  metric.Subject
	names    [2]string
	sampler  *sampler // nil: neither cpu nor memory is asked for
	wake     chan struct{}
	opened   time.Time

	mu     sync.Mutex
	cursor cursor
	closed bool
}

// Wake implements metric.Reader: new figures do. A pod that is not ready any more
// wakes the pass by itself.
func (r *reader) Wake() <-chan struct{} { return r.wake }

// History implements metric.Reader: nothing was asked before the run.
func (r *reader) History(context.Context) ([]judge.History, error) {
	return make([]judge.History, len(r.subject.Metrics)), nil
}

// Close implements metric.Reader.
func (r *reader) Close() error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if !closed && r.sampler != nil {
		r.sampler.stop()
	}
	return nil
}

// Read implements metric.Reader.
func (r *reader) Read(ctx context.Context) (metric.Reading, error) {
	if err := ctx.Err(); err != nil {
		return metric.Reading{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return metric.Reading{}, errors.New("read the evidence of run " + r.subject.Run + ": the reader was closed; open another")
	}
	now := r.provider.options.Now()
	r.cursor.At = max(r.cursor.At, now.Sub(r.subject.Started).Seconds())
	var out metric.Reading
	var missing []string
	for _, read := range []func(context.Context, time.Time, *metric.Reading) string{r.restarts, r.usage} {
		if why := read(ctx, now, &out); why != "" {
			missing = append(missing, why)
		}
	}
	out.Missing = strings.Join(missing, "; ")
	var err error
	out.Cursor, err = json.Marshal(r.cursor)
	return out, err
}
