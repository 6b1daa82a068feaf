package trace

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/telemetry/trace/tracetest"
)

const (
	trace  = "0af7651916cd43dd8448eb211c80319c"
	caller = "b7ad6b7169203331"
)

func tracer(t *testing.T, c *tracetest.Collector, ratio float64) *Tracer {
	t.Helper()
	x, err := New(t.Context(), Options{Endpoint: c.URL + "/", Ratio: ratio, Version: "v0"})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// sent stops the tracer and returns what the collector got.
func sent(t *testing.T, x *Tracer, c *tracetest.Collector) []tracetest.Span {
	t.Helper()
	if err := x.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	close(c.Spans)
	var all []tracetest.Span
	for s := range c.Spans {
		all = append(all, s)
	}
	return all
}

func request(parent string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://models.example:8443/v1/chat/completions?key=secret", nil)
	r.Header.Set("User-Agent", "users/1")
	if parent != "" {
		r.Header.Set("Traceparent", parent)
	}
	return r
}

func answered() *release.Observation {
	return &release.Observation{
		Release: "llm", Version: "b", Begin: time.Unix(1_700_000_000, 0), Status: 200, In: 10, Out: 100,
		Answer: &release.Answer{
			API: release.ChatAPI, RequestModel: "small", Model: "small-2026", ID: "chatcmpl-1", Finish: "stop", Streamed: true, Chunks: 3,
			FirstToken: 50 * time.Millisecond, InputTokens: 300, OutputTokens: 11, CachedTokens: 256,
		},
	}
}

func want(t *testing.T, s tracetest.Span, attributes map[string]any) {
	t.Helper()
	for k, v := range attributes {
		if got := s.Attributes[k]; got != v {
			t.Errorf("%s is %v, expected %v", k, got, v)
		}
	}
}

func TestASpanSaysWhoAnsweredAndWhat(t *testing.T) {
	c := tracetest.Start(t)
	x := tracer(t, c, 0)
	x.Set("llm", &Scene{Run: "llm-3", Step: 2, Versions: map[release.VersionID]string{"b": "v2"}})
	r := request("00-" + trace + "-" + caller + "-01")
	r.Header.Set("Tracestate", "vendor=1")
	begin := time.Unix(1_700_000_000, 0)
	s := x.Begin(r, "llm", begin)
	if s == nil {
		t.Fatal("a request whose caller records it is not recorded")
	}
	s.Observe(answered())
	s.End()
	got := sent(t, x, c)
	if len(got) != 1 {
		t.Fatalf("%d spans", len(got))
	}
	span := got[0]
	if next := r.Header.Get("Traceparent"); next != "00-"+trace+"-"+span.ID()+"-01" || r.Header.Get("Tracestate") != "vendor=1" {
		t.Errorf("what is called next gets the parent %s and state %s", next, r.Header.Get("Tracestate"))
	}
	if span.Trace() != trace || span.Parent() != caller || span.Name != "chat small" || span.Kind != otlp.Span_SPAN_KIND_SERVER || span.StartTimeUnixNano != uint64(begin.UnixNano()) {
		t.Errorf("%v", span.Span)
	}
	if span.Resource["service.name"] != "haldane" || span.Resource["service.version"] != "v0" {
		t.Errorf("resource %v", span.Resource)
	}
	want(t, span, map[string]any{
		"haldane.release": "llm", "haldane.version": "b", "haldane.run": "llm-3", "haldane.step": int64(2),
		"feature_flag.key": "llm", "feature_flag.result.variant": "v2", "feature_flag.result.reason": "split",
		"http.request.method": "POST", "url.path": "/v1/chat/completions", "url.scheme": "http", "url.query": nil,
		"server.address": "models.example", "server.port": int64(8443), "user_agent.original": "users/1",
		"http.response.status_code": int64(200), "error.type": nil,
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "small", "gen_ai.response.model": "small-2026",
		"gen_ai.response.id": "chatcmpl-1", "gen_ai.usage.input_tokens": int64(300), "gen_ai.usage.output_tokens": int64(11),
		"gen_ai.usage.cache_read.input_tokens": int64(256),
	})
	if f, _ := span.Attributes["gen_ai.response.finish_reasons"].([]string); len(f) != 1 || f[0] != "stop" {
		t.Errorf("finish reasons %v", span.Attributes["gen_ai.response.finish_reasons"])
	}
	if len(span.Events) != 1 || span.Events[0].Name != "gen_ai.first_token" || span.Events[0].TimeUnixNano != uint64(begin.Add(50*time.Millisecond).UnixNano()) {
		t.Errorf("events %v", span.Events)
	}
}

// TestEachAPIHasItsOperation, and tokens of reasoning and of input are told where
// there are any.
func TestEachAPIHasItsOperation(t *testing.T) {
	c := tracetest.Start(t)
	x := tracer(t, c, 1)
	answers := []release.Answer{
		{API: release.ResponseAPI, RequestModel: "small", Model: "small-1", ID: "resp_1", Finish: "completed", InputTokens: 30, OutputTokens: 20, ReasoningTokens: 5},
		{API: release.EmbeddingAPI, RequestModel: "vectors", Model: "vectors-1", InputTokens: 7, Length: 512},
		{API: release.CompletionAPI, RequestModel: "small", OutputTokens: 4, ReasoningTokens: 3, Estimated: true},
		{API: release.InferAPI, Model: "digits"},
	}
	for i := range answers {
		s := x.Begin(request(""), "llm", time.Now())
		o := answered()
		o.Answer = &answers[i]
		s.Observe(o)
		s.End()
	}
	got := sent(t, x, c)
	if len(got) != len(answers) {
		t.Fatalf("%d spans", len(got))
	}
	const reasoning, input, output = "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
	for i, attributes := range []map[string]any{
		{"gen_ai.operation.name": "chat", "gen_ai.response.id": "resp_1", "gen_ai.response.model": "small-1", input: int64(30), output: int64(20), reasoning: int64(5)},
		{"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "vectors", input: int64(7), output: nil, reasoning: nil, "gen_ai.response.finish_reasons": nil},
		{"gen_ai.operation.name": "text_completion", output: nil, reasoning: nil},
		{"gen_ai.operation.name": "infer", "gen_ai.provider.name": "_OTHER", "gen_ai.response.model": "digits", input: nil},
	} {
		want(t, got[i], attributes)
	}
	for i, name := range []string{"chat small", "embeddings vectors", "text_completion small", "infer"} {
		if got[i].Name != name || len(got[i].Events) != 0 {
			t.Errorf("span %q with the events %v, expected %q without", got[i].Name, got[i].Events, name)
		}
	}
}

func TestWhoIsRecorded(t *testing.T) {
	const of = "00-" + trace + "-" + caller
	for _, c := range []struct {
		parent string
		ratio  float64
		want   bool
	}{
		{"", 0, false}, {"", 1, true}, {of + "-01", 0, true}, {of + "-00", 1, false}, {"not a trace", 1, true}, {"00-" + strings.Repeat("0", 32) + "-" + caller + "-01", 0, false},
	} {
		collector := tracetest.Start(t)
		x := tracer(t, collector, c.ratio)
		r := request(c.parent)
		r.Header.Set("Tracestate", "vendor=1")
		s := x.Begin(r, "llm", time.Now())
		if (s != nil) != c.want {
			t.Errorf("parent %q, ratio %v: recorded %v", c.parent, c.ratio, s != nil)
		}
		if s == nil {
			if r.Header.Get("Traceparent") != c.parent {
				t.Errorf("the header of a request that is not recorded became %q", r.Header.Get("Traceparent"))
			}
		} else {
			s.End()
			if !strings.HasPrefix(c.parent, of) && r.Header.Get("Tracestate") != "" {
				t.Errorf("the state of no valid parent travels on: %q", r.Header.Get("Tracestate"))
			}
		}
		if n := len(sent(t, x, collector)); (n == 1) != c.want {
			t.Errorf("parent %q: %d spans", c.parent, n)
		}
	}
}

func TestFailuresAreTold(t *testing.T) {
	c := tracetest.Start(t)
	x := tracer(t, c, 1)
	end := func(seen ...release.Observation) {
		s := x.Begin(request(""), "llm", time.Now())
		for i := range seen {
			s.Observe(&seen[i])
		}
		s.End()
	}
	cut := *answered()
	cut.Outcome, cut.Cause = release.Failed, release.CauseMissingEnd
	first, second := *answered(), *answered()
	first.Outcome, first.Cause, first.Status, first.Shielded, first.Answer = release.Failed, "Status5xx", 503, true, nil
	second.Version, second.Route = "a", release.ByShield
	gone := *answered()
	gone.Outcome, gone.Status = release.ClientFault, 499
	end(cut)
	end(first, second)
	end(gone)
	got := sent(t, x, c)
	if len(got) != 3 {
		t.Fatalf("%d spans", len(got))
	}
	want(t, got[0], map[string]any{"error.type": "MissingEnd", "http.response.status_code": int64(200)})
	want(t, got[1], map[string]any{"haldane.version": "a", "feature_flag.result.reason": "error", "error.type": nil})
	want(t, got[2], map[string]any{"error.type": "499"})
	for i, code := range []otlp.Status_StatusCode{otlp.Status_STATUS_CODE_ERROR, otlp.Status_STATUS_CODE_UNSET, otlp.Status_STATUS_CODE_UNSET} {
		if got[i].Status.GetCode() != code {
			t.Errorf("span %d has status %v, expected %v", i, got[i].Status.GetCode(), code)
		}
	}
	if e := got[1].Events[0]; e.Name != "haldane.shielded" || e.Attributes[0].Value.GetStringValue() != "b" || e.Attributes[1].Value.GetStringValue() != "503" {
		t.Errorf("event %v", e)
	}
}

// What users and servers say may be any bytes; protobuf takes UTF-8 only, and one
// bad string would lose a whole batch.
func TestAnyBytesCanBeSent(t *testing.T) {
	c := tracetest.Start(t)
	x := tracer(t, c, 1)
	r := request("")
	r.Method, r.Host, r.URL.Path = "B\xffD", "\xfe:1", "/\xff"+strings.Repeat("é", 1000)
	r.Header.Set("User-Agent", "\xff")
	s := x.Begin(r, "llm", time.Now())
	o := answered()
	o.Answer.RequestModel, o.Answer.Model, o.Answer.ID, o.Answer.Finish = "\xff", strings.Repeat("x", 10_000), "\xff", "\xff"
	s.Observe(o)
	s.End()
	got := sent(t, x, c)
	if len(got) != 1 {
		t.Fatalf("%d spans", len(got))
	}
	for k, v := range got[0].Attributes {
		if text, ok := v.(string); ok && len(text) > mostOfValue+3 {
			t.Errorf("%s has %d bytes", k, len(text))
		}
	}
	want(t, got[0], map[string]any{"http.request.method": "_OTHER"})
}

func TestWhatCanNotBeAnEndpoint(t *testing.T) {
	for _, o := range []Options{
		{Endpoint: "127.0.0.1:4318"}, {Endpoint: "grpc://collector:4317"}, {Endpoint: "http://"}, {Endpoint: "http://user:secret@collector"},
		{Endpoint: "http://collector:4318", Ratio: 1.5}, {Endpoint: "http://collector:4318", Ratio: -1},
	} {
		if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "expected") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// A collector that is not there costs spans and nothing else.
func TestNoCollector(t *testing.T) {
	c := tracetest.Start(t)
	x, err := New(t.Context(), Options{Endpoint: strings.Replace(c.URL, "127.0.0.1", "127.255.255.254", 1), Ratio: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 10_000 { // more than are kept
		s := x.Begin(request(""), "llm", time.Now())
		s.Observe(answered())
		s.End()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if x.Shutdown(ctx) == nil {
		t.Error("spans were sent to nobody")
	}
}
