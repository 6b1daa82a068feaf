package telemetry

import (
	"net/http"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/haldane-project/haldane/internal/release"
)

// Other stands for what is too long, too rare or too many to have a series of its
// own: the word of OpenTelemetry's conventions.
const Other = "_OTHER"

// Operation is the operation and the provider of a protocol in the words of
// OpenTelemetry's conventions for generative AI (gen_ai.operation.name,
// gen_ai.provider.name). Those that know none for it have its own name.
func Operation(api release.ModelAPI) (operation, provider string) {
	switch api {
	case release.ChatAPI, release.ResponseAPI:
		return "chat", "openai"
	case release.CompletionAPI:
		return "text_completion", "openai"
	case release.EmbeddingAPI:
		return "embeddings", "openai"
	}
	return string(api), Other
}

// ErrorType is what the conventions call error.type: the cause of a failure, or
// the status code; empty where the request did not fail.
func ErrorType(o *release.Observation) string {
	switch {
	case o.Outcome == release.OK:
		return ""
	case o.Outcome == release.Failed && o.Cause != "" && o.Cause != "Status5xx":
		return o.Cause
	case o.Status > 0 && o.Status < len(statusWords) && statusWords[o.Status] != "":
		return statusWords[o.Status]
	}
	return Other
}

// statusWords are the known status codes as text.
var statusWords = func() (words [600]string) {
	for code := range words {
		if http.StatusText(code) != "" || code == 499 {
			words[code] = strconv.Itoa(code)
		}
	}
	return words
}()

// genAIKey tells one series of model traffic of a version from another.
type genAIKey struct {
	api                 release.ModelAPI
	requested, answered string // models
	failure             string // error.type
}

// keyOfGenAI is that of an observation; false: it is none of model traffic, or a copy.
func keyOfGenAI(o *release.Observation) (genAIKey, bool) {
	k := genAIKey{api: o.API, requested: o.RequestModel, failure: ErrorType(o)}
	if a := o.Answer; a != nil {
		k.api, k.requested, k.answered = a.API, a.RequestModel, a.Model
	}
	return k, k.api != "" && o.Route != release.ByMirror
}

// genAI counts what the conventions want to be known of one series.
type genAI struct {
	duration      fixed // gen_ai.server.request.duration
	firstToken    fixed // gen_ai.server.time_to_first_token
	perToken      fixed // gen_ai.server.time_per_output_token
	input, output fixed // gen_ai.client.token.usage
}

// fixed is a histogram with the buckets that the conventions lay down.
type fixed struct {
	counts [mostBounds + 1]int64
	sum    float64
}

const mostBounds = 16

