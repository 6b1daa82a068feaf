package trace

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	api "go.opentelemetry.io/otel/trace"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry"
)

// Haldane's own attributes.
const (
	releaseKey = attribute.Key("haldane.release")
	versionKey = attribute.Key("haldane.version") // its ID; the flag's variant is its name
	runKey     = attribute.Key("haldane.run")
	stepKey    = attribute.Key("haldane.step")
)

// Span is one request that is recorded. Its methods are called from one goroutine.
type Span struct {
	t       *Tracer
	s       api.Span
	release string
	seen    release.Observation // the last attempt
}

// Observe takes what became of an attempt to answer the request. Of one whose
// failure the user did not see the span keeps an event; it tells of the last one.
func (x *Span) Observe(o *release.Observation) {
	if o.Shielded {
		x.s.AddEvent("haldane.shielded", api.WithAttributes(versionKey.String(string(o.Version)), semconv.ErrorTypeKey.String(telemetry.ErrorType(o))))
	}
	x.seen = *o
}

// End ends the span.
func (x *Span) End() {
	o := &x.seen
	x.s.SetAttributes(x.routed(o)...)
	if o.Status > 0 {
		x.s.SetAttributes(semconv.HTTPResponseStatusCode(o.Status), semconv.HTTPRequestBodySize(int(o.In)), semconv.HTTPResponseBodySize(int(o.Out)))
	}
	if failure := telemetry.ErrorType(o); failure != "" {
		x.s.SetAttributes(semconv.ErrorTypeKey.String(failure))
		if o.Outcome == release.Failed {
			x.s.SetStatus(codes.Error, o.Cause)
		}
	}
	x.said(o)
	x.s.End()
}

// method is the name of a span of which no more is known.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return r.Method
	}
	return "HTTP"
}

// asked is what the request says of itself. Its query is not told: secrets
// travel there.
func asked(r *http.Request) []attribute.KeyValue {
	list := []attribute.KeyValue{
		text(semconv.URLPathKey, r.URL.Path), semconv.URLScheme("http"),
		semconv.NetworkProtocolVersion(strings.TrimSuffix(strconv.Itoa(r.ProtoMajor)+"."+strconv.Itoa(r.ProtoMinor), ".0")),
	}
	if m := method(r); m == r.Method {
		list = append(list, semconv.HTTPRequestMethodKey.String(m))
	} else {
		list = append(list, semconv.HTTPRequestMethodOther, text(semconv.HTTPRequestMethodOriginalKey, r.Method))
	}
	if r.TLS != nil {
		list[1] = semconv.URLScheme("https")
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	list = append(list, text(semconv.ServerAddressKey, host))
	if n, err := strconv.Atoi(port); err == nil {
		list = append(list, semconv.ServerPort(n))
	}
	if agent := r.Header["User-Agent"]; len(agent) > 0 {
		list = append(list, text(semconv.UserAgentOriginalKey, agent[0]))
	}
	return list
}

// reasons are why a version answered, in the words for feature flags.
var reasons = map[release.Route]attribute.KeyValue{
	release.BySplit:    semconv.FeatureFlagResultReasonSplit,
	release.ByMatch:    semconv.FeatureFlagResultReasonTargetingMatch,
	release.ByTest:     semconv.FeatureFlagResultReasonTargetingMatch,
	release.ByFallback: semconv.FeatureFlagResultReasonDefault,
	release.ByOriginal: semconv.FeatureFlagResultReasonSplit,
	release.ByShield:   semconv.FeatureFlagResultReasonError,
}

// routed is which version answered, and why. The attributes of feature flags let
// any tracing tool group by version.
func (x *Span) routed(o *release.Observation) []attribute.KeyValue {
	list := []attribute.KeyValue{releaseKey.String(x.release)}
	scene := (*x.t.scenes.Load())[x.release]
	if scene.Run != "" {
		list = append(list, runKey.String(scene.Run), stepKey.Int(scene.Step))
	}
	if o.Version == "" {
		return list // no instance was ready
	}
	name := scene.Versions[o.Version]
	if name == "" {
		name = string(o.Version)
	}
	return append(list, versionKey.String(string(o.Version)), semconv.FeatureFlagKey(x.release),
		semconv.FeatureFlagResultVariant(name), semconv.FeatureFlagProviderName("haldane"), reasons[o.Route])
}

// said tells what a model was asked and answered, without any of their texts.
func (x *Span) said(o *release.Observation) {
	kind, requested := o.API, o.RequestModel
	if o.Answer != nil {
		kind, requested = o.Answer.API, o.Answer.RequestModel
	}
	if kind == "" {
		return
	}
	operation, provider := telemetry.Operation(kind)
	list := []attribute.KeyValue{semconv.GenAIOperationNameKey.String(operation), semconv.GenAIProviderNameKey.String(provider)}
	add := func(k attribute.Key, s string) {
		if s != "" {
			list = append(list, text(k, s))
		}
	}
	count := func(k attribute.Key, n int64) {
		if n > 0 {
			list = append(list, k.Int64(n))
		}
	}
	add(semconv.GenAIRequestModelKey, requested)
	x.s.SetName(strings.TrimSpace(operation + " " + clean(requested)))
	if a := o.Answer; a != nil {
		add(semconv.GenAIResponseModelKey, a.Model)
		add(semconv.GenAIResponseIDKey, a.ID)
		if a.Finish != "" {
			list = append(list, semconv.GenAIResponseFinishReasons(clean(a.Finish)))
		}
		count(semconv.GenAIUsageInputTokensKey, a.InputTokens)
		count(semconv.GenAIUsageCacheReadInputTokensKey, a.CachedTokens)
		if !a.Estimated {
			count(semconv.GenAIUsageOutputTokensKey, a.OutputTokens)
			count(semconv.GenAIUsageReasoningOutputTokensKey, a.ReasoningTokens)
		}
		if a.Streamed && a.Chunks > 0 {
			x.s.AddEvent("gen_ai.first_token", api.WithTimestamp(o.Begin.Add(a.FirstToken)))
		}
	}
	x.s.SetAttributes(list...)
}

// text is an attribute of what users or servers say.
func text(k attribute.Key, s string) attribute.KeyValue { return k.String(clean(s)) }

// clean makes a string of any bytes one that can be sent.
func clean(s string) string { return strings.ToValidUTF8(s[:min(len(s), mostOfValue)], "\uFFFD") }
