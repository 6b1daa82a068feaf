package embedded_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric/embedded"
	"github.com/haldane-project/haldane/internal/release"
)

func about(name string, f release.Fact) release.Metric {
	return release.Metric{Name: name, Kind: f.Kinds()[0], Source: release.Source{LLM: f}}
}

func newModels(metrics ...release.Metric) *world {
	w := newWorld(metrics...)
	w.subject.Release.Traffic.Embedded = &release.Embedded{Model: &release.Model{}}
	return w
}

func (w *world) says(v release.VersionID, a release.Answer, change ...func(*release.Observation)) {
	a.API = release.ChatAPI
	w.observe(v, release.OK, append([]func(*release.Observation){func(o *release.Observation) { o.Answer = &a }}, change...)...)
}

// TestFactsAreEvidence: amounts, shares and categories of models' answers, and
// only of those that tell them.
func TestFactsAreEvidence(t *testing.T) {
	w := newModels(about("tokens", release.FactOutputTokens), about("invalid", release.FactInvalid), about("finish", release.FactFinishReason))
	w.weight = release.Full / 2 // of so many answers the placebo surely has some on both sides
	stable, canary := w.subject.Stable.ID, w.subject.Canary.ID
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	for range 100 {
		w.says(stable, release.Answer{OutputTokens: 10, Finish: "stop", Format: release.FormatValid})
		w.says(canary, release.Answer{OutputTokens: 80, Finish: "length", Format: release.FormatInvalid})
	}
	w.says(canary, release.Answer{}) // tells nothing
	w.observe(canary, release.OK)    // was no model's
	w.observe(canary, release.Failed, func(o *release.Observation) { o.Answer = &release.Answer{OutputTokens: 3} })
	got := read(t, r)
	for _, s := range got.Samples {
		c, st := s.Batch.Canary, s.Batch.Stable
		switch s.Metric {
		case 0:
			if len(c.Bins) != 1 || c.Bins[0] != (judge.BinCount{Bin: judge.BinOf(judge.Amount, 80), Count: 100}) || len(st.Bins) != 1 {
				t.Errorf("tokens: canary %+v, stable %+v", c, st)
			}
		case 1:
			if c.N != 100 || c.Bad != 100 || st.N != 100 || st.Bad != 0 {
				t.Errorf("invalid: canary %+v, stable %+v", c, st)
			}
		case 2:
			names := s.Batch.Names
			if at := slices.Index(names, "length"); at < 0 || c.Classes[at] != 100 || len(st.Classes) > at && st.Classes[at] != 0 {
				t.Errorf("finish: %v, canary %v, stable %v", names, c.Classes, st.Classes)
			}
		}
	}
	if len(got.Samples) != 3 || len(got.Placebo) != 3 {
		t.Fatalf("%d samples and %d of the placebo, want three each", len(got.Samples), len(got.Placebo))
	}
	p := got.Placebo[1].Batch
	if p.Canary.N+p.Stable.N != 100 {
		t.Errorf("the placebo has %+v, want stable's hundred answers", p)
	}
}

