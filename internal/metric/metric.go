// Package metric is the port to where evidence comes from. It knows no vendor;
// metrictest holds the suite that every adapter must pass.
package metric

import (
	"context"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// Subject is what evidence is wanted of: one run.
type Subject struct {
	Release release.Release
	Run     string
	Stable  release.Version
	Canary  release.Version
	Started time.Time
	Metrics []release.Metric // those that this provider serves, in the order of the run's policy
}

// Provider reads evidence.
type Provider interface {
	// Open begins to read for a run. The cursor is where an earlier reader of
	// the same run ended, nil at first: what was read before it never comes again.
	Open(ctx context.Context, s Subject, cursor []byte) (Reader, error)
	// Check says for each metric whether this provider can serve it; the error
	// names the metric, what was expected and what there is.
	Check(ctx context.Context, rel release.Release, metrics []release.Metric) error
}

// Reader is the evidence of one run.
type Reader interface {
	// History is what stable did before the run, by metric of the subject.
	History(ctx context.Context) ([]judge.History, error)
	// Read returns the evidence since the cursor, oldest first, and the cursor
	// behind it. What stable did before the canary's first request may be left out:
	// it is no comparison. Missing says, in one sentence, why a metric that should have
	// evidence has none; that is not an error.
	Read(ctx context.Context) (Reading, error)
	// Wake delivers when something worth an immediate look has come (a failed
	// request of the canary, newer counters). Merged, never lost, never blocking
	// the sender.
	Wake() <-chan struct{}
	Close() error
}

// Reading is one read.
type Reading struct {
	Samples []Sample
	// Placebo is stable compared with itself: of its requests a part, drawn at
	// random with the canary's share, or those of a part of its instances, stands for
	// the canary. Empty where the provider can tell neither requests nor instances apart.
	Placebo []Sample
	// Division is how requests, or users where they keep their version, were
	// really divided under the share that was asked for (Side.N): batches of
	// kind judge.ShareCheck. Empty where the provider can not see it.
	Division []judge.Batch
	// Counted is the same where the provider knows how many requests each version got,
	// and not which share was asked for: whoever knows makes batches of it.
	Counted []Counted
	Cursor  []byte
	Newest  time.Time // of the evidence; zero: none
	// Again is when to read again if nothing wakes before: from then on time alone
	// may have made evidence. Zero: what comes wakes, and a read within a second is in
	// time for what is missing.
	Again   time.Time
	Missing string
	// Caveats are sentences about the evidence that nothing waits for: what could
	// mislead who reads it, and whom nobody could ask.
	Caveats []string
	// Examples are sentences that show what a metric counts, by the metric; they go
	// with a finding about it.
	Examples map[int]string
	// Critical says, in one sentence, what must never happen and did: it ends the
	// run, whatever the statistics say. Empty: nothing.
	Critical string
}

// Counted is what a router sent to each version between two times, by the clock of
// who counted.
type Counted struct {
	From, To       time.Time
	Canary, Stable int64
}

// Sample is one batch of one metric.
type Sample struct {
	Metric int // index into Subject.Metrics
	Batch  judge.Batch
}
