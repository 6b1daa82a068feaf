package prometheus

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/release"
)

// Found is what a server has for a metric of one version.
type Found struct {
	Name   string // of the series; empty: they have several, or a query computes them
	Series int    // of the version
	Others int    // of the same name, of whomever; -1: they have no one name
}

// Probe asks once for a metric of the version that serves, as stable. An error
// says why the server could not be asked, or what it offers instead.
func (p *Provider) Probe(ctx context.Context, rel release.Release, m release.Metric) (Found, error) {
	list, err := p.candidates(m, stable)
	if err != nil {
		return Found{}, err
	}
	vars := query.Vars{Release: rel.Name, Version: string(rel.Version.ID), Role: "stable", Window: p.options.Window}
	s := p.source(m, list, rel.Version.Name, func(ctx context.Context) (query.Vars, error) { return p.vars(ctx, rel, vars) })
	now := time.Now()
	x, err := s.find(ctx, p.client, now)
	if err != nil {
		return Found{}, err
	}
	f := Found{Others: -1}
	for _, selector := range []string{x.level, x.total, x.buckets} {
		if selector == "" {
			continue
		}
		a, err := p.client.query(ctx, selector, now)
		if err != nil {
			return f, err
		}
		f.Series += len(a.series)
		f.Name = SeriesName(selector)
	}
	if f.Name == "" || x.level != "" {
		return f, nil
	}
	a, err := p.client.query(ctx, fmt.Sprintf("count(%s)", f.Name), now)
	if err != nil {
		return f, err
	}
	n, _, err := a.number()
	f.Others = int(n) - f.Series
	return f, err
}

// SeriesName is the name with which a selector begins; empty: it names none.
func SeriesName(selector string) string { return seriesName.FindString(selector) }

var seriesName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
