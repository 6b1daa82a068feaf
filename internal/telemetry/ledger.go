package telemetry

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/haldane-project/haldane/internal/release"
)

// mostEntries bounds the answers of one release on which feedback is taken.
const mostEntries = 1 << 17

// ledgers know which version gave an answer, by release, so that feedback on it
// counts for that version. They are in memory: feedback on what was answered
// before a restart is not taken.
type ledgers struct {
	mu      sync.Mutex
	of      map[string]*ledger
	refused map[string]refusals
}

// refusals count the feedback on a release that was not taken.
type refusals struct{ unknown, contradicted int64 }

// ledger is that of one release.
type ledger struct {
	byID   map[string]*entry
	byUnit map[uint64]*entry // the last one
	ring   []*entry          // oldest first from next on
	next   int
}

// entry is one answer.
type entry struct {
	ids   [2]string // of the request and of the answer
	seen  release.Observation
	given [3]string // vote, score, label
}

func (l *ledgers) note(o *release.Observation) {
	e := &entry{ids: [2]string{o.ID}, seen: release.Observation{Release: o.Release, Version: o.Version, Weight: o.Weight, Route: o.Route,
		Unit: o.Unit, Begin: o.Begin, Outcome: o.Outcome, Answer: &release.Answer{}}}
	if o.Answer != nil {
		e.ids[1], e.seen.Answer.Class = o.Answer.ID, o.Answer.Class
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[string]*ledger{}
	}
	of := l.of[o.Release]
	if of == nil {
		of = &ledger{byID: map[string]*entry{}, byUnit: map[uint64]*entry{}}
		l.of[o.Release] = of
	}
	of.add(e)
}

func (l *ledgers) forget(rel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, rel)
	delete(l.refused, rel)
}

// add keeps an answer, in place of the oldest one where there are too many. An
// ID that comes again is the second try of a shielded request, or a client's
// that uses it again: the last answer is the one that its user saw.
func (l *ledger) add(e *entry) {
	if len(l.ring) < mostEntries {
		l.ring = append(l.ring, e)
	} else {
		l.drop(l.ring[l.next])
		l.ring[l.next] = e
		l.next = (l.next + 1) % mostEntries
	}
	for _, id := range e.ids {
		if id != "" {
			l.byID[id] = e
		}
	}
	if u := e.seen.Unit; u != 0 {
		l.byUnit[u] = e
	}
}

func (l *ledger) drop(e *entry) {
	for _, id := range e.ids {
		if l.byID[id] == e {
			delete(l.byID, id)
		}
	}
	if u := e.seen.Unit; l.byUnit[u] == e {
		delete(l.byUnit, u)
	}
}

// Feedback takes what was said of an answer as long after it as keep. The same
// said again counts once, and is no error.
func (r *Recorder) Feedback(rel string, f release.Feedback, keep time.Duration) error {
	e, fresh, err := r.ledgers.take(rel, &f, keep)
	if err != nil || !fresh {
		return err
	}
	o := e.seen
	o.Feedback = &f
	stripe := int(rand.Uint32()) //nolint:gosec // as in Observe
	if s := (*r.series.Load())[key{rel, o.Version}]; s != nil {
		if taps := s.taps.Load(); taps != nil {
			for _, t := range *taps {
				t.hear(stripe, &o)
			}
		}
	}
	return nil
}

// take finds the answer and marks what is new of it; fresh: there is something.
func (l *ledgers) take(rel string, f *release.Feedback, keep time.Duration) (_ *entry, fresh bool, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var e *entry
	if of := l.of[rel]; of != nil {
		if e = of.byID[f.ID]; f.ID == "" {
			e = of.byUnit[f.Unit]
		}
	}
	if e == nil || time.Since(e.seen.Begin) > keep {
		l.refuse(rel, refusals{unknown: 1})
		what := "this user"
		if f.ID != "" {
			what = fmt.Sprintf("request %q", f.ID)
		}
		return nil, false, release.UnknownAnswer{Why: fmt.Sprintf("no answer to %s is known: feedback is taken for %v, on the last %d answers since the daemon started", what, keep, mostEntries)}
	}
	said := [3]string{string(f.Vote), "", f.Label}
	if f.Scored {
		said[1] = fmt.Sprint(f.Score)
	}
	for i, what := range said {
		if before := e.given[i]; what != "" && before != "" && what != before {
			l.refuse(rel, refusals{contradicted: 1})
			return nil, false, release.TakenFeedback{Why: fmt.Sprintf("%q was said of this answer before, and the first word counts, not %q", before, what)}
		}
	}
	for i, what := range said {
		switch {
		case what == "":
		case e.given[i] == "":
			e.given[i], fresh = what, true
		case i == 0:
			f.Vote = ""
		case i == 1:
			f.Scored = false
		default:
			f.Label = ""
		}
	}
	return e, fresh, nil
}

// refuse counts feedback that is not taken; l.mu is held.
func (l *ledgers) refuse(rel string, more refusals) {
	if l.refused == nil {
		l.refused = map[string]refusals{}
	}
	n := l.refused[rel]
	l.refused[rel] = refusals{n.unknown + more.unknown, n.contradicted + more.contradicted}
}

var descRefused = describeLoss("feedback_refused", "Feedback that was not taken: on an answer that is not known (any more), or against what was said of it before.")

func (l *ledgers) collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rel, n := range l.refused {
		ch <- Loss{rel, "unknown", n.unknown}.metric(descRefused)
		ch <- Loss{rel, "contradicted", n.contradicted}.metric(descRefused)
	}
}

// hear counts feedback for the request that it is about. It waits, as the
// request did, until those before that have ended.
func (x *tapSide) hear(stripe int, o *release.Observation) {
	t, who, share := x.tap, stable, release.Full-o.Weight
	if x.canary {
		who, share = canary, o.Weight
	}
	if t.measures == nil || o.Route != release.BySplit || o.Outcome == release.ClientFault || o.Begin.Before(t.opened) || !t.counts(share, o) {
		return
	}
	c := t.lock(stripe)
	c.wait(t, t.ended(who, share, o))
	c.mu.Unlock()
}
