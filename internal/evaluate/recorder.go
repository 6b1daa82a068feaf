package evaluate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// Recorder asks evaluators while a tap is open and keeps what they said. All its
// methods may be called at any time from any goroutine; none waits for an evaluator.
type Recorder struct {
	log  *slog.Logger
	text func(l *release.Leg) string // the words of an answer
	taps atomic.Pointer[[]*Tap]
	mu   sync.Mutex // guards replacing taps, and lost
	lost map[string]*losses
}

// New returns a Recorder; text gives the words of an answer.
func New(log *slog.Logger, text func(l *release.Leg) string) *Recorder {
	r := &Recorder{log: log, text: text}
	r.taps.Store(&[]*Tap{})
	return r
}

// Tap is the evaluations of one run.
type Tap struct {
	recorder       *Recorder
	name           string
	stable, canary release.VersionID
	jobs           []*job
	context        context.Context
	cancel         context.CancelFunc
	running        sync.WaitGroup
	lost           *losses
}

// Job is one metric's evaluator.
type Job struct {
	Metric    string
	Evaluator *release.Evaluator
	Pairs     bool // answers are asked about in pairs, of copied requests
	Scores    bool // how good answers are is asked, not whether they are bad
	// Users says that a user is what was drawn (Heard.Unit): each is asked about once.
	Users bool
}

// job is one at work.
type job struct {
	Job
	slots chan struct{}

	mu       sync.Mutex
	users    *judge.Units // asked about already; nil: requests are what was drawn
	got      Evidence
	stats    Stats
	calls    int64
	cost     float64
	critical string
	told     time.Time // when the log was told last
}

// Evidence is what an evaluator said since the last drain.
type Evidence struct {
	// Asked about alone: answers with a verdict, and the bad ones among them.
	Stable, StableBad, Canary, CanaryBad int64
	// Asked how good they are: how far each answer is below 1.
	StableShort, CanaryShort []float64
	// Asked about in pairs.
	Pairs, StableWon, CanaryWon int64
	Newest                      time.Time
}

// Stats are of a run so far.
type Stats struct {
	Verdicts  int64 // that count
	Unclear   int64 // answers that were no verdict
	Failed    int64 // errors and timeouts
	Passed    int64 // answers that were not asked about: too many at once, or the budget was spent
	Spent     bool  // the budget is
	LastError string
}

// Tap begins to ask about the answers of two versions. It must be closed.
func (r *Recorder) Tap(name string, stable, canary release.VersionID, jobs []Job) *Tap {
	t := &Tap{recorder: r, name: name, stable: stable, canary: canary, lost: r.losing(name)}
	t.context, t.cancel = context.WithCancel(context.Background())
	for _, j := range jobs {
		one := &job{Job: j, slots: make(chan struct{}, j.Evaluator.Concurrency)}
		if j.Users {
			one.users = judge.NewUnits(mostUsers)
		}
		t.jobs = append(t.jobs, one)
	}
	r.replace(func(list []*Tap) []*Tap { return append(list, t) })
	return t
}

func (r *Recorder) replace(f func([]*Tap) []*Tap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := f(slices.Clone(*r.taps.Load()))
	r.taps.Store(&next)
}

// Close gives up what is being asked; what was not drained is lost.
func (t *Tap) Close() {
	t.recorder.replace(func(list []*Tap) []*Tap { return slices.DeleteFunc(list, func(x *Tap) bool { return x == t }) })
	t.cancel()
	for _, j := range t.jobs {
		j.mu.Lock()   // who holds it may still start one
		j.mu.Unlock() //nolint:staticcheck // a barrier: later ones see that the context has ended
	}
	t.running.Wait()
}

// mostUsers bounds the users whose answers were asked about that are remembered;
// beyond it nobody is asked about any more.
const mostUsers = 1 << 16

// Drain returns what the evaluator of a job said since the last time.
func (t *Tap) Drain(i int) Evidence {
	j := t.jobs[i]
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.got
	j.got = Evidence{}
	return out
}

// Stats returns what became of a job's questions.
func (t *Tap) Stats(i int) Stats {
	j := t.jobs[i]
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stats
}

// Critical says which answer was found bad twice by an evaluator of what must
// never happen; empty: none was.
func (t *Tap) Critical() string {
	for _, j := range t.jobs {
		j.mu.Lock()
		why := j.critical
		j.mu.Unlock()
		if why != "" {
			return why
		}
	}
	return ""
}

// Wants implements proxy.Listener: requests are drawn without regard to the version.
func (r *Recorder) Wants(name string) bool { return drawn(r.most(name), release.Full) }

func drawn(share, of release.Weight) bool {
	return of > 0 && release.Weight(rand.IntN(int(of))) < share //nolint:gosec // nothing secret
}

// most is the largest share of a release's requests that an evaluator wants.
func (r *Recorder) most(name string) (most release.Weight) {
	for _, t := range *r.taps.Load() {
		if t.name == name {
			for _, j := range t.jobs {
				if !j.Pairs {
					most = max(most, j.Evaluator.Share)
				}
			}
		}
	}
	return most
}

