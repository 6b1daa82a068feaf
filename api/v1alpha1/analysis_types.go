package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// AnalysisSpec says what is compared and how sure a decision must be.
type AnalysisSpec struct {
	// FalseRollback is the chance that a good version is rolled back, over the
	// whole run and all metrics. Default: "1%".
	// +optional
	FalseRollback *intstr.IntOrString `json:"falseRollback,omitempty"`
	// FalsePromotion is the chance that a version at the margin is promoted,
	// for each required metric. Default: "5%".
	// +optional
	FalsePromotion *intstr.IntOrString `json:"falsePromotion,omitempty"`
	// MinRequests is how many requests the new version must have answered in
	// every step. Default: 50.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MinRequests *int64 `json:"minRequests,omitempty"`
	// WarmUp is the time after the first request of a version in which its
	// requests are not judged. Default: 0s.
	// +optional
	WarmUp *metav1.Duration `json:"warmUp,omitempty"`
	// Prometheus is a server whose series count the requests of each version: the
	// evidence on Kubernetes, where Haldane's own proxy is not in the way.
	// +optional
	Prometheus *PrometheusSpec `json:"prometheus,omitempty"`
	// Scrape reads those series without a Prometheus server, faster. With both,
	// prometheus takes over while scraping gives nothing.
	// +optional
	Scrape *ScrapeSpec `json:"scrape,omitempty"`
	// Preset is a list of metrics for an AI release, read from models' answers
	// (traffic.embedded.model): llm (errors; time-to-first-token,
	// time-per-output-token, output-tokens; refusal, invalid, empty, repeated and
	// truncated answers; finish-reason and language; input-length) or classifier
	// (errors, latency, not-a-number, class, score; input-mean). Metrics of the same
	// name below stand in their place, others are added.
	// +kubebuilder:validation:Enum=llm;classifier
	// +optional
	Preset string `json:"preset,omitempty"`
	// Metrics that are compared. Where the embedded proxy copies requests
	// (strategy.shadow, or mirror in a step), answers, of kind agreement, is a
	// third one by default. Of the default latency a promotion needs the proof only
	// where Haldane's own proxy measures it, since the bounds of routers' histograms
	// (prometheus, scrape) are mostly too far apart for one. Default: errors and
	// latency.
	// +kubebuilder:validation:MaxItems=50
	// +optional
	Metrics []MetricSpec `json:"metrics,omitempty"`
}

