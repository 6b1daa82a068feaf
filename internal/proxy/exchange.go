package proxy

import (
	"net/http"
	"net/textproto"
	"net/url"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// exchange is one request from beginning to end.
type exchange struct {
	p       *Proxy
	w       http.ResponseWriter
	r       *http.Request
	table   *Table
	pick    pick
	client  string
	begin   time.Time
	upgrade bool
	shield  bool  // a second try at Rest is possible; its pool is held
	body    *body // nil: the request has none
	out     int64
	wrote   bool // something was sent to the client
	flight  flight
	// dialogue reads along what is said; nil: nothing is
	dialogue Dialogue
	copied   *copied // nil: the request is not copied
	kept     *leg    // the answer, as it is kept beside the stream; nil: it is not
	heard    bool    // the listener is told of it
	span     Span    // nil: it is not recorded
	unfit    release.Unfit
}

// attempt is one try of an exchange at one version.
type attempt struct {
	to     *target
	in     *instance
	res    *http.Response
	err    error
	cursor *cursor
	reply  Reply // nil: the answer is not read along
	whole  bool  // the answer came to its end
	obs    release.Observation
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// ServeHTTP passes one request on to a version and its answer back.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	upgrade, refusal := admit(r)
	if refusal != "" {
		refuse(w, r, refusal)
		return
	}
	client, peer, trusted := p.origin(r)
	cleanRequest(r.Header, trusted)
	tellOrigin(r, peer, trusted)
	if p.takesFeedback(w, r, client) {
		return
	}
	span := p.trace(r, begin)
	traceRequest(r.Header)

	x := exchanges.Get().(*exchange)
	*x = exchange{p: p, w: w, r: r, client: client, begin: begin, upgrade: upgrade, span: span}
	defer exchanges.Put(x)
	if span != nil {
		defer span.End()
	}
	if !x.enter() {
		x.unserved()
		w.Header().Set("Retry-After", "1")
		respondError(w, r, http.StatusServiceUnavailable, "no instance of this release is ready")
		return
	}
	defer x.leave()
	x.checkFit()
	if x.pick.route == release.BySplit {
		x.flight.version, x.flight.weight, x.flight.unit = x.pick.to.version, x.pick.drawn.weight, x.pick.unit
		p.flights.start(&x.flight)
		x.begin = x.flight.begin
		defer x.flight.end() // also where the handler panics: finish ends it before
	}
	x.serve()
}

// abandon ends what still reads the request: the client sent it for nothing.
func (x *exchange) abandon() {
	if x.body != nil && x.body.shut() {
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Unix(1, 0)) // only other servers' writers cannot
	}
}

// enter chooses a version from the table in force and counts the request into
// it. Counting first and then making sure that the table is still the same one
// lets Set promise that no request follows an old table unseen. False: no
// instance is ready.
func (x *exchange) enter() bool {
	said := x.p.table.Load().readSticky(x.r)
	for {
		t := x.p.table.Load()
		k, fresh := t.stickyKey(x.r, x.client, said)
		x.table, x.pick = t, t.choose(x.r, k)
		x.pick.cookie = fresh
		if x.pick.to == nil {
			return false
		}
		x.shield = t.shields(x)
		x.hold(1)
		if x.p.table.Load() == t {
			return true
		}
		x.hold(-1)
	}
}

func (x *exchange) hold(n int64) {
	x.pick.to.pool.inflight.Add(n)
	if x.shield {
		x.table.rest.pool.inflight.Add(n)
	}
}

func (x *exchange) leave() { x.hold(-1) }

// serve tries the chosen version and, if it failed before its first byte and
// the release wants that, Rest.
func (x *exchange) serve() {
	if x.r.Body != nil && x.r.Body != http.NoBody {
		x.body = &body{req: x.r, src: x.r.Body}
		x.fullDuplex()
		if x.shield {
			x.body.limit = x.table.shield.maxBody
		}
		if n := x.r.ContentLength; n > 0 && n <= smallBody {
			x.body.limit = max(x.body.limit, n) // read before anything is sent: another instance may need it
		}
		x.interpret()
	}
	if x.copied = x.table.mirror.draw(x); x.copied != nil {
		defer x.copied.giveUp()
	}
	x.listen()
	a := x.attempt(x.pick.to, x.pick.route)
	x.send(&a)
	x.prefetch(&a)
	if x.shielding(&a) {
		x.finish(&a)
		a = x.attempt(x.table.rest, release.ByShield)
		x.send(&a)
	}
	whole := x.answer(&a)
	x.finish(&a)
	x.abandon()
	x.copied.send(x, &a)
	x.tell(&a)
	if !whole {
		panic(http.ErrAbortHandler) // the client must see that the answer is not whole
	}
}

