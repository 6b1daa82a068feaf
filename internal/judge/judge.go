package judge

// Kind names a family of tests.
type Kind string

// The kinds of metrics.
const (
	Proportion Kind = "proportion" // bad outcomes among units
	Latency    Kind = "latency"    // positive amounts by histogram, 2 % bins, margins on quantiles
	Amount     Kind = "amount"     // the same with 5 % bins
	Rate       Kind = "rate"       // events, bet on which version they came from
	Mean       Kind = "mean"       // mean of a positive amount, cut far above what stable has
	Gauge      Kind = "gauge"      // autocorrelated level
	Category   Kind = "category"   // classes: any change of their shares
	Drift      Kind = "drift"      // a positive amount: any change of its distribution
	Agreement  Kind = "agreement"  // paired shadow answers
	ShareCheck Kind = "share"      // does the canary get the share that was asked for?
)

// Harm says which direction of a rate or gauge is worse.
type Harm string

// The directions; the empty one is More.
const (
	More   Harm = "more"
	Fewer  Harm = "fewer"
	Either Harm = "either"
)

// Verdict is what the evidence allows to say.
type Verdict string

// The verdicts. No data is Inconclusive with a reason, never Pass.
const (
	Inconclusive Verdict = "Inconclusive"
	Pass         Verdict = "Pass"
	Fail         Verdict = "Fail"
)

// Policy is what one run is judged by. It does not change during the run.
type Policy struct {
	Alpha        float64   // chance that a good version is ever failed, over the whole run and all metrics
	AlphaPromote float64   // of each required metric's non-inferiority proof
	Horizon      float64   // seconds over which late starts of a regression are expected; 1800
	Looseness    []float64 // the multiples of the margins that proofs are kept for, each >= 1
	Metrics      []Metric
}

// Metric is one e-process of a run.
type Metric struct {
	Name       string
	Kind       Kind
	Share      float64 // of Alpha; shares sum to at most 1
	Required   bool    // Pass needs its proof
	Ratio      float64 // margin: tolerated ratio, > 1; 0: none
	Difference float64 // margin: tolerated difference; 0: none
	Quantile   float64 // latency, amount: which quantile the margin is for
	LimitBelow bool
	Limit      float64 // absolute limit; NaN: none
	// Tolerate is the ratio to stable that never fails the run: evidence is
	// kept against "at most Tolerate times". 0 or 1: any worsening counts.
	Tolerate float64
	// Most is the largest value that there can be (mean); 0: not known, so that
	// values are cut at stable's p99.9, and not below four times its mean.
	Most float64
	Harm Harm // rate, gauge: which direction is worse
	// Interval > 0 also keeps, for proportions and rates, the bet on the
	// canary's share of the bad units of each interval of so many seconds: it
	// holds for users who fail in bursts. Clustered says it counts from the
	// start; otherwise HeedPlacebo switches to it.
	Interval  float64
	Clustered bool
	// Bounds are the upper bounds of the histogram that the values come from,
	// ascending, without +Inf; empty: values were counted in bins one by one.
	Bounds []float64
	// Guard > 0 asks for a pause when both versions together get worse than
	// Guard times stable's history: a canary that hurts what they share hides
	// from every comparison. Of latencies and amounts the 90th percentile is
	// guarded. Proportions, rates, latencies and amounts have one.
	Guard float64
	// PerUnit says that users keep their version, so that a user (session,
	// trace) is the unit that was drawn, not a request. Evidence against a
	// proportion is then the first bad outcome of each unit (Side.Firsts); its
	// proof takes every bad outcome of the canary, and each of stable's units
	// once a batch (Side.Units). A share check counts units.
	PerUnit bool
	// Unit of the values of amounts, means and drift: "s", "tokens"; empty: none.
	Unit string
	// Split says that the values are what users send, not what a version does: a
	// finding accuses how requests are divided.
	Split bool
	Watch bool // never fails the run: its findings are reported only
	Pause bool // its findings ask for a pause instead of a rollback
}

// Batch is what was seen of one metric, for both versions, in one interval.
//
// Share > 0 is the routing mode: every unit was sent to the canary with exactly
// that probability, decided before its outcome was known; then a batch may end
// anywhere. Share == 0 is the counts mode: the shares are those of the batch,
// whose end must not depend on outcomes.
type Batch struct {
	At     float64 // seconds since the run began, end of the interval; never decreases
	Share  float64
	Canary Side
	Stable Side
	// Names are those of the classes (category), for people.
	Names []string
	// Slack is the ratio of the odds to be sent to the canary by which a router may be
	// off for good reasons (share check); 0: none, Share is exact.
	Slack float64
}

// Side is one version's part of a batch; which fields count depends on the kind.
type Side struct {
	N   int64 // proportion, rate: units seen
	Bad int64 // proportion: bad units; rate: events; agreement: pairs that this version won
	// Units had a bad outcome in the batch, Firsts of them for the first time in
	// the run (proportion with PerUnit).
	Units, Firsts int64
	// Bins counts values by bin (latency, amount, mean, drift), sorted by bin,
	// each bin once. BinOf gives the bin of a value.
	Bins    []BinCount
	Value   float64 // gauge; NaN: not known
	Classes []int64 // category
}

// BinCount is the number of values in one bin of a logarithmic scale.
type BinCount struct {
	Bin   int32
	Count int64
}

// History is what stable did before the run, the learner's start. The zero
// value is no history: valid, but slower.
type History struct {
	N, Bad int64
	Bins   []BinCount
	// Seconds are the Bins of each of its last seconds, oldest first, at most the
	// last 64: how far values come in clumps (latency, amount). None: not known.
	Seconds [][]BinCount
	// Bounds are those of the histogram that Bins come from, for Metric.Bounds;
	// none: the values were exact.
	Bounds  []float64
	Values  []float64 // gauge samples, oldest first
	Classes []int64   // category
}

