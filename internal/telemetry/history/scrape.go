package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"

	"github.com/prometheus/client_golang/prometheus"
)

// Target is one instance of a version that may have metrics to scrape. Its
// labels win over labels of the same name in what it exposes, which become
// exported_release and so on: an instance cannot speak for another.
type Target struct {
	Release  string
	Version  string // ID
	Role     string // stable, canary, or empty; a change of it begins new series
	Instance string
	URL      string // of the metrics: http://127.0.0.1:4711/metrics
	Quick    bool   // scraped twice as often for now, unless it takes long to answer
}

// The jobs of the scraper.
const (
	jobOwn      = "haldane"
	jobVersions = "versions"
)

// settings of the scraper: limits on everything that an instance sends.
const settings = `
global: {scrape_interval: %[1]s, scrape_timeout: %[2]s}
scrape_configs:
- {job_name: ` + jobOwn + `, follow_redirects: false, fallback_scrape_protocol: PrometheusText0.0.4, scrape_native_histograms: true, always_scrape_classic_histograms: true}
- job_name: ` + jobVersions + `
  honor_labels: false
  honor_timestamps: false
  follow_redirects: false
  fallback_scrape_protocol: PrometheusText0.0.4
  body_size_limit: 10MB
  sample_limit: 20000
  target_limit: 500
  label_limit: 64
  label_name_length_limit: 256
  label_value_length_limit: 2048
  native_histogram_bucket_limit: 160
`

// scraper feeds the store.
type scraper struct {
	manager *scrape.Manager
	log     *slog.Logger
	rarely  time.Duration
	usual   time.Duration // between scrapes
	sparing time.Duration // of targets that are slow
	own     *inside       // nil: none
	client  *http.Client
	groups  chan map[string][]*targetgroup.Group
	kick    chan struct{}
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	targets map[string]Target    // by URL
	without map[string]time.Time // targets that have no metrics, and when they were looked at
	slow    map[string]bool      // targets that take long to answer
	against map[string]int       // looks in a row at which slow was found to be wrong
}

func newScraper(o Options, to storage.AppendableV2) (*scraper, error) {
	s := &scraper{
		log: o.Log, rarely: o.Rarely, usual: o.Interval, sparing: o.Sparing,
		client:  &http.Client{Timeout: 2 * time.Second, CheckRedirect: noRedirect},
		groups:  make(chan map[string][]*targetgroup.Group),
		kick:    make(chan struct{}, 1),
		targets: map[string]Target{}, without: map[string]time.Time{}, slow: map[string]bool{}, against: map[string]int{},
	}
	reload := min(max(o.Interval/2, 10*time.Millisecond), time.Second)
	options := &scrape.Options{DiscoveryReloadInterval: model.Duration(reload), DiscoveryReloadOnStartup: true}
	if o.Own != nil {
		s.own = serveInside(o.Own)
		options.HTTPClientOptions = []commonconfig.HTTPClientOption{commonconfig.WithDialContextFunc(s.own.dial)}
	}
	var err error
	s.manager, err = scrape.NewManager(options, quiet(o.Log), nil, nil, to, prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(settings, model.Duration(o.Interval), timeoutOf(o.Interval))
	parsed, err := config.Load(text, quiet(o.Log))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.done.Go(func() { s.run(ctx, parsed) })
	return s, nil
}

// timeoutOf is how long a scrape may take.
func timeoutOf(interval time.Duration) model.Duration {
	return model.Duration((interval * 9 / 10).Truncate(time.Millisecond))
}

// run begins to scrape and keeps the targets apart from those without metrics.
// ApplyConfig looks up the host's name, which may take time: nobody waits for it.
func (s *scraper) run(ctx context.Context, c *config.Config) {
	if err := s.manager.ApplyConfig(c); err != nil {
		s.log.Error("metrics are not scraped", "cause", err.Error())
		return
	}
	var managing sync.WaitGroup
	managing.Go(func() {
		if err := s.manager.Run(s.groups); err != nil {
			s.log.Error("scraping has ended", "cause", err.Error())
		}
	})
	defer managing.Wait()
	defer s.manager.Stop()
	tick := time.NewTicker(min(s.rarely, 2*time.Second))
	defer tick.Stop()
	for {
		select {
		case s.groups <- s.list():
		case <-ctx.Done():
			return
		}
		for changed := false; !changed; {
			select {
			case <-ctx.Done():
				return
			case <-s.kick:
				changed = true
			case <-tick.C:
				changed = s.sort(ctx)
			}
		}
	}
}

func (s *scraper) close() {
	s.cancel()
	s.done.Wait()
	s.client.CloseIdleConnections()
	if s.own != nil {
		s.own.close()
	}
}

func (s *scraper) set(targets []Target) {
	s.mu.Lock()
	next := make(map[string]Target, len(targets))
	for _, t := range targets {
		next[t.URL] = t
	}
	changed := !maps.Equal(next, s.targets)
	s.targets = next
	maps.DeleteFunc(s.without, func(u string, _ time.Time) bool { _, ok := next[u]; return !ok })
	maps.DeleteFunc(s.slow, func(u string, _ bool) bool { _, ok := next[u]; return !ok })
	maps.DeleteFunc(s.against, func(u string, _ int) bool { _, ok := next[u]; return !ok })
	s.mu.Unlock()
	if changed {
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

// list gives the targets that are scraped.
func (s *scraper) list() map[string][]*targetgroup.Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]*targetgroup.Group{jobVersions: nil}
	if s.own != nil {
		out[jobOwn] = []*targetgroup.Group{{Source: jobOwn, Targets: []model.LabelSet{{
			model.AddressLabel: insideAddress, model.InstanceLabel: jobOwn,
		}}}}
	}
	for _, u := range slices.Sorted(maps.Keys(s.targets)) {
		if _, none := s.without[u]; none {
			continue
		}
		set, err := s.targets[u].labels()
		if err != nil {
			s.log.Warn("a version's metrics are not scraped", "url", u, "cause", err.Error())
			continue
		}
		if every := s.every(u); every != s.usual {
			set[model.ScrapeIntervalLabel] = model.LabelValue(model.Duration(every).String())
			set[model.ScrapeTimeoutLabel] = model.LabelValue(timeoutOf(every).String())
		}
		out[jobVersions] = append(out[jobVersions], &targetgroup.Group{Source: u, Targets: []model.LabelSet{set}})
	}
	return out
}

// every is how often a target is scraped.
func (s *scraper) every(u string) time.Duration {
	switch {
	case s.slow[u]:
		return s.sparing
	case s.targets[u].Quick:
		return s.usual / 2
	}
	return s.usual
}

func (t Target) labels() (model.LabelSet, error) {
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("expected http://host:port/path or https://host:port/path")
	}
	return model.LabelSet{
		model.AddressLabel: model.LabelValue(u.Host), model.SchemeLabel: model.LabelValue(u.Scheme),
		model.MetricsPathLabel: model.LabelValue(u.Path), model.InstanceLabel: model.LabelValue(t.Instance),
		"release": model.LabelValue(t.Release), "version": model.LabelValue(t.Version), "role": model.LabelValue(t.Role),
	}, nil
}

