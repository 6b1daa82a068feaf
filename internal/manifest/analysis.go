package manifest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// analysis compiles what is compared; where requests are copied, their answers
// are compared by default.
func (c *checker) analysis(path string, s *v1alpha1.AnalysisSpec, copied bool) release.Analysis {
	if s == nil {
		s = &v1alpha1.AnalysisSpec{}
	}
	a := release.Analysis{
		FalseRollback:  c.probability(path+".falseRollback", s.FalseRollback, defaultFalseRollback, 0.0001, 0.5),
		FalsePromotion: c.probability(path+".falsePromotion", s.FalsePromotion, defaultFalsePromotion, 0.0001, 0.5),
		MinRequests:    count(c, path+".minRequests", s.MinRequests, defaultMinRequests, 0, maxRequests),
		WarmUp:         c.duration(path+".warmUp", s.WarmUp, 0, true),
		Prometheus:     c.prometheus(path+".prometheus", s.Prometheus),
		Scrape:         c.scrape(path+".scrape", s.Scrape),
	}
	specs := c.withPreset(path+".preset", s.Preset, s.Metrics)
	if len(specs) == 0 {
		specs = []v1alpha1.MetricSpec{{Name: "errors", Kind: string(release.Errors)}, {Name: "latency", Kind: string(release.Latency)}}
		if s.Prometheus != nil || s.Scrape != nil { // the bounds of few routers' histograms can prove the margin
			specs[1].Required = new(bool)
		}
		if copied {
			specs = append(specs, v1alpha1.MetricSpec{Name: "answers", Kind: string(release.Agreement)})
		}
	}
	if len(specs) > maxMetrics {
		c.atMost(path+".metrics", len(specs), maxMetrics)
		return a
	}
	seen := map[string]bool{}
	for i, m := range specs {
		at := fmt.Sprintf("%s.metrics[%d]", path, i-(len(specs)-len(s.Metrics)))
		if i < len(specs)-len(s.Metrics) {
			at = path + ".preset"
		}
		if seen[m.Name] && m.Name != "" {
			c.add(at+".name", "give each metric a name of its own", "a metric named %q stands above already", m.Name)
		}
		seen[m.Name] = true
		a.Metrics = append(a.Metrics, c.metric(at, m))
	}
	c.spread(path+".metrics", specs, a.Metrics)
	a.Metrics = c.withVoteRate(path+".metrics", a.Metrics)
	return a
}

func (c *checker) metric(path string, s v1alpha1.MetricSpec) release.Metric {
	c.name(path+".name", s.Name, "the metric")
	judged := word(c, path+".onFail", s.OnFail, "", release.JudgedRollBack, release.JudgedPause, release.JudgedWatch)
	if s.Kind == "" {
		c.add(path+".kind", didYouMean(s.Kind, kindWords()), "is missing")
		return release.Metric{Name: s.Name}
	}
	kind := word(c, path+".kind", s.Kind, "", metricKinds...)
	if kind == "" {
		return release.Metric{Name: s.Name}
	}
	m := release.Metric{
		Name:   s.Name,
		Kind:   kind,
		Source: c.source(path+".source", s.Source, kind),
		Margin: c.margin(path+".margin", s.Margin, kind),
		Limit:  c.limit(path+".limit", s.Limit, kind, s.Source),
		Judge:  judged,
		Harm:   c.harm(path+".harm", s.Harm, kind),
	}
	if kind == release.Rate && s.Harm == "" && (m.Source.Server.Name != "" || m.Source.Feedback == release.FactRegenerated) {
		m.Harm = release.HarmMore // what is counted so are troubles
	}
	switch {
	case m.Judge != "":
	case always(kind), blames(m):
		m.Judge = release.JudgedRollBack
	default:
		m.Judge = release.JudgedPause
	}
	m.Required = always(kind) && m.Judge != release.JudgedWatch
	if s.Required != nil {
		m.Required = *s.Required
		if m.Required && m.Judge == release.JudgedWatch {
			c.add(path+".required", "", "a metric that is only watched cannot be required")
		}
		if m.Required && m.Harm == release.HarmEither {
			c.add(path+".required", "write harm: more or harm: fewer", "a metric whose harm is either way cannot be proven, so it cannot be required")
		}
	}
	m.Bursts = c.bursts(path+".bursts", s.Bursts, kind)
	c.finds(path, m, s)
	if kind == release.Latency || kind == release.Amount {
		m.Quantile = c.probability(path+".quantile", s.Quantile, defaultQuantile, 0.01, 0.9999)
	} else if s.Quantile != nil {
		c.add(path+".quantile", "", "only latency and amount have a quantile; this is of kind %s", kind)
	}
	return m
}

