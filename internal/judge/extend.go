package judge

import "fmt"

// Add judges by one more metric from now on, in the place behind all others. Its
// share of alpha comes from what no metric has: what was spent on others can not
// be spent again, so that more than that is refused, and the run stays as it was.
// The policy grows by it; Restore needs the grown one.
func (r *Run) Add(m Metric, h History) error {
	p := r.Policy()
	p.Metrics = append(p.Metrics, m)
	if m.decides() && m.Share > r.unspent+1e-12 {
		return fmt.Errorf("judge: metric %q asks for the share %v of alpha, expected at most %v: the rest was given to others when the run began", m.Name, m.Share, r.unspent)
	}
	if err := p.Validate(); err != nil {
		return err
	}
	if err := h.check(m); err != nil {
		return err
	}
	if m.decides() {
		r.unspent = max(0, r.unspent-m.Share)
	}
	r.policy = p
	r.metrics = append(r.metrics, newProcess(m, p, h))
	r.last = append(r.last, 0)
	r.blamed = append(r.blamed, false)
	r.prepare()
	r.logM = r.combine()
	return nil
}
