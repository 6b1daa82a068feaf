// Package scraped is the metric.Provider that needs no Prometheus server: it
// scrapes the pods of the router, or of the versions, into the embedded store
// while a run is judged, and reads that store as a Prometheus server is read. It
// knows no router and no Kubernetes API: who does tells it which pods there are.
//
// Read this file first, then target.go (what is scraped) and pace.go (how often).
package scraped

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/prometheus"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry/history"
)

// stale is how old the newest sample may be: some scrapes that failed.
const stale = 5 * time.Second

// Store keeps what is scraped (telemetry/history).
type Store interface {
	prometheusAPI
	SetTargets([]history.Target)
	Scraped() <-chan struct{}
}

// Options of a Provider.
type Options struct {
	Store Store
	// Provider makes the reader of the store for a release; base holds what is
	// needed to read this store.
	Provider func(rel release.Release, base prometheus.Options) (*prometheus.Provider, error)
	// Pods lists the addresses (IPs) of the running pods with these labels, from a
	// cache; an empty namespace is the release's own.
	Pods func(ctx context.Context, rel release.Release, namespace string, labels map[string]string) ([]string, error)
}

// Provider scrapes for the runs that are open.
type Provider struct {
	options Options

	mu   sync.Mutex
	open map[string]*scraping // by release
}

var _ metric.Provider = (*Provider)(nil)

// New returns a Provider.
func New(o Options) *Provider { return &Provider{options: o, open: map[string]*scraping{}} }

func (p *Provider) provider(rel release.Release) (*prometheus.Provider, error) {
	s := rel.Analysis.Scrape
	if s == nil {
		return nil, fmt.Errorf("release %s names nothing to scrape (spec.analysis.scrape)", rel.Name)
	}
	return p.options.Provider(rel, prometheus.Options{
		URL: "http://inside", Transport: prometheus.Inside(p.options.Store.QueryHandler()),
		Interval: s.Interval, Stale: stale, Scraped: "up", Fresh: p.options.Store.Scraped,
	})
}

// Check implements metric.Provider.
func (p *Provider) Check(ctx context.Context, rel release.Release, metrics []release.Metric) error {
	one, err := p.provider(rel)
	if err != nil {
		return err
	}
	for _, m := range metrics {
		if s := rel.Analysis.Scrape; m.Source.Server.Name != "" && len(s.Labels)+len(s.Addresses) > 0 {
			return fmt.Errorf("metric %s of release %s: what %s exports stands on the versions' own pods, and spec.analysis.scrape reads a router's: leave its pods and addresses out, or read a Prometheus server (spec.analysis.prometheus) alone", m.Name, rel.Name, m.Source.Server.Name)
		}
	}
	return one.Check(ctx, rel, metrics)
}

// Open implements metric.Provider: scraping begins.
func (p *Provider) Open(ctx context.Context, s metric.Subject, cursor []byte) (metric.Reader, error) {
	one, err := p.provider(s.Release)
	if err != nil {
		return nil, err
	}
	x := &scraping{rel: s.Release, roles: map[release.VersionID]string{s.Stable.ID: "stable", s.Canary.ID: "canary"}}
	p.mu.Lock()
	p.open[s.Release.Name] = x
	p.mu.Unlock()
	if err := p.refresh(ctx, x); err != nil {
		p.end(x)
		return nil, fmt.Errorf("find the pods to scrape for release %s: %w", s.Release.Name, err)
	}
	inner, err := one.Open(ctx, s, cursor)
	if err != nil {
		p.end(x)
		return nil, err
	}
	return &reader{Reader: inner, provider: p, scraping: x, metrics: s.Metrics}, nil
}

// reader scrapes as long as it is open, and looks for pods at every read.
type reader struct {
	metric.Reader
	provider *Provider
	scraping *scraping
	metrics  []release.Metric
}

// Read implements metric.Reader.
func (r *reader) Read(ctx context.Context) (metric.Reading, error) {
	if err := r.provider.refresh(ctx, r.scraping); err != nil {
		return metric.Reading{}, fmt.Errorf("find the pods to scrape: %w", err)
	}
	got, err := r.Reader.Read(ctx)
	r.provider.follow(r.scraping, r.failed(got))
	return got, err
}

// Close implements metric.Reader.
func (r *reader) Close() error {
	r.provider.end(r.scraping)
	return r.Reader.Close()
}

func (p *Provider) end(x *scraping) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[x.rel.Name] == x {
		delete(p.open, x.rel.Name)
	}
	p.options.Store.SetTargets(p.targets())
}
