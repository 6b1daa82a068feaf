package telemetry

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/haldane-project/haldane/internal/release"
)

// Registry returns Haldane's own metrics: what the Recorder counts, the Go
// runtime and Haldane's own process. Others may register theirs in it. The
// version is that of the Haldane binary.
func (r *Recorder) Registry(version string) *prometheus.Registry {
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "haldane_build_info",
		Help:        "Always 1; the labels say which Haldane this is.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
	reg := prometheus.NewRegistry()
	reg.MustRegister(build, collector{r}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// Handler serves metrics in the Prometheus formats.
func Handler(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: 8,
		Timeout:             10 * time.Second,
		ErrorHandling:       promhttp.ContinueOnError,
	})
}

// collector turns the Recorder's counts into metrics at each scrape, so that a
// version that is forgotten has no series from then on.
//
// Versions are told apart by their ID; haldane_version_info has their names. The
// role is not a label of counters: it changes while a version lives, and each
// change would begin a new series.
type collector struct{ r *Recorder }

var byVersion = []string{"release", "version"}

func describe(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("haldane_"+name, help, append(byVersion[:2:2], more...), nil)
}

var (
	descInfo      = describe("version_info", "Always 1; the labels name the version and its role in the current run.", "name", "role")
	descRequests  = describe("requests_total", "Requests by class of status code (none: no answer) and outcome. Mirrored copies are not in it.", "code", "outcome")
	descMirrored  = describe("mirrored_requests_total", "Copies of requests whose answers were not used.", "outcome")
	descShielded  = describe("shielded_requests_total", "Failures that users did not see, because stable answered.")
	descDuration  = describe("request_duration_seconds", "Time to the end of the answer.")
	descFirstByte = describe("first_byte_seconds", "Time to the first byte of the answer.")
	descReceived  = describe("request_bytes_total", "Bytes of request bodies.")
	descSent      = describe("response_bytes_total", "Bytes of response bodies.")
	descInFlight  = describe("requests_in_flight", "Requests that are being answered.")
	descCPU       = describe("process_cpu_seconds_total", "CPU time of a version's process.", "instance")
	descMemory    = describe("process_resident_memory_bytes", "Resident memory of a version's process.", "instance")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descInfo, descRequests, descMirrored, descShielded, descDuration, descFirstByte,
		descReceived, descSent, descInFlight, descCPU, descMemory,
		descGenDuration, descGenFirstToken, descGenPerToken, descGenTokens, descUnread, descUnfit, descRefused,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for k, s := range *c.r.series.Load() {
		var t tally
		s.read(&t)
		collectTally(ch, k, &t, c.r.born)
		collectGenAI(ch, k, s.readGenAI())
		s.collectUnread(ch, k)
	}
	c.r.ledgers.collect(ch)
	c.r.mu.Lock()
	inFlight, before := c.r.sources.inFlight, c.r.sources.before
	for k, l := range c.r.names {
		ch <- constant(descInfo, prometheus.GaugeValue, 1, k, l.Name, l.Role)
	}
	c.r.mu.Unlock()
	for i, u := range before {
		ch <- constant(descCPU, prometheus.CounterValue, u.CPUSeconds, i.key, i.name)
		ch <- constant(descMemory, prometheus.GaugeValue, u.Memory, i.key, i.name)
	}
	if inFlight == nil {
		return
	}
	for _, x := range inFlight() {
		ch <- constant(descInFlight, prometheus.GaugeValue, float64(x.Count), key{x.Release, x.Version})
	}
}

var (
	classNames   = [classes]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}
	outcomeNames = [outcomes]string{release.OK: "ok", release.Failed: "failed", release.ClientFault: "client_fault"}
)

func collectTally(ch chan<- prometheus.Metric, k key, t *tally, born time.Time) {
	count := func(d *prometheus.Desc, n int64, more ...string) {
		ch <- constant(d, prometheus.CounterValue, float64(n), k, more...)
	}
	for class, name := range classNames {
		for outcome, n := range t.codes[class] {
			if n > 0 {
				count(descRequests, n, name, outcomeNames[outcome])
			}
		}
	}
	for outcome, n := range t.mirrored {
		if n > 0 {
			count(descMirrored, n, outcomeNames[outcome])
		}
	}
	count(descShielded, t.shielded)
	count(descReceived, t.inBytes)
	count(descSent, t.outBytes)
	t.ok.merge(&t.other)
	ch <- newDistribution(descDuration, &t.ok, k, born)
	ch <- newDistribution(descFirstByte, &t.firstByte, k, born)
}

func constant(d *prometheus.Desc, t prometheus.ValueType, v float64, k key, more ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, t, v, append([]string{k.release, string(k.version)}, more...)...)
}

// Loss is what was to be done for a release and was not, as a counter.
type Loss struct {
	Release string
	Reason  string
	Count   int64
}

// losses asks for the counters of one kind of loss at each scrape.
type losses struct {
	desc *prometheus.Desc
	ask  func() []Loss
}

// Losses makes the counters haldane_NAME_total of what ask tells.
func Losses(name, help string, ask func() []Loss) prometheus.Collector {
	return losses{describeLoss(name, help), ask}
}

func describeLoss(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("haldane_"+name+"_total", help, []string{"release", "reason"}, nil)
}

// Describe implements prometheus.Collector.
func (l losses) Describe(ch chan<- *prometheus.Desc) { ch <- l.desc }

// Collect implements prometheus.Collector.
func (l losses) Collect(ch chan<- prometheus.Metric) {
	for _, x := range l.ask() {
		ch <- x.metric(l.desc)
	}
}

func (x Loss) metric(d *prometheus.Desc) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(x.Count), x.Release, x.Reason)
}
