package evaluate

import "sync/atomic"

// Losses count the answers of a release that got no verdict, in all of its runs
// since the start.
type Losses struct {
	Passed  int64 // not asked about: too many at once, or the budget was spent
	Unclear int64 // answered by what is no verdict
	Failed  int64 // not answered
}

// losses are those of one release, as they are counted.
type losses struct{ passed, unclear, failed atomic.Int64 }

// losing are the counters of a release, made on first use.
func (r *Recorder) losing(name string) *losses {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost == nil {
		r.lost = map[string]*losses{}
	}
	l := r.lost[name]
	if l == nil {
		l = &losses{}
		r.lost[name] = l
	}
	return l
}

// Lost is what was lost of each release that had evaluators.
func (r *Recorder) Lost() map[string]Losses {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]Losses, len(r.lost))
	for name, l := range r.lost {
		all[name] = Losses{l.passed.Load(), l.unclear.Load(), l.failed.Load()}
	}
	return all
}