// MetricSpec is one thing that is measured.
type MetricSpec struct {
	// Name of the metric, unique in the release.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// Kind: errors (share of failed requests), latency (time to the end of the
	// answer), amount (any positive amount), proportion (any other share of bad
	// outcomes), rate (throughput: answered requests, for each that was sent), gauge
	// (a level such as CPU or memory), mean (of a positive amount; values above
	// stable's p99.9 and four times its mean are cut off), category (shares of classes: any change), drift (distribution
	// of an amount: any change), agreement (answers to copies of one request: which
	// version's is nearer to the answer that the user got), votes (users' votes: share
	// that are down).
	// +kubebuilder:validation:Enum=errors;latency;amount;proportion;rate;gauge;mean;category;drift;agreement;votes
	Kind string `json:"kind"`
	// Source of the values. Default: the proxy, for errors, latency and rate, and
	// the mirror's answers for agreement; every other kind needs one, and so does a
	// rate that is read from the counters of another router.
	// +optional
	Source *SourceSpec `json:"source,omitempty"`
	// Margin is how much worse is tolerated: "10%" of stable's figure, or for
	// errors and proportions an absolute share with a plus sign ("+0.1%"). Both
	// may be given: "50% or +0.1%", which only what is worse than both exceeds.
	// Default: "50% or +0.1%" for errors and proportions, "+5%" of the compared
	// requests for agreement, "20%" for others.
	// +kubebuilder:validation:Pattern=`^\s*\+?\s*\d{1,4}(\.\d{1,6})?\s?%(\s+or\s+\+?\s*\d{1,4}(\.\d{1,6})?\s?%)?\s*$`
	// +optional
	Margin string `json:"margin,omitempty"`
	// Limit is an absolute bound: "< 50", "<= 1%", "< 300ms", "< 2GiB". Default: none.
	// +kubebuilder:validation:Pattern=`^\s*(<=|>=|<|>)\s*-?\d+(\.\d+)?([eE][-+]?\d{1,2})?\s*[A-Za-zµ%]*\s*$`
	// +optional
	Limit string `json:"limit,omitempty"`
	// Quantile that the margin of a latency or an amount is for. A higher one
	// takes many more requests to prove; harm in the tail is looked for whatever
	// it says. Default: "90%".
	// +optional
	Quantile *intstr.IntOrString `json:"quantile,omitempty"`
	// Harm is the direction in which a rate or a gauge gets worse: more, fewer or
	// either (rate only). Default: fewer for a rate, more for a gauge, for a rate
	// that a model server counts and for answers that users regenerate.
	// +kubebuilder:validation:Enum=more;fewer;either
	// +optional
	Harm string `json:"harm,omitempty"`
	// Bursts says that bad outcomes come in bursts of about this long, such as those
	// of users whom a router other than Haldane's keeps with one version, by a cookie
	// or a long connection: each such interval then counts as one event ("1s" to
	// "10m"). Of errors, proportions, votes and rates. Default: none, each request
	// counts; where traffic.embedded.sticky is set, each user.
	// +optional
	Bursts *metav1.Duration `json:"bursts,omitempty"`
	// Required says whether promotion needs this metric's proof. Default: true
	// for errors and latency, unless they are only watched.
	// +optional
	Required *bool `json:"required,omitempty"`
	// OnFail is what evidence against the new version does: rollback, pause or
	// watch (only shown). Default: rollback for errors, latency, and what amounts,
	// means, proportions and rates say of models' answers (source.llm), their
	// servers (source.server) and pods (source.pods); pause for others.
	// +kubebuilder:validation:Enum=rollback;pause;watch
	// +optional
	OnFail string `json:"onFail,omitempty"`
	// Share of falseRollback that this metric may spend; all of them sum to at
	// most 100 %. Default: of what is left, half for errors and half in equal
	// parts for the others.
	// +optional
	Share *intstr.IntOrString `json:"share,omitempty"`
}

