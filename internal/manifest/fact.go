package manifest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// presets are lists of metrics by the sort of model.
var presets = map[string][]v1alpha1.MetricSpec{
	"llm": {
		{Name: "errors", Kind: string(release.Errors)},
		ofFact("time-to-first-token", release.FactFirstToken), ofFact("time-per-output-token", release.FactPerToken),
		ofFact("output-tokens", release.FactOutputTokens),
		ofFact("refusal", release.FactRefusal), ofFact("invalid", release.FactInvalid), ofFact("empty", release.FactEmpty),
		ofFact("repeated", release.FactRepeated), ofFact("truncated", release.FactTruncated),
		ofFact("finish-reason", release.FactFinishReason), ofFact("language", release.FactLanguage), ofFact("input-length", release.FactInputCharacters),
	},
	"classifier": {
		{Name: "errors", Kind: string(release.Errors)}, {Name: "latency", Kind: string(release.Latency)},
		ofFact("not-a-number", release.FactNotANumber), ofFact("class", release.FactClass), ofFact("score", release.FactScore),
		ofFact("input-mean", release.FactInputScore),
	},
}

func ofFact(name string, f release.Fact) v1alpha1.MetricSpec {
	return v1alpha1.MetricSpec{Name: name, Kind: string(f.Kinds()[0]), Source: &v1alpha1.SourceSpec{LLM: string(f)}}
}

// withPreset puts a preset's metrics before those of the manifest, apart from
// the ones that it names itself.
func (c *checker) withPreset(path, preset string, own []v1alpha1.MetricSpec) []v1alpha1.MetricSpec {
	if preset == "" {
		return own
	}
	listed, ok := presets[preset]
	if !ok {
		c.add(path, didYouMean(preset, []string{"classifier", "llm"}), "unknown preset %s", printable(preset))
		return own
	}
	var out []v1alpha1.MetricSpec
	for _, m := range listed {
		if !slices.ContainsFunc(own, func(o v1alpha1.MetricSpec) bool { return o.Name == m.Name }) {
			out = append(out, m)
		}
	}
	return append(out, own...)
}

// withVoteRate puts behind the first metric of votes, for half of its share, how
// often users vote at all, unless the manifest has a metric of that: a version that
// moves other users to vote is not compared by what they say.
func (c *checker) withVoteRate(path string, metrics []release.Metric) []release.Metric {
	of := func(f release.Fact) func(release.Metric) bool {
		return func(m release.Metric) bool { return m.Source.Feedback == f }
	}
	i := slices.IndexFunc(metrics, of(release.FactVotes))
	if i < 0 || slices.ContainsFunc(metrics, of(release.FactVoteRate)) {
		return metrics
	}
	votes := &metrics[i]
	rate := release.Metric{
		Name: votes.Name + "-rate", Kind: release.Rate, Source: release.Source{Feedback: release.FactVoteRate}, Margin: defaultMargin(release.Rate),
		Harm: release.HarmEither, Judge: release.JudgedPause, Share: votes.Share / 2,
	}
	if votes.Judge == release.JudgedWatch {
		rate.Judge = release.JudgedWatch
	}
	if slices.ContainsFunc(metrics, func(m release.Metric) bool { return m.Name == rate.Name }) {
		c.add(path, "give it another name, or write a metric {kind: rate, source: {feedback: voteRate}}", "the metric %q has the name of the rate of %q", rate.Name, votes.Name)
	}
	votes.Share /= 2
	return slices.Insert(metrics, i+1, rate)
}

// fact reads the name of one of some facts, and holds it to the kind.
func (c *checker) fact(path, name string, kind release.MetricKind, facts []release.Fact) release.Fact {
	if name == "" {
		return ""
	}
	f := release.Fact(name)
	if !slices.Contains(facts, f) {
		var known []string
		for _, f := range facts {
			known = append(known, string(f))
		}
		c.add(path, didYouMean(name, known), "unknown fact %s", printable(name))
		return ""
	}
	if kinds := f.Kinds(); !slices.Contains(kinds, kind) {
		c.add(path, "write kind: "+string(kinds[0]), "%s is of kind %s; this metric is of kind %s", name, kindList(kinds), kind)
	}
	return f
}

