package rollout

import "fmt"

// finishing waits until the old version's requests have ended and its
// instances have stopped. A version that the spec wants by now does not wait:
// the old instances drain without the run.
func (d *decider) finishing() bool {
	r := d.run()
	if r.From == nil || d.stopped(r.From.ID) || d.wish() != nil && d.off(r.From.ID) {
		d.promoted()
		return true
	}
	r.Why = fmt.Sprintf("%s serves all of the traffic; %s", r.To.Name, d.leavingSentence(r.From.ID, r.From.Name))
	return false
}

func (d *decider) promoted() {
	d.run().Why = d.run().To.Name + " serves all of the traffic"
	d.end(Promoted)
}
