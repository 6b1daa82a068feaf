package manifest

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// release compiles an object. Files are made absolute in the object as well,
// so that what is stored means the same everywhere.
func (c *checker) release(obj *v1alpha1.Release) release.Release {
	if obj.APIVersion != "" && obj.APIVersion != apiVersion {
		c.add("apiVersion", "", "is %s; expected %s", printable(obj.APIVersion), apiVersion)
	}
	if obj.Kind != "" && obj.Kind != Kind {
		c.add("kind", "", "is %s; expected %s", printable(obj.Kind), Kind)
	}
	c.name("metadata.name", obj.Name, "the release")
	workload, replicas := c.workload("spec.workload", &obj.Spec.Workload)
	c.versionName("spec.version", obj.Spec.Version)
	count(c, "spec.keepRuns", obj.Spec.KeepRuns, defaultKeepRuns, 1, 100)
	analysis := c.analysis("spec.analysis", obj.Spec.Analysis, obj.Spec.Traffic.Embedded != nil && copies(obj.Spec.Strategy))
	traffic := c.traffic("spec.traffic", &obj.Spec.Traffic)
	analysis.PerUser = traffic.Embedded != nil && traffic.Embedded.Sticky.Enabled()
	for i, m := range analysis.Metrics {
		if m.Kind == release.Rate && m.Source.Feedback == "" && analysis.PerUser { // of feedback each user counts once
			c.add(fmt.Sprintf("spec.analysis.metrics[%d].kind", i), "remove the metric, or spec.traffic.embedded.sticky",
				"a rate compares requests, but sticky traffic assigns users: who asks most often would decide")
		}
		if m.Bursts > 0 && analysis.PerUser {
			c.add(fmt.Sprintf("spec.analysis.metrics[%d].bursts", i), "leave it out", "users of sticky traffic count once each, whatever bursts they fail in")
		}
	}
	rel := release.Release{
		Name:       obj.Name,
		UID:        string(obj.UID),
		Generation: obj.Generation,
		Version:    release.NewVersion(obj.Spec.Version, workload),
		Replicas:   replicas,
		Traffic:    traffic,
		Strategy:   c.strategy("spec.strategy", obj.Spec.Strategy, analysis.MinRequests),
		Analysis:   analysis,
	}
	c.routers(rel)
	c.comparesAnswers(rel)
	c.readsModels(rel)
	inCurrency(rel)
	return rel
}

// copies reports whether a strategy copies requests.
func copies(s *v1alpha1.StrategySpec) bool {
	switch {
	case s == nil:
		return false
	case s.Shadow != nil:
		return true
	}
	return s.Canary != nil && slices.ContainsFunc(s.Canary.Steps, func(x v1alpha1.StepSpec) bool { return x.Mirror != nil })
}

var versionText = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.+]*[A-Za-z0-9])?$`)

func (c *checker) versionName(path, value string) {
	if value == "" {
		return
	}
	if len(value) > 63 || !versionText.MatchString(value) {
		c.add(path, "letters, digits and - _ . +, at most 63, with a letter or digit at both ends", "%s is not a version name", printable(value))
	}
	if value == "stable" || value == "canary" {
		c.add(path, "stable and canary are the roles that versions take in a run", "%q cannot name a version", value)
	}
}
