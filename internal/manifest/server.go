package manifest

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// server reads what a model server exports, and holds it to the kind.
func (c *checker) server(path string, s *v1alpha1.ServerMetricSpec, kind release.MetricKind) release.ServerMetric {
	if s == nil {
		return release.ServerMetric{}
	}
	m := release.ServerMetric{Name: s.Name, Metric: s.Metric}
	if !slices.Contains(release.Servers(), s.Name) {
		c.add(path+".name", didYouMean(s.Name, release.Servers()), "unknown model server %s", printable(s.Name))
		return release.ServerMetric{}
	}
	kinds := m.Kinds()
	if len(kinds) == 0 {
		c.add(path+".metric", didYouMean(s.Metric, release.ServerMetrics(s.Name)), "%s exports no %s", s.Name, printable(s.Metric))
		return release.ServerMetric{}
	}
	if !slices.Contains(kinds, kind) {
		c.add(path, "write kind: "+string(kinds[0]), "%s of %s is of kind %s; this metric is of kind %s", s.Metric, s.Name, kindList(kinds), kind)
	}
	m.Labels, m.Whole = c.matchers(path+".labels", s.Labels)
	return m
}

// matchers are labels as PromQL; whole says that they name the version themselves.
func (c *checker) matchers(path string, labels map[string]string) (text string, whole bool) {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if !labelName(name) {
			c.add(join(path, name), "letters, digits and _", "%s is not the name of a label", printable(name))
			continue
		}
		is := "="
		if strings.Contains(labels[name], "$pods") || strings.Contains(labels[name], "${pods}") {
			is = "=~"
		}
		list = append(list, name+is+strconv.Quote(labels[name]))
		whole = whole || strings.Contains(labels[name], "$")
	}
	return strings.Join(list, ","), whole
}

func labelName(s string) bool {
	for i, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if digit := r >= '0' && r <= '9'; !letter && (i == 0 || !digit) {
			return false
		}
	}
	return s != "" && !strings.HasPrefix(s, "__")
}

// pods reads what is counted of pods.
func (c *checker) pods(path, what string, kind release.MetricKind) string {
	if what == "" || word(c, path, what, "", release.PodCounts()...) == "" {
		return ""
	}
	if kind != release.Proportion {
		c.add(path, "write kind: proportion", "%s of pods is of kind proportion; this metric is of kind %s", what, kind)
	}
	return what
}
