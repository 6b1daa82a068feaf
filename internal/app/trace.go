package app

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/haldane-project/haldane/internal/proxy"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/telemetry/trace"
)

// spans is what a daemon tells a tracing system, where one is named.
type spans struct {
	to  *trace.Tracer // nil: none is
	log *slog.Logger
}

func openSpans(ctx context.Context, o Options) (spans, error) {
	if !trace.Wanted(o.OTLP) {
		return spans{}, nil
	}
	t, err := trace.New(ctx, trace.Options{Endpoint: o.OTLP, Ratio: o.TraceRatio, Version: Version, Log: o.Log})
	return spans{t, o.Log}, err
}

// tracing joins the proxy's port and the tracer, which do not know each other.
type tracing struct{ *trace.Tracer }

// Begin implements proxy.Tracer.
func (t tracing) Begin(r *http.Request, rel string, begin time.Time) proxy.Span {
	s := t.Tracer.Begin(r, rel, begin)
	if s == nil {
		return nil
	}
	return s
}

func (s spans) tracer() proxy.Tracer {
	if s.to == nil {
		return nil
	}
	return tracing{s.to}
}

// seen tells the tracer, beside next, which run a release is in.
func (s spans) seen(next seen) seen {
	if s.to == nil {
		return next
	}
	return func(rel release.Release, st rollout.State, backends []release.Backend, gone bool) {
		next(rel, st, backends, gone)
		if gone {
			s.to.Set(rel.Name, nil)
			return
		}
		scene := trace.Scene{Versions: map[release.VersionID]string{}}
		for _, b := range backends {
			scene.Versions[b.Version] = nameOf(rel, st, b.Version)
		}
		if st.Run != nil && !st.Run.Phase.Ended() {
			scene.Run, scene.Step = st.Run.ID, st.Run.Step+1
		}
		s.to.Set(rel.Name, &scene)
	}
}

// seen is told of a release at each pass.
type seen = func(rel release.Release, st rollout.State, backends []release.Backend, gone bool)

// spansGrace bounds the wait for a collector at a stop.
const spansGrace = 5 * time.Second

// close sends what is left. A collector that does not answer is no reason for a
// stop to have failed.
func (s spans) close() {
	if s.to == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), spansGrace)
	defer cancel()
	if err := s.to.Shutdown(ctx); err != nil {
		s.log.Warn("the last spans were not sent", "error", err)
	}
}
