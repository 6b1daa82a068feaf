package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

const (
	mirrorSlots   = 64               // copies under way where the release says no budget
	mirrorTimeout = 10 * time.Second // of one copy where it says none
	mirrorAnswer  = 4 << 20          // bytes read of an answer before it is let go
)

// mirrorHeader marks copies. A request that bears it is not copied again.
const mirrorHeader = "X-Haldane-Mirror"

var mirrorMark = []string{"1"}

// Comparer is told of requests that were copied once all of their answers have
// come. It must not block.
type Comparer interface {
	Compare(c *release.Copied)
}

// mirror copies a share of the requests, after they were answered, to a version
// whose answers nobody gets, and some of those to stable once more.
type mirror struct {
	version release.VersionID
	share   release.Weight
	rule    release.Mirroring
	user    *target // as users' requests reach the version
	canary  *target // as copies do
	stable  *target
}

// copying is what all tables of a proxy share.
type copying struct {
	slots   atomic.Int64 // copies under way or to be made
	dropped atomic.Int64
	load    load
}

// load is how many users' requests are usually under way at stable, over the last
// half minute or so. While there are many more, no copies are made: they would
// take what the users need.
type load struct {
	mu    sync.Mutex
	at    time.Time // of the request before; zero: none came yet
	usual float64
}

const (
	loadMemory = 30 * time.Second
	loadRise   = 2.0 // times what is usual
	loadSlack  = 16  // requests more that are no rush, however few are usual
)

// rush takes the number under way when a request comes and reports whether those
// are many more than usual.
func (l *load) rush(now time.Time, n int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() {
		l.at, l.usual = now, float64(n)
	}
	many := float64(n) > loadRise*l.usual+loadSlack
	l.usual += -math.Expm1(-max(now.Sub(l.at), 0).Seconds()/loadMemory.Seconds()) * (float64(n) - l.usual)
	l.at = now
	return many
}

func (t *Table) addMirror(m *release.Mirror) error {
	if m == nil || m.Share == 0 {
		return nil
	}
	to := t.targets[m.Version]
	if to == nil {
		return fmt.Errorf("the mirror is version %s, which is not among the shares of the split", m.Version)
	}
	rule := t.config.Mirror
	fill(&rule.Timeout, mirrorTimeout)
	fill(&rule.Budget, mirrorSlots)
	if len(rule.Methods) == 0 {
		rule.Methods = []string{http.MethodGet, http.MethodHead, http.MethodOptions}
	}
	t.mirror = &mirror{version: m.Version, share: m.Share, rule: rule, user: to}
	return nil
}

// connect gives the mirror connections of its own.
func (m *mirror) connect(t *Table, p *Proxy, plans map[release.VersionID][]address) {
	d := dialing{limits: p.limits, response: m.rule.Timeout}
	open := func(of *target) *target {
		c := &target{version: of.version, weight: of.weight, rewrite: of.rewrite}
		c.connect(p.apart, of.version, plans[of.version], d)
		return c
	}
	m.canary, m.stable = open(m.user), open(t.rest)
}

// apart is the mirror's own target of a version; nil: it has none.
func (m *mirror) apart(v release.VersionID) *target {
	switch {
	case m == nil:
		return nil
	case v == m.canary.version:
		return m.canary
	case v == m.stable.version:
		return m.stable
	}
	return nil
}

// Dropped counts the copies that were to be made and were not: too many were
// under way, users sent many more requests than usual, or the request was too
// long to be kept.
func (p *Proxy) Dropped() int64 { return p.copying.dropped.Load() }

// copied is one request that is to be copied, from the draw on.
type copied struct {
	p     *Proxy
	m     *mirror
	slots int64 // taken and not given back
	again bool  // stable gets a copy too
	user  *leg
}

// leg is an answer as it is kept.
type leg struct{ release.Leg }

func (l *leg) keep(p []byte) {
	if room := release.MaxCaptured - len(l.Body); len(p) > room {
		l.Long, p = true, p[:room]
	}
	l.Body = append(l.Body, p...)
}

func (l *leg) ended(a *attempt) {
	l.Outcome, l.Cause, l.Total, l.Status = a.obs.Outcome, a.obs.Cause, a.obs.Total, a.obs.Status
	if a.res != nil {
		l.Type, l.Encoding = a.res.Header.Get("Content-Type"), a.res.Header.Get("Content-Encoding")
	}
}

// draw decides whether a request that goes to stable is copied, and keeps room
// for its copies: where there is none they are not made.
func (m *mirror) draw(x *exchange) *copied {
	if m == nil || x.upgrade || x.unfit != "" || x.pick.to != x.table.rest || m.user == x.table.rest || len(m.canary.instances) == 0 ||
		x.r.Header[mirrorHeader] != nil || !slices.Contains(m.rule.Methods, x.r.Method) {
		return nil
	}
	rush := x.p.copying.load.rush(x.begin, x.table.rest.pool.inflight.Load())
	if release.Weight(rand.IntN(int(release.Full))) >= m.share { //nolint:gosec // nothing secret
		return nil
	}
	if rush {
		x.p.copying.dropped.Add(1)
		return nil
	}
	c := &copied{p: x.p, m: m, slots: 1}
	if c.again = release.Weight(rand.IntN(int(release.Full))) < m.rule.Noise; c.again { //nolint:gosec // nothing secret
		c.slots = 2
	}
	if x.p.copying.slots.Add(c.slots) > int64(m.rule.Budget) {
		c.drop()
		return nil
	}
	if x.body != nil {
		x.body.limit = max(x.body.limit, m.rule.MaxBody)
	}
	x.kept = &leg{}
	c.user = x.kept
	return c
}