// SourceSpec says where values come from: exactly one field.
//
// +kubebuilder:validation:ExactlyOneOf=prometheus;process;pods;server;response;llm;feedback;evaluator
type SourceSpec struct {
	// Prometheus is a query; $version, $release and $role stand for the version
	// asked about, and on Kubernetes $namespace, $service and $pods, a regular
	// expression: where a server scrapes the pods, pod=~"$pods" selects the
	// version's, since it knows no version="$version". Of kind gauge it is any PromQL that gives one number. Other
	// kinds count sample by sample, with resets and gaps seen: latency, amount,
	// mean and drift take the plain selector of a histogram's buckets
	// (x_seconds_bucket{version="$version"}; for a latency the name says the unit),
	// errors, proportion and rate two counters, events / all
	// (failed_total{version="$version"} / requests_total{version="$version"}).
	// +optional
	Prometheus string `json:"prometheus,omitempty"`
	// Process is cpu (cores) or memory (bytes) of the version's processes; on
	// Kubernetes the mean of its pods, from metrics.k8s.io.
	// +kubebuilder:validation:Enum=cpu;memory
	// +optional
	Process string `json:"process,omitempty"`
	// Pods is restarts or oomKills of the version's pods on Kubernetes: the share
	// of the seconds of its pods in which a container was started again, or was
	// killed for want of memory (kind proportion). Give it a limit, such as "<= 0.1%",
	// one in 1000 seconds of a pod: a few are enough to fail a version then, where it
	// takes many more of them beside stable's alone.
	// +kubebuilder:validation:Enum=restarts;oomKills
	// +optional
	Pods string `json:"pods,omitempty"`
	// Server is a metric that a model server exports of itself, by a word in place
	// of the name, which differs by server and by its version. Which of its known
	// names the server has is looked up when the run begins, for each version by
	// itself; where it has none of them the run waits, and says what it has. Values of
	// a histogram are known as exactly as its buckets are narrow, so only a wider
	// margin can be proven: vLLM's are up to a factor of 2.5 apart (margin: 150%).
	// +optional
	Server *ServerMetricSpec `json:"server,omitempty"`
	// Response is what the proxy sees of every answer: 4xx or 5xx, the share of
	// answers with such a status code (kind proportion), or bytes, their size
	// (kind amount).
	// +kubebuilder:validation:Enum="4xx";"5xx";bytes
	// +optional
	Response string `json:"response,omitempty"`
	// LLM is a fact that the proxy reads from models' answers
	// (traffic.embedded.model). An answer that does not tell it does not count, nor
	// one of a failed request; where users keep their version, each counts once.
	//
	// Tokens are those that the server counts; of streams that do not say, the
	// chunks, and no input (traffic.embedded.model.usage asks for them).
	//
	// Of kind amount, mean or drift, and standardised to stable's mix of input
	// lengths: timeToFirstToken (s, of streams), timePerOutputToken (s, mean after
	// the first, of streams), gap (s, the longest between two tokens of a stream),
	// outputTokens, reasoningTokens, outputCharacters, cost (in the currency of
	// traffic.embedded.model, which needs prices).
	//
	// Of kind drift: score (of the predicted class), norm (of embeddings), toolCalls,
	// and what users and caches do, which can pause a run but never blame a version:
	// inputTokens, inputCharacters, cachedTokens, inputLength (values in tensors, or at
	// traffic.embedded.model.input), inputScore (their mean).
	//
	// Of kind proportion: refusal (said so, or begins as refusals do), invalid (not
	// of the form that the request asked for: JSON, schema, tool's arguments), empty,
	// repeated (most of it says itself again), truncated (by the limit of tokens),
	// notANumber (values of a tensor, or what stands for a score), garbled (not
	// UTF-8), abandoned (the client left before the end).
	//
	// Of kind category: finishReason, class (predicted), language (the script that
	// most letters belong to; of the Latin one English, French, German, Spanish,
	// Portuguese, Italian, Dutch, Polish, Swedish, Turkish, or Latin for others, where
	// the text is long enough to tell), model and modelVersion (that say they answered), shape
	// (datatype and form of a row of the first tensor, dimensions of an embedding).
	// +kubebuilder:validation:Enum=abandoned;cachedTokens;class;cost;empty;finishReason;gap;garbled;inputCharacters;inputLength;inputScore;inputTokens;invalid;language;model;modelVersion;norm;notANumber;outputCharacters;outputTokens;reasoningTokens;refusal;repeated;score;shape;timePerOutputToken;timeToFirstToken;toolCalls;truncated
	// +optional
	LLM string `json:"llm,omitempty"`
	// Feedback is what users said of answers (traffic.embedded.feedback): votes (kind
	// votes: share of votes that are down; voteRate comes along, either way, as the
	// metric NAME-rate), voteRate (kind rate: votes of the one
	// version for each of the other's; say harm), scores (kind mean: how far below 1),
	// labels (kind proportion: share that differ from the class that was predicted),
	// regenerated (kind rate: answers after which the same user, of sticky traffic,
	// asked a model the same again within 10 minutes, or a vote said so).
	// Only what is said of requests of the run counts; in rates each user of sticky
	// traffic counts once.
	// +kubebuilder:validation:Enum=labels;regenerated;scores;voteRate;votes
	// +optional
	Feedback string `json:"feedback,omitempty"`
	// Evaluator is asked about a sample of answers (kind proportion: the share of
	// bad ones; kind mean: how far their scores are below 1), or about both versions'
	// answers to copied requests (kind agreement).
	// +optional
	Evaluator *EvaluatorSpec `json:"evaluator,omitempty"`
}

