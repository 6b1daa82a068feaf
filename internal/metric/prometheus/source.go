package prometheus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/release"
)

// selected is what is asked for a metric of one version: a level, a counter
// with the one of those that are bad, or a histogram.
type selected struct {
	names   []string // of the series of a model server; any one says that it has them
	level   string   // query of one number
	timing  query.Timing
	total   string // selector of a counter
	bad     string // of another that counts some of the same; empty: labels of total say which
	buckets string // selector of a histogram
	layout  *reading
}

// candidates are the ways in which a metric may be exported, by preference; one
// where that is given, for one of the two versions. Variables are not yet put in.
func (p *Provider) candidates(m release.Metric, who int) ([]selected, error) {
	layout := p.options.Layout.role(who)
	switch {
	case m.Source.Server.Name != "":
		return p.exported(m.Source.Server)
	case m.Source.Prometheus != "":
		one, err := given(m)
		return []selected{one}, err
	case m.Kind == release.Latency:
		return []selected{{buckets: layout.Buckets, layout: p.layout}}, nil
	}
	return []selected{{total: layout.Requests, layout: p.layout}}, nil
}

// given reads source.prometheus: a query of a level, a histogram's selector, or
// two counters with a division sign between them.
func given(m release.Metric) (selected, error) {
	q, err := query.Parse(m.Source.Prometheus)
	if err != nil {
		return selected{}, err
	}
	switch m.Kind {
	case release.Gauge:
		return selected{level: m.Source.Prometheus}, nil
	case release.Latency, release.Amount, release.Mean, release.Drift:
		if !q.Selector() {
			return selected{}, fmt.Errorf(`kind %s counts a histogram's buckets one by one, so source.prometheus must be their plain selector, such as x_seconds_bucket{version="$version"}; for any other query take kind gauge`, m.Kind)
		}
		unit := 1.0
		if m.Kind == release.Latency {
			if unit, err = unitOf(m.Source.Prometheus); err != nil {
				return selected{}, err
			}
		}
		return selected{buckets: m.Source.Prometheus, layout: &reading{unit: unit}}, nil
	case release.Errors, release.Proportion, release.Rate:
		events, of, ok := q.Ratio()
		if !ok {
			return selected{}, fmt.Errorf(`kind %s counts, so source.prometheus must be two counters with a division sign between them, such as failed_total{version="$version"} / requests_total{version="$version"}; for any other query take kind gauge`, m.Kind)
		}
		return selected{total: of, bad: events, layout: &reading{unit: 1}}, nil
	}
	return selected{}, fmt.Errorf("a query gives a level over time, so the kind must be gauge, not %s", m.Kind)
}

// timeUnits are the units of times by how Prometheus names end.
var timeUnits = []struct {
	name *regexp.Regexp
	unit float64
}{
	{regexp.MustCompile(`_(milliseconds|ms)(_bucket)?\b`), 1e-3},
	{regexp.MustCompile(`_(microseconds|us)(_bucket)?\b`), 1e-6},
	{regexp.MustCompile(`_seconds(_bucket)?\b`), 1},
}

func unitOf(selector string) (float64, error) {
	for _, u := range timeUnits {
		if u.name.MatchString(selector) {
			return u.unit, nil
		}
	}
	return 0, fmt.Errorf("the name of the histogram in %q does not say its unit; expected one that ends in _seconds, _milliseconds, _ms, _microseconds or _us; for another one take kind amount", selector)
}

// exported are the ways in which a model server exports a metric.
func (p *Provider) exported(m release.ServerMetric) ([]selected, error) {
	labels := strings.Join(slices.DeleteFunc([]string{p.options.Own, m.Labels}, func(s string) bool { return s == "" }), ",")
	if m.Whole {
		labels = m.Labels
	}
	var out []selected
	for _, x := range m.Exported() {
		one := selected{layout: &reading{unit: x.Scale}}
		switch {
		case x.Histogram != "":
			one.names = []string{x.Histogram, x.Histogram + "_bucket"}
			one.buckets = matching(one.names, "", labels)
		case x.Level != "":
			one.level = levelName.ReplaceAllStringFunc(x.Level, func(found string) string {
				name := strings.Trim(found, "{}")
				one.names = append(one.names, name)
				return matching([]string{name}, "", labels)
			})
		default:
			one.total, one.names = counting(x.Of, labels)
			one.bad, _ = counting(x.Events, labels)
			one.layout.unit = 1
		}
		out = append(out, one)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("of %s no metric %q is known; known: %s", m.Name, m.Metric, strings.Join(release.ServerMetrics(m.Name), ", "))
	}
	return out, nil
}

var levelName = regexp.MustCompile(`\{[A-Za-z0-9_:]+\}`)

// counting selects counters that are summed up; one matcher holds for all.
func counting(list []release.Counter, labels string) (selector string, names []string) {
	match := ""
	for _, c := range list {
		names = append(names, c.Name)
		match = cmp.Or(match, c.Match)
	}
	return matching(names, match, labels), names
}

