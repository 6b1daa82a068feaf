package reconcile

import (
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/store"
)

// TestWhatIsKeptAlikeIsAlike: a state in memory is the one that was read if both
// are kept as the same, however their times and lists are held.
func TestWhatIsKeptAlikeIsAlike(t *testing.T) {
	now := time.Now() // with a monotonic reading, which nothing keeps
	state := func(at time.Time, noted []string) rollout.State {
		return rollout.State{Run: &rollout.Run{ID: "hello-1", Since: at, Noted: noted}}
	}
	kept := now.Round(0).UTC()
	for _, c := range []struct {
		name string
		a, b any
		want bool
	}{
		{"one copy", state(kept, nil), state(kept, nil), true},
		{"another step", state(kept, nil), rollout.State{Run: &rollout.Run{ID: "hello-1", Since: kept, Step: 1}}, false},
		{"a nanosecond", state(kept, nil), state(kept.Add(1), nil), false},
		{"without the monotonic reading", state(now, nil), state(now.Round(0), nil), true},
		{"an empty list for none", state(kept, []string{}), state(kept, nil), true},
		{"no run", rollout.State{}, state(kept, nil), false},
		{"an observation", store.Observed{Reason: "x"}, store.Observed{Reason: "x"}, true},
		{"another observation", store.Observed{Reason: "x"}, store.Observed{Reason: "y"}, false},
		{"a split", release.Split{Shares: []release.Share{{Version: "a", Weight: 1}}}, release.Split{Shares: []release.Share{{Version: "a", Weight: 1}}}, true},
		{"another split", release.Split{Shares: []release.Share{{Version: "a", Weight: 1}}}, release.Split{Shares: []release.Share{{Version: "a", Weight: 2}}}, false},
	} {
		if got := equalJSON(c.a, c.b); got != c.want {
			t.Errorf("%s: alike %v, want %v", c.name, got, c.want)
		}
	}
}
