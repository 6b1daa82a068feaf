package scraped

import (
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// TestPaceIsQuickForAWhile: three seconds after a failure, however many follow, and
// a fifth of the time at most.
func TestPaceIsQuickForAWhile(t *testing.T) {
	began := time.Now()
	var p pace
	for _, x := range []struct {
		at     time.Duration
		failed bool
		quick  bool
	}{
		{0, false, false}, {time.Second, true, true}, {2 * time.Second, true, true}, {3900 * time.Millisecond, true, true},
		{4 * time.Second, true, false}, {15 * time.Second, true, false}, {15900 * time.Millisecond, false, false},
		{16 * time.Second, true, true}, {18 * time.Second, false, true}, {60 * time.Second, false, false}, {90 * time.Second, true, true},
	} {
		was := p.quick
		if changed := p.follow(x.failed, began.Add(x.at)); p.quick != x.quick || changed != (was != x.quick) {
			t.Errorf("after %v: quick %v, changed %v; want quick %v", x.at, p.quick, changed, x.quick)
		}
	}
}

// TestOnlyFailuresOfTheCanaryHasten: not stable's, not a rate's events, and none
// beside a gauge, whose values must not come closer together.
func TestOnlyFailuresOfTheCanaryHasten(t *testing.T) {
	errors, rate, gauge := release.Metric{Kind: release.Errors}, release.Metric{Kind: release.Rate}, release.Metric{Kind: release.Gauge}
	some, none := judge.Side{N: 9, Bad: 1}, judge.Side{N: 9}
	for name, x := range map[string]struct {
		metrics        []release.Metric
		of             int
		stable, canary judge.Side
		want           bool
	}{
		"the canary failed":    {[]release.Metric{rate, errors}, 1, none, some, true},
		"stable failed":        {[]release.Metric{errors}, 0, some, none, false},
		"a rate's events":      {[]release.Metric{rate, errors}, 0, some, some, false},
		"beside a gauge":       {[]release.Metric{errors, gauge}, 0, none, some, false},
		"an answer of a model": {[]release.Metric{{Kind: release.Proportion}}, 0, none, some, true},
	} {
		r := &reader{metrics: x.metrics}
		got := metric.Reading{Samples: []metric.Sample{{Metric: x.of, Batch: judge.Batch{Stable: x.stable, Canary: x.canary}}}}
		if r.failed(got) != x.want {
			t.Errorf("%s: want %v", name, x.want)
		}
	}
}
