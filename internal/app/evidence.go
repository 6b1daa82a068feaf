package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/metric/join"
	"github.com/haldane-project/haldane/internal/metric/prometheus"
	"github.com/haldane-project/haldane/internal/metric/query"
	"github.com/haldane-project/haldane/internal/metric/resource"
	"github.com/haldane-project/haldane/internal/metric/scraped"
	"github.com/haldane-project/haldane/internal/metric/standby"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry/history"
)

// evidence is where the evidence of releases in a cluster comes from: what the
// cluster tells of pods and, for all else, the controller's own scraper, Prometheus
// servers, or one standing by for the other.
type evidence struct {
	metric.Provider
	client  *cluster.Client
	scraper *scraped.Provider
	store   *history.Store
	address string // of the Prometheus server where a release names none; empty: none
	secrets secretCache
}

// How often the controller reads a router's counters while a run is judged: half
// of it is the time that a failed request waits on average until it is seen. A page
// of a thousand series costs some hundredths of a core; one that takes long is read
// less often. After a failure of the canary it is half of the interval for a while
// (scraped/pace.go).
const (
	scrapeEvery   = 100 * time.Millisecond
	scrapeSparing = 250 * time.Millisecond
)

// openEvidence keeps what is scraped in dir. address is the Prometheus server of
// releases that name no source; empty: there is none.
func openEvidence(c *cluster.Client, dir, address string, log *slog.Logger) (*evidence, error) {
	store, err := history.Open(history.Options{Dir: dir, Log: log, Interval: scrapeEvery, Sparing: scrapeSparing, Retention: time.Hour})
	if err != nil {
		return nil, err
	}
	e := &evidence{client: c, store: store, address: address}
	e.secrets.read = e.secret
	e.scraper = scraped.New(scraped.Options{Store: store, Provider: e.scrapedProvider, Pods: e.pods})
	e.Provider = join.New(
		join.Part{Name: "pods", Provider: resource.New(c, resource.Options{}), Serves: resource.Serves},
		join.Part{Name: "requests", Provider: standby.New(e.providers)},
	)
	return e, nil
}

// Close ends scraping.
func (e *evidence) Close() error { return e.store.Close() }

// seen tells the scraper which instances answer.
func (e *evidence) seen(rel release.Release, backends []release.Backend) {
	e.scraper.Seen(rel, backends)
}

