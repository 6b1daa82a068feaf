package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/test/cluster"
)

// script is a source whose requests all succeed, a thousand for each look, but
// for a fifth of the canary's in a run that fails. It counts what it gave, and
// goes on behind a cursor.
type script struct {
	mu    sync.Mutex
	given map[string]int64 // requests of the canary, by run
	fails map[string]bool  // by run
	away  map[string]bool  // by run: the source can not be asked
}

// fail makes a run fail.
func (s *script) fail(run string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails[run] = true
}

// leave makes the source of a run unreachable, or reachable again.
func (s *script) leave(run string, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away[run] = away
}

func newScript() *script {
	return &script{given: map[string]int64{}, fails: map[string]bool{}, away: map[string]bool{}}
}

func (s *script) Open(_ context.Context, sub metric.Subject, cursor []byte) (metric.Reader, error) {
	r := &scriptReader{script: s, run: sub.Run, began: sub.Started, clock: time.NewTicker(scriptEvery), closed: make(chan struct{}), wake: make(chan struct{}, 1)}
	if cursor != nil {
		if _, err := fmt.Sscan(string(cursor), &r.read); err != nil {
			return nil, err
		}
	}
	go r.tick()
	return r, nil
}

func (s *script) Check(context.Context, release.Release, []release.Metric) error { return nil }

type scriptReader struct {
	*script
	run   string
	began time.Time
	read  int64

	clock  *time.Ticker
	closed chan struct{}
	wake   chan struct{}
}

// scriptEvery is how often there is something new, as after each scrape.
const scriptEvery = 250 * time.Millisecond

func (r *scriptReader) tick() {
	defer r.clock.Stop()
	for {
		select {
		case <-r.closed:
			return
		case <-r.clock.C:
			select {
			case r.wake <- struct{}{}:
			default:
			}
		}
	}
}

func (r *scriptReader) History(context.Context) ([]judge.History, error) { return nil, nil }
func (r *scriptReader) Wake() <-chan struct{}                            { return r.wake }

func (r *scriptReader) Close() error {
	close(r.closed)
	return nil
}

func (r *scriptReader) Read(context.Context) (metric.Reading, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away[r.run] {
		return metric.Reading{}, errors.New("the source of evidence is away")
	}
	now := time.Now()
	r.read += 500
	r.given[r.run] = max(r.given[r.run], r.read)
	canary := judge.Side{N: 500}
	if r.fails[r.run] {
		canary.Bad = 100
	}
	return metric.Reading{Newest: now, Cursor: fmt.Append(nil, r.read), Samples: []metric.Sample{{Batch: judge.Batch{
		At: now.Sub(r.began).Seconds(), Canary: canary, Stable: judge.Side{N: 500}}}}}, nil
}

const fourSteps = `
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: hello}
spec:
  workload: {deployment: {name: hello}}
  traffic: {replicas: {}}
  strategy:
    canary: {steps: [{weight: 10}, {weight: 25}, {weight: 50}, {weight: 75}]}
    bake: 1s
  analysis:
    metrics: [{name: errors, kind: errors}]
`

// mostWrites of one run of four steps; what a router writes comes on top, one
// for each weight. Those that only time brings (figures that are shown, evidence
// that is kept) are not of the run: saveEvery leaves them out of the count.
const mostWrites = 14

func TestClusterRunWritesLittle(t *testing.T) {
	s := newShop(t)
	s.evidence, s.saveEvery = newScript(), time.Hour
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), fourSteps)
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	mark := s.Mark(t)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("v2 serves", s.serves("hello", "v2"))
	s.until("the Deployment is given back", func() error {
		if d := s.deployment(); d.Spec.Paused {
			return errors.New("it is paused")
		}
		return nil
	})
	s.until("the promotion is told by an Event", func() error {
		list, err := s.Client.EventsV1().Events(s.ns).List(t.Context(), metav1.ListOptions{FieldSelector: "regarding.kind=Release"})
		if err != nil || len(list.Items) == 0 {
			return fmt.Errorf("no Event: %w", err)
		}
		if e := list.Items[len(list.Items)-1]; e.Reason != "RunPromoted" || e.Type != "Normal" || !strings.Contains(e.Note, "of its requests were compared with") {
			return fmt.Errorf("%s %s: %s", e.Type, e.Reason, e.Note)
		}
		return nil
	})
	writes := s.Requests(t, mark, func(r cluster.Request) bool { // a conflict writes nothing: the status of others moved the object
		return r.User == s.user && r.Write() && r.Code != http.StatusConflict
	})
	t.Logf("%d writes: %v", len(writes), cluster.Tally(writes))
	if len(writes) > mostWrites {
		t.Errorf("a run of four steps wrote %d times, at most %d: %v", len(writes), mostWrites, writes)
	}
}
