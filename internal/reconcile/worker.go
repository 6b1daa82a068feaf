package reconcile

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/internal/workload"
)

// worker is what is remembered of one release between its passes. Everything
// here can be lost: a new one reads it all again.
type worker struct {
	name  string
	dirty chan struct{}
	retry time.Duration
	moves int // passes in a row that changed the traffic

	rel        release.Release
	parsed     string // identity and generation that rel was parsed from
	fleet      workload.Fleet
	session    *session
	settled    *settled  // the pass before changed nothing; nil: it did, or could not
	lastErr    error     // what the pass before could not do
	toldErr    string    // what was logged of it last
	savedJudge time.Time // when the judge's state was last written
	keptLook   time.Time

	unsaved   *rollout.State  // what is decided and may wait to be saved; nil: nothing
	unsavedAt int64           // the revision that it was decided from
	untold    []rollout.Event // of what is not saved yet
	differs   time.Time       // since when something waits to be saved; zero: nothing does

	mu      sync.Mutex
	answers map[string]rollout.GateAnswer // by run, step and gate
	asking  map[string]bool
}

func (r *Reconciler) newWorker(name string) *worker {
	return &worker{name: name, dirty: make(chan struct{}, 1),
		answers: map[string]rollout.GateAnswer{}, asking: map[string]bool{}}
}

func (w *worker) wakeup() <-chan struct{} {
	if w.session == nil {
		return nil
	}
	return w.session.reader.Wake()
}

func (w *worker) closeSession() {
	if w.session != nil {
		_ = w.session.reader.Close() // nothing is buffered in a reader
		w.session = nil
	}
}

// parse returns the release of a record, parsing each generation once.
func (r *Reconciler) parse(w *worker, rec store.Record) (release.Release, error) {
	key := rec.UID + "/" + strconv.FormatInt(rec.Generation, 10)
	if w.parsed == key {
		return w.rel, nil
	}
	rel, err := r.Parse(rec)
	if err != nil {
		return release.Release{}, err
	}
	rel.UID, rel.Generation = rec.UID, rec.Generation
	w.rel, w.parsed = rel, key
	return rel, nil
}

// ask starts the questions to webhook gates that are not under way. The answer
// brings a new pass, and a no another question after a while.
func (r *Reconciler) ask(ctx context.Context, w *worker, run *rollout.Run, gates []release.Gate) {
	for _, g := range gates {
		if g.Kind != release.GateWebhook {
			continue
		}
		key := gateKey(run, g.Name)
		w.mu.Lock()
		busy := w.asking[key]
		w.asking[key] = true
		w.mu.Unlock()
		if !busy {
			go r.askOne(ctx, w, *run, g, key)
		}
	}
}

const askAgain = 5 * time.Second

func (r *Reconciler) askOne(ctx context.Context, w *worker, run rollout.Run, g release.Gate, key string) {
	a := rollout.GateAnswer{Gate: g.Name, Reason: "this daemon asks no webhooks"}
	if r.Ask != nil {
		a = r.Ask(ctx, run, g)
	}
	w.mu.Lock()
	w.answers[key] = a
	w.mu.Unlock()
	w.mark()
	if a.Yes {
		return // the key stays marked: it is not asked again
	}
	select {
	case <-ctx.Done():
	case <-time.After(askAgain):
		w.mu.Lock()
		delete(w.asking, key)
		w.mu.Unlock()
		w.mark()
	}
}

// mark asks for a pass.
func (w *worker) mark() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

// gateAnswers returns what the gates of the run's step said.
func (w *worker) gateAnswers(run *rollout.Run) []rollout.GateAnswer {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forgetOtherRuns(run)
	if run == nil || run.Step >= len(run.Plan.Steps) {
		return nil
	}
	var out []rollout.GateAnswer
	for _, g := range run.Plan.Steps[run.Step].Gates {
		if a, ok := w.answers[gateKey(run, g.Name)]; ok {
			out = append(out, a)
		}
	}
	return out
}

// forgetOtherRuns drops the answers to the gates of runs that are over.
func (w *worker) forgetOtherRuns(run *rollout.Run) {
	other := func(key string) bool { return run == nil || !strings.HasPrefix(key, run.ID+"/") }
	maps.DeleteFunc(w.answers, func(key string, _ rollout.GateAnswer) bool { return other(key) })
	maps.DeleteFunc(w.asking, func(key string, _ bool) bool { return other(key) })
}

func gateKey(run *rollout.Run, gate string) string {
	return run.ID + "/" + strconv.Itoa(run.Step) + "/" + gate
}
