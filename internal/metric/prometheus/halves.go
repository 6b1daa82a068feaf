package prometheus

import (
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// halves are what stable's series gained, in two parts of its instances (or of the
// router's, where these count): one part against the other is the placebo. An
// instance stays in its half; with one instance there is none to compare with.
type halves struct {
	Of    map[string]int `json:"of,omitempty"`    // half by a name of the target
	Held  [2]count       `json:"held"`            // not handed out yet
	Times [2]savedBounds `json:"times,omitempty"` // the same of a histogram
	times [2]bounds
}

// restore makes it what it was when it was saved.
func (h *halves) restore() {
	if h.Of == nil {
		h.Of = map[string]int{}
	}
	for i := range h.times {
		h.times[i] = h.Times[i].bounds()
	}
}

func (h *halves) save() {
	for i := range h.times {
		h.Times[i] = h.times[i].saved()
	}
}

// half is that of a series' instance; a new one joins the smaller half. -1: its
// labels do not tell it.
func (h *halves) half(labels map[string]string) int {
	target := targetOf(labels)
	if target == "" {
		return -1
	}
	name := identity(map[string]string{"target": target})
	at, known := h.Of[name]
	if !known && len(h.Of) < maxSeries {
		sizes := [2]int{}
		for _, i := range h.Of {
			sizes[i]++
		}
		if sizes[1] < sizes[0] {
			at = 1
		}
		h.Of[name] = at
	}
	return at
}

// add takes in what a series of a counter gained.
func (h *halves) add(labels map[string]string, x count) {
	if h == nil {
		return
	}
	if i := h.half(labels); i >= 0 {
		h.Held[i].add(x)
	}
}

// addTimes takes in what a histogram gained.
func (h *halves) addTimes(labels map[string]string, x bounds) {
	if h == nil || len(x) == 0 {
		return
	}
	if i := h.half(labels); i >= 0 {
		h.times[i].add(x)
	}
}

// clear forgets what was not handed out.
func (h *halves) clear() { h.Held, h.times = [2]count{}, [2]bounds{{}, {}} }

// placebo gives a batch for each metric of the flow once both halves have something
// to compare.
func (f *flow) placebo(at float64, metrics []release.Metric) (map[int]judge.Batch, error) {
	h := &f.state.Halves
	if !f.state.Began {
		h.clear()
		return nil, nil
	}
	return f.pairs(at, metrics, &h.Held, &h.times)
}
