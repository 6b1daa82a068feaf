package scraped

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry/history"
)

// prometheusAPI answers queries as a Prometheus server does.
type prometheusAPI interface{ QueryHandler() http.Handler }

// scraping is what is scraped for one run.
type scraping struct {
	rel     release.Release
	roles   map[release.VersionID]string
	targets []history.Target // sorted by URL
	pace    pace
}

// Seen tells which instances of a release answer, after every pass.
func (p *Provider) Seen(rel release.Release, backends []release.Backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.open[rel.Name]
	if s := rel.Analysis.Scrape; x == nil || s == nil || len(s.Labels)+len(s.Addresses) > 0 {
		return
	}
	var list []history.Target
	for _, b := range backends {
		for _, a := range b.Addresses {
			if u, err := url.Parse(a); err == nil && x.roles[b.Version] != "" {
				list = append(list, x.target(x.port(u.Hostname()), string(b.Version), x.roles[b.Version]))
			}
		}
	}
	p.set(x, list)
}

// refresh looks for the router's pods.
func (p *Provider) refresh(ctx context.Context, x *scraping) error {
	s := x.rel.Analysis.Scrape
	at := s.Addresses
	if len(s.Labels) > 0 {
		ips, err := p.options.Pods(ctx, x.rel, s.Namespace, s.Labels)
		if err != nil {
			return err
		}
		for _, ip := range ips {
			at = append(at, x.port(ip))
		}
	} else if len(at) == 0 {
		return nil // the versions' own pods are told by Seen
	}
	list := make([]history.Target, 0, len(at))
	for _, a := range at {
		list = append(list, x.target(a, "", "")) // its series name the versions' Services
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(x, list)
	return nil
}

func (x *scraping) port(ip string) string {
	return net.JoinHostPort(ip, strconv.Itoa(x.rel.Analysis.Scrape.Port))
}

func (x *scraping) target(at, version, role string) history.Target {
	t := history.Target{Version: version, Role: role, Instance: at, URL: fmt.Sprintf("http://%s%s", at, x.rel.Analysis.Scrape.Path)}
	if version != "" {
		t.Release = x.rel.Name
	}
	return t
}

func (p *Provider) set(x *scraping, list []history.Target) {
	slices.SortFunc(list, func(a, b history.Target) int { return cmp.Compare(a.URL, b.URL) })
	if slices.Equal(list, x.targets) {
		return
	}
	x.targets = list
	p.options.Store.SetTargets(p.targets())
}

// targets are those of all runs; what two of them want is scraped once, and
// quickly where one of them wants that.
func (p *Provider) targets() []history.Target {
	seen := map[string]int{} // where they are in all
	var all []history.Target
	for _, x := range p.open {
		for _, t := range x.targets {
			i, known := seen[t.URL]
			if !known {
				i = len(all)
				seen[t.URL] = i
				all = append(all, t)
			}
			all[i].Quick = all[i].Quick || x.pace.quick
		}
	}
	slices.SortFunc(all, func(a, b history.Target) int { return cmp.Compare(a.URL, b.URL) })
	return all
}
