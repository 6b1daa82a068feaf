// Package trace tells tracing systems of requests: one span for each request
// that a proxy passed on, in OpenTelemetry's words, sent by OTLP over HTTP. A
// request whose caller records its trace is recorded; of those without a caller's
// word a share is. It knows releases by their names and observations, and no
// proxy, no run and no verdict. No request waits for it: what the collector does
// not take is dropped.
//
// Read this file first, then span.go (what a span says).
package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	api "go.opentelemetry.io/otel/trace"

	"github.com/haldane-project/haldane/internal/release"
)

// Options are what a Tracer is made of.
type Options struct {
	// Endpoint is the collector's base URL: spans go to /v1/traces below it. Empty:
	// what the environment names (Wanted). All else, such as headers with a secret,
	// certificates, timeouts and further attributes of the resource, comes from
	// OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS, ...).
	Endpoint string
	// Ratio is the share, 0 to 1, of the requests without a caller's word that are recorded.
	Ratio   float64
	Version string // of this Haldane
	Log     *slog.Logger
}

// Wanted reports whether anybody named a collector.
func Wanted(endpoint string) bool {
	return endpoint != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// Tracer records requests. Its methods may be called from any goroutine.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   api.Tracer
	scenes   atomic.Pointer[map[string]Scene]
}

// Scene is what is true of a release for some time.
type Scene struct {
	Run      string // empty: none is under way
	Step     int    // of the run, from 1
	Versions map[release.VersionID]string
}

// mostOfValue bounds the bytes of an attribute: much of it is what users say.
const mostOfValue = 256

// New makes a Tracer that sends what it records in the background; it must be
// shut down. OpenTelemetry tells errors of export to the whole process, so that
// there is one for each.
func New(ctx context.Context, o Options) (*Tracer, error) {
	var to []otlptracehttp.Option
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
			return nil, errors.New("send spans: the endpoint is not a collector's base URL: expected one such as http://127.0.0.1:4318; what proves who asks goes into OTEL_EXPORTER_OTLP_HEADERS")
		}
		to = append(to, otlptracehttp.WithEndpointURL(strings.TrimSuffix(o.Endpoint, "/")+"/v1/traces"))
	}
	if !(o.Ratio >= 0 && o.Ratio <= 1) {
		return nil, fmt.Errorf("record spans: the ratio is %v: expected 0 to 1", o.Ratio)
	}
	exporter, err := otlptracehttp.New(ctx, to...)
	if err != nil {
		return nil, fmt.Errorf("send spans: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("haldane"), semconv.ServiceVersion(o.Version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("say whose spans these are (OTEL_RESOURCE_ATTRIBUTES): %w", err)
	}
	otel.SetErrorHandler(&complaints{log: o.Log})
	limits := sdk.NewSpanLimits()
	limits.AttributeValueLengthLimit = mostOfValue
	t := &Tracer{provider: sdk.NewTracerProvider(
		sdk.WithBatcher(exporter), sdk.WithResource(about), sdk.WithRawSpanLimits(limits),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.Ratio))),
	)}
	t.tracer = t.provider.Tracer("github.com/haldane-project/haldane")
	t.scenes.Store(&map[string]Scene{})
	return t, nil
}

// Set says what is true of a release from now on; nil: it is gone.
func (t *Tracer) Set(rel string, s *Scene) {
	for {
		old := t.scenes.Load()
		next := make(map[string]Scene, len(*old)+1)
		for name, x := range *old {
			next[name] = x
		}
		if delete(next, rel); s != nil {
			next[rel] = *s
		}
		if t.scenes.CompareAndSwap(old, &next) {
			return
		}
	}
}

// Begin begins the span of a request to a release. Where it is recorded the
// request's header names the span as the one that calls next; nil: it is not,
// and the header says what it said.
func (t *Tracer) Begin(r *http.Request, rel string, begin time.Time) *Span {
	carrier := propagation.HeaderCarrier(r.Header)
	ctx := propagation.TraceContext{}.Extract(r.Context(), carrier)
	ctx, s := t.tracer.Start(ctx, method(r), api.WithSpanKind(api.SpanKindServer), api.WithTimestamp(begin))
	if !s.IsRecording() {
		return nil
	}
	delete(r.Header, "Tracestate") // one that belongs to no valid parent must not travel on
	propagation.TraceContext{}.Inject(ctx, carrier)
	s.SetAttributes(asked(r)...)
	return &Span{t: t, s: s, release: rel}
}

// Shutdown sends what is left, until ctx is done.
func (t *Tracer) Shutdown(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// complaints tells the log once a minute that spans could not be sent.
type complaints struct {
	log  *slog.Logger
	last atomic.Int64 // unix seconds
}

// Handle implements otel.ErrorHandler.
func (c *complaints) Handle(err error) {
	now, last := time.Now().Unix(), c.last.Load()
	if c.log != nil && now-last >= 60 && c.last.CompareAndSwap(last, now) {
		c.log.Warn("spans were lost: the collector did not take them", "error", err)
	}
}