// shareOfTime is the part of a target's time, one in so many, that scraping may
// take: longer, and it is scraped less often.
const shareOfTime = 5

// looks in a row are needed to call a target slow, or no longer so: on a busy
// machine any scrape may take long.
const looks = 3

// spare notes how long the last scrape of a target took, and reports whether it is
// spared from now on, or no longer.
func (s *scraper) spare(u string, took time.Duration, err error) (changed bool) {
	if s.sparing <= s.usual {
		return false
	}
	most := s.usual / shareOfTime
	ended := errors.Is(err, context.DeadlineExceeded) && took >= time.Duration(timeoutOf(s.usual))
	if wrong := !s.slow[u] && (took > most || ended) || s.slow[u] && took > 0 && took < most/2 && err == nil; !wrong {
		s.against[u] = 0
		return false
	}
	if s.against[u]++; s.against[u] < looks && !ended {
		return false
	}
	s.slow[u], s.against[u] = !s.slow[u], 0
	return true
}

// sort moves targets that answered with something that is no metrics out of
// the scraped ones, looks again at those moved long ago, and spares those that take
// long. It reports whether anything changed.
func (s *scraper) sort(ctx context.Context) (changed bool) {
	for _, t := range s.manager.TargetsActive()[jobVersions] {
		u, err := t.URL().String(), t.LastError()
		s.mu.Lock()
		_, known := s.targets[u]
		if known && hasNone(err) {
			s.without[u], changed = time.Now(), true
		}
		if known && s.spare(u, t.LastScrapeDuration(), err) {
			changed = true
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	var again []string
	for u, at := range s.without {
		if time.Since(at) >= s.rarely {
			again = append(again, u)
		}
	}
	s.mu.Unlock()
	for _, u := range again {
		found := s.found(ctx, u)
		s.mu.Lock()
		if found {
			delete(s.without, u)
			changed = true
		} else if _, still := s.without[u]; still {
			s.without[u] = time.Now()
		}
		s.mu.Unlock()
	}
	return changed
}

// hasNone reports whether a scrape ended with an answer that shows that there
// are no metrics, rather than with no answer.
func hasNone(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "server returned HTTP status") || strings.Contains(text, "Content-Type") ||
		strings.Contains(text, "malformed HTTP")
}

// found looks whether a target has metrics by now.
func (s *scraper) found(ctx context.Context, u string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return false
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK && !strings.Contains(resp.Header.Get("Content-Type"), "html")
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// errClosed is what a dial inside gives after the end.
var errClosed = errors.New("the store is closed")

// plain dials targets that are not inside.
var plain = net.Dialer{Timeout: 2 * time.Second}