// bursts reads how long bad outcomes that come together do so.
func (c *checker) bursts(path string, s *metav1.Duration, kind release.MetricKind) time.Duration {
	if s == nil {
		return 0
	}
	switch kind {
	case release.Errors, release.Proportion, release.Votes, release.Rate:
	default:
		c.add(path, "leave it out", "only what is counted comes in bursts: errors, proportions, votes and rates; this metric is of kind %s", kind)
		return 0
	}
	d := c.duration(path, s, 0, false)
	if d > 0 && (d < time.Second || d > 10*time.Minute) {
		c.add(path, "", "%s is not a burst's length; expected 1s to 10m", short(d))
	}
	return d
}

var metricKinds = []release.MetricKind{release.Errors, release.Latency, release.Amount, release.Proportion, release.Rate, release.Gauge,
	release.Mean, release.Category, release.Drift, release.Agreement, release.Votes}

func kindWords() []string {
	words := make([]string, len(metricKinds))
	for i, k := range metricKinds {
		words[i] = string(k)
	}
	return words
}

func (c *checker) source(path string, s *v1alpha1.SourceSpec, kind release.MetricKind) release.Source {
	if s == nil {
		if !always(kind) && kind != release.Rate && kind != release.Agreement {
			c.add(path, "", "is missing; a metric of kind %s needs a source: llm, feedback, server, process, pods, response or prometheus", kind)
		}
		return release.Source{}
	}
	c.one(path, choice{"prometheus", s.Prometheus != ""}, choice{"process", s.Process != ""}, choice{"pods", s.Pods != ""},
		choice{"server", s.Server != nil}, choice{"response", s.Response != ""}, choice{"llm", s.LLM != ""}, choice{"feedback", s.Feedback != ""}, choice{"evaluator", s.Evaluator != nil})
	if len(s.Prometheus) > 16<<10 {
		c.add(path+".prometheus", "", "has %d bytes; at most 16384 are taken", len(s.Prometheus))
	}
	if s.Process != "" {
		word(c, path+".process", s.Process, "cpu", "cpu", "memory")
		if kind != release.Gauge {
			c.add(path+".process", "write kind: gauge", "%s of a process is a gauge; this metric is of kind %s", s.Process, kind)
		}
	}
	c.response(path+".response", s.Response, kind)
	return release.Source{
		Prometheus: s.Prometheus, Process: s.Process, Response: s.Response, LLM: c.fact(path+".llm", s.LLM, kind, release.Facts()), Feedback: c.fact(path+".feedback", s.Feedback, kind, release.FeedbackFacts()),
		Pods: c.pods(path+".pods", s.Pods, kind), Server: c.server(path+".server", s.Server, kind),
		Evaluator: c.evaluator(path+".evaluator", s.Evaluator, kind),
	}
}

// response checks that what is measured of an answer is of the metric's kind.
func (c *checker) response(path, what string, kind release.MetricKind) {
	if what == "" || word(c, path, what, "", "4xx", "5xx", "bytes") == "" {
		return
	}
	need := release.Proportion
	if what == "bytes" {
		need = release.Amount
	}
	if kind != need {
		c.add(path, "write kind: "+string(need), "%s of an answer is of kind %s; this metric is of kind %s", what, need, kind)
	}
}

// harm is the direction in which a metric gets worse.
func (c *checker) harm(path, value string, kind release.MetricKind) release.Harm {
	switch {
	case kind != release.Rate && kind != release.Gauge:
		if value != "" {
			c.add(path, "leave it out", "only a rate or a gauge can get worse by having fewer; more is worse of kind %s", kind)
		}
		return ""
	case kind == release.Gauge && value == string(release.HarmEither):
		c.add(path, "more or fewer", "a gauge has one harmful direction")
		return ""
	}
	return word(c, path, value, defaultHarm(kind), release.HarmMore, release.HarmFewer, release.HarmEither)
}

