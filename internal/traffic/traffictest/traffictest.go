// Package traffictest is the suite that every traffic.Router must pass. It
// knows the port and nothing of any router; what it needs of the world around
// one, a Harness provides.
//
// Read this file only.
package traffictest

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/traffic"
)

// Harness is one router with the world that it routes in.
type Harness struct {
	Router traffic.Router
	// Release is a valid release that the router accepts.
	Release release.Release
	// Backend starts instances of a version that answer with the version's ID
	// and returns where they are.
	Backend func(t *testing.T, v release.VersionID) release.Backend
	// Send sends n requests to the release and returns which versions answered;
	// requests that failed count under the empty version.
	Send func(t *testing.T, n int) map[release.VersionID]int
	// Most is how many versions the router parts at a time; zero: any number.
	Most int
	// Stop ends a version's instances, for routers that take their hands off the
	// user's objects only when no second version is left; nil: not needed.
	Stop func(t *testing.T, v release.VersionID)
	// Settle is the longest time from Apply to being in force; zero: at once.
	Settle time.Duration
}

// Two versions, in the order of their names.
const (
	A = release.VersionID("aaaaaaaaaa")
	B = release.VersionID("bbbbbbbbbb")
	C = release.VersionID("cccccccccc")
)

// Run runs the suite; make returns a fresh harness for each case.
func Run(t *testing.T, make func(t *testing.T) Harness) {
	for name, test := range map[string]func(*testing.T, Harness){
		"an unknown release has no shares":   unknown,
		"the split is in force after Apply":  inForce,
		"Apply is idempotent":                idempotent,
		"the share is as wanted":             share,
		"an error leaves the old split":      whole,
		"three versions":                     three,
		"Remove is idempotent":               remove,
		"a removed release can come back":    comeBack,
		"zero weight gets nothing":           zero,
		"no version at all can be applied":   empty,
		"requests in flight end as observed": drains,
	} {
		t.Run(name, func(t *testing.T) { test(t, make(t)) })
	}
}

// Split is a split of A and B with A as the rest.
func Split(b release.Weight) release.Split {
	return release.Split{Salt: "r-1", Rest: A, Shares: []release.Share{
		{Version: A, Weight: release.Full - b}, {Version: B, Weight: b},
	}}
}

func (h Harness) target(t *testing.T, s release.Split, versions ...release.VersionID) traffic.Target {
	tg := traffic.Target{Release: h.Release, Split: s}
	for _, v := range versions {
		tg.Backends = append(tg.Backends, h.Backend(t, v))
	}
	return tg
}

func (h Harness) apply(t *testing.T, tg traffic.Target) {
	t.Helper()
	if err := h.Router.Apply(context.Background(), tg); err != nil {
		t.Fatal(err)
	}
	h.until(t, "the split is in force", func(o rollout.ObservedSplit) bool {
		return o.Known && !o.Pending && reflect.DeepEqual(o.Split, tg.Split)
	})
}

func (h Harness) until(t *testing.T, what string, ok func(rollout.ObservedSplit) bool) {
	t.Helper()
	deadline := time.Now().Add(h.Settle)
	for {
		o := h.observe(t)
		if ok(o) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so within %v: %+v", what, h.Settle, o)
		}
		time.Sleep(5 * time.Millisecond) // a process boundary may lie between
	}
}