// Report is what people, web, CLI, API and notifications read.
type Report struct {
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason"` // one sentence
	// LogE is the combined evidence against the canary in nats, and Threshold
	// what it must reach to fail the run.
	LogE      float64  `json:"logE"`
	Threshold float64  `json:"threshold"`
	Blame     []string `json:"blame,omitempty"` // metrics that are to blame for a Fail
	Pause     string   `json:"pause,omitempty"` // why a person should look; empty: no need
	// Doubt says which metric speaks so much against the canary that it is to get no
	// more traffic yet, though too little to fail it; empty: none.
	Doubt   string         `json:"doubt,omitempty"`
	Canary  int64          `json:"canaryRequests"`
	Stable  int64          `json:"stableRequests"`
	At      float64        `json:"at"` // seconds since the run began, newest evidence
	Metrics []MetricReport `json:"metrics"`
	// Division says whether the canary got the share that was asked for
	// (ShareCheck), with the share asked for as Stable.Value; nil: not known.
	Division *MetricReport `json:"division,omitempty"`
	// Placebo is what the placebo beside the run found; nil: there is none.
	Placebo *PlaceboReport `json:"placebo,omitempty"`
	// Caveats are what could mislead who reads the rest, in sentences. The judge
	// knows none: who brings the evidence does.
	Caveats []string `json:"caveats,omitempty"`
	// MoreRequests and MoreSeconds are what the required metric that needs longest
	// still needs to its proof; nil: cannot be said, or nothing is needed.
	MoreRequests *float64 `json:"moreRequests,omitempty"`
	MoreSeconds  *float64 `json:"moreSeconds,omitempty"`
}

// MetricReport is one metric's part of a report. Intervals are always valid:
// they hold at every look at once. NaN and infinities never appear: what is
// unknown is nil.
type MetricReport struct {
	Name      string     `json:"name"`
	Kind      Kind       `json:"kind"`
	Verdict   Verdict    `json:"verdict"`
	Reason    string     `json:"reason"`
	Required  bool       `json:"required"`
	Unit      string     `json:"unit,omitempty"` // "" for shares, "s" for seconds
	Stable    SideReport `json:"stable"`
	Canary    SideReport `json:"canary"`
	Ratio     *Interval  `json:"ratio,omitempty"`      // canary / stable
	Diff      *Interval  `json:"difference,omitempty"` // canary - stable
	LogE      float64    `json:"logE"`                 // against the canary
	Threshold float64    `json:"threshold"`            // of LogE, with this metric's share of alpha
	// LogProof is the evidence that the canary is within the margin, and
	// ProofThreshold what it must reach.
	LogProof       float64  `json:"logProof"`
	ProofThreshold float64  `json:"proofThreshold"`
	Limit          *float64 `json:"limit,omitempty"` // absolute
	// Due is how many units the canary was to have, by the shares at which they were
	// drawn (routing mode); 0: not known.
	Due float64 `json:"due,omitempty"`
	// Shared is set when both versions are much worse than before the run.
	Shared       string   `json:"shared,omitempty"`
	Margin       string   `json:"margin,omitempty"`       // in words: "at most 1.5 times"
	MoreRequests *float64 `json:"moreRequests,omitempty"` // canary requests (samples, pairs) still expected to the proof
	MoreSeconds  *float64 `json:"moreSeconds,omitempty"`  // what they take at the pace so far
	// Coarse says why the histogram that the values come from can not prove the
	// margin, however many there are; empty: it can.
	Coarse string `json:"coarse,omitempty"`
	// Quantiles sets the quantiles of latencies and amounts side by side.
	Quantiles []QuantileReport `json:"quantiles,omitempty"`
	// Cut is the value above which all count as the cut in the figures of a mean.
	Cut *float64 `json:"cut,omitempty"`
	// Class is the one whose share is Value, for categories: of all the classes
	// the one whose share differs most. Drift has 16, by stable's quantiles.
	Class     *int   `json:"class,omitempty"`
	ClassName string `json:"className,omitempty"` // where it has one
}

// SideReport is what one version did. Value is the rate, the quantile of the
// margin, the mean or the level, by kind, between Low and High.
type SideReport struct {
	N         int64      `json:"n"`
	Bad       int64      `json:"bad,omitempty"`
	Value     *float64   `json:"value,omitempty"`
	Low       *float64   `json:"low,omitempty"`
	High      *float64   `json:"high,omitempty"`
	Mean      *float64   `json:"mean,omitempty"`
	Quantiles []Quantile `json:"quantiles,omitempty"`
}

// Quantile is one point of a distribution.
type Quantile struct {
	Q     float64  `json:"q"`
	Value float64  `json:"value"`
	Low   *float64 `json:"low,omitempty"`
	High  *float64 `json:"high,omitempty"`
}

// QuantileReport compares one quantile of both versions. LogE is the evidence
// that they differ (two-arm process of Howard and Ramdas 2022), for information:
// it decides nothing.
type QuantileReport struct {
	Q     float64   `json:"q"`
	Ratio *Interval `json:"ratio,omitempty"`
	Diff  *Interval `json:"difference,omitempty"`
	LogE  float64   `json:"logE"`
}

// Interval is an estimate with an always-valid interval; an open end is nil.
type Interval struct {
	Value *float64 `json:"value,omitempty"`
	Low   *float64 `json:"low,omitempty"`
	High  *float64 `json:"high,omitempty"`
}
