package scraped

import (
	"slices"
	"time"

	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// The verdict on a bad version hangs on its next few failures, and more requests
// fail until they are read: so its run is scraped quickly for a while after one, and
// for a fifth of the time at most, since a good version fails now and then too.
const (
	quickFor   = 3 * time.Second
	quickAgain = 15 * time.Second
)

// pace is how often the targets of a run are scraped.
type pace struct {
	since time.Time // of the failure that they were scraped quickly for last
	quick bool      // they are now
}

// follow takes in whether the canary failed a request since the last time, and
// reports whether the pace changed.
func (p *pace) follow(failed bool, now time.Time) (changed bool) {
	if failed && now.Sub(p.since) >= quickAgain {
		p.since = now
	}
	was := p.quick
	p.quick = now.Sub(p.since) < quickFor
	return p.quick != was
}

// follow scrapes a run at its pace.
func (p *Provider) follow(x *scraping, failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x.pace.follow(failed, time.Now()) {
		p.options.Store.SetTargets(p.targets())
	}
}

// failed reports whether what was read has failed requests of the canary. Beside a
// gauge they are not looked for: how far one of its values depends on the one
// before hangs on the time between them.
func (r *reader) failed(got metric.Reading) bool {
	if slices.ContainsFunc(r.metrics, func(m release.Metric) bool { return m.Kind == release.Gauge }) {
		return false
	}
	return slices.ContainsFunc(got.Samples, func(s metric.Sample) bool {
		kind := r.metrics[s.Metric].Kind
		return s.Batch.Canary.Bad > 0 && (kind == release.Errors || kind == release.Proportion)
	})
}
