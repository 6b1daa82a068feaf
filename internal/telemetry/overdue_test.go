package telemetry

import (
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// TestTimeOfAnOverdueRequestIsCountedOnce: its time when it is overdue, whether
// it failed when it ends.
func TestTimeOfAnOverdueRequestIsCountedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		end    release.Outcome
		n, bad int64
	}{
		"answered late": {release.OK, 1, 0}, "failed late": {release.Failed, 1, 1}, "the client gave up": {release.ClientFault, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := New()
			tap := r.Tap("hello", "a", "b", TapOptions{})
			defer tap.Close()
			o := observation("b", 1000)
			o.Stage, o.Total = release.Overdue, 4*time.Second
			r.Observe(o)
			got := tap.Drain()
			if len(got.Portions) != 1 || !got.Canary.IsZero() {
				t.Fatalf("while it is under way: %+v", got)
			}
			if p := got.Portions[0]; p.Canary.N != 0 || len(p.Canary.Bins) != 1 || p.Canary.Bins[0].Bin != binOf(4*time.Second) {
				t.Errorf("while it is under way: %+v", p)
			}
			o.Stage, o.Total, o.Outcome = release.EndedOverdue, 60*time.Second, c.end
			r.Observe(o)
			var canary Count
			for _, p := range tap.Drain().Portions {
				canary = p.Canary
			}
			if canary.N != c.n || canary.Bad != c.bad || len(canary.Bins) != 0 {
				t.Errorf("at its end: %+v", canary)
			}
			r.Tick(time.Now())
			if h := r.History("hello", "b", time.Time{}, time.Now().Add(time.Hour)); h.N != c.n {
				t.Errorf("the history has it %d times, want %d", h.N, c.n)
			}
		})
	}
}
