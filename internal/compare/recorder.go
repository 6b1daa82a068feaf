package compare

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// Recorder compares what was copied and remembers it, by release. All its
// methods may be called at any time from any goroutine.
type Recorder struct {
	mu       sync.Mutex
	releases map[string]*kept
}

// kept is what is known of one release.
type kept struct {
	rule   release.Mirroring
	differ *Differ
	masks  *masks
	counts Counts
	pairs  []Pair // oldest first
	taps   []*Tap
}

// Counts are since the release was first mirrored.
type Counts struct {
	Copies   int64            `json:"copies"`   // whose answers have come
	Compared int64            `json:"compared"` // with the user's answer
	Differ   int64            `json:"differ"`   // of those
	Again    int64            `json:"again"`    // stable's second answers that were compared with its first
	Noise    int64            `json:"noise"`    // of those, that differed
	Skipped  map[string]int64 `json:"skipped,omitempty"`
}

// Pair is a request that the versions answered differently, without secrets.
type Pair struct {
	At     time.Time         `json:"at"`
	Stable release.VersionID `json:"stable"`
	Canary release.VersionID `json:"canary"`
	Method string            `json:"method"`
	Path   string            `json:"path"`
	How    release.CompareBy `json:"how"`
	Why    string            `json:"why"`
	// Noisy: stable's second answer differed from its first as well.
	Noisy   bool      `json:"noisy"`
	Request string    `json:"request,omitempty"`
	Answers [2]string `json:"answers"` // stable's, which the user got, and the canary's
	Status  [2]int    `json:"status"`
}

// Report is what is known of a release, the newest pair first.
type Report struct {
	Counts Counts `json:"counts"`
	Pairs  []Pair `json:"pairs"`
}

// New returns an empty Recorder.
func New() *Recorder { return &Recorder{releases: map[string]*kept{}} }

// Configure says how the answers of a release are compared and what is kept.
func (r *Recorder) Configure(name string, m release.Mirroring) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.of(name)
	k.rule, k.differ, k.masks = m, NewDiffer(m.Compare), newMasks(m.Keep)
	k.expire(time.Now())
}

// of returns what is kept of a release; r.mu is held.
func (r *Recorder) of(name string) *kept {
	k := r.releases[name]
	if k == nil {
		k = &kept{differ: NewDiffer(release.Comparing{}), masks: newMasks(release.Keeping{}), counts: Counts{Skipped: map[string]int64{}}}
		r.releases[name] = k
	}
	return k
}

// Forget drops all that is kept of a release that was deleted.
func (r *Recorder) Forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.releases, name)
}

