package embedded_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric/embedded"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

// stickyKinds are the metrics of what users get, and how a request of it is bad.
var stickyKinds = map[string]struct {
	metric release.Metric
	bad    func(*release.Observation)
}{
	"latency": {
		release.Metric{Kind: release.Latency},
		func(o *release.Observation) { o.Total = 200 * time.Millisecond },
	},
	"size": {
		release.Metric{Kind: release.Amount, Source: release.Source{Response: "bytes"}},
		func(o *release.Observation) { o.Out = 200_000 },
	},
	"not found": {
		release.Metric{Kind: release.Proportion, Source: release.Source{Response: "4xx"}},
		func(o *release.Observation) { o.Status = 404 },
	},
	"broken": {
		release.Metric{Kind: release.Proportion, Source: release.Source{Response: "5xx"}},
		func(o *release.Observation) { o.Status = 503 },
	},
	"errors": {
		release.Metric{Kind: release.Errors},
		func(o *release.Observation) { o.Outcome = release.Failed },
	},
}

// stickyRun judges a sticky release, half of whose users have the canary. bad
// tells whether a request of a user is bad.
func stickyRun(t *testing.T, kind string, r *rand.Rand, users int, bad func(user int, canary bool) bool) judge.Verdict {
	t.Helper()
	k := stickyKinds[kind]
	m := k.metric
	m.Name, m.Share = "it", 1
	w := newWorld(m)
	w.weight, w.subject.Release.Analysis.PerUser = release.Full/2, true
	from := w.open(t, embedded.New(w.recorder, nil), nil)
	policy := rollout.Policy(release.Analysis{FalseRollback: 0.01, FalsePromotion: 0.05, PerUser: true, Metrics: w.subject.Metrics}, release.Plan{})
	run, err := judge.New(policy, nil)
	if err != nil {
		t.Fatal(err)
	}
	canary := make([]bool, users)
	for i := range canary {
		canary[i] = r.IntN(2) == 0
	}
	for second := range 30 {
		for range 200 {
			user := r.IntN(users)
			if r.IntN(2) == 0 {
				user = 0 // asks as much as all others
			}
			v := w.subject.Stable.ID
			if canary[user] {
				v = w.subject.Canary.ID
			}
			w.observe(v, release.OK, func(o *release.Observation) {
				o.Unit = uint64(user) + 1 //nolint:gosec // not negative
				o.Total = time.Duration(10+r.IntN(20)) * time.Millisecond
				o.Out = int64(1000 + r.IntN(2000))
				if bad(user, canary[user]) {
					k.bad(o)
				}
			})
		}
		for _, s := range read(t, from).Samples {
			s.Batch.At = float64(second)
			if err := run.Update(s.Metric, s.Batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	return run.Report(0).Verdict
}

// TestOneHeavyUserRollsNothingBack: who asks as much as all others together, and
// whose requests are bad with any version, is drawn to the canary in half of the
// runs. That is no evidence.
func TestOneHeavyUserRollsNothingBack(t *testing.T) {
	for kind := range stickyKinds {
		t.Run(kind, func(t *testing.T) {
			r := rand.New(rand.NewPCG(17, 1))
			for i := range 20 {
				if got := stickyRun(t, kind, r, 600, func(user int, _ bool) bool { return user == 0 || r.IntN(50) == 0 }); got == judge.Fail {
					t.Fatalf("run %d: %s", i, got)
				}
			}
		})
	}
}

// TestManyUsersRollBack: what half of the canary's users meet is found.
func TestManyUsersRollBack(t *testing.T) {
	for kind := range stickyKinds {
		t.Run(kind, func(t *testing.T) {
			r := rand.New(rand.NewPCG(17, 2))
			for i := range 10 {
				if got := stickyRun(t, kind, r, 600, func(_ int, canary bool) bool { return r.IntN(50) == 0 || canary && r.IntN(2) == 0 }); got != judge.Fail {
					t.Errorf("run %d: %s", i, got)
				}
			}
		})
	}
}