// matching selects series by their names and further matchers.
func matching(names []string, more ...string) string {
	text := fmt.Sprintf("__name__=%q", names[0])
	if len(names) > 1 {
		text = fmt.Sprintf("__name__=~%q", strings.Join(names, "|"))
	}
	for _, m := range more {
		if m != "" {
			text += "," + m
		}
	}
	return "{" + text + "}"
}

// bind puts a version into the selectors.
func (s selected) bind(vars query.Vars) (selected, error) {
	for _, text := range []*string{&s.level, &s.total, &s.bad, &s.buckets} {
		if *text == "" {
			continue
		}
		q, err := query.Parse(*text)
		if err != nil {
			return s, err
		}
		if *text, err = q.Bind(vars); err != nil {
			return s, err
		}
	}
	if s.level == "" {
		return s, nil
	}
	var err error
	s.timing, err = query.TimingOf(s.level)
	return s, err
}

// source is what is asked for one version, once it is known which of the
// candidates the server exports.
type source struct {
	metric     release.Metric
	of         string     // name of the version
	own        string     // selects everything that the version exports; variables are not yet put in
	candidates []selected // the same
	vars       func(context.Context) (query.Vars, error)

	bound  query.Vars // those in list and all
	all    string
	list   []selected // nil: nothing was bound yet
	chosen *selected
}

// source is of a metric's candidates; vars gives the version's variables as they are now.
func (p *Provider) source(m release.Metric, list []selected, name string, vars func(context.Context) (query.Vars, error)) *source {
	s := &source{metric: m, of: name, candidates: list, vars: vars}
	switch from := m.Source.Server; {
	case from.Whole:
		s.own = "{" + from.Labels + "}"
	case from.Name != "":
		s.own = "{" + p.options.Own + "}"
	}
	return s
}

// vars are a version's variables, with those of a cluster.
func (p *Provider) vars(ctx context.Context, rel release.Release, v query.Vars) (query.Vars, error) {
	var err error
	if p.options.Cluster != nil {
		v.Cluster, err = p.options.Cluster(ctx, rel, v.Role, release.VersionID(v.Version))
	}
	return v, err
}

// bind puts the version into the candidates, again where a variable has changed:
// a version's pods may be started after its run began.
func (s *source) bind(ctx context.Context) error {
	vars, err := s.vars(ctx)
	if err != nil || s.list != nil && vars.Same(s.bound) {
		return err
	}
	all, err := selected{level: s.own}.bind(vars)
	if err != nil {
		return err
	}
	var list []selected
	for _, x := range s.candidates {
		if x, err = x.bind(vars); err != nil {
			return err
		}
		list = append(list, x)
	}
	s.bound, s.all, s.list, s.chosen = vars, all.level, list, nil
	return nil
}

// find looks up which of the candidates there are. The error says what the
// server offers instead.
func (s *source) find(ctx context.Context, c *client, at time.Time) (*selected, error) {
	if err := s.bind(ctx); err != nil {
		return nil, err
	}
	if s.chosen == nil && len(s.list) == 1 && len(s.list[0].names) == 0 {
		s.chosen = &s.list[0]
	}
	if s.chosen != nil {
		return s.chosen, nil
	}
	a, err := c.query(ctx, "group by (__name__) ("+s.all+")", at)
	if err != nil {
		return nil, err
	}
	var offered []string
	for _, x := range a.series {
		offered = append(offered, x.labels["__name__"])
	}
	for i, x := range s.list {
		if slices.ContainsFunc(x.names, func(n string) bool { return slices.Contains(offered, n) }) {
			s.chosen = &s.list[i]
			return s.chosen, nil
		}
	}
	return nil, s.absent(offered)
}

// absent says which series were looked for, and the nearest that there are.
func (s *source) absent(offered []string) error {
	var want []string
	for _, x := range s.list {
		want = append(want, x.names[0])
	}
	m := s.metric.Source.Server
	text := fmt.Sprintf("metric %s: %s exports no %s of %s", s.metric.Name, s.of, strings.Join(want, " or "), m.Name)
	if len(offered) == 0 {
		return errors.New(text + "; nothing was scraped of it: does it serve /metrics?")
	}
	return fmt.Errorf("%s; it offers %s", text, strings.Join(nearest(want, offered), ", "))
}

// mostNamed is how many of the series that there are an error names.
const mostNamed = 8

// nearest are the names that share most words with those that are wanted; what
// the scraper itself and a process's runtime tell comes last.
func nearest(want, offered []string) []string {
	score := map[string]int{}
	for _, name := range offered {
		for _, w := range strings.FieldsFunc(strings.Join(want, "_"), split) {
			if slices.Contains(strings.FieldsFunc(name, split), w) {
				score[name]++
			}
		}
	}
	out := slices.Clone(offered)
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(score[b], score[a]), cmp.Compare(a, b)) })
	return out[:min(len(out), mostNamed)]
}

func split(r rune) bool { return r == '_' || r == ':' }
