package reconcile_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/notify"
	"github.com/haldane-project/haldane/internal/reconcile"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/internal/traffic"
	"github.com/haldane-project/haldane/internal/workload"
)

var (
	v1      = release.NewVersion("v1", release.Workload{Endpoints: &release.Endpoints{Addresses: []string{"127.0.0.1:1"}}})
	v2      = release.NewVersion("v2", release.Workload{Endpoints: &release.Endpoints{Addresses: []string{"127.0.0.1:2"}}})
	errDown = errors.New("it is down")
)

// house is every port of one pass in memory. What was called is in the log, in
// order; everything is in force at once unless a field says otherwise.
type house struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan struct{}
	dear   bool          // saves are dear
	report *judge.Report // of the last notice
	logged bytes.Buffer  // what the reconciler logged; read it when all is at rest

	mu      sync.Mutex
	calls   []string
	release release.Release
	rec     store.Record
	events  []rollout.Event
	getErr  error
	saveErr error
	moves   int // how often the record changes under a pass

	split  release.Split // in force
	late   bool          // the router accepts and does not act
	inside []rollout.InFlight
	fleet  []rollout.Group
	down   bool // the runtime can not be asked
	batch  []metric.Sample
	beside metric.Reading // placebo and division, for the next read
	record judge.Record
	total  int // samples so far: the cursor
	kept   []metric.Sample
	read   error
	again  time.Duration // after which the reader wants to be read again; zero: it wakes
	opened []string      // cursors that readers were opened with
	answer func() rollout.GateAnswer
	asked  int
	told   []string
	log    bytes.Buffer // saved evidence
	sink   error

	watch   chan string
	changed chan string
	wake    chan struct{}
}

func newHouse(t *testing.T, steps ...release.Step) *house {
	h := &house{t: t, watch: make(chan string, 1), changed: make(chan string), wake: make(chan struct{}, 1)}
	h.release = release.Release{
		Name: "hello", UID: "1", Generation: 1, Version: v1, Replicas: 1,
		Traffic:  release.Traffic{Embedded: &release.Embedded{Listen: "127.0.0.1:0"}},
		Strategy: release.Strategy{Kind: release.Canary, Steps: steps, ReadyDeadline: time.Hour, OnInconclusive: release.PauseRun},
		Analysis: release.Analysis{FalseRollback: 0.01, FalsePromotion: 0.05, Metrics: []release.Metric{{
			Name: "errors", Kind: release.Errors, Required: true, Share: 1,
			Margin: release.Margin{Difference: 0.05}, Judge: release.JudgedRollBack,
		}}},
	}
	h.rec = store.Record{Name: "hello", UID: "1", Generation: 1, Revision: 1}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("calls: %v\nlog: %s", h.calls, h.logged.String())
		}
	})
	return h
}

// step is a step of a canary plan with evidence that nothing speaks against it.
func step(w release.Weight) release.Step {
	return release.Step{Weight: w, Capacity: w, Require: release.NoHarm, MinRequests: 10, Looseness: 1}
}

// start begins a daemon's life; stop ends it.
func (h *house) start() {
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel, h.ended = cancel, make(chan struct{})
	ports := reconcile.Ports{
		Store: fakeStore{house: h}, Router: fakeRouter{h}, Runtime: fakeRuntime{h}, Metrics: fakeProvider{h},
		Sinks: []notify.Sink{fakeSink{h, "first"}, fakeSink{h, "second"}},
		Parse: func(store.Record) (release.Release, error) { return h.release, nil },
		Ask: func(context.Context, rollout.Run, release.Gate) rollout.GateAnswer {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.asked++
			return h.answer()
		},
		Log: slog.New(slog.NewTextHandler(&h.logged, nil)),
	}
	if h.dear {
		ports.SaveEvery, ports.Defer = time.Minute, 10*time.Second
	}
	r := reconcile.New(ports)
	go func() {
		defer close(h.ended)
		if err := r.Run(ctx); err != nil {
			h.t.Error(err)
		}
	}()
	synctest.Wait()
}

func (h *house) stop() {
	h.cancel()
	<-h.ended
	synctest.Wait()
}

// serving is a house in which v1 serves and v2 is wanted since now.
func serving(t *testing.T, steps ...release.Step) *house {
	h := newHouse(t, steps...)
	h.start()
	h.want("Promoted")
	h.apply(v2)
	return h
}

// apply makes another version the wanted one.
func (h *house) apply(v release.Version) {
	h.mu.Lock()
	h.release.Version = v
	h.release.Generation++
	h.rec.Generation++
	h.rec.Revision++
	h.mu.Unlock()
	h.poke()
}

// poke tells the reconciler that the store changed.
func (h *house) poke() {
	select {
	case h.watch <- "hello":
	default:
	}
	synctest.Wait()
}

// pass lets time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// see brings evidence: requests of each version, and how many of them failed.
func (h *house) see(stable, stableBad, canary, canaryBad int64) {
	h.mu.Lock()
	h.total++
	h.batch = append(h.batch, metric.Sample{Batch: judge.Batch{At: float64(h.total),
		Canary: judge.Side{N: canary, Bad: canaryBad}, Stable: judge.Side{N: stable, Bad: stableBad}}})
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
	synctest.Wait()
}

// want fails the test unless the run is kept in this phase.
func (h *house) want(phase rollout.Phase) {
	h.t.Helper()
	if r := h.run(); r.Phase != phase {
		h.t.Fatalf("the run is kept as %s (%s), expected %s", r.Phase, r.Why, phase)
	}
}

func (h *house) run() rollout.Run {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rec.State.Run == nil {
		h.t.Fatal("there is no run")
	}
	return *h.rec.State.Run
}

