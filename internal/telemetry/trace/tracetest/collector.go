// Package tracetest is a collector of traces for tests: it takes spans by OTLP
// over HTTP, as real ones do, and keeps them. It knows no Haldane. This file is
// all of it.
package tracetest

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector is a running collector.
type Collector struct {
	URL   string    // base URL
	Spans chan Span // as they come
}

// Span is one span as it was received.
type Span struct {
	*otlp.Span
	Resource   map[string]string
	Attributes map[string]any // string, int64, bool or []string
}

// Start runs a collector until the test ends.
func Start(t *testing.T) *Collector {
	t.Helper()
	c := &Collector{Spans: make(chan Span, 1000)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var q collector.ExportTraceServiceRequest
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(b, &q) != nil {
			http.Error(w, "no spans", http.StatusBadRequest)
			return
		}
		for _, of := range q.ResourceSpans {
			about := map[string]string{}
			for name, v := range values(of.Resource.Attributes) {
				about[name], _ = v.(string)
			}
			for _, scope := range of.ScopeSpans {
				for _, s := range scope.Spans {
					c.Spans <- Span{s, about, values(s.Attributes)}
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		b, _ = proto.Marshal(&collector.ExportTraceServiceResponse{}) // an empty message
		_, _ = w.Write(b)
	}))
	t.Cleanup(s.Close)
	c.URL = s.URL
	return c
}

// Trace is the ID of the whole trace in hex.
func (s Span) Trace() string { return hex.EncodeToString(s.TraceId) }

// ID of the span in hex.
func (s Span) ID() string { return hex.EncodeToString(s.SpanId) }

// Parent is the ID of the span that called, in hex; empty: none did.
func (s Span) Parent() string { return hex.EncodeToString(s.ParentSpanId) }

func values(list []*common.KeyValue) map[string]any {
	m := map[string]any{}
	for _, a := range list {
		switch v := a.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			m[a.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			m[a.Key] = v.IntValue
		case *common.AnyValue_BoolValue:
			m[a.Key] = v.BoolValue
		case *common.AnyValue_ArrayValue:
			var words []string
			for _, x := range v.ArrayValue.Values {
				words = append(words, x.GetStringValue())
			}
			m[a.Key] = words
		}
	}
	return m
}
