package prometheus

import (
	"slices"
	"time"
)

// spacing is how far the samples of a flow are apart, as they came. How often a
// server scrapes is its own affair: what is a gap, and what is old, follows from it.
type spacing struct {
	last []float64 // seconds, at most spacingKept, the newest last
}

const (
	spacingKept = 15
	// missedScrapes are how many scrapes in a row may fail before a series is away.
	missedScrapes = 3
	// leastGap is how long a series may always be away for its growth to count.
	leastGap = 60.0 // seconds
)

func (s *spacing) add(gaps []float64) {
	s.last = append(s.last, gaps...)
	s.last = s.last[max(0, len(s.last)-spacingKept):]
}

// median is the usual distance of two samples in seconds; 0: not known.
func (s *spacing) median() float64 {
	if len(s.last) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.last))
	return sorted[(len(sorted)-1)/2]
}

// longestGap is how long a series may be away for its growth to count: longer,
// and the weight may have changed meanwhile, so that the growth of both versions
// is no fair comparison.
func (s *spacing) longestGap() float64 { return max(leastGap, missedScrapes*s.median()) }

// patience is how old the newest sample may be, at least what is usual.
func (s *spacing) patience(usual time.Duration) time.Duration {
	return max(usual, time.Duration(missedScrapes*s.median()*float64(time.Second)))
}

// gaps are the distances of the samples of the series that has most new ones.
func (m marks) gaps(a answer) (most []float64) {
	for _, s := range a.series {
		last, known := m[identity(s.labels)]
		var here []float64
		for _, x := range s.samples {
			if !x.counted() || known && x.t <= last.T {
				continue
			}
			if known {
				here = append(here, x.t-last.T)
			}
			last, known = mark{x.t, x.v}, true
		}
		if len(here) > len(most) {
			most = here
		}
	}
	return most
}
