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
