package embedded_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/metric/embedded"
	"github.com/haldane-project/haldane/internal/release"
)

// TestWhatCouldMislead: inputs that are longer and caches that are colder on one
// side are told, and nothing where both versions meet the same.
func TestWhatCouldMislead(t *testing.T) {
	type met struct{ input, cached int64 }
	for name, c := range map[string]struct {
		stable, early, late met
		want                string
	}{
		"alike":          {met{640, 320}, met{640, 320}, met{640, 320}, ""},
		"longer prompts": {met{640, 0}, met{812, 0}, met{812, 0}, "v2 was asked with longer inputs than v1"},
		"a cold start":   {met{640, 320}, met{640, 0}, met{640, 320}, "was cold in its first 60 s: it knew 0 % of its input, v1's knew 48 %"},
		"a colder cache": {met{640, 320}, met{640, 0}, met{640, 64}, "is colder: it knew 9 % of its input, v1's knew 48 %"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newModels(release.Metric{Name: "errors", Kind: release.Errors})
				w.subject.Stable.Name, w.subject.Canary.Name = "v1", "v2"
				r := w.open(t, embedded.New(w.recorder, nil), nil)
				var last []string
				for second := range 120 {
					canary := c.early
					if second > 62 {
						canary = c.late
					}
					for i := range int64(5) { // inputs differ among each other, too
						w.says(w.subject.Stable.ID, release.Answer{InputTokens: c.stable.input + 10*i, CachedTokens: c.stable.cached, InputCharacters: 9})
						w.says(w.subject.Canary.ID, release.Answer{InputTokens: canary.input + 10*i, CachedTokens: canary.cached, InputCharacters: 9})
					}
					time.Sleep(time.Second)
					last = read(t, r).Caveats
				}
				if got := strings.Join(last, " "); c.want == "" && got != "" || !strings.Contains(got, c.want) || len(last) > 1 {
					t.Errorf("caveats %q, expected %q", last, c.want)
				}
			})
		})
	}
}

// TestLongerTensorsAreTold as longer texts are.
func TestLongerTensorsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newModels(release.Metric{Name: "errors", Kind: release.Errors})
		w.subject.Stable.Name, w.subject.Canary.Name = "v1", "v2"
		r := w.open(t, embedded.New(w.recorder, nil), nil)
		for i := range int64(400) {
			w.says(w.subject.Stable.ID, release.Answer{InputLength: 64 + i%8})
			w.says(w.subject.Canary.ID, release.Answer{InputLength: 128 + i%8})
		}
		time.Sleep(2 * time.Second)
		if got := strings.Join(read(t, r).Caveats, " "); !strings.Contains(got, "v2 was asked with longer inputs than v1 (median 13") || !strings.Contains(got, "values)") {
			t.Errorf("caveats %q", got)
		}
	})
}

// TestAnswersThatNobodyReadAreTold: a version that begins to answer in a form that
// is not read loses all evidence of what it says, and that is said.
func TestAnswersThatNobodyReadAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		stable, canary int // of 20 answers those that are not read
		why            release.Unread
		want           string
	}{
		"all are read":         {0, 0, "", ""},
		"a few of both":        {1, 1, release.UnreadBusy, ""},
		"the canary's are not": {0, 20, release.UnreadEncoding, "Of the answers of v2 100 % could not be read, of those of v1 0 % (they are compressed, not by gzip or deflate, or badly)"},
		"some more":            {0, 2, release.UnreadTooLarge, "of v2 10 % could not be read"},
		"many of both":         {10, 10, release.UnreadBinary, "of v2 50 % could not be read, of those of v1 50 %"},
		"it refused":           {0, 20, release.UnreadStatus, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newModels(release.Metric{Name: "errors", Kind: release.Errors})
				w.subject.Stable.Name, w.subject.Canary.Name = "v1", "v2"
				r := w.open(t, embedded.New(w.recorder, nil), nil)
				say := func(v release.VersionID, unread bool) {
					a := release.Answer{}
					if unread {
						a.Unread = c.why
					}
					w.says(v, a)
				}
				for i := range 400 {
					say(w.subject.Stable.ID, i%20 < c.stable)
					say(w.subject.Canary.ID, i%20 < c.canary)
				}
				time.Sleep(2 * time.Second)
				if got := strings.Join(read(t, r).Caveats, " "); c.want == "" && got != "" || !strings.Contains(got, c.want) {
					t.Errorf("caveats %q, expected %q", got, c.want)
				}
			})
		})
	}
}

// TestAnExampleGoesWithInvalidAnswers: what was wrong with the first of the
// canary's is there to be shown, and nothing of stable's.
func TestAnExampleGoesWithInvalidAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newModels(release.Metric{Name: "errors", Kind: release.Errors}, about("invalid", release.FactInvalid))
		w.subject.Canary.Name = "v2"
		r := w.open(t, embedded.New(w.recorder, nil), nil)
		w.says(w.subject.Stable.ID, release.Answer{Format: release.FormatInvalid, FormatProblem: "another"})
		w.says(w.subject.Canary.ID, release.Answer{Format: release.FormatValid})
		w.says(w.subject.Canary.ID, release.Answer{Format: release.FormatInvalid, FormatProblem: "the text: /people violates type"})
		w.says(w.subject.Canary.ID, release.Answer{Format: release.FormatInvalid, FormatProblem: "the text: is not JSON"})
		time.Sleep(2 * time.Second)
		got := read(t, r).Examples
		if len(got) != 1 || got[1] != "The first such answer of v2: the text: /people violates type." {
			t.Errorf("examples %v", got)
		}
	})
}

// TestRequestsThatNoRewriteFitsAreTold: those since the run began, and they are no
// evidence.
func TestRequestsThatNoRewriteFitsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(release.Metric{Name: "errors", Kind: release.Errors})
		w.subject.Stable.Name, w.subject.Canary.Name = "v1", "v2"
		w.subject.Release.Traffic.Embedded = &release.Embedded{}
		unfit := func(o *release.Observation) { o.Route, o.Unfit = release.ByOriginal, release.UnfitCompressed }
		w.observe(w.subject.Stable.ID, release.OK, unfit)
		r := w.open(t, embedded.New(w.recorder, nil), nil)
		w.observe(w.subject.Stable.ID, release.OK)
		w.observe(w.subject.Canary.ID, release.OK)
		w.observe(w.subject.Stable.ID, release.OK, unfit)
		w.observe(w.subject.Canary.ID, release.Failed, unfit)
		time.Sleep(2 * time.Second)
		got := read(t, r)
		if len(got.Caveats) != 1 || !strings.HasPrefix(got.Caveats[0], "2 requests reached v1 and v2 as they came") {
			t.Errorf("caveats %q", got.Caveats)
		}
		for _, s := range got.Samples {
			if s.Batch.Canary.N != 1 || s.Batch.Canary.Bad != 0 || s.Batch.Stable.N != 1 {
				t.Errorf("evidence %+v", s.Batch)
			}
		}
	})
}
