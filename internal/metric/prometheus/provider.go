// Package prometheus is the metric.Provider of a Prometheus server (or of what
// speaks its HTTP API). What counts is read from counters and histograms, sample
// by sample, so that resets and gaps are seen: the router's, a model server's or
// any other; gauges are PromQL. It knows no scraping and no statistics.
//
// No data, old data and an unreachable server all mean that there is no
// evidence, with the reason; none of them is ever a zero.
//
// Read this file first, then source.go (what is asked for a metric), layout.go
// (routers' series), reader.go, flow.go, counter.go, spacing.go and buckets.go (samples to
// counts), level.go (queries of a level) and client.go (what is sent, and what of an answer is believed).
package prometheus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/release"
)

// Options of a Provider. Only URL is needed; zero values of the others mean
// the defaults that stand beside them.
type Options struct {
	URL  string // http://host:port/prefix; credentials in it are refused
	Auth Auth
	TLS  TLS
	// Layout says which series tell of a version's requests: the one of
	// OpenTelemetry's HTTP conventions ("http").
	Layout Layout
	// Own are the matchers, with variables, of what the instances of a version
	// themselves export: release="$release",version="$version", as the embedded
	// store labels what it scrapes.
	Own string
	// Cluster gives the variables of a version on Kubernetes, as they are now;
	// nil: elsewhere.
	Cluster func(ctx context.Context, rel release.Release, role string, version release.VersionID) (*query.Cluster, error)
	// Secret gives the value that "secret:NAME/KEY" names; nil: nothing has that form.
	Secret func(name, key string) (string, error)
	// Scraped selects the series that say when an instance was scraped, where the
	// server may have begun to scrape only when the run did ("up"). Empty: it
	// scraped for longer than a query looks back.
	Scraped string
	// Transport is used in place of the network (Inside); nil: the network.
	Transport http.RoundTripper
	// Fresh returns a channel that is closed when the server has more than when it
	// was asked; polls wait for it, for a quarter of an interval at least and for a whole
	// one at most. nil: that is not known, and polls go by the interval.
	Fresh    func() <-chan struct{}
	Interval time.Duration // between polls, at most: 1 second; they follow the scrapes (phase)
	Timeout  time.Duration // of one query: 5 seconds
	Stale    time.Duration // a newest sample older than this, and than three scrapes, is no evidence: 1 minute
	Window   time.Duration // what $window stands for: 1 minute
}

func (o Options) defaulted() Options {
	o.Own = cmp.Or(o.Own, `release="$release",version="$version"`)
	if o.Layout.Requests == "" {
		o.Layout = Layouts["http"]
	}
	o.Layout = o.Layout.of(o.Own)
	for value, usual := range map[*time.Duration]time.Duration{
		&o.Interval: time.Second, &o.Timeout: 5 * time.Second, &o.Stale: time.Minute, &o.Window: time.Minute,
	} {
		if *value == 0 {
			*value = usual
		}
	}
	return o
}

// Provider reads from one server.
type Provider struct {
	options Options
	client  *client
	layout  *reading
	polls   atomic.Int64 // finished, of all readers
}

var _ metric.Provider = (*Provider)(nil)

// New returns a Provider. It does not connect yet.
func New(o Options) (*Provider, error) {
	o = o.defaulted()
	c, err := newClient(o)
	if err != nil {
		return nil, fmt.Errorf("prometheus at %s: %w", redacted(o.URL), err)
	}
	layout, err := o.Layout.compile()
	if err != nil {
		return nil, fmt.Errorf("prometheus at %s: %w", redacted(o.URL), err)
	}
	return &Provider{options: o, client: c, layout: layout}, nil
}

// Check implements metric.Provider.
func (p *Provider) Check(_ context.Context, rel release.Release, metrics []release.Metric) error {
	for _, m := range metrics {
		if err := p.check(m); err != nil {
			return fmt.Errorf("metric %s of release %s: %w", m.Name, rel.Name, err)
		}
	}
	return nil
}

func (p *Provider) check(m release.Metric) error {
	switch from := m.Source; {
	case from.Process != "" || from.LLM != "" || from.Pods != "" || from.Response != "":
		return errors.New("a Prometheus server knows no processes, no pods and no answers: remove the source, or give a query as source.prometheus")
	case from.Prometheus != "" || from.Server.Name != "":
		list, err := p.candidates(m, stable)
		if err != nil {
			return err
		}
		return parsed(list)
	case m.Kind == release.Latency && p.layout.buckets == nil:
		return errors.New("this layout names no histogram of requests' times: name one, or give the metric a source")
	case m.Kind == release.Rate:
		return errors.New("a rate without a source holds the requests that each version got against the share that it should have got, and a counter tells only what it got: give two counters, events / all, as source.prometheus, or leave the metric out")
	case m.Kind != release.Errors && m.Kind != release.Latency:
		return fmt.Errorf("kind %s needs a source (prometheus or server); known without one: errors, latency", m.Kind)
	}
	return nil
}

// parsed checks that all selectors are PromQL.
func parsed(list []selected) error {
	for _, x := range list {
		if _, err := x.bind(query.Vars{Cluster: &query.Cluster{}}); err != nil {
			return err
		}
	}
	return nil
}

// Open implements metric.Provider.
func (p *Provider) Open(ctx context.Context, s metric.Subject, saved []byte) (metric.Reader, error) {
	if err := p.Check(ctx, s.Release, s.Metrics); err != nil {
		return nil, err
	}
	c := cursor{}
	if len(saved) > 0 {
		if err := json.Unmarshal(saved, &c); err != nil {
			return nil, fmt.Errorf("open the evidence of run %s: the saved cursor is not one of the Prometheus provider: %w", s.Run, err)
		}
	}
	return newReader(ctx, p, s, c)
}
