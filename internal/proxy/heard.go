package proxy

import (
	"github.com/haldane-project/haldane/internal/release"
)

// Listener is told of a sample of the requests that the split sent, with what
// was asked and answered. Neither method may block.
type Listener interface {
	// Wants draws whether a request of a release that begins now is told.
	Wants(release string) bool
	// Hear is told of it once it was answered, from the request's goroutine.
	Hear(h *release.Heard)
}

// listen keeps the answer of a request that the listener wants.
func (x *exchange) listen() {
	if x.p.listener == nil || x.upgrade || x.pick.route != release.BySplit || !x.p.listener.Wants(x.p.name) {
		return
	}
	x.heard = true
	if x.kept == nil {
		x.kept = &leg{}
	}
	if x.body != nil {
		x.body.limit = max(x.body.limit, release.MaxCaptured)
	}
}

// tell tells the listener of a request that came to its end; one whose body was
// too long to be kept is told without it.
func (x *exchange) tell(a *attempt) {
	if !x.heard || a.obs.Route != release.BySplit {
		return
	}
	h := &release.Heard{Release: x.p.name, Version: a.obs.Version, Weight: a.obs.Weight, Unit: a.obs.Unit, Begin: a.obs.Begin,
		Path: x.r.URL.Path, Type: x.r.Header.Get("Content-Type"), Answer: x.kept.Leg}
	if x.body != nil {
		h.Request, _ = x.body.whole()
	}
	l := leg{h.Answer}
	l.ended(a)
	h.Answer = l.Leg
	x.p.listener.Hear(h)
}
