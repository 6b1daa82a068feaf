package prometheus

import "time"

// phase follows when a server's scrapes can be read, so that a poll comes shortly
// after one rather than at any time between two. It compares what polls brought and
// did not bring by our clock with the samples' times by the server's, and so needs
// no clock to be right: only their difference, the lag, has to last.
type phase struct {
	newest, due float64 // samples' times: the newest, and the next one that is expected; 0: not known
	apart       float64 // of two samples of one series; 0: not known
	low, high   float64 // the lag is between them; high only once known
	known       bool
	last        float64 // the poll before, by our clock
	missed      bool    // it came when a sample was expected, and brought none
}

const (
	closeEnough = 0.05  // seconds between low and high from which on nothing is tried out
	leeway      = 0.01  // seconds after high
	forget      = 0.001 // seconds by which low falls with every scrape: a lag may shrink
)

// saw takes in a poll that began at a time and what it brought.
func (p *phase) saw(at time.Time, list ...answer) {
	now, before := seconds(at), p.newest
	for _, a := range list {
		for _, s := range a.series {
			if n := len(s.samples); n > 0 {
				p.newest = max(p.newest, s.samples[n-1].t)
			}
		}
	}
	lag := now - p.newest
	switch {
	case p.newest > before && before > 0:
		if !p.known || p.missed || lag < p.high {
			p.high = lag
		}
		p.low = min(max(p.low-forget, p.last-p.newest), p.high)
		if !p.known {
			p.low, p.known = p.last-p.newest, true
		}
		p.missed = false
	case p.known && p.due > 0 && now-p.due > p.low:
		p.low, p.missed = min(now-p.due, p.high), true
	}
	p.last = now
	p.expect(list)
}

// expect finds out which sample is the next one: of the series whose turn it is.
func (p *phase) expect(list []answer) {
	p.due = 0
	for _, a := range list {
		for _, s := range a.series {
			n := len(s.samples)
			if n > 1 {
				p.apart = s.samples[n-1].t - s.samples[n-2].t
			}
			if n == 0 || p.apart <= 0 {
				continue
			}
			if next := s.samples[n-1].t + p.apart; next > p.newest && (p.due == 0 || next < p.due) {
				p.due = next
			}
		}
	}
}

// next is when to poll again after a poll: shortly after the scrape that is
// expected, half an interval later at the soonest and a whole one at the latest;
// where a scrape was expected and not there, a quarter later.
func (p *phase) next(at time.Time, interval time.Duration) time.Time {
	latest := at.Add(interval)
	switch {
	case p.missed && p.high-p.low > closeEnough/2:
		return at.Add(interval / 4)
	case !p.known || p.due == 0:
		return latest
	}
	lag := p.high + leeway
	if p.high-p.low > closeEnough {
		lag = (p.low + p.high) / 2
	}
	want := time.UnixMilli(int64((p.due + lag) * 1000))
	if soonest := at.Add(interval / 2); want.Before(soonest) {
		want = soonest
	}
	if want.After(latest) {
		return latest
	}
	return want
}

// ofCanary is what a poll brought of the canary: its failures are what is waited for.
func (p *poll) ofCanary() (list []answer) {
	for _, x := range p.parts {
		list = append(list, x[canary].total, x[canary].bins)
	}
	return list
}