func (h Harness) observe(t *testing.T) rollout.ObservedSplit {
	t.Helper()
	o, err := h.Router.Observe(context.Background(), h.Release)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func unknown(t *testing.T, h Harness) {
	if o := h.observe(t); !o.Known || len(o.Split.Shares) != 0 {
		t.Errorf("observed %+v: want a known split without shares", o)
	}
}

func inForce(t *testing.T, h Harness) {
	tg := h.target(t, Split(0), A, B)
	for i := range 6 {
		tg.Split = Split(release.Weight(i%2) * release.Full)
		h.apply(t, tg)
		want := A
		if i%2 == 1 {
			want = B
		}
		if got := h.Send(t, 20); got[want] != 20 {
			t.Fatalf("change %d: %v answered: want %s only", i, got, want)
		}
	}
}

func idempotent(t *testing.T, h Harness) {
	tg := h.target(t, Split(3000), A, B)
	for range 3 {
		h.apply(t, tg)
	}
	if got := h.Send(t, 50); got[""] != 0 {
		t.Errorf("%d of 50 requests failed", got[""])
	}
}

func share(t *testing.T, h Harness) {
	h.apply(t, h.target(t, Split(2000), A, B))
	const n = 2000
	got := h.Send(t, n)
	// mean 400, sigma 17.9; six sigma
	if got[B] < 292 || got[B] > 508 || got[A]+got[B] != n {
		t.Errorf("%v of %d answered at 20 %%: outside six sigma", got, n)
	}
}

func whole(t *testing.T, h Harness) {
	tg := h.target(t, Split(release.Full), A, B)
	h.apply(t, tg)
	bad := tg
	bad.Split = Split(0)
	bad.Split.Shares = append([]release.Share(nil), bad.Split.Shares...)
	bad.Split.Shares[0].Weight = 1
	if err := h.Router.Apply(context.Background(), bad); err == nil {
		t.Fatal("a split that sums to 0.01 % was accepted")
	}
	if o := h.observe(t); !reflect.DeepEqual(o.Split, tg.Split) {
		t.Errorf("observed %+v: want the old split", o.Split)
	}
	if got := h.Send(t, 20); got[B] != 20 {
		t.Errorf("%v answered: want the old split", got)
	}
}

func three(t *testing.T, h Harness) {
	s := release.Split{Salt: "r-1", Rest: B, Shares: []release.Share{
		{Version: A, Weight: 3000}, {Version: B, Weight: 4000}, {Version: C, Weight: 3000},
	}}
	if h.Most == 2 {
		two := h.target(t, Split(0), A, B)
		h.apply(t, two)
		all := two
		all.Split, all.Backends = s, append(slices.Clone(two.Backends), h.Backend(t, C))
		if err := h.Router.Apply(context.Background(), all); err == nil {
			t.Error("a split of three versions was accepted by a router of two")
		}
		if o := h.observe(t); !reflect.DeepEqual(o.Split, two.Split) {
			t.Errorf("observed %+v: want the old split", o.Split)
		}
		return
	}
	h.apply(t, h.target(t, s, A, B, C))
	const n = 1000
	got := h.Send(t, n)
	for v, mean := range map[release.VersionID]int{A: 300, B: 400, C: 300} {
		if got[v] < mean-93 || got[v] > mean+93 { // sigma at most 15.5
			t.Errorf("%v answered: %s outside six sigma of %d", got, v, mean)
		}
	}
}

func remove(t *testing.T, h Harness) {
	h.apply(t, h.target(t, Split(0), A, B))
	if h.Stop != nil {
		h.Stop(t, B)
	}
	for range 2 {
		if err := h.Router.Remove(context.Background(), h.Release); err != nil {
			t.Fatal(err)
		}
	}
	h.until(t, "no shares after Remove", func(o rollout.ObservedSplit) bool { return len(o.Split.Shares) == 0 })
}

func comeBack(t *testing.T, h Harness) {
	tg := h.target(t, Split(0), A, B)
	h.apply(t, tg)
	if err := h.Router.Remove(context.Background(), h.Release); err != nil {
		t.Fatal(err)
	}
	h.apply(t, tg)
	if got := h.Send(t, 20); got[A] != 20 {
		t.Errorf("%v answered after it came back", got)
	}
}

func zero(t *testing.T, h Harness) {
	h.apply(t, h.target(t, Split(0), A, B))
	if got := h.Send(t, 500); got[A] != 500 {
		t.Errorf("%v answered: want %s only", got, A)
	}
}

func empty(t *testing.T, h Harness) {
	h.apply(t, traffic.Target{Release: h.Release})
	if got := h.Send(t, 5); got[""] != 5 {
		t.Errorf("%v answered where no version is", got)
	}
	h.apply(t, h.target(t, Split(0), A, B))
	if got := h.Send(t, 20); got[A] != 20 {
		t.Errorf("%v answered once there is one", got)
	}
}

// drains: a router that counts requests in flight shows none once they ended.
func drains(t *testing.T, h Harness) {
	h.apply(t, h.target(t, Split(5000), A, B))
	h.Send(t, 100)
	settle := h
	settle.Settle += time.Minute // answers may reach the client before they are counted out
	settle.until(t, "nothing in flight", func(o rollout.ObservedSplit) bool {
		for _, f := range o.InFlight {
			if f.Count != 0 {
				return false
			}
		}
		return true
	})
}
