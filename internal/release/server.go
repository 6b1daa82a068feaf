package release

import (
	"maps"
	"slices"
)

// ServerMetric is a thing that model servers measure of themselves, by a word
// that is the same for all of them.
type ServerMetric struct {
	Name   string // of the server: vllm
	Metric string // timeToFirstToken
	// Labels are PromQL matchers beside, or in place of, those of the version:
	// model_name="llama". Empty: none.
	Labels string
	// Whole says that Labels alone select a version's series.
	Whole bool
}

// Exported is how a server exports a metric. Exactly one of Histogram, Level and
// Of is set.
type Exported struct {
	// Histogram is the name of a histogram without _bucket; of its bounds, 1 is
	// Scale of the metric's unit.
	Histogram string
	Scale     float64
	// Level is a PromQL expression of selectors written {name}.
	Level string
	// Events and Of are counters: so many of the former for each of the latter.
	Events, Of []Counter
}

// Counter is a counter's name, and a matcher of the series that count.
type Counter struct{ Name, Match string }

func histogram(name string, scale float64) Exported {
	return Exported{Histogram: name, Scale: scale}
}

func level(query string) Exported { return Exported{Level: query} }

func pair(events, of []Counter) Exported { return Exported{Events: events, Of: of} }

func counters(names ...string) []Counter {
	var out []Counter
	for _, n := range names {
		out = append(out, Counter{Name: n})
	}
	return out
}

// notTheClients leaves out requests that TGI refused as malformed.
const notTheClients = `err!="validation"`

// servers is how each server exports each metric, its newest name first. A
// server that exports two of them is read by the first; which ones it exports is
// looked up, so that no version number is asked for. Sources: vLLM "Metrics"
// (gpu_prefix_cache_hit_rate is of engine V0, deprecated in 0.8; in 0.10 gpu_cache_usage_perc
// became kv_cache_usage_perc, the counters of prefixes lost gpu_, and
// time_per_output_token became inter_token_latency), SGLang
// "Production Metrics", TGI "Metrics", Triton "Metrics" (histograms are opt-in:
// --metrics-config histogram_latencies=true), TorchServe "Metrics" in mode
// prometheus, KServe "Prometheus Metrics", Seldon Core 2 "Operational Metrics".
var servers = map[string]map[string][]Exported{
	"vllm": {
		"timeToFirstToken":   {histogram("vllm:time_to_first_token_seconds", 1)},
		"timePerOutputToken": {histogram("vllm:request_time_per_output_token_seconds", 1)},
		"interTokenLatency": {
			histogram("vllm:inter_token_latency_seconds", 1), histogram("vllm:time_per_output_token_seconds", 1),
		},
		"latency":      {histogram("vllm:e2e_request_latency_seconds", 1)},
		"queueTime":    {histogram("vllm:request_queue_time_seconds", 1)},
		"inputTokens":  {histogram("vllm:request_prompt_tokens", 1)},
		"outputTokens": {histogram("vllm:request_generation_tokens", 1)},
		"waiting":      {level("sum({vllm:num_requests_waiting})")},
		"running":      {level("sum({vllm:num_requests_running})")},
		"cacheUsage": {
			level("avg({vllm:kv_cache_usage_perc})"), level("avg({vllm:gpu_cache_usage_perc})"),
		},
		"cacheHits": {
			level("sum(rate({vllm:prefix_cache_hits_total}[$window])) / sum(rate({vllm:prefix_cache_queries_total}[$window]))"),
			level("sum(rate({vllm:gpu_prefix_cache_hits_total}[$window])) / sum(rate({vllm:gpu_prefix_cache_queries_total}[$window]))"),
			level("avg({vllm:gpu_prefix_cache_hit_rate})"),
		},
		"aborted":     {pair([]Counter{{"vllm:request_success_total", `finished_reason="abort"`}}, counters("vllm:request_success_total"))},
		"truncated":   {pair([]Counter{{"vllm:request_success_total", `finished_reason="length"`}}, counters("vllm:request_success_total"))},
		"preemptions": {pair(counters("vllm:num_preemptions_total"), counters("vllm:request_success_total"))},
	},
	"sglang": {
		"timeToFirstToken": {histogram("sglang:time_to_first_token_seconds", 1)},
		"interTokenLatency": {
			histogram("sglang:inter_token_latency_seconds", 1), histogram("sglang:time_per_output_token_seconds", 1),
		},
		"latency":    {histogram("sglang:e2e_request_latency_seconds", 1)},
		"queueTime":  {histogram("sglang:queue_time_seconds", 1)},
		"waiting":    {level("sum({sglang:num_queue_reqs})")},
		"running":    {level("sum({sglang:num_running_reqs})")},
		"cacheUsage": {level("avg({sglang:token_usage})")},
		"cacheHits":  {level("avg({sglang:cache_hit_rate})")},
		"aborted":    {pair(counters("sglang:num_aborted_requests_total"), counters("sglang:num_requests_total"))},
	},
	"tgi": {
		"timePerOutputToken": {histogram("tgi_request_mean_time_per_token_duration", 1)},
		"latency":            {histogram("tgi_request_duration", 1)},
		"queueTime":          {histogram("tgi_request_queue_duration", 1)},
		"inputTokens":        {histogram("tgi_request_input_length", 1)},
		"outputTokens":       {histogram("tgi_request_generated_tokens", 1)},
		"waiting":            {level("sum({tgi_queue_size})")},
		"running":            {level("sum({tgi_batch_current_size})")},
		"failed":             {pair([]Counter{{"tgi_request_failure", notTheClients}}, []Counter{{"tgi_request_failure", notTheClients}, {Name: "tgi_request_success"}})},
	},
	"triton": {
		"timeToFirstToken": {histogram("nv_inference_first_response_histogram_ms", 1e-3)},
		"queueTime":        {level("sum(rate({nv_inference_queue_duration_us}[$window])) / sum(rate({nv_inference_request_success}[$window])) / 1e6")},
		"latency":          {level("sum(rate({nv_inference_request_duration_us}[$window])) / sum(rate({nv_inference_request_success}[$window])) / 1e6")},
		"waiting":          {level("sum({nv_inference_pending_request_count})")},
		"memory":           {level("avg({nv_gpu_memory_used_bytes})")},
		"utilization":      {level("avg({nv_gpu_utilization})")},
		"failed":           {pair(counters("nv_inference_request_failure"), counters("nv_inference_request_failure", "nv_inference_request_success"))},
	},
	"torchserve": {
		"latency":   {level("sum(rate({ts_inference_latency_microseconds}[$window])) / sum(rate({ts_inference_requests_total}[$window])) / 1e6")},
		"queueTime": {level("sum(rate({ts_queue_latency_microseconds}[$window])) / sum(rate({ts_inference_requests_total}[$window])) / 1e6")},
		"memory":    {level("avg({GPUMemoryUsed}) * 1048576")},
		"failed":    {pair(counters("Requests5XX"), counters("Requests2XX", "Requests4XX", "Requests5XX"))},
	},
	"kserve": {
		"latency":     {histogram("request_predict_seconds", 1)},
		"preprocess":  {histogram("request_preprocess_seconds", 1)},
		"postprocess": {histogram("request_postprocess_seconds", 1)},
		"explain":     {histogram("request_explain_seconds", 1)},
	},
	"seldon": {
		"latency": {histogram("seldon_model_infer_api_seconds", 1)},
		"failed":  {pair([]Counter{{"seldon_model_infer_total", `code!~"OK|200"`}}, counters("seldon_model_infer_total"))},
	},
}

