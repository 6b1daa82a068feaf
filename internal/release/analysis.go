package release

import (
	"cmp"
	"time"
)

// Analysis says what is compared and how sure a decision must be.
type Analysis struct {
	FalseRollback  float64 // alpha: chance that a run of a good version is rolled back, over the whole run
	FalsePromotion float64 // alpha of the non-inferiority proof, for each required metric
	MinRequests    int64   // canary requests that every step needs at least
	WarmUp         time.Duration
	// PerUser: the release is sticky, so that a user is what is assigned at random
	// and counts once, however often requests of theirs fail.
	PerUser bool
	// Prometheus and Scrape are where evidence comes from on Kubernetes, by
	// preference Scrape; nil: not used.
	Prometheus *Prometheus `json:",omitempty"`
	Scrape     *Scrape     `json:",omitempty"`
	Metrics    []Metric
}

// Prometheus is a server that keeps the counters of a router.
type Prometheus struct {
	Address  string
	Series   Series
	Interval time.Duration
	Bearer   string // names a secret: secret:NAME/KEY
	User     string
	Password string // names a secret
	TLS      string // name of a Secret
}

// Scrape is Haldane's own reading of those counters.
type Scrape struct {
	Namespace string            // of the pods; empty: the release's own
	Labels    map[string]string // of the pods; none: the versions' own pods
	Addresses []string          // in place of pods
	Port      int               // of pods
	Path      string
	Series    Series
	Interval  time.Duration
}

// SeriesLayouts are the known layouts of a router's series.
var SeriesLayouts = []string{"envoy", "http", "istio", "linkerd", "nginx", "traefik"}

// Series names the counters of one version's requests: a known layout, or own
// selectors.
type Series struct {
	Layout       string
	Requests     string
	Buckets      string
	Milliseconds bool
	Failed       map[string]string
}

// MetricKind names the statistical family of a metric.
type MetricKind string

// The metric kinds.
const (
	Errors     MetricKind = "errors"     // proportion of requests that failed
	Latency    MetricKind = "latency"    // distribution of a positive amount, seconds
	Amount     MetricKind = "amount"     // distribution of any positive amount
	Proportion MetricKind = "proportion" // any other share of bad outcomes
	Rate       MetricKind = "rate"       // events for each request
	Gauge      MetricKind = "gauge"      // level sampled in time: CPU, memory
	Mean       MetricKind = "mean"       // mean of a positive amount
	Category   MetricKind = "category"   // distribution over classes
	Drift      MetricKind = "drift"      // any change of an amount's distribution
	Votes      MetricKind = "votes"      // user feedback
	Agreement  MetricKind = "agreement"  // paired shadow answers
)

// Metric is one thing that is measured.
type Metric struct {
	Name     string
	Kind     MetricKind
	Source   Source
	Required bool     // promotion needs its non-inferiority proof
	Share    float64  // of alpha, 0..1; all of a release sum to at most 1
	Margin   Margin   // how much worse is tolerated
	Limit    *Limit   // absolute limit, tested sequentially as well
	Quantile float64  // latency, amount: the quantile that promotion is proven for
	Judge    JudgedAs // what a finding does
	Harm     Harm     // rate, gauge: which direction is worse
	// Bursts is how long bad outcomes that come together do so; 0: each is by itself.
	Bursts time.Duration `json:",omitempty"`
	// Unit of its values where the source alone does not say: the currency of costs.
	Unit string `json:",omitempty"`
}

// Harm is the direction in which a metric gets worse.
type Harm string

// HarmMore is the default.
const (
	HarmMore   Harm = "more"
	HarmFewer  Harm = "fewer"
	HarmEither Harm = "either"
)

// JudgedAs is what evidence against the canary does.
type JudgedAs string

// RollBack is the default; Pause waits for a person; Watch only shows.
const (
	JudgedRollBack JudgedAs = "rollback"
	JudgedPause    JudgedAs = "pause"
	JudgedWatch    JudgedAs = "watch"
)

// Margin is how much worse the canary may be: worse than neither Ratio times
// stable's figure nor stable's figure plus Difference refutes it.
type Margin struct {
	Ratio      float64 // 1.5: half as much again; 0: none
	Difference float64 // absolute, in the metric's unit; 0: none
}

// Limit is an absolute bound, such as "< 50" or "<= 1%".
type Limit struct {
	Below bool // true: the value must stay below Value
	Value float64
}

// What Source.Pods can name.
const (
	PodRestarts = "restarts"
	PodOOMKills = "oomKills"
)

// PodCounts lists it.
func PodCounts() []string { return []string{PodRestarts, PodOOMKills} }

// Source says where a metric comes from: exactly one field, or none for what
// the router itself sees.
type Source struct {
	Prometheus string // PromQL with $version, $release, $role, $window
	Process    string // "cpu" or "memory" of the version's processes
	Pods       string // of the version's pods: one of PodCounts
	Server     ServerMetric
	LLM        Fact       // of a model's answers
	Feedback   Fact       `json:",omitempty"` // of what users said of answers
	Evaluator  *Evaluator `json:",omitempty"`
	// Response is what the router sees of every answer: "4xx" or "5xx" (share of
	// answers with such a status code), "bytes" (their size).
	Response string
}

// Unit of the values: "s", "tokens", "B" (bytes), "cores"; empty: none.
func (s Source) Unit() string {
	switch {
	case s.Process == "memory", s.Response == "bytes":
		return "B"
	case s.Process == "cpu":
		return "cores"
	case s.Server.Name != "":
		return s.Server.Unit()
	}
	fact, _ := s.Fact()
	return fact.Unit
}

// Fact is the fact that a metric is about; false: about none.
func (s Source) Fact() (FactOf, bool) { return cmp.Or(s.LLM, s.Feedback).Of() }
