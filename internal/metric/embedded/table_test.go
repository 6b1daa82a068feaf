package embedded_test

import (
	"slices"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric/embedded"
	"github.com/haldane-project/haldane/internal/release"
)

// told is a fact as two answers tell it: by an amount, by whether the canary's is
// bad, or by a class. A score has no value of its own on the scale; there the two
// must differ.
type told struct {
	stable, canary release.Answer
	amount         float64
	class          string
	outcome        release.Outcome // of the canary's
}

const ms = time.Millisecond

var everyFact = map[release.Fact]told{
	release.FactFirstToken:       {stable: release.Answer{FirstToken: 10 * ms}, canary: release.Answer{FirstToken: 80 * ms}, amount: 0.08},
	release.FactPerToken:         {stable: release.Answer{PerToken: 1 * ms}, canary: release.Answer{PerToken: 5 * ms}, amount: 0.005},
	release.FactGap:              {stable: release.Answer{Gap: 10 * ms}, canary: release.Answer{Gap: 300 * ms}, amount: 0.3},
	release.FactInputTokens:      {stable: release.Answer{InputTokens: 10}, canary: release.Answer{InputTokens: 70}, amount: 70},
	release.FactInputCharacters:  {stable: release.Answer{InputCharacters: 10}, canary: release.Answer{InputCharacters: 90}, amount: 90},
	release.FactInputLength:      {stable: release.Answer{API: release.InferAPI, InputLength: 64}, canary: release.Answer{API: release.InferAPI, InputLength: 128}, amount: 128},
	release.FactInputScore:       {stable: release.Answer{API: release.InferAPI, InputScored: true, InputScore: -1}, canary: release.Answer{API: release.InferAPI, InputScored: true, InputScore: -2}},
	release.FactOutputTokens:     {stable: release.Answer{OutputTokens: 10}, canary: release.Answer{OutputTokens: 40}, amount: 40},
	release.FactOutputCharacters: {stable: release.Answer{Characters: 10}, canary: release.Answer{Characters: 60}, amount: 60},
	release.FactCachedTokens:     {stable: release.Answer{InputTokens: 100, CachedTokens: 64}, canary: release.Answer{InputTokens: 100}, amount: 0},
	release.FactReasoningTokens:  {stable: release.Answer{OutputTokens: 100, ReasoningTokens: 10}, canary: release.Answer{OutputTokens: 100, ReasoningTokens: 90}, amount: 90},
	release.FactToolCalls:        {stable: release.Answer{}, canary: release.Answer{ToolCalls: 3}, amount: 3},
	release.FactCost:             {stable: release.Answer{Priced: true, Cost: 0.001}, canary: release.Answer{Priced: true, Cost: 0.02}, amount: 0.02},
	release.FactScore:            {stable: release.Answer{API: release.JSONAPI, Scored: true, Score: 0.9}, canary: release.Answer{API: release.JSONAPI, Scored: true, Score: -0.3}},
	release.FactNorm:             {stable: release.Answer{API: release.EmbeddingAPI, Length: 8, Norm: 1}, canary: release.Answer{API: release.EmbeddingAPI, Length: 8, Norm: 7}, amount: 7},

	release.FactRefusal:    {canary: release.Answer{RefusalPhrase: true}},
	release.FactInvalid:    {stable: release.Answer{Format: release.FormatValid}, canary: release.Answer{Format: release.FormatInvalid}},
	release.FactEmpty:      {canary: release.Answer{Empty: true}},
	release.FactRepeated:   {canary: release.Answer{Repeated: true}},
	release.FactTruncated:  {canary: release.Answer{Truncated: true}},
	release.FactGarbled:    {canary: release.Answer{InvalidUTF8: true}},
	release.FactNotANumber: {stable: release.Answer{API: release.JSONAPI, Scored: true}, canary: release.Answer{API: release.JSONAPI, NaN: 1}},
	release.FactAbandoned:  {stable: release.Answer{Complete: true}, outcome: release.ClientFault},

	release.FactFinishReason: {stable: release.Answer{Finish: "stop"}, canary: release.Answer{Finish: "length"}, class: "length"},
	release.FactClass:        {stable: release.Answer{API: release.InferAPI, Class: "3"}, canary: release.Answer{API: release.InferAPI, Class: "8"}, class: "8"},
	release.FactLanguage:     {stable: release.Answer{Script: "Latin", Language: "English"}, canary: release.Answer{Script: "Latin", Language: "French"}, class: "French"},
	release.FactModel:        {stable: release.Answer{Model: "a"}, canary: release.Answer{Model: "b"}, class: "b"},
	release.FactModelVersion: {stable: release.Answer{API: release.InferAPI, ModelVersion: "1"}, canary: release.Answer{API: release.InferAPI, ModelVersion: "2"}, class: "2"},
	release.FactShape: {stable: release.Answer{API: release.InferAPI, Datatype: "FP32", Shape: "1x10"}, canary: release.Answer{API: release.InferAPI, Datatype: "FP64", Shape: "7x10x2"},
		class: "FP64 10x2"},
}