var marginPart = regexp.MustCompile(`^(\+?)\s*(\d{1,4}(?:\.\d{1,6})?)\s?%$`)

// margin reads "10%", "+0.1%" or both joined by "or".
func (c *checker) margin(path, value string, kind release.MetricKind) release.Margin {
	if value == "" {
		return defaultMargin(kind)
	}
	shares, hint := marginOf(kind)
	var m release.Margin
	for _, part := range strings.Split(value, " or ") {
		found := marginPart.FindStringSubmatch(strings.TrimSpace(part))
		if found == nil {
			c.add(path, hint, "%s is not a margin", printable(value))
			return m
		}
		v, _ := strconv.ParseFloat(found[2], 64)
		v /= 100
		switch absolute := found[1] == "+"; {
		case absolute && !shares:
			c.add(path, hint, "a metric of kind %s has no absolute margin", kind)
			return m
		case !absolute && kind == release.Agreement:
			c.add(path, hint, "a metric of kind %s has an absolute margin only", kind)
			return m
		case v == 0, absolute && v >= 1, !absolute && v > 10:
			c.add(path, "more than 0%, at most 1000% (absolute: less than +100%)", "a margin of %s proves nothing", strings.TrimSpace(part))
			return m
		case absolute && m.Difference == 0:
			m.Difference = v
		case !absolute && m.Ratio == 0:
			m.Ratio = 1 + v
		default:
			c.add(path, hint, "%s names the same sort of margin twice", printable(value))
			return m
		}
	}
	return m
}

// marginOf says whether a kind has absolute margins, and how its margin is
// written.
func marginOf(kind release.MetricKind) (shares bool, hint string) {
	switch kind {
	case release.Agreement:
		return true, `write "+5%" for a share of the compared requests`
	case release.Errors, release.Proportion, release.Votes:
		return true, `write "50%" for half of stable's figure, "+0.1%" for an absolute share, or "50% or +0.1%"`
	}
	return false, `write "10%" for a tenth of stable's figure`
}

var limitText = regexp.MustCompile(`^(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,2})?)\s*([A-Za-zµ%]*)$`)

// units are what a limit may be given in, and how many of the metric's own
// unit one of them is.
var units = map[string]float64{"%": 0.01, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1e3, "MB": 1e6, "GB": 1e9, "B": 1, "": 1}

// limit reads a comparison with a number and the unit of the metric's kind.
func (c *checker) limit(path, value string, kind release.MetricKind, source *v1alpha1.SourceSpec) *release.Limit {
	if value == "" {
		return nil
	}
	allowed, hint := unitsOf(kind, source)
	found := limitText.FindStringSubmatch(strings.TrimSpace(value))
	if found == nil {
		c.add(path, hint, "%s is not a limit; expected <, <=, > or >= and a number", printable(value))
		return nil
	}
	unit := found[3]
	ok := false
	for _, u := range allowed {
		ok = ok || u == unit
	}
	number, err := strconv.ParseFloat(found[2], 64)
	if !ok || err != nil {
		c.add(path, hint, "the unit %s does not fit a metric of kind %s", printable(unit), kind)
		return nil
	}
	v := number * units[unit]
	if (kind == release.Errors || kind == release.Proportion || kind == release.Votes) && (v < 0 || v > 1) {
		c.add(path, "", "%s is not a share between 0%% and 100%%", strings.TrimSpace(found[2]+unit))
		return nil
	}
	return &release.Limit{Below: found[1][0] == '<', Value: v}
}

func unitsOf(kind release.MetricKind, source *v1alpha1.SourceSpec) (allowed []string, hint string) {
	switch {
	case kind == release.Errors || kind == release.Proportion || kind == release.Votes:
		return []string{"%"}, `write "<= 1%"`
	case kind == release.Latency:
		return []string{"us", "µs", "ms", "s", "m"}, `write "< 300ms"`
	case source != nil && source.Process == "memory":
		return []string{"B", "KiB", "MiB", "GiB", "kB", "MB", "GB"}, `write "< 512MiB"`
	case source != nil && source.Process == "cpu":
		return []string{"", "%"}, `write "< 80%" of one core, or "< 2" cores`
	}
	return []string{"", "%", "ms", "s", "KiB", "MiB", "GiB"}, `write "< 50"`
}
