package prometheus

import "slices"

// heard are the times at which targets were scraped, in seconds since 1970,
// ascending: those of the samples of any of their series.
type heard map[string][]float64

// heardKept are the times of each target that are kept from one poll to the next.
const heardKept = 64

// targetOf tells the target of a series; empty: its labels do not.
func targetOf(labels map[string]string) string {
	if labels["instance"] == "" {
		return ""
	}
	return labels["job"] + "\x00" + labels["instance"]
}

// note takes in the samples of a poll, those of all flows of both versions.
func (h heard) note(p *poll) {
	for target, times := range h {
		h[target] = slices.Delete(times, 0, max(0, len(times)-heardKept))
	}
	for _, pair := range p.parts {
		for _, x := range pair {
			for _, a := range []answer{x.total, x.bad, x.bins} {
				h.add(a)
			}
		}
	}
}

func (h heard) add(a answer) {
	for _, s := range a.series {
		target := targetOf(s.labels)
		if target == "" {
			continue
		}
		times := h[target]
		for _, x := range s.samples {
			if i, found := slices.BinarySearch(times, x.t); !found {
				times = slices.Insert(times, i, x.t)
			}
		}
		h[target] = times
	}
}

// before is when a target was scraped last before a time; 0: that is not known.
func (h heard) before(target string, t float64) float64 {
	times := h[target]
	i, _ := slices.BinarySearch(times, t)
	if i == 0 {
		return 0
	}
	return times[i-1]
}
