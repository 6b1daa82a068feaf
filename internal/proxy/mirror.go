package proxy

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

const (
	mirrorSlots   = 64               // copies under way at most; more are not made
	mirrorTimeout = 10 * time.Second // of one copy
	mirrorAnswer  = 4 << 20          // bytes read of an answer before it is let go
)

// mirror copies a share of the requests to a version whose answers are dropped.
type mirror struct {
	version release.VersionID
	share   release.Weight
	to      *target
	slots   *atomic.Int64 // under way, for all tables of the proxy
}

func (t *Table) addMirror(m *release.Mirror) error {
	if m == nil || m.Share == 0 {
		return nil
	}
	if t.targets[m.Version] == nil {
		return fmt.Errorf("the mirror is version %s, which is not among the shares of the split", m.Version)
	}
	t.mirror = &mirror{version: m.Version, share: m.Share}
	return nil
}

// copies reports whether this request is copied: a safe method without a body,
// on its way to another version.
func (m *mirror) copies(x *exchange) bool {
	if m == nil || len(m.to.instances) == 0 || x.upgrade || x.body != nil || x.pick.to == m.to {
		return false
	}
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead && x.r.Method != http.MethodOptions {
		return false
	}
	return release.Weight(rand.IntN(int(release.Full))) < m.share
}

// send makes the copy and returns at once. Nothing waits for it: where too many
// are under way it is not made.
func (m *mirror) send(x *exchange) {
	if m.slots.Add(1) > mirrorSlots {
		m.slots.Add(-1)
		return
	}
	in := m.to.pickInstance(x.begin, nil)
	a := x.attempt(m.to, release.ByMirror)
	a.in, a.obs.Weight = in, m.to.weight
	r := x.r.Clone(context.WithoutCancel(x.r.Context()))
	r.Body = nil
	for _, secret := range []string{"Authorization", "Cookie"} {
		r.Header.Del(secret)
	}
	m.to.pool.inflight.Add(1)
	shadow := &exchange{p: x.p, r: r, table: x.table, pick: x.pick, begin: time.Now()}
	a.obs.Begin = shadow.begin
	go m.run(shadow, a)
}

func (m *mirror) run(x *exchange, a attempt) {
	defer m.slots.Add(-1)
	defer m.to.pool.inflight.Add(-1)
	ctx, cancel := context.WithTimeout(x.r.Context(), mirrorTimeout)
	defer cancel()
	x.r = x.r.WithContext(ctx)
	a.res, a.err = a.in.sender.send(x.outgoing(&a), x)
	if a.err == nil {
		a.obs.FirstByte = time.Since(x.begin)
		x.readShadow(&a)
	} else {
		settle(&a.obs, causeOf(a.err))
	}
	x.finish(&a)
}

func (x *exchange) readShadow(a *attempt) {
	defer a.res.Body.Close()
	x.judgeEarly(a)
	n, err := io.Copy(io.Discard, io.LimitReader(a.res.Body, mirrorAnswer))
	x.out = n
	if err != nil && a.obs.Outcome == release.OK {
		settle(&a.obs, causeTruncated)
	}
}
