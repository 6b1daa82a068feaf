package web

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

func TestRatiosShareOneScale(t *testing.T) {
	m := judge.MetricReport{Name: "errors", Ratio: &judge.Interval{Value: ptr(3.0), Low: ptr(0.9), High: ptr(30.0)}, Stable: judge.SideReport{Value: ptr(0.01)}}
	declared := []release.Metric{{Name: "errors", Margin: release.Margin{Ratio: 1.5, Difference: 0.01}}}
	if k := marginOf(m, declared); k != 2 {
		t.Errorf("1.5 times or one point more of 1 %% is %v times, want 2", k)
	}
	s := scaleOf(judge.Report{Metrics: []judge.MetricReport{m}}, declared)
	if s.Max != 10 || s.x(1) != stripWidth/2 || s.x(100) != stripWidth || s.x(0) != 0 {
		t.Errorf("scale to %v: 1 at %v", s.Max, s.x(1))
	}
	st := newStrip(m, s, 2)
	if st.OpenLow || !st.OpenHigh || st.Low >= st.Equal || st.Dot <= st.Margin || st.High != stripWidth {
		t.Errorf("strip %+v", st)
	}
	m.Ratio = &judge.Interval{}
	if st := newStrip(m, s, 0); !st.OpenLow || !st.OpenHigh || st.HasDot || st.Margin != 0 {
		t.Errorf("strip of an unknown ratio %+v", st)
	}
}

func TestTrafficChartFollowsTheRun(t *testing.T) {
	v1, v2 := testVersion("v1"), testVersion("v2")
	r := newRun("hello", 1, v1, v2, now)
	look := func(s int, w release.Weight, seen float64) store.Look {
		return store.Look{Run: r.ID, At: now.Add(time.Duration(s) * time.Second), Weight: w, Seen: seen}
	}
	r.Phase, r.Ended, r.TrafficOff = rollout.RolledBack, now.Add(20*time.Second), now.Add(16*time.Second)
	d := chartData{run: r, now: now.Add(time.Hour), looks: []store.Look{look(5, 500, 0.05), look(10, 1000, 0.12), look(18, 0, 1)}}
	c := newTrafficChart(d, wideTraffic)
	if len(c.Dots) != 2 {
		t.Errorf("%d dots; the share of late answers is none", len(c.Dots))
	}
	if c.Y[len(c.Y)-1].Text != "20%" || !strings.Contains(c.Sentence, "at most 10%, at the end 0%") {
		t.Errorf("scale to %s; %s", c.Y[len(c.Y)-1].Text, c.Sentence)
	}
	for _, p := range c.Dots {
		if p.X < c.Left || p.X > c.Right || p.Y < c.Top || p.Y > c.Bottom {
			t.Errorf("a dot outside: %+v", p)
		}
	}
	empty := newTrafficChart(chartData{run: newRun("hello", 1, v1, v2, now), now: now}, narrowTraffic)
	if empty.Wanted == "" || strings.Contains(empty.Wanted, "NaN") {
		t.Errorf("chart of a run that has just begun: %q", empty.Wanted)
	}
}

func TestTicksFitTheirRoom(t *testing.T) {
	for _, seconds := range []float64{1, 7, 59, 61, 600, 3599, 4000, 86400, 30 * 86400, 900 * 86400} {
		for _, p := range []plot{wideTraffic, narrowLines} {
			x := axis{0, seconds, p.Left, p.Right}
			ticks := timeTicks(x)
			if len(ticks) == 0 || ticks[0].Text != "0" {
				t.Errorf("%v s: %v", seconds, ticks)
			}
			for i := 1; i < len(ticks); i++ {
				if ticks[i].X-ticks[i-1].X < 40 && seconds < 365*86400 || ticks[i].Text == ticks[i-1].Text {
					t.Errorf("%v s: %v and %v are too near", seconds, ticks[i-1], ticks[i])
				}
			}
		}
	}
	if got := oddsTicks(axis{0, math.Log(2000), 100, 0}); len(got) != 4 || got[3].Text != "1 : 1\u202f000" {
		t.Errorf("odds to 1 : 2000: %v", got)
	}
}

func TestLabelsOfLinesStandApart(t *testing.T) {
	lines := []line{{LabelY: 150}, {LabelY: 149}, {LabelY: 40}, {LabelY: 160}, {LabelY: 151}}
	spread(lines, 162)
	for i := range lines {
		if lines[i].LabelY > 164 {
			t.Errorf("below the chart: %v", lines)
		}
		for j := range i {
			if math.Abs(lines[i].LabelY-lines[j].LabelY) < 12.9 {
				t.Errorf("labels cover each other: %v", lines)
			}
		}
	}
}

func TestSentencesBeginLarge(t *testing.T) {
	for in, want := range map[string]string{"errors: worse": "Errors: worse", "v2 has no share": "v2 has no share", "v2: worse": "v2: worse", "": "", "änderung": "Änderung"} {
		if got := sentence(in, "v2", "v1"); got != want {
			t.Errorf("sentence(%q) = %q", in, got)
		}
	}
}
