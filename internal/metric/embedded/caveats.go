package embedded

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry"
)

// conditions are what versions of a model met beside what they are: what they
// were asked, and how much of it a cache knew. They blame nobody and decide
// nothing, but a difference can be theirs. They are those since the reader was
// opened.
type conditions struct {
	recorder *telemetry.Recorder
	subject  metric.Subject
	until    time.Time // answers that ended before are in
	sides    [2]condition
	before   [2]int64 // requests that a rewrite did not fit, before the reader was opened
	unfit    int64    // ... and since
}

// condition is what one version met.
type condition struct {
	first              time.Time // when its first answer was seen
	tokens, characters lengths
	values             lengths
	early, later       cached
	answers            int64
	unread             map[release.Unread]int64
	problem            string // of the first answer that has not the form asked for
}

// lengths are those of inputs, in the judge's bins.
type lengths struct {
	bins map[int32]int64
	n    int64
}

// cached is how many tokens of input a cache knew.
type cached struct{ known, all int64 }

const (
	lookAtConditions = time.Second
	coldFor          = time.Minute // the time in which a cache may be cold
	leastAnswers     = 50          // of each version, before anything is said
	leastCached      = 0.1         // difference of shares that is told
	leastUnread      = 0.01        // difference of shares that is told
	mostUnread       = 0.1         // share that is told however alike both versions are
	surely           = 4           // standard errors by which lengths and shares differ
)

// conditions begins to look; nil: the embedded proxy is not in front.
func (p *Provider) conditions(s metric.Subject, opened time.Time) *conditions {
	if s.Release.Traffic.Embedded == nil {
		return nil
	}
	c := &conditions{recorder: p.recorder, subject: s, until: opened}
	for i, v := range c.versions() {
		c.before[i] = p.recorder.Unfit(s.Release.Name, v)
	}
	return c
}

func (c *conditions) versions() [2]release.VersionID {
	return [2]release.VersionID{c.subject.Stable.ID, c.subject.Canary.ID}
}

// look takes in what was answered since the last time.
func (c *conditions) look(now time.Time) {
	if c == nil || now.Sub(c.until) < lookAtConditions {
		return
	}
	c.unfit = 0
	for i, v := range c.versions() {
		c.unfit += max(c.recorder.Unfit(c.subject.Release.Name, v)-c.before[i], 0)
		for _, a := range c.recorder.Answers(c.subject.Release.Name, v, c.until, now) {
			c.sides[i].add(a, now)
		}
	}
	c.until = now
}

func (c *condition) add(a *release.Answer, now time.Time) {
	if c.first.IsZero() {
		c.first = now
	}
	c.hear(a)
	if c.problem == "" && a.Format == release.FormatInvalid {
		c.problem = a.FormatProblem
	}
	c.characters.add(int64(a.InputCharacters))
	c.tokens.add(a.InputTokens)
	c.values.add(a.InputLength)
	if a.InputTokens > 0 {
		at := &c.later
		if now.Sub(c.first) <= coldFor {
			at = &c.early
		}
		at.known, at.all = at.known+a.CachedTokens, at.all+a.InputTokens
	}
}

func (l *lengths) add(n int64) {
	if n <= 0 {
		return
	}
	if l.bins == nil {
		l.bins = map[int32]int64{}
	}
	l.bins[judge.BinOf(judge.Amount, float64(n))]++
	l.n++
}

// median is the bin in whose middle half of the lengths lie, and its value.
func (l *lengths) median() (bin int32, value float64) {
	var sum int64
	for bin = 0; 2*sum < l.n; bin++ {
		sum += l.bins[bin]
	}
	return bin - 1, judge.BinValue(judge.Amount, bin-1)
}

// above is the share of lengths above a bin; those in it count half.
func (l *lengths) above(bin int32) float64 {
	sum := float64(l.bins[bin]) / 2
	for b, n := range l.bins {
		if b > bin {
			sum += float64(n)
		}
	}
	return sum / float64(l.n)
}

func (c cached) share() float64 { return float64(c.known) / float64(c.all) }

// caveats says what could mislead.
func (c *conditions) caveats() []string {
	if c == nil {
		return nil
	}
	var out []string
	s, k := &c.sides[0], &c.sides[1]
	if text := cmp.Or(c.inputs(&s.tokens, &k.tokens, "tokens"), c.inputs(&s.characters, &k.characters, "characters"), c.inputs(&s.values, &k.values, "values")); text != "" {
		out = append(out, text)
	}
	if text := c.cache(s, k); text != "" {
		out = append(out, text)
	}
	if text := c.unread(s, k); text != "" {
		out = append(out, text)
	}
	if c.unfit > 0 {
		out = append(out, fmt.Sprintf("%d requests reached %s and %s as they came, because a rewrite of the body does not fit them (compressed, not JSON, above 16 MiB, or without a place for a system prompt): they are no evidence.",
			c.unfit, c.subject.Stable.Name, c.subject.Canary.Name))
	}
	return out
}

// inputs tells of inputs that differ in length.
func (c *conditions) inputs(stable, canary *lengths, unit string) string {
	if stable.n < leastAnswers || canary.n < leastAnswers {
		return ""
	}
	bin, usual := stable.median()
	_, mine := canary.median()
	off := canary.above(bin) - stable.above(bin)
	if math.Abs(off) < surely*math.Sqrt(0.25/float64(canary.n)+0.25/float64(stable.n)) {
		return ""
	}
	how := "longer"
	if off < 0 {
		how = "shorter"
	}
	return fmt.Sprintf("%s was asked with %s inputs than %s (median %.0f against %.0f %s): what grows with the input differs for that reason too. The split is to be looked at, not the version.",
		c.subject.Canary.Name, how, c.subject.Stable.Name, mine, usual, unit)
}

// cache tells of a prefix cache that knew less of the canary's input.
func (c *conditions) cache(stable, canary *condition) string {
	usual := cached{stable.early.known + stable.later.known, stable.early.all + stable.later.all}
	if stable.tokens.n < leastAnswers || canary.tokens.n < leastAnswers || usual.all == 0 || canary.early.all == 0 {
		return ""
	}
	percent := func(x cached) string { return fmt.Sprintf("%.0f %%", 100*x.share()) }
	name := c.subject.Canary.Name
	if late := canary.later; late.all > 0 && usual.share()-late.share() >= leastCached {
		return fmt.Sprintf("The prefix cache of %s is colder: it knew %s of its input, %s's knew %s, which makes %s slower to its first token and dearer.", name, percent(late), c.subject.Stable.Name, percent(usual), name)
	}
	if usual.share()-canary.early.share() >= leastCached && c.subject.Release.Analysis.WarmUp < coldFor {
		return fmt.Sprintf("The prefix cache of %s was cold in its first %.0f s: it knew %s of its input, %s's knew %s. analysis.warmUp leaves that time out.",
			name, coldFor.Seconds(), percent(canary.early), c.subject.Stable.Name, percent(usual))
	}
	return ""
}
