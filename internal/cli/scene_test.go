package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "scene", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func sceneAt(phase string, step int) scene {
	look := lookAt(30, step)
	events := tale()
	for i := range events {
		events[i].At = events[i].At.In(time.UTC)
	}
	return scene{rel: hello(phase, step), look: &look, events: events, now: day.Add(30 * time.Second)}
}

func drawn(sc scene, s screen, height int) string {
	l := &live{s: s, height: height, scene: sc, ready: true}
	return strings.Join(l.draw(), "\n") + "\n"
}

func TestScenes(t *testing.T) {
	t.Setenv("TZ", "UTC")
	old := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = old })
	rolled := sceneAt("RolledBack", 0)
	rolled.look.Report.Metrics[0].Verdict = judge.Fail
	rolled.look.Report.Metrics[0].LogE = 8.4
	p := func(x float64) *float64 { return &x }
	rolled.look.Report.Metrics[0].Ratio = &judge.Interval{Value: p(5.2), Low: p(2.8)}
	fresh := sceneAt("Progressing", 0)
	fresh.look.Report.Metrics = []judge.MetricReport{{Name: "errors", Kind: judge.Proportion, Verdict: judge.Inconclusive, Required: true, Threshold: 5.3, ProofThreshold: 3},
		{Name: "memory-of-all", Kind: judge.Gauge, Verdict: judge.Inconclusive, Unit: "B", Threshold: 5.3,
			Stable: judge.SideReport{N: 3, Value: p(1e8)}, Canary: judge.SideReport{N: 3, Value: p(1.1e8)}, Diff: &judge.Interval{Value: p(1e7)}}}
	waits := sceneAt("Promoted", 3)
	waits.look = nil
	for name, c := range map[string]struct {
		sc scene
		s  screen
		h  int
	}{
		"progressing":       {sceneAt("Progressing", 1), screen{unicode: true, width: 104}, 26},
		"progressing-80":    {sceneAt("Progressing", 1), screen{unicode: true, width: 80}, 24},
		"progressing-ascii": {sceneAt("Progressing", 1), screen{width: 104}, 26},
		"progressing-low":   {sceneAt("Progressing", 1), screen{unicode: true, width: 80}, 13},
		"rolledback":        {rolled, screen{unicode: true, width: 104}, 24},
		"nodata":            {fresh, screen{unicode: true, width: 104}, 24},
		"promoted":          {waits, screen{unicode: true, width: 104}, 18},
	} {
		t.Run(name, func(t *testing.T) {
			got := drawn(c.sc, c.s, c.h)
			golden(t, name, got)
			for _, line := range strings.Split(got, "\n") {
				if w := lipgloss.Width(line); w > c.s.width {
					t.Errorf("a line is %d cells wide on a screen of %d: %q", w, c.s.width, line)
				}
				if !c.s.unicode && strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
					t.Errorf("not ASCII: %q", line)
				}
			}
			if n := strings.Count(got, "\n"); n > c.h {
				t.Errorf("%d lines on a screen of %d", n, c.h)
			}
		})
	}
}

// Whatever the numbers are, a scene is drawn and fits.
func FuzzScene(f *testing.F) {
	f.Add(0.3, 5.3, 1.2, 0.5, 4.0, 3000.0, int64(100), 100, "v2")
	f.Add(-1e300, 0.0, 0.0, -1.0, 1e300, 1e18, int64(-1), 60, "\x1b[31mred\x07")
	f.Fuzz(func(t *testing.T, logE, threshold, value, low, high, more float64, n int64, width int, name string) {
		sc := sceneAt("Progressing", 1)
		sc.rel.Status.Run.To, sc.rel.Status.Canary.Name, sc.rel.Status.Message = name, name, name
		sc.look.Report.Metrics[0] = judge.MetricReport{Name: name, Kind: judge.Proportion, LogE: logE, Threshold: threshold, LogProof: logE, ProofThreshold: threshold,
			Stable: judge.SideReport{N: n, Value: &value}, Ratio: &judge.Interval{Value: &value, Low: &low, High: &high}, Required: true, MoreRequests: &more}
		got := drawn(sc, screen{unicode: true, width: width}, 30)
		if strings.ContainsAny(got, "\x1b\x07") {
			t.Errorf("control characters of a name reached the terminal: %q", got)
		}
	})
}

func TestLooksAreRemembered(t *testing.T) {
	mk := func(at float64, canary int64, step int) store.Look {
		return store.Look{Run: "r", Step: step, Report: judge.Report{At: at, Canary: canary}}
	}
	if newest(nil) != nil {
		t.Error("a look where there is none")
	}
	if look := newest([]store.Look{mk(0, 0, 0), mk(10, 100, 0), mk(13, 350, 1)}); look.Report.At != 13 {
		t.Errorf("the newest look is from %v, expected 13", look.Report.At)
	}
	have := remember(nil, "r", []store.Look{mk(1, 10, 0)})
	have = remember(have, "r", []store.Look{mk(1, 11, 0)})
	have = remember(have, "r", []store.Look{mk(2, 20, 0)})
	if len(have) != 2 || have[0].Report.Canary != 11 {
		t.Errorf("remembers %d looks, expected the second reading of the first and the next", len(have))
	}
	if have = remember(have, "r", []store.Look{mk(3, 30, 1)}); len(have) != 1 {
		t.Error("looks of the step before are remembered")
	}
	if have = remember(have, "r2", nil); len(have) != 0 {
		t.Error("looks of the run before are remembered")
	}
}

func TestLogShowsTheNewestThatFit(t *testing.T) {
	sc := sceneAt("Progressing", 1)
	sc.events = append(sc.events, store.StoredEvent{ID: 4, Event: rollout.Event{At: day, Reason: "RunRolledBack", Message: strings.Repeat("long words ", 30), Warning: true, By: "jane"}})
	s := screen{unicode: true, width: 80}
	if got := sc.log(s, 8); len(got) > 8 || !strings.Contains(strings.Join(got, "\n"), "(by jane)") || !strings.Contains(got[0], "StepStarted") {
		t.Errorf("got %q", got)
	}
	if got := sc.log(s, 1); len(got) != 0 {
		t.Errorf("a message that does not fit is cut: %q", got)
	}
}