func kindList(kinds []release.MetricKind) string {
	var words []string
	for _, k := range kinds {
		words = append(words, string(k))
	}
	return strings.Join(words, " or ")
}

// blames reports whether a finding about models' answers, what users say of them,
// or what their server or the pods themselves count, is one of harm: a change or a
// level alone is not.
func blames(m release.Metric) bool {
	s := m.Source
	if s.Feedback != "" {
		return m.Kind != release.Rate || s.Feedback == release.FactRegenerated // more votes, or fewer, are a change
	}
	return (s.LLM != "" || s.Server.Name != "" || s.Pods != "") && !changes(m.Kind) && m.Kind != release.Gauge
}

// changes reports whether a kind finds any change, for better or worse.
func changes(k release.MetricKind) bool { return k == release.Category || k == release.Drift }

// finds checks what a metric that finds changes must not have.
func (c *checker) finds(path string, m release.Metric, s v1alpha1.MetricSpec) {
	if f, ok := m.Source.LLM.Of(); ok && f.Input && m.Judge == release.JudgedRollBack {
		c.add(path+".onFail", "pause or watch", "%s is what users and caches do: a difference accuses the split, and no version is rolled back for it", m.Source.LLM)
	}
	if m.Kind == release.Agreement && s.Limit != "" {
		c.add(path+".limit", "leave it out", "answers are held against stable's own noise, not against a number")
	}
	if m.Source.Server.Input() && m.Judge == release.JudgedRollBack {
		c.add(path+".onFail", "pause or watch", "%s is what users do: a difference accuses the split, and no version is rolled back for it", m.Source.Server.Metric)
	}
	if !changes(m.Kind) {
		return
	}
	for _, x := range []struct {
		field string
		set   bool
	}{{"margin", s.Margin != ""}, {"limit", s.Limit != ""}, {"required", m.Required}} {
		if x.set {
			c.add(path+"."+x.field, "leave it out", "kind %s finds any change and proves nothing, so it has none", m.Kind)
		}
	}
}

// feedback reads how feedback is taken.
func (c *checker) feedback(path string, s *v1alpha1.FeedbackSpec) *release.TakesFeedback {
	if s == nil {
		return nil
	}
	f := &release.TakesFeedback{Path: cmp.Or(s.Path, defaultFeedbackPath), Keep: c.duration(path+".keep", s.Keep, defaultFeedbackKeep, false)}
	if !strings.HasPrefix(f.Path, "/") || strings.ContainsAny(f.Path, "?#") || len(f.Path) > maxText {
		c.add(path+".path", "a path begins with a slash: /feedback", "%s is not a path", printable(s.Path))
	}
	return f
}

// inCurrency gives metrics of costs the currency of the prices as their unit.
func inCurrency(rel release.Release) {
	e := rel.Traffic.Embedded
	for i, m := range rel.Analysis.Metrics {
		if m.Source.LLM == release.FactCost && e != nil && e.Model != nil {
			rel.Analysis.Metrics[i].Unit = e.Model.Currency
		}
	}
}

// readsModels checks that a release whose metrics are about models' answers has
// them read.
func (c *checker) readsModels(rel release.Release) {
	for _, m := range rel.Analysis.Metrics {
		if e := rel.Traffic.Embedded; m.Source.Feedback != "" && (e == nil || e.Feedback == nil) {
			c.add("spec.traffic.embedded.feedback", "add feedback: {}", "is missing; metric %s is what users say (%s), and none is taken", m.Name, m.Source.Feedback)
			return
		}
		if m.Source.LLM == "" {
			continue
		}
		e := rel.Traffic.Embedded
		if e == nil || e.Model == nil {
			c.add("spec.traffic.embedded.model", "add model: {}", "is missing; metric %s is read from models' answers (%s), which the embedded proxy does", m.Name, m.Source.LLM)
			return
		}
		if m.Source.LLM == release.FactCost && len(e.Model.Prices) == 0 {
			c.add("spec.traffic.embedded.model.prices", "prices: {\"*\": {input: \"0.15\", output: \"0.60\"}}", "are missing; metric %s is the cost of an answer", m.Name)
			return
		}
	}
}