// share is v2's in force.
func (h *house) share() release.Weight {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.split.Of(v2.ID)
}

// set changes the world, and returns the number of calls so far.
func (h *house) set(f func()) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	return len(h.calls)
}

// saved is the record as it was saved last.
func (h *house) saved() store.Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rec
}

// trouble is what the record says that a pass could not do.
func (h *house) trouble() string { return h.saved().Observed.Error }

// since returns the calls from the nth on that begin with one of the words.
func (h *house) since(n int, words ...string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, c := range h.calls[n:] {
		if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(c, w) }) {
			out = append(out, c)
		}
	}
	return out
}

func (h *house) called(what string) { h.calls = append(h.calls, what) }

type fakeStore struct {
	store.Store // of what is not called
	*house
}

func (s fakeStore) Get(context.Context, string) (store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.called("get")
	if s.rec.Name == "" {
		return store.Record{}, store.ErrNotFound
	}
	return s.rec, s.getErr
}

func (s fakeStore) List(context.Context) ([]store.Record, error) { return []store.Record{s.rec}, nil }

func (s fakeStore) Intents(context.Context, string) ([]rollout.Intent, error) { return nil, nil }

func (s fakeStore) Watch(context.Context) <-chan string { return s.watch }

func (s fakeStore) Save(_ context.Context, in store.Save) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.called("save")
	if s.saveErr != nil {
		return 0, s.saveErr
	}
	if s.moves > 0 {
		s.moves--
		s.rec.Revision++
	}
	if in.Revision != s.rec.Revision {
		return 0, store.ErrConflict
	}
	s.rec.State, s.rec.Judge, s.rec.Cursor, s.rec.Observed = in.State, in.Judge, in.Cursor, in.Observed
	if in.Look != nil {
		s.rec.Look = in.Look
	}
	if in.Placebo != nil {
		s.record = s.record.Add(*in.Placebo)
	}
	s.log.Write(in.Evidence)
	s.rec.Revision++
	s.events = append(s.events, in.Events...)
	if in.Gone {
		s.rec = store.Record{}
	}
	return s.rec.Revision, nil
}

type fakeRouter struct{ *house }

func (r fakeRouter) Apply(_ context.Context, t traffic.Target) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.called("route " + strconv.Itoa(int(t.Split.Of(v2.ID))))
	if !r.late {
		r.split = t.Split
	}
	return nil
}

func (r fakeRouter) Observe(context.Context, release.Release) (rollout.ObservedSplit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.called("observe")
	return rollout.ObservedSplit{Known: true, Split: r.split, InFlight: r.inside}, nil
}

func (r fakeRouter) Remove(context.Context, release.Release) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.called("remove")
	r.split = release.Split{}
	return nil
}

// fakeRuntime has every instance ready as soon as it is wanted.
type fakeRuntime struct{ *house }

func (r fakeRuntime) Apply(_ context.Context, _ release.Release, want []rollout.Group) error {
	r.mu.Lock()
	changed := len(want) != len(r.fleet)
	for i := 0; !changed && i < len(want); i++ {
		changed = want[i].Version.ID != r.fleet[i].Version.ID || want[i].Replicas != r.fleet[i].Replicas
	}
	r.fleet = want
	r.called("instances")
	r.mu.Unlock()
	if changed {
		go func() { r.changed <- "hello" }()
	}
	return nil
}

func (r fakeRuntime) Observe(context.Context, release.Release) (workload.Fleet, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.called("observe")
	if r.down {
		return workload.Fleet{}, errDown
	}
	var out workload.Fleet
	for _, g := range r.fleet {
		out.Groups = append(out.Groups, rollout.ObservedGroup{Version: g.Version.ID, Ready: g.Replicas, Total: g.Replicas})
	}
	return out, nil
}

func (r fakeRuntime) Changed() <-chan string { return r.changed }

// fakeProvider gives each sample once, but for those behind a reader's cursor.
type fakeProvider struct{ *house }

func (p fakeProvider) Open(_ context.Context, _ metric.Subject, cursor []byte) (metric.Reader, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.called("open")
	p.opened = append(p.opened, string(cursor))
	at, _ := strconv.Atoi(string(cursor))
	p.batch = append(slices.Clone(p.kept[at:]), p.batch...)
	p.kept = p.kept[:at]
	return fakeReader(p), nil
}

func (p fakeProvider) Check(context.Context, release.Release, []release.Metric) error { return nil }

type fakeReader struct{ *house }

func (r fakeReader) History(context.Context) ([]judge.History, error) { return nil, nil }
func (r fakeReader) Wake() <-chan struct{}                            { return r.wake }
func (r fakeReader) Close() error                                     { return nil }

func (r fakeReader) Read(context.Context) (metric.Reading, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.called("read")
	if r.read != nil {
		return metric.Reading{}, r.read
	}
	out := metric.Reading{Samples: r.batch, Placebo: r.beside.Placebo, Division: r.beside.Division, Counted: r.beside.Counted}
	r.beside = metric.Reading{}
	if len(r.batch) > 0 {
		out.Newest = time.Now()
	}
	if r.again > 0 {
		out.Again = time.Now().Add(r.again)
	}
	r.kept, r.batch = append(r.kept, r.batch...), nil
	out.Cursor = []byte(strconv.Itoa(len(r.kept)))
	return out, nil
}

type fakeSink struct {
	*house
	name string
}

func (s fakeSink) Notify(_ context.Context, n notify.Notice) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report = n.Report
	for _, e := range n.Events {
		s.called("notify " + s.name)
		if s.name == "second" {
			s.told = append(s.told, e.Reason)
		}
	}
	if s.name == "first" {
		return s.sink
	}
	return nil
}
