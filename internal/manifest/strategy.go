package manifest

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// strategy compiles what is written of a strategy; nothing at all is a canary
// in the default steps. minRequests is what a step needs where it says nothing.
func (c *checker) strategy(path string, s *v1alpha1.StrategySpec, minRequests int64) release.Strategy {
	if s == nil {
		s = &v1alpha1.StrategySpec{Canary: &v1alpha1.CanarySpec{}}
	}
	c.one(path, choice{"canary", s.Canary != nil}, choice{"blueGreen", s.BlueGreen != nil}, choice{"ab", s.AB != nil},
		choice{"rolling", s.Rolling != nil}, choice{"shadow", s.Shadow != nil})
	r := release.Strategy{
		Bake:           c.duration(path+".bake", s.Bake, defaultBake, true),
		RollbackWindow: c.duration(path+".rollbackWindow", s.RollbackWindow, 0, true),
		StepDeadline:   c.duration(path+".stepDeadline", s.StepDeadline, defaultStepDeadline, true),
		OnInconclusive: word(c, path+".onInconclusive", s.OnInconclusive, defaultOnInconclusive, release.PauseRun, release.RollBackRun),
		ReadyDeadline:  c.duration(path+".readyDeadline", s.ReadyDeadline, defaultReadyDeadline, false),
	}
	switch {
	case s.Canary != nil:
		r.Kind = release.Canary
		r.Steps = c.steps(path+".canary.steps", s.Canary.Steps, minRequests, r.StepDeadline)
	case s.BlueGreen != nil:
		c.blueGreen(path+".blueGreen", s.BlueGreen, &r)
	case s.AB != nil:
		c.ab(path+".ab", s.AB, &r)
	case s.Rolling != nil:
		r.Kind = release.Rolling
		r.Batches = int(count(c, path+".rolling.batches", s.Rolling.Batches, defaultBatches, 1, maxSteps))
		r.Hold = c.duration(path+".rolling.hold", s.Rolling.Hold, 0, true)
	case s.Shadow != nil:
		c.shadow(path+".shadow", s.Shadow, &r)
	}
	return r
}

func (c *checker) require(path, value string, otherwise release.Requirement) release.Requirement {
	return word(c, path+".require", value, otherwise, release.None, release.NoHarm, release.Proven)
}

func (c *checker) blueGreen(path string, s *v1alpha1.BlueGreenSpec, r *release.Strategy) {
	r.Kind = release.BlueGreen
	if s.Preview != nil {
		m := c.match(path+".preview", *s.Preview)
		r.Preview = &m
	}
	r.Gates = c.gates(path+".gates", s.Gates)
	r.Hold = c.duration(path+".hold", s.Hold, 0, true)
	r.Require = c.require(path, s.Require, release.None)
}

func (c *checker) ab(path string, s *v1alpha1.ABSpec, r *release.Strategy) {
	r.Kind = release.AB
	r.Matches = c.matches(path+".matches", s.Matches)
	share := release.Weight(defaultABShare)
	if len(s.Matches) > 0 {
		share = 0
	}
	r.Share = c.share(path+".share", s.Share, share)
	if r.Share == release.Full || (r.Share == 0 && len(s.Matches) == 0) {
		c.add(path+".share", "", "must leave users to both versions: more than 0 (or matches) and less than 100")
	}
	r.Hold = c.duration(path+".hold", s.Hold, 0, true)
	r.Require = c.require(path, s.Require, release.Proven)
}

func (c *checker) shadow(path string, s *v1alpha1.ShadowSpec, r *release.Strategy) {
	r.Kind = release.Shadow
	r.Share = c.share(path+".share", s.Share, defaultShadowShare)
	if r.Share == 0 {
		c.add(path+".share", "", "must be more than 0: nothing would be compared")
	}
	r.Hold = c.duration(path+".hold", s.Hold, defaultShadowHold, true)
	r.Require = c.require(path, s.Require, release.NoHarm)
	r.Gates = c.gates(path+".gates", s.Gates)
	if s.Gates == nil {
		r.Gates = []release.Gate{{Name: string(release.GatePerson), Kind: release.GatePerson}}
	}
}

