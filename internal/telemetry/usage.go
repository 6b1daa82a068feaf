package telemetry

import (
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// Usage is what one process of a version uses now.
type Usage struct {
	Release    string
	Version    release.VersionID
	Instance   string
	CPUSeconds float64 // since the process began; a smaller value than before is a new process
	Memory     float64 // resident bytes
}

// InFlight counts the requests that a version is answering.
type InFlight struct {
	Release string
	Version release.VersionID
	Count   int64
}

// sources are asked once a second (usage) and at each scrape (inFlight).
type sources struct {
	usage    func() []Usage
	inFlight func() []InFlight
	before   map[instance]Usage // last usage by process
	at       time.Time
}

type instance struct {
	key
	name string
}

// SetUsage names who knows the processes. It is asked once a second.
func (r *Recorder) SetUsage(f func() []Usage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources.usage = f
}

// SetInFlight names who knows the requests in flight, for the metric
// haldane_requests_in_flight.
func (r *Recorder) SetInFlight(f func() []InFlight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources.inFlight = f
}

// UsageSample is what a version used in one second, on average over its
// instances: under a split a canary has fewer of them and never more load on
// one than stable has (a step's capacity is at least its weight), so the average
// compares like with like or in the canary's favour.
type UsageSample struct {
	At        time.Time
	CPU       float64 // cores; NaN where it is not known yet
	Memory    float64 // resident bytes
	Instances int
}

// usageRing keeps the last samples, oldest first.
type usageRing struct{ samples []UsageSample }

func (u *usageRing) push(s UsageSample) {
	if len(u.samples) >= keptSeconds {
		u.samples = append(u.samples[:0], u.samples[keptSeconds/2:]...)
	}
	u.samples = append(u.samples, s)
}

// sampleUsage asks for the usage and keeps one sample for each version.
func (r *Recorder) sampleUsage(now time.Time) {
	r.mu.Lock()
	ask := r.sources.usage
	r.mu.Unlock()
	if ask == nil {
		return
	}
	list := ask()
	r.mu.Lock()
	elapsed := now.Sub(r.sources.at).Seconds()
	before := r.sources.before
	r.sources.before, r.sources.at = byInstance(list), now
	r.mu.Unlock()
	for k, s := range average(list, before, elapsed) {
		s.At = now
		x := r.of(k)
		x.mu.Lock()
		x.usage.push(s)
		x.mu.Unlock()
	}
}

func byInstance(list []Usage) map[instance]Usage {
	m := make(map[instance]Usage, len(list))
	for _, u := range list {
		m[instance{key{u.Release, u.Version}, u.Instance}] = u
	}
	return m
}

// average gives each version's mean over its instances. Only processes that
// were there a sample ago have a known CPU rate.
func average(list []Usage, before map[instance]Usage, elapsed float64) map[key]UsageSample {
	type sum struct {
		cpu, memory float64
		known, n    int
	}
	sums := map[key]sum{}
	for _, u := range list {
		k := key{u.Release, u.Version}
		s := sums[k]
		s.n++
		s.memory += u.Memory
		if b, ok := before[instance{k, u.Instance}]; ok && elapsed > 0 && u.CPUSeconds >= b.CPUSeconds {
			s.known++
			s.cpu += (u.CPUSeconds - b.CPUSeconds) / elapsed
		}
		sums[k] = s
	}
	out := make(map[key]UsageSample, len(sums))
	for k, s := range sums {
		out[k] = UsageSample{CPU: s.cpu / float64(s.known), Memory: s.memory / float64(s.n), Instances: s.n}
	}
	return out
}

// hasUsage reports whether the version has a process now; r.mu is held.
func (r *Recorder) hasUsage(k key) bool {
	for i := range r.sources.before {
		if i.key == k {
			return true
		}
	}
	return false
}

// UsageSince lists a version's samples after since, oldest first.
func (r *Recorder) UsageSince(rel string, v release.VersionID, since time.Time) []UsageSample {
	s := (*r.series.Load())[key{rel, v}]
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.usage.samples {
		if x.At.After(since) {
			return append([]UsageSample(nil), s.usage.samples[i:]...)
		}
	}
	return nil
}