// EvaluatorSpec is an HTTP endpoint or a model that judges answers. It is asked
// beside the traffic: no user and no run waits for it, and what it does not
// answer in time, or not as asked, does not count.
type EvaluatorSpec struct {
	// URL of the endpoint, or with model the base of an OpenAI-compatible API
	// (https://host/v1). An endpoint gets POST {question, request, answer}, or
	// {question, request, first, second} for a pair, and answers {"bad": true},
	// {"score": 0.9} (0 to 1) or {"better": "first"}, "second" or "tie". Pairs are asked in
	// both orders; who changes sides with the order has said tie.
	// +kubebuilder:validation:Pattern=`^https?://[^@]+$`
	URL string `json:"url"`
	// Model that is asked.
	// +optional
	Model string `json:"model,omitempty"`
	// Question that makes an answer bad, or one better: "Is it rude?"
	// +kubebuilder:validation:MaxLength=4096
	Question string `json:"question"`
	// Key names a bearer token: env:NAME or file:/path. Default: none.
	// +optional
	Key string `json:"key,omitempty"`
	// Share of the requests that are asked about. Default: 10.
	// +optional
	Share *intstr.IntOrString `json:"share,omitempty"`
	// Below this score (0 to 100 %) an answer is bad (kind proportion). Default: "50%".
	// +optional
	Below *intstr.IntOrString `json:"below,omitempty"`
	// Timeout of one question. Default: 20s.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Concurrency is how many questions are under way at once; further answers are
	// passed over. Default: 4.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	// +optional
	Concurrency *int32 `json:"concurrency,omitempty"`
	// Calls is the most questions of one run. Default: 1000.
	// +kubebuilder:validation:Minimum=1
	// +optional
	Calls *int64 `json:"calls,omitempty"`
	// Cost is the most that one run's questions may cost, by price, as a decimal
	// number in quotes: "2.50". Default: not bounded.
	// +optional
	Cost string `json:"cost,omitempty"`
	// Price of the model's tokens; needed for cost.
	// +optional
	Price *PriceSpec `json:"price,omitempty"`
	// Critical: one answer of the new version that is found bad, and found bad
	// again when it is asked about once more, ends the run (kind proportion).
	// Default: false.
	// +optional
	Critical bool `json:"critical,omitempty"`
}

// ServerMetricSpec is a metric that a model server exports.
type ServerMetricSpec struct {
	// Name of the server.
	// +kubebuilder:validation:Enum=kserve;seldon;sglang;tgi;torchserve;triton;vllm
	Name string `json:"name"`
	// Metric that it exports.
	//
	// Of kind latency, amount, mean or drift (s): timeToFirstToken (vllm, sglang,
	// triton), interTokenLatency (vllm, sglang), timePerOutputToken (vllm, tgi),
	// latency (kserve, seldon, sglang, tgi, vllm), queueTime (sglang, tgi, vllm),
	// preprocess, postprocess, explain (kserve).
	//
	// Of kind amount, mean or drift: outputTokens; of kind drift, which can pause a
	// run but never blame a version: inputTokens (tgi, vllm).
	//
	// Of kind proportion: failed (seldon, tgi, torchserve, triton; errors too),
	// aborted (sglang, vllm), truncated (vllm). Of kind rate, for each request:
	// preemptions (vllm).
	//
	// Of kind gauge: waiting and running requests, cacheUsage and cacheHits (shares,
	// sglang and vllm), memory (B) and utilization of GPUs (torchserve, triton), and
	// latency and queueTime of those that count no histogram (torchserve, triton).
	// +kubebuilder:validation:Enum=aborted;cacheHits;cacheUsage;explain;failed;inputTokens;interTokenLatency;latency;memory;outputTokens;postprocess;preemptions;preprocess;queueTime;running;timePerOutputToken;timeToFirstToken;truncated;utilization;waiting
	Metric string `json:"metric"`
	// Labels of the series, such as {model_name: llama}. They hold beside those that
	// select a version's own instances; where a value holds a variable
	// ($version, $role, $release; on Kubernetes $namespace, $service, $pods), they
	// alone select the version.
	// +kubebuilder:validation:MaxProperties=8
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
}