// steps compiles a canary's steps: weights never fall, and 100 % is the last
// step's at most.
func (c *checker) steps(path string, specs []v1alpha1.StepSpec, minRequests int64, deadline time.Duration) []release.Step {
	if len(specs) > maxSteps {
		c.atMost(path, len(specs), maxSteps)
		return nil
	}
	var steps []release.Step
	if len(specs) == 0 {
		for _, w := range defaultSteps() {
			steps = append(steps, release.Step{Weight: w, Capacity: release.FairCapacity(w), Require: release.NoHarm,
				Looseness: 1, MinRequests: minRequests, Deadline: deadline})
		}
		steps[len(steps)-1].Require = release.Proven
		return steps
	}
	declared := make([]bool, len(specs))
	for i, s := range specs {
		last := i == len(specs)-1
		declared[i] = s.Looseness != nil
		at := fmt.Sprintf("%s[%d]", path, i)
		step := c.step(at, s, last, minRequests, deadline)
		if i > 0 && step.Weight < steps[i-1].Weight {
			c.add(at+".weight", "", "%s is less than the %s of the step before; weights never fall", percentOf(fraction(step.Weight)), percentOf(fraction(steps[i-1].Weight)))
		}
		if !last && step.Weight == release.Full {
			c.add(at+".weight", "", "100%% before the last step leaves nothing to the steps behind it")
		}
		steps = append(steps, step)
	}
	defaultLooseness(steps, declared)
	return steps
}

func fraction(w release.Weight) float64 { return float64(w) / float64(release.Full) }

func (c *checker) step(path string, s v1alpha1.StepSpec, last bool, minRequests int64, deadline time.Duration) release.Step {
	require := release.NoHarm
	if last {
		require = release.Proven
	}
	before := len(c.problems)
	step := release.Step{
		Name:      s.Name,
		Weight:    c.weight(path+".weight", s.Weight),
		Mirror:    c.share(path+".mirror", s.Mirror, 0),
		Matches:   c.matches(path+".matches", s.Matches),
		Hold:      c.duration(path+".hold", s.Hold, 0, true),
		Require:   c.require(path, s.Require, require),
		Looseness: float64(count(c, path+".looseness", s.Looseness, 1, 1, 10)),
		Gates:     c.gates(path+".gates", s.Gates),
		Deadline:  c.duration(path+".deadline", s.Deadline, deadline, true),
	}
	if step.Require == release.None {
		minRequests = 0
	}
	step.MinRequests = count(c, path+".minRequests", s.MinRequests, minRequests, 0, maxRequests)
	step.Capacity = c.share(path+".capacity", s.Capacity, release.FairCapacity(step.Weight))
	if step.Capacity < step.Weight && len(c.problems) == before {
		c.add(path+".capacity", "", "%s of the instances cannot carry %s of the traffic", percentOf(fraction(step.Capacity)), percentOf(fraction(step.Weight)))
	}
	if step.Deadline > 0 && step.Hold >= step.Deadline {
		c.add(path+".hold", "", "a hold of %s does not end before the step's deadline of %s", short(step.Hold), short(step.Deadline))
	}
	if len(s.Name) > 63 || strings.ContainsAny(s.Name, "\r\n\x00") {
		c.add(path+".name", "", "is longer than 63 bytes or holds a line break")
	}
	return step
}

// maxRequests bounds every count of requests.
const maxRequests = 1_000_000_000

func (c *checker) matches(path string, specs []v1alpha1.MatchSpec) []release.Match {
	c.atMost(path, len(specs), 16)
	var out []release.Match
	for i, s := range specs {
		out = append(out, c.match(fmt.Sprintf("%s[%d]", path, i), s))
	}
	return out
}

func (c *checker) match(path string, s v1alpha1.MatchSpec) release.Match {
	if len(s.Headers) == 0 && s.Cookie == nil && s.Path == "" {
		c.add(path, "", "%s", needsSome("headers", "cookie", "path"))
	}
	c.urlPath(path+".path", s.Path, true)
	c.atMost(path+".headers", len(s.Headers), 16)
	m := release.Match{Path: s.Path}
	for i, h := range s.Headers {
		m.Headers = append(m.Headers, c.headerMatch(fmt.Sprintf("%s.headers[%d]", path, i), h))
	}
	if s.Cookie != nil {
		h := c.headerMatch(path+".cookie", *s.Cookie)
		m.Cookie = &h
	}
	return m
}

