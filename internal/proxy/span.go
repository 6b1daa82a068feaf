package proxy

import (
	"net/http"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// Tracer records requests for systems that follow them from service to service.
// Its methods must not block.
type Tracer interface {
	// Begin is told of a request to a release before it is sent on. Where the
	// request is recorded it sets the trace context in its header; nil: it is not,
	// and the header stays as it is.
	Begin(r *http.Request, release string, begin time.Time) Span
}

// Span is one request that is recorded. Its methods are called from the request's
// goroutine.
type Span interface {
	// Observe is told of each attempt's end; it must not keep the observation.
	Observe(o *release.Observation)
	// End is told once that the request has ended.
	End()
}

// causeNoInstance is why a request failed that no version was asked.
const causeNoInstance = "NoInstance"

// trace begins the span of a request; nil: it is not recorded. It comes before
// traceRequest, which gives those that are not recorded a trace context.
func (p *Proxy) trace(r *http.Request, begin time.Time) Span {
	if p.tracer == nil {
		return nil
	}
	return p.tracer.Begin(r, p.name, begin)
}

// unserved counts a request for which no instance was ready.
func (x *exchange) unserved() {
	x.p.unserved.Add(1)
	if x.span != nil {
		x.span.Observe(&release.Observation{Release: x.p.name, Begin: x.begin, Status: http.StatusServiceUnavailable, Outcome: release.Failed, Cause: causeNoInstance})
	}
}
