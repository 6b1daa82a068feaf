package telemetry

import (
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// TestRequestsWaitForThoseBeforeThem: a stalled version's requests must not
// leave the other's alone in the evidence.
func TestRequestsWaitForThoseBeforeThem(t *testing.T) {
	r := New()
	begin := time.Unix(1000, 0)
	settled := begin
	tap := r.Tap("hello", "s", "c", TapOptions{Settled: func() time.Time { return settled }})
	defer tap.Close()
	end := func(v release.VersionID, after time.Duration, outcome release.Outcome) {
		w := release.Weight(2000)
		if v == "s" {
			w = release.Full - w
		}
		r.Observe(&release.Observation{Release: "hello", Version: v, Weight: w, Begin: begin.Add(after), Total: time.Millisecond, Outcome: outcome})
	}
	end("c", 1*time.Millisecond, release.OK)
	end("c", 3*time.Millisecond, release.Failed)
	if got := tap.Drain(); len(got.Portions) != 0 {
		t.Fatalf("%+v came out although a request of stable is still under way", got.Portions)
	}
	end("s", 0, release.OK)
	settled = begin.Add(2 * time.Millisecond)
	got := tap.Drain().Portions
	if len(got) != 1 || got[0].Share != 2000 || got[0].Canary.N != 1 || got[0].Stable.N != 1 {
		t.Fatalf("got %+v, expected one request of each version", got)
	}
	<-tap.Wake() // the failed request
	<-tap.Wake() // it still waits: asked for again
	settled = begin.Add(time.Second)
	if got := tap.Drain().Portions; len(got) != 1 || got[0].Canary.Bad != 1 {
		t.Fatalf("got %+v, expected the failed request", got)
	}
}