func (c *checker) headerMatch(path string, s v1alpha1.HeaderMatchSpec) release.HeaderMatch {
	if s.Name == "" {
		c.add(path+".name", "", "is missing; expected the name of a header or cookie")
	} else if !httpguts.ValidHeaderFieldName(s.Name) {
		c.add(path+".name", "", "%s is not the name of a header or cookie", printable(s.Name))
	}
	c.one(path, choice{"exact", s.Exact != ""}, choice{"prefix", s.Prefix != ""}, choice{"regexp", s.Regexp != ""})
	if len(s.Regexp) > 1024 {
		c.add(path+".regexp", "", "has %d bytes; at most 1024 are taken", len(s.Regexp))
	} else if _, err := regexp.Compile(s.Regexp); err != nil {
		c.add(path+".regexp", "the syntax is RE2's", "%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return release.HeaderMatch{Name: s.Name, Exact: s.Exact, Prefix: s.Prefix, Regexp: s.Regexp}
}

func (c *checker) gates(path string, specs []v1alpha1.GateSpec) []release.Gate {
	c.atMost(path, len(specs), 16)
	var out []release.Gate
	var names []string
	for i, s := range specs {
		at := fmt.Sprintf("%s[%d]", path, i)
		g := c.gate(at, s)
		if slices.Contains(names, g.Name) && g.Name != "" {
			c.add(at+".name", "give the gates of a step different names", "a gate named %q stands above already", g.Name)
		}
		names = append(names, g.Name)
		out = append(out, g)
	}
	return out
}

func (c *checker) gate(path string, s v1alpha1.GateSpec) release.Gate {
	kind := c.one(path, choice{"person", s.Person}, choice{"webhook", s.Webhook != nil}, choice{"window", s.Window != nil})
	g := release.Gate{Name: s.Name, Kind: release.GateKind(kind)}
	if g.Name == "" {
		g.Name = kind
	} else {
		c.name(path+".name", g.Name, "the gate")
	}
	if s.Webhook != nil {
		g.URL = s.Webhook.URL
		g.Timeout = c.duration(path+".webhook.timeout", s.Webhook.Timeout, defaultGateTimeout, false)
		u, err := url.Parse(s.Webhook.URL)
		switch {
		case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
			c.add(path+".webhook.url", "", "%s is not the URL of a webhook; expected http://... or https://...", printable(s.Webhook.URL))
		case u.User != nil:
			c.add(path+".webhook.url", "", "a URL here holds no user and password: they would be stored and shown")
		}
	}
	if s.Window != nil {
		g.Window = c.window(path+".window", s.Window)
	}
	return g
}

var timeOfDay = regexp.MustCompile(`^([01]\d|2[0-3]):[0-5]\d$`)

func (c *checker) window(path string, s *v1alpha1.WindowSpec) *release.Window {
	w := &release.Window{From: s.From, To: s.To, Zone: s.Zone, Days: c.days(path+".days", s.Days)}
	for _, t := range []struct{ field, value string }{{"from", s.From}, {"to", s.To}} {
		if !timeOfDay.MatchString(t.value) && (t.field != "to" || t.value != "24:00") {
			c.add(path+"."+t.field, "", "%s"+notATime, printable(t.value))
		}
	}
	if timeOfDay.MatchString(s.From) && s.To <= s.From && timeOfDay.MatchString(s.To) {
		c.add(path+".to", "a window over midnight is two gates' work: end it at 24:00", "%s is not after %s", s.To, s.From)
	}
	if w.Zone == "" {
		w.Zone = defaultWindowZone
	}
	if _, err := time.LoadLocation(w.Zone); err != nil || w.Zone == "Local" {
		c.add(path+".zone", "", "%s is not an IANA time zone; expected one such as Europe/Berlin", printable(w.Zone))
	}
	return w
}

var weekdays = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// days reads names and ranges of days; a range may go over the week's end.
func (c *checker) days(path string, specs []string) []time.Weekday {
	var set [7]bool
	for i, s := range specs {
		at := fmt.Sprintf("%s[%d]", path, i)
		from, to, isRange := strings.Cut(s, "-")
		if !isRange {
			to = from
		}
		a, b := slices.Index(weekdays, from), slices.Index(weekdays, to)
		if a < 0 || b < 0 {
			c.add(at, didYouMean(s, weekdays), "%s is neither a day nor a range such as Mon-Fri", printable(s))
			continue
		}
		for d := a; ; d = (d + 1) % 7 {
			set[d] = true
			if d == b {
				break
			}
		}
	}
	var out []time.Weekday
	for d, on := range set {
		if on {
			out = append(out, time.Weekday(d))
		}
	}
	return out
}