// providers are a release's sources, by preference.
func (e *evidence) providers(_ context.Context, rel release.Release) ([]metric.Provider, error) {
	var list []metric.Provider
	if rel.Analysis.Scrape != nil {
		list = append(list, e.scraper)
	}
	server := rel.Analysis.Prometheus
	if server == nil && rel.Analysis.Scrape == nil && e.address != "" {
		server = &release.Prometheus{Address: e.address, Interval: time.Second}
	}
	if server != nil {
		p, err := e.server(rel, *server)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func (e *evidence) server(rel release.Release, s release.Prometheus) (*prometheus.Provider, error) {
	layout, err := layoutOf(rel, s.Series)
	if err != nil {
		return nil, err
	}
	o := prometheus.Options{
		URL: s.Address, Interval: s.Interval, Layout: layout, Cluster: e.variables, Own: ownPods,
		Auth: prometheus.Auth{BearerFrom: s.Bearer, User: s.User, PasswordFrom: s.Password},
		Secret: func(name, key string) (string, error) {
			return e.secrets.get(cluster.Key(rel.Name).Namespace, name, key)
		},
	}
	if s.TLS != "" {
		o.TLS.CAFrom = "secret:" + s.TLS + "/" + corev1.ServiceAccountRootCAKey
		if _, err := o.Secret(s.TLS, corev1.TLSCertKey); err == nil {
			o.TLS.CertFrom, o.TLS.KeyFrom = "secret:"+s.TLS+"/"+corev1.TLSCertKey, "secret:"+s.TLS+"/"+corev1.TLSPrivateKeyKey
		}
	}
	return prometheus.New(o)
}

func (e *evidence) scrapedProvider(rel release.Release, base prometheus.Options) (*prometheus.Provider, error) {
	var err error
	s := rel.Analysis.Scrape
	if base.Layout, err = layoutOf(rel, s.Series); err != nil {
		return nil, err
	}
	if base.Layout.Own && len(s.Labels)+len(s.Addresses) > 0 {
		return nil, fmt.Errorf("scrape for release %s: the series of this layout (http, istio, linkerd) stand on the versions' own pods, and spec.analysis.scrape reads a router's: leave its pods and addresses out, or name the router's layout (envoy, nginx or traefik) or series", rel.Name)
	}
	base.Layout, base.Cluster = base.Layout.Unrenamed(), e.variables
	return prometheus.New(base)
}

// ownPods select what a version's own pods export, on a server that labels it as
// Prometheus' discovery of pods usually does.
const ownPods = `namespace="$namespace",pod=~"$pods"`

// layoutOf is the layout that a release names, or that of its router.
func layoutOf(rel release.Release, s release.Series) (prometheus.Layout, error) {
	if s.Requests != "" {
		l := prometheus.Layout{Requests: s.Requests, Buckets: s.Buckets, Failed: s.Failed}
		if s.Milliseconds {
			l.Unit = 0.001
		}
		return l, nil
	}
	usual := "http"
	switch t := rel.Traffic; {
	case t.Istio != nil:
		usual = "istio"
	case t.Linkerd != nil:
		usual = "linkerd"
	case t.NGINX != nil:
		usual = "nginx"
	}
	return prometheus.KnownLayout(cmp.Or(s.Layout, usual))
}

// variables name the objects of one role's version.
func (e *evidence) variables(ctx context.Context, rel release.Release, role string, version release.VersionID) (*query.Cluster, error) {
	v := &query.Cluster{Namespace: cluster.Key(rel.Name).Namespace}
	service := ""
	switch t := rel.Traffic; {
	case t.GatewayAPI != nil:
		service = t.GatewayAPI.Service
	case t.Istio != nil:
		service = t.Istio.Service
	case t.Linkerd != nil:
		service = t.Linkerd.Service
	case t.NGINX != nil:
		service = t.NGINX.Service
	}
	var err error
	if d := rel.Version.Workload.Deployment; d != nil {
		service = cmp.Or(service, d.Name)
		v.Pods, err = resource.PodNames(ctx, e.client, rel, version)
	}
	v.Service = cluster.StableService(service)
	if role == "canary" {
		v.Service = cluster.CanaryService(service)
	}
	return v, err
}

// pods are the addresses of running pods, from the cache.
func (e *evidence) pods(ctx context.Context, rel release.Release, namespace string, labels map[string]string) ([]string, error) {
	var list corev1.PodList
	ns := cmp.Or(namespace, cluster.Key(rel.Name).Namespace)
	if err := e.client.List(ctx, &list, client.InNamespace(ns), client.MatchingLabels(labels), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var out []string
	for i := range list.Items {
		if p := &list.Items[i]; p.Status.PodIP != "" && p.Status.Phase == corev1.PodRunning {
			out = append(out, p.Status.PodIP)
		}
	}
	return out, nil
}

func (e *evidence) secret(ctx context.Context, ns, name, key string) (string, error) {
	var s corev1.Secret
	if err := e.client.Live(ctx, client.ObjectKey{Namespace: ns, Name: name}, &s); err != nil {
		return "", fmt.Errorf("read Secret %s/%s: %w", ns, name, err)
	}
	v, ok := s.Data[key]
	if !ok {
		return "", fmt.Errorf("Secret %s/%s has no key %s", ns, name, key)
	}
	return string(v), nil
}

// secretsFor is how long a secret is believed without asking the API again.
const secretsFor = time.Minute

// secretCache spares the API server a read for every query. What could not be
// read is asked for again the next time: it may be put right at any moment.
type secretCache struct {
	read func(ctx context.Context, ns, name, key string) (string, error)
	mu   sync.Mutex
	kept map[[3]string]keptSecret
}

type keptSecret struct {
	value string
	at    time.Time
}

func (c *secretCache) get(ns, name, key string) (string, error) {
	id := [3]string{ns, name, key}
	c.mu.Lock()
	k, ok := c.kept[id]
	c.mu.Unlock()
	if ok && time.Since(k.at) < secretsFor {
		return k.value, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	value, err := c.read(ctx, ns, name, key)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = map[[3]string]keptSecret{}
	}
	c.kept[id] = keptSecret{value: value, at: time.Now()}
	return value, nil
}