// giveUp frees what was kept for copies that were not begun.
func (c *copied) giveUp() {
	c.p.copying.slots.Add(-c.slots)
	c.slots = 0
}

func (c *copied) drop() {
	c.p.copying.dropped.Add(1)
	c.giveUp()
}

// send makes the copies of a request that was answered, and returns at once. A
// client that left has no answer to compare with.
func (c *copied) send(x *exchange, a *attempt) {
	if c == nil || a.obs.Outcome == release.ClientFault {
		return
	}
	var body []byte
	if x.body != nil {
		var whole bool
		if body, whole = x.body.whole(); !whole || int64(len(body)) > c.m.rule.MaxBody { // for other reasons more is kept
			c.drop()
			return
		}
	}
	if !c.enter() {
		return // the version left the mirror meanwhile
	}
	c.user.ended(a)
	r := x.r.Clone(context.WithoutCancel(x.r.Context()))
	r.Body, r.Trailer = nil, nil
	r.Header[mirrorHeader] = mirrorMark
	r.Header["Accept-Encoding"] = identity
	if !c.m.rule.Credentials {
		for _, secret := range []string{"Authorization", "Cookie"} {
			r.Header.Del(secret)
		}
	}
	made := *c
	c.slots = 0
	go made.run(r, body, x.pick)
}

// enter counts the copies into the mirror in force, as exchange.enter does.
func (c *copied) enter() bool {
	for {
		t := c.p.table.Load()
		m := t.mirror
		if m == nil || m.version != c.m.version || m.stable.version != c.m.stable.version || len(m.canary.instances) == 0 {
			return false
		}
		c.m = m
		c.hold(1)
		if c.p.table.Load() == t {
			return true
		}
		c.hold(-1)
	}
}

// hold counts into the pool whose count says whether the version is drained.
func (c *copied) hold(n int64) {
	c.m.user.pool.inflight.Add(n)
	c.m.canary.pool.inflight.Add(n)
}

func (c *copied) run(r *http.Request, body []byte, pk pick) {
	defer c.giveUp()
	defer c.hold(-1)
	out := &release.Copied{
		Release: c.p.name, Stable: c.m.stable.version, Canary: c.m.version, Begin: time.Now().Add(-c.user.Total),
		Method: r.Method, Path: r.URL.Path, Type: r.Header.Get("Content-Type"), Request: body, User: c.user.Leg, Shared: c.m.rule.Noise,
	}
	var both sync.WaitGroup
	if c.again {
		both.Go(func() {
			l := c.ask(c.m.stable, r.Clone(r.Context()), body, pk)
			out.Again = &l
		})
	}
	out.Copy = c.ask(c.m.canary, r, body, pk)
	both.Wait()
	if c.p.comparer != nil {
		c.p.comparer.Compare(out)
	}
}

// ask sends one copy and reads its answer.
func (c *copied) ask(to *target, r *http.Request, said []byte, pk pick) release.Leg {
	ctx, cancel := context.WithTimeout(r.Context(), c.m.rule.Timeout)
	defer cancel()
	x := &exchange{p: c.p, table: c.p.table.Load(), pick: pk, begin: time.Now()}
	x.r = r.WithContext(ctx)
	if len(said) > 0 {
		x.body = &body{req: x.r, src: bytes.NewReader(said), limit: int64(len(said))}
		x.interpret()
	}
	a := x.attempt(to, release.ByMirror)
	a.obs.Weight, a.obs.Begin = to.weight, x.begin
	var l leg
	if a.in = to.pickInstance(x.begin, nil); a.in == nil {
		settle(&a.obs, causeRefused)
		l.ended(&a)
		return l.Leg
	}
	if a.res, a.err = x.roundTrip(&a); a.err == nil {
		a.obs.FirstByte = time.Since(x.begin)
		x.readCopy(&a, &l)
	} else {
		settle(&a.obs, causeOf(a.err))
	}
	x.finish(&a)
	l.ended(&a)
	return l.Leg
}

func (x *exchange) readCopy(a *attempt, l *leg) {
	defer a.res.Body.Close()
	x.judgeEarly(a)
	if x.dialogue != nil {
		a.reply = x.dialogue.Answer(a.obs.Begin, a.res.StatusCode, a.res.Header)
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for x.out < mirrorAnswer {
		n, err := a.res.Body.Read(*buf)
		x.out += int64(n)
		l.keep((*buf)[:n])
		if a.reply != nil && n > 0 {
			a.reply.Read((*buf)[:n], time.Now())
		}
		switch {
		case err == io.EOF:
			a.whole = true
			return
		case err != nil && a.obs.Outcome == release.OK:
			settle(&a.obs, causeTruncated)
			if x.r.Context().Err() != nil {
				a.obs.Cause = causeTimeout
			}
			return
		case err != nil:
			return
		}
	}
}
