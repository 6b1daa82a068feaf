package modelserver

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The buckets are vLLM's.
var (
	firstBuckets  = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}
	tokenBuckets  = []float64{.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	wholeBuckets  = []float64{.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
	lengthBuckets = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000}
)

// meters count what the server did, under the names of vLLM's metrics.
type meters struct {
	mu     sync.Mutex
	models map[string]*meter
}

// meter is one model's.
type meter struct {
	running                            int
	prompt, generated                  int
	ended                              map[string]int // by finish reason; abort: the client left or the answer broke
	first, gap, perToken, whole, queue histogram
	promptLengths, generatedLengths    histogram
}

type histogram struct {
	bounds []float64
	counts []int
	sum    float64
	n      int
}

func (h *histogram) add(x float64) {
	if h.counts == nil {
		h.counts = make([]int, len(h.bounds))
	}
	for i, b := range h.bounds {
		if x <= b {
			h.counts[i]++
		}
	}
	h.sum += x
	h.n++
}

func newMeters() *meters { return &meters{models: map[string]*meter{}} }

// begin counts a request that starts.
func (m *meters) begin(model string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.models[model]
	if x == nil {
		x = &meter{
			ended: map[string]int{"stop": 0, "length": 0, "abort": 0},
			first: histogram{bounds: firstBuckets}, gap: histogram{bounds: tokenBuckets}, perToken: histogram{bounds: tokenBuckets},
			whole: histogram{bounds: wholeBuckets}, queue: histogram{bounds: wholeBuckets},
			promptLengths: histogram{bounds: lengthBuckets}, generatedLengths: histogram{bounds: lengthBuckets},
		}
		m.models[model] = x
	}
	x.running++
}

// timing is when the tokens of one answer were sent.
type timing struct {
	begun, first, last time.Time
	sent               int
	late               time.Duration // how long it has stood still
}

// end counts a request that ended for a reason.
func (m *meters) end(model string, x said, t timing, finish string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.models[model]
	r.running--
	if finish == "tool_calls" {
		finish = "stop" // to the engine a call is text that ended
	}
	r.ended[finish]++
	r.prompt += x.input
	r.generated += t.sent
	r.queue.add(0)
	r.promptLengths.add(float64(x.input))
	r.generatedLengths.add(float64(t.sent))
	if t.sent == 0 {
		return
	}
	r.first.add(t.first.Sub(t.begun).Seconds())
	r.whole.add(t.last.Sub(t.begun).Seconds())
	if t.sent > 1 {
		each := t.last.Sub(t.first).Seconds() / float64(t.sent-1)
		r.perToken.add(each)
		for range t.sent - 1 {
			r.gap.add(each)
		}
	}
}

// serve writes the Prometheus text format.
func (m *meters) serve(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sb strings.Builder
	names := slices.Sorted(maps.Keys(m.models))
	counter := func(name, kind string, value func(*meter) int) {
		fmt.Fprintf(&sb, "# TYPE vllm:%s %s\n", name, kind)
		for _, model := range names {
			fmt.Fprintf(&sb, "vllm:%s{engine=\"0\",model_name=%q} %d\n", name, model, value(m.models[model]))
		}
	}
	counter("num_requests_running", "gauge", func(x *meter) int { return x.running })
	counter("num_requests_waiting", "gauge", func(*meter) int { return 0 })
	counter("kv_cache_usage_perc", "gauge", func(*meter) int { return 0 })
	counter("prompt_tokens_total", "counter", func(x *meter) int { return x.prompt })
	counter("generation_tokens_total", "counter", func(x *meter) int { return x.generated })
	sb.WriteString("# TYPE vllm:request_success_total counter\n")
	for _, model := range names {
		for _, why := range slices.Sorted(maps.Keys(m.models[model].ended)) {
			fmt.Fprintf(&sb, "vllm:request_success_total{engine=\"0\",finished_reason=%q,model_name=%q} %d\n", why, model, m.models[model].ended[why])
		}
	}
	for _, h := range []struct {
		name string
		of   func(*meter) *histogram
	}{
		{"time_to_first_token_seconds", func(x *meter) *histogram { return &x.first }},
		{"inter_token_latency_seconds", func(x *meter) *histogram { return &x.gap }},
		{"request_time_per_output_token_seconds", func(x *meter) *histogram { return &x.perToken }},
		{"e2e_request_latency_seconds", func(x *meter) *histogram { return &x.whole }},
		{"request_queue_time_seconds", func(x *meter) *histogram { return &x.queue }},
		{"request_prompt_tokens", func(x *meter) *histogram { return &x.promptLengths }},
		{"request_generation_tokens", func(x *meter) *histogram { return &x.generatedLengths }},
	} {
		fmt.Fprintf(&sb, "# TYPE vllm:%s histogram\n", h.name)
		for _, model := range names {
			h.of(m.models[model]).write(&sb, "vllm:"+h.name, model)
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(sb.String())) // an error means that the scraper is gone
}

func (h *histogram) write(sb *strings.Builder, name, model string) {
	for i, b := range h.bounds {
		n := 0
		if h.counts != nil {
			n = h.counts[i]
		}
		fmt.Fprintf(sb, "%s_bucket{engine=\"0\",le=%q,model_name=%q} %d\n", name, strconv.FormatFloat(b, 'g', -1, 64), model, n)
	}
	fmt.Fprintf(sb, "%s_bucket{engine=\"0\",le=\"+Inf\",model_name=%q} %d\n", name, model, h.n)
	fmt.Fprintf(sb, "%s_sum{engine=\"0\",model_name=%q} %s\n", name, model, strconv.FormatFloat(h.sum, 'g', -1, 64))
	fmt.Fprintf(sb, "%s_count{engine=\"0\",model_name=%q} %d\n", name, model, h.n)
}