// The upper bounds of the buckets: seconds and tokens.
var (
	durationBounds   = []float64{.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
	firstTokenBounds = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
	perTokenBounds   = []float64{.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5}
	tokenBounds      = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
)

func (f *fixed) add(bounds []float64, v float64) {
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	f.counts[i]++
	f.sum += v
}

func (f *fixed) merge(x *fixed) {
	for i, n := range x.counts {
		f.counts[i] += n
	}
	f.sum += x.sum
}

// genAIs are the series of one stripe; the stripe's lock guards them.
type genAIs map[genAIKey]*genAI

// of is the series of a key, as it was admitted.
func (g *genAIs) of(k genAIKey, known *admitted, harmless bool) *genAI {
	if x := (*g)[k]; x != nil {
		return x
	}
	k = known.admit(k, harmless)
	x := (*g)[k]
	if x == nil {
		x = &genAI{}
		if *g == nil {
			*g = genAIs{}
		}
		(*g)[k] = x
	}
	return x
}

// count takes an observation of model traffic. Only what succeeded has times of
// tokens, and only tokens that the server counted are told.
func (g *genAIs) count(o *release.Observation, known *admitted) {
	k, ok := keyOfGenAI(o)
	if !ok {
		return
	}
	client := o.Outcome == release.ClientFault
	x := g.of(k, known, !client)
	x.duration.add(durationBounds, o.Total.Seconds())
	a := o.Answer
	if a == nil {
		return
	}
	if k.failure != "" && a.InputTokens+a.OutputTokens > 0 {
		k.failure = ""
		x = g.of(k, known, !client)
	}
	if o.Outcome == release.OK && a.Streamed && a.Chunks > 0 {
		x.firstToken.add(firstTokenBounds, a.FirstToken.Seconds())
	}
	if o.Outcome == release.OK && a.PerToken > 0 {
		x.perToken.add(perTokenBounds, a.PerToken.Seconds())
	}
	if a.InputTokens > 0 {
		x.input.add(tokenBounds, float64(a.InputTokens))
	}
	if a.OutputTokens > 0 && !a.Estimated {
		x.output.add(tokenBounds, float64(a.OutputTokens))
	}
}

// admitted bounds the series of one version: the names of models come from
// users and from servers, who may say anything.
type admitted struct {
	mu   sync.Mutex
	keys map[genAIKey]struct{}
}

const (
	mostGenAI  = 64 // series with names of their own, for each version
	mostOfName = 64 // bytes of a model's name
)

// admit is the key under which a request counts. Only one that was no client's
// fault brings new names: who asks for what does not exist names nothing.
func (a *admitted) admit(k genAIKey, harmless bool) genAIKey {
	k.requested, k.answered = nameOr(k.requested, Other), nameOr(k.answered, Other)
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.keys[k]; known {
		return k
	}
	if !harmless || len(a.keys) >= mostGenAI {
		k.requested, k.answered = Other, Other
		return k
	}
	if a.keys == nil {
		a.keys = map[genAIKey]struct{}{}
	}
	a.keys[k] = struct{}{}
	return k
}

func nameOr(name, other string) string {
	if len(name) > mostOfName || !utf8.ValidString(name) {
		return other
	}
	return name
}

// readGenAI sums the stripes.
func (s *series) readGenAI() genAIs {
	sum := genAIs{}
	for i := range s.cells {
		c := &s.cells[i]
		c.mu.Lock()
		for k, x := range c.genAIs {
			to := sum[k]
			if to == nil {
				to = &genAI{}
				sum[k] = to
			}
			to.duration.merge(&x.duration)
			to.firstToken.merge(&x.firstToken)
			to.perToken.merge(&x.perToken)
			to.input.merge(&x.input)
			to.output.merge(&x.output)
		}
		c.mu.Unlock()
	}
	return sum
}

var genAILabels = []string{"release", "version", "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model"}

func describeGenAI(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("gen_ai_"+name, help, append(genAILabels[:len(genAILabels):len(genAILabels)], more...), nil)
}

// The names are those of OpenTelemetry's conventions as its rules for Prometheus
// write them.
var (
	descGenDuration   = describeGenAI("server_request_duration_seconds", "Time to the end of a model's answer.", "error_type")
	descGenFirstToken = describeGenAI("server_time_to_first_token_seconds", "Time to the first token of a streamed answer that succeeded.")
	descGenPerToken   = describeGenAI("server_time_per_output_token_seconds", "Time for each token after the first, of streamed answers that succeeded.")
	descGenTokens     = describeGenAI("client_token_usage", "Tokens of a request and of its answer, as the server counts them.", "gen_ai_token_type")
)

// collectGenAI tells the series of one version.
func collectGenAI(ch chan<- prometheus.Metric, k key, all genAIs) {
	for g, x := range all {
		operation, provider := Operation(g.api)
		tell := func(d *prometheus.Desc, bounds []float64, f *fixed, more ...string) {
			buckets, below := make(map[float64]uint64, len(bounds)), uint64(0)
			for i, bound := range bounds {
				below += uint64(f.counts[i])
				buckets[bound] = below
			}
			if total := below + uint64(f.counts[len(bounds)]); total > 0 {
				labels := append([]string{k.release, string(k.version), operation, provider, g.requested, g.answered}, more...)
				ch <- prometheus.MustNewConstHistogram(d, total, f.sum, buckets, labels...)
			}
		}
		tell(descGenDuration, durationBounds, &x.duration, g.failure)
		tell(descGenFirstToken, firstTokenBounds, &x.firstToken)
		tell(descGenPerToken, perTokenBounds, &x.perToken)
		tell(descGenTokens, tokenBounds, &x.input, "input")
		tell(descGenTokens, tokenBounds, &x.output, "output")
	}
}
