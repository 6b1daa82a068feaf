package telemetry

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// send observes requests of a user, routed as the router routes: a user's
// version does not change.
func send(r *Recorder, v release.VersionID, begin time.Time, unit uint64, outcome release.Outcome, change ...func(*release.Observation)) {
	o := release.Observation{Release: "hello", Version: v, Weight: 8000, Unit: unit, Begin: begin, Total: time.Millisecond, Status: 200, Outcome: outcome}
	if v == "c" {
		o.Weight = 2000
	}
	for _, f := range change {
		f(&o)
	}
	r.Observe(&o)
}

// TestPlaceboIsADrawWithTheCanarysShare: of stable's requests a fifth stands for
// the canary, whatever became of them, and no user is on both sides.
func TestPlaceboIsADrawWithTheCanarysShare(t *testing.T) {
	for name, requestsOfAUser := range map[string]int{"requests": 0, "users": 10} {
		t.Run(name, func(t *testing.T) {
			r := New()
			tap := r.Tap("hello", "s", "c", TapOptions{Users: requestsOfAUser > 0})
			defer tap.Close()
			begin := time.Unix(1000, 0)
			for i := range 20_000 {
				unit := uint64(0)
				if requestsOfAUser > 0 {
					unit = uint64(i/requestsOfAUser) + 1
				}
				outcome := release.OK
				if i%4 == 0 {
					outcome = release.Failed
				}
				send(r, "s", begin.Add(time.Duration(i)*time.Millisecond), unit, outcome)
			}
			p := tap.Drain().Portions[0]
			if p.Stable.N != 20_000 || p.Placebo.N+p.Rest.N != p.Stable.N || p.Placebo.Bad+p.Rest.Bad != p.Stable.Bad || p.Canary.N != 0 {
				t.Fatalf("the parts do not sum: %+v", p)
			}
			share := float64(p.Placebo.N) / float64(p.Stable.N)
			if share < 0.15 || share > 0.25 { // six standard errors of 2000 users
				t.Errorf("the placebo got %.3f of the requests, want 0.2", share)
			}
			if bad := float64(p.Placebo.Bad) / float64(p.Placebo.N); bad < 0.2 || bad > 0.3 {
				t.Errorf("%.3f of the placebo's requests failed, want 0.25", bad)
			}
			if requestsOfAUser > 0 && p.Placebo.N%10 != 0 {
				t.Errorf("the placebo got %d requests: a user of ten is on both sides", p.Placebo.N)
			}
		})
	}
}

func TestUsersFailForTheFirstTimeOnce(t *testing.T) {
	r := New()
	tap := r.Tap("hello", "s", "c", TapOptions{Users: true})
	defer tap.Close()
	begin := time.Unix(1000, 0)
	for range 100 {
		send(r, "c", begin, 7, release.Failed)
	}
	send(r, "c", begin, 8, release.Failed)
	send(r, "s", begin, 9, release.OK)
	got := tap.Drain().Portions[0]
	if c := got.Canary; c.N != 101 || c.Bad != 101 || c.Users != 2 || c.Firsts != 2 || got.Stable.Users != 0 {
		t.Errorf("canary %+v, stable %+v; want 2 users who failed for the first time", got.Canary, got.Stable)
	}
	send(r, "c", begin, 7, release.Failed)
	send(r, "s", begin, 7, release.Failed) // the same user, were they on the other side
	send(r, "s", begin, 10, release.Failed)
	send(r, "s", begin, 0, release.Failed) // no key: a user of its own
	send(r, "s", begin, 0, release.Failed)
	got = tap.Drain().Portions[0]
	if got.Canary.Users != 1 || got.Canary.Firsts != 0 || got.Stable.Users != 4 || got.Stable.Firsts != 3 {
		t.Errorf("canary %+v, stable %+v; want nobody new on the canary and three on stable", got.Canary, got.Stable)
	}
}

// TestDivisionWaitsUntilAllIsTold: a version that answers later is not missing.
func TestDivisionWaitsUntilAllIsTold(t *testing.T) {
	r := New()
	age := time.Hour
	tap := r.Tap("hello", "s", "c", TapOptions{Told: func() time.Duration { return age }})
	defer tap.Close()
	begin := time.Now()
	for range 8 {
		send(r, "s", begin, 0, release.OK)
	}
	if got := tap.Drain().Divided; len(got) != 0 {
		t.Fatalf("%+v while requests may still be under way", got)
	}
	send(r, "c", begin, 0, release.OK, func(o *release.Observation) { o.Stage = release.Overdue })
	send(r, "c", begin, 0, release.Failed, func(o *release.Observation) { o.Stage = release.EndedOverdue })
	send(r, "c", begin, 0, release.ClientFault)                                                                       // it was sent there all the same
	send(r, "s", begin, 0, release.OK, func(o *release.Observation) { o.Route, o.Weight = release.ByFallback, 2000 }) // the canary's, had it an instance
	send(r, "c", begin, 0, release.OK, func(o *release.Observation) { o.Route = release.ByTest })
	age = -2 * time.Second
	got := tap.Drain().Divided
	if len(got) != 1 || got[0] != (Divided{Share: 2000, Canary: 2, Stable: 9}) {
		t.Errorf("%+v, want 2 requests of the canary and 9 of stable at 20 %%", got)
	}
	if got := tap.Drain().Divided; len(got) != 0 {
		t.Errorf("%+v was handed out twice", got)
	}
}

func TestDivisionOfUsers(t *testing.T) {
	r := New()
	tap := r.Tap("hello", "s", "c", TapOptions{Users: true})
	defer tap.Close()
	draw := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		send(r, "s", time.Unix(1000, 0), 1+draw.Uint64N(8), release.OK)
	}
	send(r, "c", time.Unix(1000, 0), 99, release.OK)
	if got := tap.Drain().Divided; len(got) != 1 || got[0] != (Divided{Share: 2000, Canary: 1, Stable: 8}) {
		t.Errorf("%+v, want one user of the canary and eight of stable", got)
	}
}