// Servers lists the model servers whose metrics are known, sorted.
func Servers() []string { return slices.Sorted(maps.Keys(servers)) }

// ServerMetrics lists what is known of a server, sorted; none: it is not known.
func ServerMetrics(server string) []string { return slices.Sorted(maps.Keys(servers[server])) }

// Exported are the names under which the server exports the metric, the newest
// first; none: it is not known.
func (m ServerMetric) Exported() []Exported { return servers[m.Name][m.Metric] }

// Kinds are those that the metric can be of, the usual one first.
func (m ServerMetric) Kinds() []MetricKind {
	list := m.Exported()
	switch {
	case len(list) == 0:
		return nil
	case list[0].Level != "":
		return []MetricKind{Gauge}
	case m.Metric == "preemptions": // a request can be preempted more than once
		return []MetricKind{Rate}
	case m.Metric == "failed":
		return []MetricKind{Errors, Proportion}
	case len(list[0].Of) > 0:
		return []MetricKind{Proportion}
	case m.Input():
		return []MetricKind{Drift}
	case m.Unit() == "s":
		return []MetricKind{Latency, Amount, Mean, Drift}
	}
	return []MetricKind{Amount, Mean, Drift}
}

// serverUnits are the units of what has one, by word.
var serverUnits = map[string]string{
	"timeToFirstToken": "s", "timePerOutputToken": "s", "interTokenLatency": "s", "latency": "s", "queueTime": "s",
	"preprocess": "s", "postprocess": "s", "explain": "s", "inputTokens": "tokens", "outputTokens": "tokens", "memory": "B",
}

// Unit is what the values are in; empty: none.
func (m ServerMetric) Unit() string { return serverUnits[m.Metric] }

// Input reports whether the values are what users send, not what a version does.
func (m ServerMetric) Input() bool { return m.Metric == "inputTokens" }
