package reconcile_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/haldane-project/haldane/internal/reconcile"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// street holds a hundred releases at rest and one whose run is under way; a pass of
// any waits at its beginning for the test.
type street struct {
	store.Store // of what is not called
	on          chan struct{}

	mu     sync.Mutex
	inside map[string]bool
}

func (s *street) record(name string) store.Record {
	rec := store.Record{Name: name}
	if name == "running" {
		rec.State.Run = &rollout.Run{ID: "running-1", Phase: rollout.Progressing}
	}
	return rec
}

func (s *street) List(context.Context) ([]store.Record, error) {
	var out []store.Record
	for i := range 100 {
		out = append(out, s.record(fmt.Sprint("idle-", i)))
	}
	return append(out, s.record("running")), nil
}

func (s *street) Get(_ context.Context, name string) (store.Record, error) {
	return s.record(name), nil
}

func (s *street) Watch(context.Context) <-chan string { return nil }

// Resolve is where a pass waits; what it wanted afterwards is not there.
func (s *street) Resolve(ctx context.Context, rel release.Release) (release.Release, error) {
	s.mu.Lock()
	s.inside[rel.Name] = true
	s.mu.Unlock()
	select {
	case <-s.on:
	case <-ctx.Done():
	}
	s.mu.Lock()
	delete(s.inside, rel.Name)
	s.mu.Unlock()
	return rel, errDown
}

func (s *street) passing() (n int, running bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.inside), s.inside["running"]
}

// TestAStartWithManyReleasesIsNoStampede: few of those at rest pass at a time, each
// in its turn, and none before a run that is under way.
func TestAStartWithManyReleasesIsNoStampede(t *testing.T) {
	in(t, func(t *testing.T) {
		s := &street{on: make(chan struct{}), inside: map[string]bool{}}
		first := map[string]bool{}
		r := reconcile.New(reconcile.Ports{
			Store: s, Runtime: fakeRuntime{newHouse(t)}, Resolve: s.Resolve,
			Parse: func(rec store.Record) (release.Release, error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				first[rec.Name] = true
				return release.Release{Name: rec.Name}, nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if n, running := s.passing(); !running || n != 16+1 {
			t.Errorf("%d passes at once, want sixteen and the run's, which is among them: %v", n, running)
		}
		for range 200 {
			s.on <- struct{}{}
			synctest.Wait()
		}
		if len(first) != 101 {
			t.Errorf("%d of 101 releases had their first pass", len(first))
		}
		cancel()
		ended.Wait()
	})
}
