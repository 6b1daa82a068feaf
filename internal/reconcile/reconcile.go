// Package reconcile is the pass: observe, decide, act, save, notify, for one
// release at a time. It is the only caller of the ports that write. It knows
// the ports and the pure core, and no adapter.
//
// One pass reads the record, the split, the instances, the evidence and the
// open intents, asks rollout.Decide what is wanted, and makes it so in a fixed
// order: traffic that is leaving a version goes first and waits for nothing;
// what raises a version's share is saved before it is done, so that a store that
// can not write never promotes.
//
// Read this file first, then pass.go, save.go (what is kept), then session.go (evidence).
package reconcile

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/notify"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/internal/traffic"
	"github.com/haldane-project/haldane/internal/workload"
)

// Ports are what a pass works on.
type Ports struct {
	Store   store.Store
	Router  traffic.Router
	Runtime workload.Runtime
	Metrics metric.Provider
	Sinks   []notify.Sink
	// Parse turns a record's manifest into the release that it declares.
	Parse func(store.Record) (release.Release, error)
	// Resolve fills in what the manifest only refers to, at every pass: the
	// version that a Deployment's template is now. Nil: the manifest has it all.
	// An error means that nothing can be decided now.
	Resolve func(context.Context, release.Release) (release.Release, error)
	// SaveEvery bounds how much of the judge's evidence a crash can lose while a
	// run stays in its step; whatever changes the run saves at once. Zero: 1 s.
	SaveEvery time.Duration
	// Defer bounds how long a save may wait that tells nothing but what was
	// observed, or moments that a restart would count anew. It is for stores whose
	// writes are dear; a new phase, step, pause, answer or event is saved at once.
	// Zero: nothing waits.
	Defer time.Duration
	// Ask asks a webhook gate; it may block until ctx ends. Nil: every webhook
	// gate answers no with a reason.
	Ask func(ctx context.Context, run rollout.Run, g release.Gate) rollout.GateAnswer
	// Explain says what kind of trouble an error is, in one CamelCase word, and the
	// error with a remedy. Nil: the error alone.
	Explain func(error) (reason, text string)
	// Seen is told after each pass which instances answer, for those who
	// measure them; gone once a deleted release is taken down. It must not block.
	Seen func(rel release.Release, st rollout.State, backends []release.Backend, gone bool)
	// Passed is told of the end of each pass, whether the judge looked in it and
	// what it could not do, for those who count. It must not block. Nil: nobody does.
	Passed func(looked bool, err error)
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger     // nil: discarded
}

// Reconciler runs passes. Its methods may be called from many goroutines; there
// is never more than one pass of a release at a time.
type Reconciler struct {
	Ports
	mu      sync.Mutex
	workers map[string]*worker
	starts  chan struct{} // first passes under way of releases without a run
}

// starting is how many releases without a run make their first pass at a time. A
// start with a thousand of them leaves the machine, and the API server where there
// is one, to the runs under way and to the lease's renewal.
const starting = 16

// New returns a reconciler.
func New(p Ports) *Reconciler {
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.SaveEvery == 0 {
		p.SaveEvery = time.Second
	}
	if p.Explain == nil {
		p.Explain = func(err error) (string, string) { return "", err.Error() }
	}
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	return &Reconciler{Ports: p, workers: map[string]*worker{}, starts: make(chan struct{}, starting)}
}

// Run makes passes until ctx ends: one for each release at the start, and then
// whenever something changed or a time that a pass asked for has come. It
// returns after the last pass ended.
func (r *Reconciler) Run(ctx context.Context) error {
	watch := r.Store.Watch(ctx)
	recs, err := r.Store.List(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, rec := range recs {
		r.trigger(ctx, &wg, rec.Name)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case name, ok := <-watch:
			if !ok {
				return nil
			}
			r.trigger(ctx, &wg, name)
		case name := <-r.Runtime.Changed():
			r.trigger(ctx, &wg, name)
		}
	}
}

// trigger asks for a pass of the release, starting its worker when it has none.
func (r *Reconciler) trigger(ctx context.Context, wg *sync.WaitGroup, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, ok := r.workers[name]
	if !ok {
		w = r.newWorker(name)
		r.workers[name] = w
		wg.Go(func() { r.work(ctx, w) })
	}
	w.mark()
}

// work makes the passes of one release until it is gone or ctx ends.
func (r *Reconciler) work(ctx context.Context, w *worker) {
	defer w.closeSession()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for pass := r.first; ; pass = r.pass {
		wake, gone, err := pass(ctx, w)
		if gone && r.forget(w) {
			return
		}
		wait := r.delay(w, wake, err)
		if ctx.Err() != nil {
			return
		}
		timer.Reset(wait)
		if !r.rest(ctx, w, timer, r.Now().Add(wait)) {
			return
		}
	}
}

// first makes the first pass of a release, in turn unless it has a run under way.
func (r *Reconciler) first(ctx context.Context, w *worker) (wake time.Time, gone bool, err error) {
	if rec, err := r.Store.Get(ctx, w.name); err == nil && (rec.State.Run == nil || rec.State.Run.Phase.Ended()) {
		select {
		case r.starts <- struct{}{}:
			defer func() { <-r.starts }()
		case <-ctx.Done():
			return time.Time{}, false, ctx.Err()
		}
	}
	return r.pass(ctx, w)
}

// rest waits until it is time for a pass, at due at the latest, and takes in
// evidence that changes nothing meanwhile. False: ctx has ended.
func (r *Reconciler) rest(ctx context.Context, w *worker, timer *time.Timer, due time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-w.dirty:
			return true
		case <-timer.C:
			return true
		case <-w.wakeup():
		}
		next, same := r.look(ctx, w)
		if !same {
			return true
		}
		if !next.IsZero() && next.Before(due) {
			due = next
			timer.Reset(max(0, due.Sub(r.Now())))
		}
	}
}

// forget drops a worker whose release is gone, unless it was asked for again.
func (r *Reconciler) forget(w *worker) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(w.dirty) > 0 {
		return false
	}
	delete(r.workers, w.name)
	return true
}

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
	idle       = time.Hour // without a wake time: events alone bring the next pass
)

// delay is how long to wait for the next pass without an event.
func (r *Reconciler) delay(w *worker, wake time.Time, err error) time.Duration {
	wait := idle
	if !wake.IsZero() {
		wait = max(0, wake.Sub(r.Now()))
	}
	if err == nil {
		w.retry, w.toldErr = 0, ""
		return max(wait, w.settle())
	}
	if w.toldErr != err.Error() {
		w.toldErr = err.Error()
		r.Log.Warn("the pass could not do all of it and will try again", "release", w.name, "error", err)
	}
	w.retry = min(max(firstRetry, 2*w.retry), lastRetry)
	if wait == 0 {
		return w.retry
	}
	return min(wait, w.retry)
}

// settle spaces passes that each found the traffic elsewhere than wanted: a
// router that is told and acts later is asked again soon, not in a hot loop.
func (w *worker) settle() time.Duration {
	if w.moves <= 2 {
		return 0
	}
	return min(time.Duration(w.moves)*5*time.Millisecond, 250*time.Millisecond)
}