// TestEveryFactIsEvidence: what an observation tells comes out of the reader as the
// judge takes it, for every fact that there is and in each of its kinds.
func TestEveryFactIsEvidence(t *testing.T) {
	for _, fact := range release.Facts() {
		c, known := everyFact[fact]
		if !known {
			t.Errorf("no answer of this test tells %s", fact)
			continue
		}
		for _, kind := range fact.Kinds() {
			t.Run(string(fact)+"/"+string(kind), func(t *testing.T) { c.comesOut(t, fact, kind) })
		}
	}
}

func (c told) comesOut(t *testing.T, fact release.Fact, kind release.MetricKind) {
	metric := release.Metric{Name: "m", Kind: kind, Source: release.Source{LLM: fact}}
	w := newModels(metric)
	w.subject.Release.Traffic.Embedded.Model.Prices = map[string]release.Price{"*": {Input: 1}}
	p := embedded.New(w.recorder, nil)
	if err := p.Check(t.Context(), w.subject.Release, []release.Metric{metric}); err != nil {
		t.Fatal(err)
	}
	r := w.open(t, p, nil)
	say := func(v release.VersionID, a release.Answer, outcome release.Outcome) {
		if a.API == "" {
			a.API = release.ChatAPI
		}
		w.observe(v, outcome, func(o *release.Observation) { o.Answer = &a })
	}
	const each = 20
	for range each {
		say(w.subject.Stable.ID, c.stable, release.OK)
		say(w.subject.Canary.ID, c.canary, c.outcome)
		say(w.subject.Canary.ID, c.canary, release.Failed) // tells nothing
	}
	got := read(t, r).Samples
	if len(got) != 1 {
		t.Fatalf("%d samples of one metric", len(got))
	}
	canary, stable := got[0].Batch.Canary, got[0].Batch.Stable
	switch of, _ := fact.Of(); of.Form {
	case release.ShareFact:
		if canary.N != each || canary.Bad != each || stable.N != each || stable.Bad != 0 {
			t.Errorf("canary %+v, stable %+v; want all of the one and none of the other bad", canary, stable)
		}
	case release.ClassFact:
		at := slices.Index(got[0].Batch.Names, c.class)
		if at < 0 || canary.Classes[at] != each || len(stable.Classes) > at && stable.Classes[at] != 0 {
			t.Errorf("of %q: canary %v, stable %v; want %q of the canary", got[0].Batch.Names, canary.Classes, stable.Classes, c.class)
		}
	default:
		scored := fact == release.FactScore || fact == release.FactInputScore
		if len(canary.Bins) != 1 || len(stable.Bins) != 1 || canary.Bins[0].Count != each || canary.Bins[0].Bin == stable.Bins[0].Bin ||
			!scored && canary.Bins[0].Bin != judge.BinOf(judge.Amount, c.amount) {
			t.Errorf("canary %+v, stable %+v; want all of the canary in the bin of %g", canary.Bins, stable.Bins, c.amount)
		}
	}
}

// TestScoresOfUsersAreEvidence: how far below 1 each is, for the version whose
// answer it is about.
func TestScoresOfUsersAreEvidence(t *testing.T) {
	w := newModels(release.Metric{Name: "stars", Kind: release.Mean, Source: release.Source{Feedback: release.FactScores}})
	w.subject.Release.Traffic.Embedded.Feedback = &release.TakesFeedback{}
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	for i := range 10 {
		for v, score := range map[release.VersionID]float64{w.subject.Stable.ID: 0.75, w.subject.Canary.ID: 0.25} {
			id := string(v) + string(rune('a'+i))
			w.says(v, release.Answer{}, func(o *release.Observation) { o.ID = id })
			if err := w.recorder.Feedback("hello", release.Feedback{ID: id, Score: score, Scored: true}, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := read(t, r).Samples
	if len(got) != 1 {
		t.Fatalf("%d samples of one metric", len(got))
	}
	for _, c := range []struct {
		side judge.Side
		want float64
	}{{got[0].Batch.Canary, 0.75}, {got[0].Batch.Stable, 0.25}} {
		if len(c.side.Bins) != 1 || c.side.Bins[0] != (judge.BinCount{Bin: judge.BinOf(judge.Amount, c.want), Count: 10}) {
			t.Errorf("%+v, want ten of %g", c.side.Bins, c.want)
		}
	}
}
