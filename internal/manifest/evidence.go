package manifest

import (
	"fmt"
	"net/url"
	"regexp"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

const (
	defaultPrometheusInterval = time.Second
	defaultScrapeInterval     = 100 * time.Millisecond
	defaultMetricsPath        = "/metrics"
)

func (c *checker) prometheus(path string, s *v1alpha1.PrometheusSpec) *release.Prometheus {
	if s == nil {
		return nil
	}
	if u, err := url.Parse(s.Address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		c.add(path+".address", "write http://prometheus.monitoring:9090", "%s is not the address of a server", printable(s.Address))
	} else if u.User != nil {
		c.add(path+".address", "name the credentials in basic or bearer", "credentials in an address are shown and logged")
	}
	p := &release.Prometheus{
		Address: s.Address, Series: c.series(path, s.Layout, s.Series), TLS: s.TLS,
		Interval: c.interval(path+".interval", c.duration(path+".interval", s.Interval, defaultPrometheusInterval, false)),
	}
	if s.TLS != "" {
		c.object(path+".tls", s.TLS, "a Secret")
	}
	if s.Bearer != nil && s.Basic != nil {
		c.add(path+".basic", "keep one of them", "stands beside bearer")
	}
	if s.Bearer != nil {
		p.Bearer = c.secretKey(path+".bearer", *s.Bearer)
	}
	if s.Basic != nil {
		c.text(path+".basic.user", s.Basic.User, "a user name")
		p.User, p.Password = s.Basic.User, c.secretKey(path+".basic.password", s.Basic.Password)
	}
	return p
}

func (c *checker) scrape(path string, s *v1alpha1.ScrapeSpec) *release.Scrape {
	if s == nil {
		return nil
	}
	o := &release.Scrape{
		Port: int(s.Port), Path: s.Path, Series: c.series(path, s.Layout, s.Series),
		Interval: c.interval(path+".interval", c.duration(path+".interval", s.Interval, defaultScrapeInterval, false)),
	}
	c.atMost(path+".addresses", len(s.Addresses), 16)
	for i, a := range s.Addresses {
		c.hostPort(fmt.Sprintf("%s.addresses[%d]", path, i), a, "host:port", false)
		o.Addresses = append(o.Addresses, a)
	}
	switch {
	case len(s.Addresses) > 0 && (s.Pods != nil || s.Port != 0):
		c.add(path+".addresses", "keep one of them", "stands beside pods or port")
	case len(s.Addresses) == 0 && (s.Port < 1 || s.Port > 65535):
		c.add(path+".port", "", "is %d; expected 1 to 65535", s.Port)
	}
	if o.Path == "" {
		o.Path = defaultMetricsPath
	}
	c.urlPath(path+".path", o.Path, false)
	if s.Pods != nil {
		o.Namespace, o.Labels = s.Pods.Namespace, s.Pods.Labels
		if o.Namespace != "" {
			c.name(path+".pods.namespace", o.Namespace, "a namespace")
		}
		if len(o.Labels) == 0 {
			c.add(path+".pods.labels", "", "is empty; expected labels of the router's pods, such as {app: traefik}")
		}
	}
	return o
}

// interval bounds how often somebody else's server is asked.
func (c *checker) interval(path string, d time.Duration) time.Duration {
	if d > 0 && d < 100*time.Millisecond || d > 5*time.Minute {
		c.add(path, "", "is %s; expected 100ms to 5m", d)
	}
	return d
}

func (c *checker) secretKey(path string, s v1alpha1.SecretKeySpec) string {
	c.object(path+".secret", s.Secret, "a Secret")
	c.text(path+".key", s.Key, "a key")
	return "secret:" + s.Secret + "/" + s.Key
}

func (c *checker) series(path, layout string, s *v1alpha1.SeriesSpec) release.Series {
	if s == nil {
		if layout != "" {
			word(c, path+".layout", layout, "", release.SeriesLayouts...)
		}
		return release.Series{Layout: layout}
	}
	if layout != "" {
		c.add(path+".layout", "keep one of them", "stands beside series")
	}
	c.text(path+".series.requests", s.Requests, "a selector of series")
	if len(s.Failed) == 0 {
		c.add(path+".series.failed", "", `is empty; expected what marks failed requests, such as {code: "5.."}`)
	}
	for label, values := range s.Failed {
		if _, err := regexp.Compile(values); err != nil {
			c.add(path+".series.failed."+label, "", "%s is not a regular expression: %v", printable(values), err)
		}
	}
	return release.Series{Requests: s.Requests, Buckets: s.Buckets, Milliseconds: s.Milliseconds, Failed: s.Failed}
}
