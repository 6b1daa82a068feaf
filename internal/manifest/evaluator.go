package manifest

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// Defaults of a metric's source.evaluator.
const (
	defaultEvaluatorShare   = release.Full / 10
	defaultEvaluatorBelow   = 0.5
	defaultEvaluatorTimeout = 20 * time.Second
	defaultEvaluatorSlots   = 4
	defaultEvaluatorCalls   = 1000
)

func (c *checker) evaluator(path string, s *v1alpha1.EvaluatorSpec, kind release.MetricKind) *release.Evaluator {
	if s == nil {
		return nil
	}
	if !slices.Contains(release.EvaluatorKinds(), kind) {
		c.add(path, "write kind: proportion or mean for answers by themselves, kind: agreement for pairs", "an evaluator says which answers are bad, how good they are, or which of two is better; this metric is of kind %s", kind)
	}
	if u, err := url.Parse(s.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		c.add(path+".url", "a key stands in key, by reference", "%s is not the URL of an evaluator; expected http://... or https://... without a password", printable(s.URL))
	}
	if strings.TrimSpace(s.Question) == "" || len(s.Question) > maxText {
		c.add(path+".question", `write what makes an answer bad: "Is it rude?"`, "is missing or longer than %d bytes", maxText)
	}
	e := &release.Evaluator{
		URL: s.URL, Model: s.Model, Question: s.Question, Key: c.secretRef(path+".key", s.Key),
		Share: c.share(path+".share", s.Share, defaultEvaluatorShare), Below: c.probability(path+".below", s.Below, defaultEvaluatorBelow, 0, 1),
		Timeout:     c.duration(path+".timeout", s.Timeout, defaultEvaluatorTimeout, false),
		Concurrency: int(count(c, path+".concurrency", s.Concurrency, defaultEvaluatorSlots, 1, 64)),
		Calls:       count(c, path+".calls", s.Calls, defaultEvaluatorCalls, 1, maxRequests), Critical: s.Critical,
	}
	if e.Share == 0 {
		c.add(path+".share", "", "must be more than 0: nothing would be asked about")
	}
	if s.Price != nil {
		e.Price = release.Price{Input: c.price(path+".price.input", s.Price.Input, 0), Output: c.price(path+".price.output", s.Price.Output, 0)}
	}
	if e.Cost = c.price(path+".cost", s.Cost, 0); e.Cost > 0 && (s.Price == nil || s.Model == "") {
		c.add(path+".cost", "add model and price, or bound calls", "is known of a model with a price only")
	}
	if s.Critical && kind != release.Proportion {
		c.add(path+".critical", "write kind: proportion", "only an answer that is bad ends a run, not one that is less good")
	}
	if s.Below != nil && kind != release.Proportion {
		c.add(path+".below", "write kind: proportion, or leave it out", "says which answers are bad; this metric is of kind %s", kind)
	}
	return e
}

// secretRef checks a reference to a secret, which itself never stands here.
func (c *checker) secretRef(path, ref string) string {
	kind, name, _ := strings.Cut(ref, ":")
	switch {
	case ref == "":
	case kind == "env" && name != "" && !strings.ContainsAny(name, "= \x00"):
	case kind == "file" && filepath.IsAbs(name):
	default:
		c.add(path, "the secret itself does not stand in a manifest", "expected env:NAME or file:/path")
		return ""
	}
	return ref
}

// comparesAnswers checks that metrics that need the proxy's own view of answers
// have it.
func (c *checker) comparesAnswers(rel release.Release) {
	for i, m := range rel.Analysis.Metrics {
		if (m.Kind == release.Agreement || m.Source.Evaluator != nil) && rel.Traffic.Embedded == nil {
			c.add(fmt.Sprintf("spec.analysis.metrics[%d]", i), "use traffic.embedded, or remove the metric", "metric %s needs the answers themselves, which only the embedded proxy sees", m.Name)
		}
	}
}
