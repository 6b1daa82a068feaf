package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
)

const (
	timeout    = 5 * time.Second  // of one reading
	quiet      = 90 * time.Second // without a figure until it counts as missing: metrics-server needs up to a minute for a new pod
	maxPending = 100              // samples kept for a reader that does not read
)

var podMetricsList = schema.GroupVersionKind{Group: "metrics.k8s.io", Version: "v1beta1", Kind: "PodMetricsList"}

// podMetrics is what is read of one PodMetrics object.
type podMetrics struct {
	Metadata   struct{ Name string }
	Timestamp  metav1.Time
	Containers []struct{ Usage corev1.ResourceList }
}

// use is what a version's pods use on average; NaN: not known.
type use struct {
	cpu, memory float64 // cores, bytes
	at          time.Time
}

func (u use) of(what string) float64 {
	if what == cpu {
		return u.cpu
	}
	return u.memory
}

// sampler asks for both versions' figures beside the reads, so that a slow API
// delays no look.
type sampler struct {
	provider *Provider
	subject  metric.Subject
	cancel   context.CancelFunc
	done     chan struct{}
	wake     chan<- struct{} // after figures were taken

	mu      sync.Mutex
	pending [][2]use
	last    time.Time // the newest figures that were taken
	got     time.Time // when a sample was taken last
	why     string
}

func startSampler(p *Provider, s metric.Subject, last time.Time, wake chan<- struct{}) *sampler {
	ctx, cancel := context.WithCancel(context.Background())
	x := &sampler{provider: p, subject: s, cancel: cancel, done: make(chan struct{}), wake: wake, last: last, got: p.options.Now()}
	go x.run(ctx)
	return x
}

func (s *sampler) stop() {
	s.cancel()
	<-s.done
}

func (s *sampler) run(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(s.provider.options.Interval)
	defer tick.Stop()
	for {
		s.sample(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sample asks once. Figures that were taken before are no new evidence.
func (s *sampler) sample(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pair, err := s.ask(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.why = err.Error()
		return
	}
	s.why = ""
	for who, v := range []string{s.subject.Stable.Name, s.subject.Canary.Name} {
		if math.IsNaN(pair[who].cpu) {
			s.why = "metrics.k8s.io has no figures of the pods of " + v
		}
	}
	if !pair[canary].at.After(s.last) || s.why != "" {
		return
	}
	s.last, s.got = pair[canary].at, s.provider.options.Now()
	if len(s.pending) < maxPending {
		s.pending = append(s.pending, pair)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sampler) ask(ctx context.Context) (pair [2]use, err error) {
	f, err := find(ctx, s.provider.client, s.subject)
	if err != nil {
		return pair, err
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(podMetricsList)
	err = s.provider.client.ListLive(ctx, list, client.InNamespace(f.namespace), client.MatchingLabelsSelector{Selector: f.selector})
	switch {
	case meta.IsNoMatchError(err):
		return pair, errors.New("this cluster serves no metrics.k8s.io, where cpu and memory come from: install metrics-server, or take source.prometheus")
	case err != nil:
		return pair, fmt.Errorf("read the use of pods from metrics.k8s.io: %w", err)
	}
	known := map[string]podMetrics{}
	for i := range list.Items {
		raw, err := json.Marshal(list.Items[i].Object)
		if err != nil {
			return pair, err
		}
		var m podMetrics
		if err := json.Unmarshal(raw, &m); err != nil {
			return pair, fmt.Errorf("metrics.k8s.io answered with something else than PodMetrics: %w", err)
		}
		known[m.Metadata.Name] = m
	}
	for who := range pair {
		pair[who] = mean(f.pods[who], known)
	}
	return pair, nil
}

// mean is what the pods that are known use each: versions of one and of nine pods
// compare.
func mean(pods []*corev1.Pod, known map[string]podMetrics) use {
	var u use
	n := 0.0
	for _, p := range pods {
		m, ok := known[p.Name]
		if !ok || len(m.Containers) == 0 {
			continue
		}
		n++
		if m.Timestamp.After(u.at) {
			u.at = m.Timestamp.Time
		}
		for _, c := range m.Containers {
			u.cpu += c.Usage.Cpu().AsApproximateFloat64()
			u.memory += c.Usage.Memory().AsApproximateFloat64()
		}
	}
	u.cpu, u.memory = u.cpu/n, u.memory/n // 0/0: not known
	return u
}

// usage hands out what was sampled since the last read.
func (r *reader) usage(_ context.Context, now time.Time, out *metric.Reading) (missing string) {
	s := r.sampler
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pair := range s.pending {
		for i, m := range r.subject.Metrics {
			what := m.Source.Process
			if what == "" {
				continue
			}
			out.Samples = append(out.Samples, metric.Sample{Metric: i, Batch: judge.Batch{
				At: r.cursor.At, Stable: judge.Side{Value: pair[stable].of(what)}, Canary: judge.Side{Value: pair[canary].of(what)},
			}})
		}
		r.cursor.Usage = pair[canary].at
	}
	s.pending = nil
	if s.got.After(r.opened) && s.got.After(out.Newest) {
		out.Newest = s.got
	}
	if idle := now.Sub(s.got); idle >= quiet && s.why != "" {
		return fmt.Sprintf("cpu and memory have been unknown for %s: %s", rounded(idle), s.why)
	}
	return ""
}
