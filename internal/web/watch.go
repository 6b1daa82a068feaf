package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

const (
	heartbeat    = 15 * time.Second
	watchWriting = 10 * time.Second // a reader slower than this is dropped
)

func (s *Server) watchRoute(mux *http.ServeMux, api huma.API) {
	o := op("watch", "GET", "/api/v1/watch", "Server-sent events: `release` with a release object, first for the current state, then for every change; `gone` with the name of a deleted one. Changes are merged, never lost; after a break just connect again.", 404, 429)
	o.Parameters = []*huma.Param{{Name: "release", In: "query", Description: "Only this release.", Schema: &huma.Schema{Type: "string"}}}
	o.Responses = map[string]*huma.Response{"200": {Description: "An endless stream.", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: "string"}}}}}
	api.OpenAPI().AddOperation(&o)
	mux.HandleFunc("GET /api/v1/watch", s.watch)
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		w.Header().Set("Retry-After", "5")
		s.fail(w, r, http.StatusTooManyRequests, fmt.Sprintf("%d event streams are open already", maxWatchers))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stopped, cancel)()
	only := r.URL.Query().Get("release")
	names := s.o.Store.Watch(ctx) // before the first read: nothing is missed between
	first, err := s.current(ctx, only)
	if errors.Is(err, store.ErrNotFound) {
		s.fail(w, r, http.StatusNotFound, fmt.Sprintf("there is no release %q", only))
		return
	} else if err != nil {
		s.fail(w, r, http.StatusInternalServerError, err.Error())
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	out := newStream(w)
	for _, rec := range first {
		if !out.release(rec) {
			return
		}
	}
	if !out.comment("ready") {
		return
	}
	s.follow(ctx, out, names, only)
}

func (s *Server) current(ctx context.Context, only string) ([]store.Record, error) {
	if only == "" {
		return s.o.Store.List(ctx)
	}
	rec, err := s.o.Store.Get(ctx, only)
	return []store.Record{rec}, err
}

// follow writes each change until the reader goes away, is too slow, or the
// daemon stops. The store merges what comes while it writes, so nothing piles up.
func (s *Server) follow(ctx context.Context, out *stream, names <-chan string, only string) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		ok := true
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			ok = out.comment("alive")
		case name, open := <-names:
			if !open {
				return
			}
			if only != "" && name != only {
				continue
			}
			rec, err := s.o.Store.Get(ctx, name)
			switch {
			case errors.Is(err, store.ErrNotFound):
				ok = out.gone(name)
			case err != nil:
				return // the reader connects again
			default:
				ok = out.release(rec)
			}
		}
		if !ok {
			return
		}
	}
}

// stream writes server-sent events. Its methods report whether the reader is
// still there.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func newStream(w http.ResponseWriter) *stream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	return &stream{w: w, rc: http.NewResponseController(w)}
}

func (s *stream) release(rec store.Record) bool {
	return s.send("release", status.Of(rec))
}

func (s *stream) gone(name string) bool {
	return s.send("gone", map[string]string{"name": name})
}

func (s *stream) send(event string, v any) bool {
	data, err := json.Marshal(v)
	if err != nil {
		return false
	}
	return s.write(fmt.Appendf(nil, "event: %s\ndata: %s\n\n", event, data))
}

func (s *stream) comment(text string) bool { return s.write([]byte(": " + text + "\n\n")) }

func (s *stream) write(b []byte) bool {
	_ = s.rc.SetWriteDeadline(time.Now().Add(watchWriting))
	if _, err := s.w.Write(b); err != nil {
		return false
	}
	return s.rc.Flush() == nil
}