// Compare compares the answers to one copied request. It is called from the
// copy's own goroutine, whose number the release's budget bounds.
func (r *Recorder) Compare(c *release.Copied) {
	r.mu.Lock()
	k := r.of(c.Release)
	differ, masks, rule := k.differ, k.masks, k.rule
	r.mu.Unlock()
	found := differ.Compare(&c.User, &c.Copy)
	var noise *Result
	if c.Again != nil {
		n := differ.Compare(&c.User, c.Again)
		noise = &n
	}
	var pair *Pair
	if found.Skipped == "" && !found.Same && rule.Keep.Count > 0 {
		pair = &Pair{
			At: c.Begin, Stable: c.Stable, Canary: c.Canary, Method: c.Method, Path: masks.prose(c.Path), How: found.How, Why: masks.prose(found.Why),
			Noisy: noise != nil && noise.Skipped == "" && !noise.Same, Request: masks.show(c.Request, c.Type),
			Answers: [2]string{masks.answer(&c.User), masks.answer(&c.Copy)}, Status: [2]int{c.User.Status, c.Copy.Status},
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k = r.of(c.Release)
	k.count(found, noise)
	if pair != nil {
		k.pairs = append(k.pairs, *pair)
		k.expire(time.Now())
	}
	for _, t := range k.taps {
		t.add(c, rule.Timeout, found, noise)
	}
}

func (k *kept) count(found Result, noise *Result) {
	n := &k.counts
	n.Copies++
	if found.Skipped != "" {
		n.Skipped[found.Skipped]++
	} else if n.Compared++; !found.Same {
		n.Differ++
	}
	if noise != nil && noise.Skipped == "" {
		if n.Again++; !noise.Same {
			n.Noise++
		}
	}
}

// expire lets pairs go that are too many or too old.
func (k *kept) expire(now time.Time) {
	k.pairs = slices.DeleteFunc(k.pairs, func(p Pair) bool { return k.rule.Keep.Age > 0 && now.Sub(p.At) > k.rule.Keep.Age })
	if more := len(k.pairs) - k.rule.Keep.Count; more > 0 {
		k.pairs = slices.Delete(k.pairs, 0, more)
	}
}

// Report says what was found of a release.
func (r *Recorder) Report(name string) Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.releases[name]
	if k == nil {
		return Report{}
	}
	k.expire(time.Now())
	out := Report{Counts: k.counts, Pairs: slices.Clone(k.pairs)}
	out.Counts.Skipped = maps.Clone(k.counts.Skipped)
	slices.Reverse(out.Pairs)
	return out
}

// Tap is the evidence of two versions from the moment it was opened.
type Tap struct {
	recorder       *Recorder
	name           string
	stable, canary release.VersionID
	warmUp         time.Duration
	first          time.Time
	got            Evidence
	times          [2]map[int32]int64 // stable, canary: copies by bin of their time
}

// Evidence is what pairs of answers to one request say, since the last drain.
type Evidence struct {
	// Pairs of a user's answer and the canary's, and how many each failed.
	// Whoever is worse fails more often while the other does not.
	Pairs, StableFailed, CanaryFailed int64
	// Times of the copies that both versions answered well: neither was slowed by
	// a client.
	StableTimes, CanaryTimes []judge.BinCount
	// Answers are requests with three answers: the user's, and one copy of each
	// version. Under equal versions the two copies are alike, whatever the noise:
	// each is as often the one that is nearer to the user's answer.
	Answers, StableWon, CanaryWon int64
	Newest                        time.Time // zero: nothing came
}

// Tap begins to keep evidence; what was copied within warmUp after the first
// copy is none. It must be closed.
func (r *Recorder) Tap(name string, stable, canary release.VersionID, warmUp time.Duration) *Tap {
	t := &Tap{recorder: r, name: name, stable: stable, canary: canary, warmUp: warmUp, times: [2]map[int32]int64{{}, {}}}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.of(name)
	k.taps = append(k.taps, t)
	return t
}

// Close ends the tap; what was not drained is lost.
func (t *Tap) Close() {
	t.recorder.mu.Lock()
	defer t.recorder.mu.Unlock()
	if k := t.recorder.releases[t.name]; k != nil {
		k.taps = slices.DeleteFunc(k.taps, func(x *Tap) bool { return x == t })
	}
}

// Drain returns what came since the last time.
func (t *Tap) Drain() Evidence {
	t.recorder.mu.Lock()
	defer t.recorder.mu.Unlock()
	out := t.got
	out.StableTimes, out.CanaryTimes = binsOf(t.times[0]), binsOf(t.times[1])
	t.got, t.times = Evidence{}, [2]map[int32]int64{{}, {}}
	return out
}

func binsOf(m map[int32]int64) []judge.BinCount {
	var out []judge.BinCount
	for _, bin := range slices.Sorted(maps.Keys(m)) {
		out = append(out, judge.BinCount{Bin: bin, Count: m[bin]})
	}
	return out
}

// add takes in one request; the recorder's lock is held.
func (t *Tap) add(c *release.Copied, limit time.Duration, found Result, noise *Result) {
	if c.Stable != t.stable || c.Canary != t.canary || c.Copy.Outcome == release.ClientFault {
		return
	}
	if t.first.IsZero() {
		t.first = c.Begin
	}
	if c.Begin.Before(t.first.Add(t.warmUp)) {
		return
	}
	e := &t.got
	e.Pairs++
	e.Newest = time.Now()
	// Both answers are held to the copy's timeout, or a slow request would be the
	// canary's failure alone.
	if c.User.Outcome == release.Failed || limit > 0 && c.User.Total > limit {
		e.StableFailed++
	}
	if c.Copy.Outcome == release.Failed {
		e.CanaryFailed++
	}
	if c.Again != nil && c.Again.Outcome == release.OK && c.Copy.Outcome == release.OK {
		t.times[0][bin(c.Again.Total)]++
		t.times[1][bin(c.Copy.Total)]++
	}
	t.answers(c, found, noise)
}

func bin(d time.Duration) int32 { return judge.BinOf(judge.Latency, d.Seconds()) }

// closer is the least difference of similarities that tells who was nearer.
const closer = 0.01

// answers tells which copy was nearer to the user's answer. Where the release
// says that stable's answers are never noisy, each difference is the canary's.
func (t *Tap) answers(c *release.Copied, found Result, noise *Result) {
	if c.Shared == 0 {
		noise = &Result{Same: true, Score: 1}
	}
	if found.Skipped != "" || noise == nil || noise.Skipped != "" {
		return
	}
	t.got.Answers++
	switch gap := noise.Score - found.Score; {
	case found.Same && noise.Same:
	case gap >= closer:
		t.got.StableWon++
	case gap <= -closer:
		t.got.CanaryWon++
	}
}
