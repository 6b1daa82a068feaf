package judge

import "math"

// shareCheck is the test that units are sent to the canary with the share that
// was asked for (sample ratio mismatch). A finding blames the routing or the
// counting, never the code.
type shareCheck struct {
	bets
	nc, ns   int64
	expected float64 // sum of shares over units, for people
	seen     eventShares
}

var (
	shareRhos   = []float64{0.5, 0.8, 0.9, 0.95, 0.98, 1.02, 1.05, 1.1, 1.25, 2}
	sharePrior  = []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	sharePeriod = []float64{5, 20, 60, 60, 60, 60, 60, 60, 20, 5}
)

func newShareCheck(p Policy) *shareCheck {
	s := &shareCheck{bets: newBets(sharePrior, sharePeriod, startShare, p.Horizon)}
	s.settle()
	return s
}

func (s *shareCheck) check(*Batch) error { return nil }

func (s *shareCheck) update(b *Batch) {
	s.restart(b.At)
	w, c, n := b.Share, float64(b.Canary.N), float64(b.Canary.N+b.Stable.N)
	if w > 0 && w < 1 && n > 0 {
		least, most := slackShares(w, b.Slack)
		for k, rho := range shareRhos {
			at := most
			if rho < 1 {
				at = least
			}
			s.logR[k] += c*math.Log(rho) - n*math.Log1p(at*(rho-1))
		}
		s.nc += b.Canary.N
		s.ns += b.Stable.N
		s.expected += w * n
		s.seen.add(counts{w: w, ec: c, es: n - c})
	}
	s.settle()
}

// slackShares are the shares whose odds are so many times less and more: bets on more
// than the share hold for all up to the second, bets on less from the first on.
func slackShares(w, slack float64) (least, most float64) {
	if slack <= 1 {
		return w, w
	}
	return w / (w + slack*(1-w)), slack * w / (slack*w + 1 - w)
}

func (s *shareCheck) evidence() float64         { return s.logM }
func (s *shareCheck) proof(int) (float64, bool) { return 0, false }
func (s *shareCheck) sides() (int64, int64)     { return s.nc, s.ns }

func (s *shareCheck) report(m Metric, _ int, r *MetricReport) {
	r.Unit = "requests"
	if m.PerUnit {
		r.Unit = "users"
	}
	r.Canary.N, r.Stable.N = s.nc, s.ns
	if n := float64(s.nc + s.ns); n > 0 {
		r.Canary.Value, r.Stable.Value = finite(float64(s.nc)/n), finite(s.expected/n)
		r.Ratio = s.seen.interval(IntervalAlpha) // of the odds to be sent to the canary
	}
}

// all are the units that seen counts.
func (s *shareCheck) all() counts { return counts{ec: float64(s.nc), es: float64(s.ns)} }

func (s *shareCheck) save(out []byte) []byte {
	out = s.bets.save(out)
	out = appendFloat(appendCount(appendCount(out, s.nc), s.ns), s.expected)
	return s.seen.save(out, s.all())
}

func (s *shareCheck) load(d *decoder) {
	s.bets.load(d)
	s.nc, s.ns, s.expected = d.count(), d.count(), d.float()
	s.seen.load(d, s.all())
}