// Hear implements proxy.Listener.
func (r *Recorder) Hear(h *release.Heard) {
	if h.Answer.Outcome != release.OK || h.Answer.Long {
		return
	}
	for _, t := range *r.taps.Load() {
		if t.name != h.Release || h.Version != t.stable && h.Version != t.canary || h.Weight == 0 || h.Weight == release.Full {
			continue
		}
		for _, j := range t.jobs {
			if !j.Pairs && drawn(j.Evaluator.Share, r.most(h.Release)) {
				t.start(j, h.Unit, func() { t.alone(j, h.Version == t.canary, r.about(j, h.Request, &h.Answer)) })
			}
		}
	}
}

// Compare asks about the two answers to a copied request.
func (r *Recorder) Compare(c *release.Copied) {
	if c.User.Outcome != release.OK || c.Copy.Outcome != release.OK || c.User.Long || c.Copy.Long {
		return
	}
	for _, t := range *r.taps.Load() {
		if t.name != c.Release || c.Stable != t.stable || c.Canary != t.canary {
			continue
		}
		for _, j := range t.jobs {
			if !drawn(j.Evaluator.Share, release.Full) {
				continue
			}
			if j.Pairs {
				q := r.about(j, c.Request, &c.User)
				q.Second, q.pair = quoted(r.text(&c.Copy)), true
				t.start(j, 0, func() { t.beside(j, q) })
				continue
			}
			t.start(j, 0, func() { t.alone(j, false, r.about(j, c.Request, &c.User)) })
			t.start(j, 0, func() { t.alone(j, true, r.about(j, c.Request, &c.Copy)) })
		}
	}
}

func (r *Recorder) about(j *job, request []byte, l *release.Leg) subject {
	return subject{Question: j.Evaluator.Question, Request: quoted(string(request)), First: quoted(r.text(l)), scored: j.Scores}
}

// start asks in the background where there is room and budget, and once about
// each user where users are what was drawn. Unit 0 is nobody.
func (t *Tap) start(j *job, unit uint64, f func()) {
	e := j.Evaluator
	j.mu.Lock()
	j.stats.Spent = j.calls >= e.Calls || e.Cost > 0 && j.cost >= e.Cost
	room := !j.stats.Spent && t.context.Err() == nil
	if room {
		select {
		case j.slots <- struct{}{}:
		default:
			room = false
		}
	}
	if room && j.users != nil && !j.users.First(unit) {
		<-j.slots
		room = false
	}
	if !room {
		j.stats.Passed++
		t.lost.passed.Add(1)
		j.mu.Unlock()
		return
	}
	j.calls++
	t.running.Add(1)
	j.mu.Unlock()
	go func() {
		defer t.running.Done()
		defer func() { <-j.slots }()
		f()
	}()
}

// alone asks about one answer of a version.
func (t *Tap) alone(j *job, canary bool, q subject) {
	if j.Scores {
		t.score(j, canary, q)
		return
	}
	bad, cost, err := isBad(t.context, j.Evaluator, q)
	again := err == nil && bad && canary && j.Evaluator.Critical
	confirmed := false
	if again {
		second, more, err := isBad(t.context, j.Evaluator, q)
		confirmed, cost = err == nil && second, cost+more
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cost += cost
	if again {
		j.calls++
	}
	if !t.heard(j, err) {
		return
	}
	n, b := &j.got.Stable, &j.got.StableBad
	if canary {
		n, b = &j.got.Canary, &j.got.CanaryBad
	}
	if *n++; bad {
		*b++
	}
	if confirmed && j.critical == "" {
		j.critical = fmt.Sprintf("%s: the evaluator found an answer of the canary bad, and found so again when it was asked once more; one such answer ends the run", j.Metric)
	}
}

func (t *Tap) score(j *job, canary bool, q subject) {
	score, cost, err := scoreOf(t.context, j.Evaluator, q)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cost += cost
	if !t.heard(j, err) {
		return
	}
	to := &j.got.StableShort
	if canary {
		to = &j.got.CanaryShort
	}
	*to = append(*to, 1-score)
}

func (t *Tap) beside(j *job, q subject) {
	who, cost, err := better(t.context, j.Evaluator, q)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls++ // two were made
	j.cost += cost
	if !t.heard(j, err) {
		return
	}
	j.got.Pairs++
	switch who {
	case -1:
		j.got.StableWon++
	case 1:
		j.got.CanaryWon++
	}
}

// heard counts what came of a question; j.mu is held.
func (t *Tap) heard(j *job, err error) bool {
	now := time.Now()
	switch {
	case err == nil:
		j.stats.Verdicts++
		j.got.Newest = now
		return true
	case t.context.Err() != nil:
		return false // the run has ended
	case errors.Is(err, errNoVerdict):
		j.stats.Unclear++
		t.lost.unclear.Add(1)
	default:
		j.stats.Failed++
		t.lost.failed.Add(1)
	}
	j.stats.LastError = err.Error()
	if now.Sub(j.told) > time.Minute {
		j.told = now
		t.recorder.log.Warn("an evaluator gave no verdict", "release", t.name, "metric", j.Metric, "error", err,
			"verdicts", j.stats.Verdicts, "unclear", j.stats.Unclear, "failed", j.stats.Failed)
	}
	return false
}