// TestNegativeScoresDrift: log-odds that got worse are found, below 0 as above.
func TestNegativeScoresDrift(t *testing.T) {
	for _, was := range []float64{-2, 2} {
		w := newModels(about("score", release.FactScore))
		w.weight = release.Full / 2
		r := w.open(t, embedded.New(w.recorder, nil), nil)
		run, err := judge.New(judge.Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1},
			Metrics: []judge.Metric{{Name: "score", Kind: judge.Drift, Share: 1, Limit: math.NaN()}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2000 {
			noise := float64(i%10) / 20
			w.says(w.subject.Stable.ID, release.Answer{Score: was + noise, Scored: true})
			w.says(w.subject.Canary.ID, release.Answer{Score: was - 1 + noise, Scored: true})
			if i%50 > 0 {
				continue
			}
			for _, s := range read(t, r).Samples {
				if err := run.Update(0, s.Batch); err != nil {
					t.Fatal(err)
				}
			}
		}
		if rep := run.Report(0); rep.Verdict != judge.Fail {
			t.Errorf("scores around %g that fell by 1: %s", was, rep.Reason)
		}
	}
}

// TestClassesKeepTheirNumbers over a restart, however many there are.
func TestClassesKeepTheirNumbers(t *testing.T) {
	w := newModels(about("class", release.FactClass))
	say := func(class string) { w.says(w.subject.Canary.ID, release.Answer{Class: class}) }
	also := func() { w.says(w.subject.Stable.ID, release.Answer{Class: "b"}) } // alone the canary compares with nothing
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	say("b")
	first := read(t, r)
	r.Close()
	r = w.open(t, embedded.New(w.recorder, nil), first.Cursor)
	for i := range 300 {
		say(fmt.Sprint("x", i))
	}
	say("b")
	also()
	got := read(t, r).Samples[0].Batch
	sum := int64(0)
	for _, n := range got.Canary.Classes {
		sum += n
	}
	other := slices.Index(got.Names, "(other)")
	if len(got.Names) > 64 || got.Names[0] != "b" || other < 0 || got.Canary.Classes[other] < 200 || sum != 301 {
		t.Errorf("classes %v of %v", got.Canary.Classes, got.Names)
	}
}

// TestHistoryOfFacts: what stable answered before the run, and what is usual by
// the length of the input, which a restart does not change.
func TestHistoryOfFacts(t *testing.T) {
	w := newModels(about("first", release.FactFirstToken), about("class", release.FactClass))
	ask := func(v release.VersionID, input int) {
		w.says(v, release.Answer{Class: "7", InputCharacters: input, FirstToken: time.Duration(input) * time.Millisecond})
	}
	for i := range 400 {
		ask(w.subject.Stable.ID, 100*(1+i%2*9))
	}
	w.subject.Started = time.Now().Add(time.Second)
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	h, err := r.History(t.Context())
	if err != nil || len(h) != 2 || len(h[1].Classes) != 1 || h[1].Classes[0] != 400 {
		t.Fatalf("history %+v, %v; want 400 sevens", h, err)
	}
	if len(h[0].Bins) != 1 || h[0].Bins[0].Count != 400 {
		t.Errorf("times of short and of long prompts are %+v, want them alike: each is usual for its input", h[0].Bins)
	}
	ask(w.subject.Stable.ID, 1000)
	ask(w.subject.Canary.ID, 1000)
	got := read(t, r)
	if c := got.Samples[0].Batch.Canary; len(c.Bins) != 1 || c.Bins[0].Bin != h[0].Bins[0].Bin {
		t.Errorf("a usual time of a long prompt is %+v, want it in the bin %d", c.Bins, h[0].Bins[0].Bin)
	}
	r.Close()
	r = w.open(t, embedded.New(w.recorder, nil), got.Cursor)
	ask(w.subject.Stable.ID, 1000)
	ask(w.subject.Canary.ID, 1000)
	if c := read(t, r).Samples[0].Batch.Canary; len(c.Bins) != 1 || c.Bins[0].Bin != h[0].Bins[0].Bin {
		t.Errorf("after a restart it is %+v", c.Bins)
	}
}

// TestFactsOfUsers: where users keep their version, each counts once.
func TestFactsOfUsers(t *testing.T) {
	w := newModels(about("tokens", release.FactOutputTokens), about("refusal", release.FactRefusal))
	w.subject.Release.Analysis.PerUser = true
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	of := func(unit uint64) func(*release.Observation) { return func(o *release.Observation) { o.Unit = unit } }
	for i := range uint64(30) {
		w.says(w.subject.Canary.ID, release.Answer{OutputTokens: 5, Refusal: true}, of(1+i%3))
	}
	got := read(t, r).Samples
	if c := got[0].Batch.Canary; len(c.Bins) != 1 || c.Bins[0].Count != 3 {
		t.Errorf("tokens %+v, want one value of each of three users", c)
	}
	if c := got[1].Batch.Canary; c.N != 30 || c.Bad != 30 || c.Units != 3 || c.Firsts != 3 {
		t.Errorf("refusals %+v, want thirty of three users", c)
	}
}

// TestAbandonedAnswersCount though they are the client's doing.
func TestAbandonedAnswersCount(t *testing.T) {
	w := newModels(about("abandoned", release.FactAbandoned), release.Metric{Name: "errors", Kind: release.Errors})
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	w.says(w.subject.Canary.ID, release.Answer{Complete: true})
	w.observe(w.subject.Canary.ID, release.ClientFault, func(o *release.Observation) { o.Answer = &release.Answer{API: release.ChatAPI} })
	for _, s := range read(t, r).Samples {
		if c := s.Batch.Canary; s.Metric == 0 && (c.N != 2 || c.Bad != 1) || s.Metric == 1 && (c.N != 1 || c.Bad != 0) {
			t.Errorf("metric %d: %+v", s.Metric, c)
		}
	}
}

// TestAnswersThatFailSayNothingOfOthers: a version half of whose requests fail has
// half of the answers, and is no more often refused for it.
func TestAnswersThatFailSayNothingOfOthers(t *testing.T) {
	w := newModels(about("refusal", release.FactRefusal))
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	run, err := judge.New(judge.Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1},
		Metrics: []judge.Metric{{Name: "refusal", Kind: judge.Proportion, Share: 1, Limit: math.NaN()}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		w.says(w.subject.Stable.ID, release.Answer{})
		w.observe(w.subject.Canary.ID, release.Failed)
		if i%4 == 0 {
			w.says(w.subject.Canary.ID, release.Answer{})
		}
		for _, s := range read(t, r).Samples {
			if err := run.Update(0, s.Batch); err != nil {
				t.Fatal(err)
			}
		}
		if rep := run.Report(0); rep.Verdict == judge.Fail {
			t.Fatalf("after %d answers, none of which refused: %s", i, rep.Reason)
		}
	}
}