// fullDuplex lets an HTTP/1 answer begin before the request's body has ended.
//
// A request in chunks is the last one of its connection: whether it had a
// Content-Length as well cannot be told after the standard library parsed it,
// and then RFC 9112, 6.1 demands that.
func (x *exchange) fullDuplex() {
	if x.r.ProtoMajor != 1 {
		return
	}
	_ = http.NewResponseController(x.w).EnableFullDuplex() // only other servers' writers cannot
	if x.r.ContentLength < 0 {
		x.w.Header().Set("Connection", "close")
	}
}

func (x *exchange) attempt(to *target, route release.Route) attempt {
	weight, begin := x.pick.drawn.weight, x.begin
	if route == release.ByShield {
		weight, begin = to.weight, time.Now() // what the first try took is not this version's
	}
	a := attempt{to: to, obs: release.Observation{
		Release: x.p.name, Version: to.version, Weight: weight, Route: route,
		Unit: x.pick.unit, User: x.pick.user, Begin: begin, ID: x.requestID(),
	}}
	if route == release.ByOriginal {
		a.obs.Unfit = x.unfit
	}
	return a
}

// send sends the request to an instance of the attempt's version. Where no
// connection came about, so that nothing was written, it takes another one.
func (x *exchange) send(a *attempt) {
	var room [4]*instance
	tried := room[:0]
	for {
		in := a.to.pickInstance(x.begin, tried)
		if in == nil {
			return // the error of the last one stands
		}
		a.in = in
		a.res, a.err = x.roundTrip(a)
		if a.err == nil {
			a.obs.FirstByte = time.Since(a.obs.Begin)
			return
		}
		if !isDialError(a.err) || x.r.Context().Err() != nil || (x.body != nil && !x.body.replayable()) {
			return
		}
		in.failed.Store(time.Now().UnixNano())
		if len(tried)+1 < len(a.to.instances) {
			in.done()
			a.in = nil
		}
		tried = append(tried, in)
	}
}

func (x *exchange) roundTrip(a *attempt) (*http.Response, error) {
	out := x.outgoing(a)
	if err := x.editBody(a, out); err != nil {
		return nil, err
	}
	return a.in.sender.send(out, x)
}

// outgoing is the request as the instance gets it. It shares the header of the
// client's request, which was cleaned, unless the version rewrites it.
func (x *exchange) outgoing(a *attempt) *http.Request {
	r := x.r
	u := *r.URL
	u.Scheme, u.Host, u.User, u.Fragment = a.in.address.urlScheme(), a.in.address.host, nil, ""
	keepBytes(&u)
	out := r.WithContext(r.Context()) // a copy
	out.URL, out.RequestURI, out.Close, out.TransferEncoding = &u, "", false, nil
	if x.body == nil {
		out.Body, out.ContentLength = http.NoBody, 0
	} else {
		a.cursor = &cursor{b: x.body}
		out.Body = a.cursor
	}
	if out.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = noUserAgent // else the standard transport names itself
	}
	if x.upgrade {
		out.Header["Connection"], out.Header["Upgrade"] = upgradeToken, websocketToken
	}
	if a.to.rewrite != nil {
		a.to.rewrite.apply(out)
	}
	return out
}

var noUserAgent = []string{""}

// keepBytes makes the transport send the path as the client sent it, even
// where the standard library would encode it in another way.
func keepBytes(u *url.URL) {
	if u.RawPath != "" && u.EscapedPath() != u.RawPath && len(u.RawPath) > 1 && u.RawPath[1] != '/' {
		u.Opaque = u.RawPath
	}
}

// hint passes an interim answer, such as 103 Early Hints, on.
func (x *exchange) hint(code int, header textproto.MIMEHeader) error {
	if x.w == nil || !x.r.ProtoAtLeast(1, 1) {
		return nil
	}
	h := x.w.Header()
	for name, values := range header {
		h[name] = values
	}
	x.w.WriteHeader(code)
	clear(h)
	return nil
}

// finish ends an attempt and tells the observer.
func (x *exchange) finish(a *attempt) {
	if a.in != nil {
		a.in.done()
	}
	o := &a.obs
	o.Total = time.Since(o.Begin)
	o.Out = x.out
	if x.body != nil {
		o.In, _ = x.body.state()
	}
	switch {
	case a.reply != nil:
		a.reply.End(o, a.whole)
	case x.dialogue != nil:
		x.dialogue.Unanswered(o)
	}
	x.outgrown(o)
	o.Stage = x.flight.stage()
	if x.span != nil {
		x.span.Observe(o)
	}
	x.p.observe(o)
	x.flight.end()
}
