package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/haldane-project/haldane/internal/metric/prometheus"
	"github.com/haldane-project/haldane/internal/metric/resource"
	"github.com/haldane-project/haldane/internal/release"
)

// metrics asks for each of the release's metrics where its evidence comes from.
func (r *releaseCheck) metrics(ctx context.Context) {
	dir, err := os.MkdirTemp("", "haldane-check-")
	if err != nil {
		r.warn("metrics", err.Error(), "make room for temporary files")
		return
	}
	defer func() { _ = os.RemoveAll(dir) }() // temporary
	e, err := openEvidence(r.client, dir, "", slog.New(slog.DiscardHandler))
	if err != nil {
		r.warn("metrics", err.Error(), "make room for temporary files")
		return
	}
	defer func() { _ = e.Close() }() // nothing is kept
	a := r.rel.Analysis
	if err := e.Check(ctx, r.rel, a.Metrics); err != nil {
		r.fail("metrics", err.Error(), "change spec.analysis")
		return
	}
	pods, requests := apart(a.Metrics)
	r.usage(pods)
	switch {
	case len(requests) == 0:
	case a.Scrape == nil && a.Prometheus == nil:
		r.warn("metrics", fmt.Sprintf("%s: the release names no source; the controller has one where it was started with --prometheus", metricNames(requests)),
			"name one in spec.analysis.prometheus or spec.analysis.scrape, unless the controller has one")
	case r.deployment == nil: // told already
	default:
		r.server(ctx, e, requests)
		r.scrape(ctx, e)
	}
}

// apart divides metrics of pods from those of requests.
func apart(all []release.Metric) (pods, requests []release.Metric) {
	for _, m := range all {
		if resource.Serves(m) {
			pods = append(pods, m)
		} else {
			requests = append(requests, m)
		}
	}
	return pods, requests
}

func metricNames(list []release.Metric) string {
	var out []string
	for _, m := range list {
		out = append(out, m.Name)
	}
	return strings.Join(out, ", ")
}

// usage looks for what tells of pods.
func (r *releaseCheck) usage(list []release.Metric) {
	for _, m := range list {
		served, err := true, error(nil)
		if m.Source.Process != "" {
			served, err = r.client.Serves(podMetrics)
		}
		switch {
		case err != nil || !served:
			r.fail("metric "+m.Name, "this cluster does not serve metrics.k8s.io", withoutUsage)
		default:
			r.ok("metric "+m.Name, "the cluster tells it of pods")
		}
	}
}

// server asks the release's Prometheus server for each metric of the version that
// serves, as a run would.
func (r *releaseCheck) server(ctx context.Context, e *evidence, list []release.Metric) {
	s := r.rel.Analysis.Prometheus
	if s == nil {
		return
	}
	p, err := e.server(r.rel, *s)
	if err != nil {
		r.fail("Prometheus", err.Error(), "change spec.analysis.prometheus, or create what it names")
		return
	}
	for _, m := range list {
		check := "metric " + m.Name
		found, err := p.Probe(ctx, r.rel, m)
		switch name := cmp.Or(found.Name, "its query"); {
		case err != nil:
			r.fail(check, fmt.Sprintf("%s: %v", s.Address, err), "see that the server answers where the controller runs and scrapes what is asked for; names of Services are known inside of the cluster only: `kubectl exec` this command into the controller's pod")
		case found.Series > 0:
			r.ok(check, fmt.Sprintf("%s has %d series of %s for %s", s.Address, found.Series, name, r.rel.Version.Name))
		case found.Others > 0:
			r.ok(check, fmt.Sprintf("%s has no series of %s for %s yet, and %d for others: the Services by which a router tells versions apart are there in a run only", s.Address, name, r.rel.Version.Name, found.Others))
		default:
			r.warn(check, fmt.Sprintf("%s has no series of %s", s.Address, name), "see that it scrapes the router or the pods, that requests come, and the layout in spec.analysis.prometheus")
		}
	}
}

// scrape reads the pages that the controller would read in a run.
func (r *releaseCheck) scrape(ctx context.Context, e *evidence) {
	s := r.rel.Analysis.Scrape
	if s == nil {
		return
	}
	const check = "scrape"
	at := slices.Clone(s.Addresses)
	whose := s.Labels
	if len(whose)+len(at) == 0 {
		whose = r.deployment.Spec.Selector.MatchLabels
	}
	if len(whose) > 0 {
		pods, err := e.pods(ctx, r.rel, s.Namespace, whose)
		if err != nil {
			r.warn(check, err.Error(), "ask as somebody who may list pods")
			return
		}
		for _, ip := range pods {
			at = append(at, net.JoinHostPort(ip, strconv.Itoa(s.Port)))
		}
		if len(pods) == 0 {
			r.fail(check, fmt.Sprintf("no running pod in namespace %s has the labels %v", cmp.Or(s.Namespace, r.obj.Namespace), whose), "change spec.analysis.scrape, or start the pods that it means")
			return
		}
	}
	for _, address := range at {
		r.page(ctx, "http://"+address+s.Path)
	}
}

// page reads one.
func (r *releaseCheck) page(ctx context.Context, url string) {
	const check = "scrape"
	text, err := fetch(ctx, url)
	if err != nil {
		r.fail(check, fmt.Sprintf("%s: %v", url, err), "see port and path in spec.analysis.scrape; pods are reached inside of the cluster only: `kubectl exec` this command into the controller's pod")
		return
	}
	layout, err := layoutOf(r.rel, r.rel.Analysis.Scrape.Series)
	if err != nil {
		r.fail(check, err.Error(), "change spec.analysis.scrape")
		return
	}
	name := prometheus.SeriesName(layout.Requests)
	switch {
	case name == "" || strings.Contains(text, "\n"+name+"{") || strings.HasPrefix(text, name+"{"):
		r.ok(check, fmt.Sprintf("%s answers, with series of %s", url, name))
	default:
		r.warn(check, fmt.Sprintf("%s answers, and has no series %s", url, name), fmt.Sprintf("see that requests come, and name the layout of what is scraped (%s)", strings.Join(prometheus.LayoutNames(), ", ")))
	}
}

// mostPage bounds a page.
const mostPage = 16 << 20

func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialIn)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, mostPage))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answers %s", resp.Status)
	}
	return string(text), err
}
