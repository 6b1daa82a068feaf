package embedded_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/metric/embedded"
	"github.com/haldane-project/haldane/internal/release"
)

// TestAnswersAreEvidence: status codes and sizes, of every answer.
func TestAnswersAreEvidence(t *testing.T) {
	w := newWorld(
		release.Metric{Name: "not-found", Kind: release.Proportion, Source: release.Source{Response: "4xx"}},
		release.Metric{Name: "broken", Kind: release.Proportion, Source: release.Source{Response: "5xx"}},
		release.Metric{Name: "size", Kind: release.Amount, Source: release.Source{Response: "bytes"}},
	)
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	with := func(status int, bytes int64) func(*release.Observation) {
		return func(o *release.Observation) { o.Status, o.Out = status, bytes }
	}
	for range 7 {
		w.observe(w.subject.Canary.ID, release.OK, with(404, 1000))
	}
	w.observe(w.subject.Canary.ID, release.Failed, with(503, 5))
	w.observe(w.subject.Stable.ID, release.OK, with(200, 100_000))
	got := map[int]string{}
	for _, s := range read(t, r).Samples {
		c, st := s.Batch.Canary, s.Batch.Stable
		switch {
		case s.Metric < 2 && (c.N != 8 || st.N != 1 || st.Bad != 0 || c.Bad != []int64{7, 1}[s.Metric]):
			t.Errorf("metric %d: canary %+v, stable %+v", s.Metric, c, st)
		case s.Metric == 2 && (len(c.Bins) != 1 || c.Bins[0].Count != 7 || len(st.Bins) != 1 || st.Bins[0].Bin <= c.Bins[0].Bin):
			t.Errorf("sizes: canary %+v, stable %+v; want 7 small ones and a large one", c, st)
		}
		got[s.Metric] = "seen"
	}
	if len(got) != 3 {
		t.Errorf("metrics %v have evidence, want all three", got)
	}
	for _, c := range []struct {
		metric release.Metric
		want   string
	}{
		{release.Metric{Name: "a", Kind: release.Gauge, Source: release.Source{Response: "bytes"}}, "must be of kind amount"},
		{release.Metric{Name: "a", Kind: release.Proportion, Source: release.Source{Response: "3xx"}}, "known: 4xx, 5xx, bytes"},
	} {
		err := embedded.New(w.recorder, nil).Check(context.Background(), w.subject.Release, []release.Metric{c.metric})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one about %q", c.metric, err, c.want)
		}
	}
}

// TestHistoryOfAnswers: of status codes and sizes, too, the judge knows what stable
// did before the run.
func TestHistoryOfAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(
			release.Metric{Name: "not-found", Kind: release.Proportion, Source: release.Source{Response: "4xx"}},
			release.Metric{Name: "broken", Kind: release.Proportion, Source: release.Source{Response: "5xx"}},
			release.Metric{Name: "size", Kind: release.Amount, Source: release.Source{Response: "bytes"}},
			release.Metric{Name: "rate", Kind: release.Rate},
		)
		w.weight = 0
		ctx, stop := context.WithCancel(t.Context())
		go w.recorder.Run(ctx)
		time.Sleep(500 * time.Millisecond) // between two ticks of the recorder
		for range 10 {
			w.observe(w.subject.Stable.ID, release.OK, func(o *release.Observation) { o.Status, o.Out = 404, 1000 })
			w.serve(w.subject.Stable.ID, 8, 1)
			time.Sleep(time.Second)
		}
		w.subject.Started = time.Now()
		r := w.open(t, embedded.New(w.recorder, nil), nil)
		h, err := r.History(ctx)
		if err != nil || len(h) != 4 {
			t.Fatalf("%d histories, %v", len(h), err)
		}
		for i, bad := range []int64{10, 10} {
			if h[i].N != 100 || h[i].Bad != bad {
				t.Errorf("history %d is %+v, want %d of 100", i, h[i], bad)
			}
		}
		if len(h[2].Bins) != 2 || h[2].Bins[0].Count != 80 || h[2].Bins[1].Count != 10 {
			t.Errorf("sizes were %+v, want 80 empty answers and 10 of 1000 bytes", h[2].Bins)
		}
		if h[3].N != 100 || h[3].Bad != 100 {
			t.Errorf("the rate was %+v, want all of 100", h[3])
		}
		r.Close()
		stop()
	})
}

// TestReadingHasPlaceboAndDivision: stable's requests in two parts, and where
// every request went.
func TestReadingHasPlaceboAndDivision(t *testing.T) {
	w := newWorld(requestMetrics...)
	w.weight = release.Full / 2
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	w.serve(w.subject.Stable.ID, 900, 100)
	w.serve(w.subject.Canary.ID, 1000, 0)
	got := read(t, r)
	if len(got.Placebo) != len(requestMetrics) {
		t.Fatalf("the placebo has %d samples, want one of each metric", len(got.Placebo))
	}
	p := got.Placebo[0]
	c, s := p.Batch.Canary, p.Batch.Stable
	if p.Metric != 0 || p.Batch.Share != 0.5 || c.N+s.N != 1000 || c.Bad+s.Bad != 100 || c.N < 400 || c.N > 600 {
		t.Errorf("the placebo is %+v, want about half of stable's 1000 requests on either side", p.Batch)
	}
	if len(got.Division) != 1 || got.Division[0].Share != 0.5 || got.Division[0].Canary.N != 1000 || got.Division[0].Stable.N != 1000 {
		t.Errorf("divided as %+v, want 1000 and 1000 at one half", got.Division)
	}
}

// TestUsersOfAStickyRelease: one who fails a hundred times is one.
func TestUsersOfAStickyRelease(t *testing.T) {
	w := newWorld(requestMetrics[0])
	w.subject.Release.Analysis.PerUser = true
	r := w.open(t, embedded.New(w.recorder, nil), nil)
	of := func(unit uint64) func(*release.Observation) { return func(o *release.Observation) { o.Unit = unit } }
	for i := range uint64(100) {
		w.observe(w.subject.Canary.ID, release.Failed, of(7))
		w.observe(w.subject.Stable.ID, release.OK, of(100+i%10))
	}
	got := read(t, r)
	if c := got.Samples[0].Batch.Canary; c.N != 100 || c.Bad != 100 || c.Units != 1 || c.Firsts != 1 {
		t.Errorf("canary %+v, want a hundred failed requests of one user", c)
	}
	if d := got.Division; len(d) != 1 || d[0].Canary.N != 1 || d[0].Stable.N != 10 {
		t.Errorf("divided as %+v, want one user and ten", d)
	}
}
