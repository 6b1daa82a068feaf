package judge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
)

// snapshotVersion is the first byte of a snapshot.
const snapshotVersion = 4

// Snapshot returns the state of the run, to be saved with the cursor of its
// evidence. Restore continues from it bit for bit.
func (r *Run) Snapshot() []byte {
	b := []byte{snapshotVersion}
	b = binary.LittleEndian.AppendUint64(b, r.policy.fingerprint())
	b = appendBool(b, r.failed)
	if r.failed {
		b = appendFloat(appendFloat(b, r.failAt), r.failLog)
	}
	b = appendFloat(b, r.unspent)
	for i, p := range r.metrics {
		b = appendFloat(b, r.last[i])
		b = appendBool(b, r.blamed[i])
		b = p.save(b)
	}
	return b
}

// Restore continues a run from a snapshot that was taken under the same
// policy.
func Restore(p Policy, snapshot []byte) (*Run, error) {
	r, err := New(p, nil)
	if err != nil {
		return nil, err
	}
	d := &decoder{b: snapshot}
	if v := d.byte(); d.err == nil && v != snapshotVersion {
		return nil, fmt.Errorf("judge: the snapshot has version %d, expected %d", v, snapshotVersion)
	}
	if sum := d.uint64(); d.err == nil && sum != r.policy.fingerprint() {
		return nil, errors.New("judge: the snapshot was taken under another policy; a run keeps the policy that it began with")
	}
	if r.failed = d.bool(); r.failed {
		r.failAt, r.failLog = d.float(), d.float()
	}
	r.unspent = d.float()
	for i, m := range r.metrics {
		r.last[i] = d.float()
		r.blamed[i] = d.bool()
		m.load(d)
	}
	if d.err == nil && len(d.b) > 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.b))
	}
	if d.err != nil {
		return nil, fmt.Errorf("judge: the snapshot cannot be read: %w", d.err)
	}
	r.logM = r.combine()
	return r, nil
}

// fingerprint tells policies apart.
func (p Policy) fingerprint() uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%v", p)
	return h.Sum64()
}

func appendFloat(b []byte, x float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
}

func appendBool(b []byte, x bool) []byte {
	if x {
		return append(b, 1)
	}
	return append(b, 0)
}

// decoder reads what the append functions wrote; after the first error it
// returns zeros.
type decoder struct {
	b   []byte
	err error
}

var errShort = errors.New("it ends too early")

func (d *decoder) take(n int) []byte {
	if d.err == nil && len(d.b) < n {
		d.err = errShort
	}
	if d.err != nil {
		return make([]byte, n)
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte     { return d.take(1)[0] }
func (d *decoder) bool() bool     { return d.byte() != 0 }
func (d *decoder) uint64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

// float reads a number that is not NaN.
func (d *decoder) float() float64 {
	x := math.Float64frombits(d.uint64())
	if math.IsNaN(x) {
		d.fail("a number is NaN")
		return 0
	}
	return x
}

// count reads a number of things.
func (d *decoder) count() int64 {
	if d.err != nil {
		return 0
	}
	x, n := binary.Uvarint(d.b)
	if n <= 0 || x > 1<<62 {
		d.fail("a count cannot be read")
		return 0
	}
	d.b = d.b[n:]
	return int64(x)
}

func (d *decoder) fail(why string) {
	if d.err == nil {
		d.err = errors.New(why)
	}
}

func (d *decoder) floats(xs []float64) {
	for i := range xs {
		xs[i] = d.float()
	}
}

func appendFloats(b []byte, xs []float64) []byte {
	for _, x := range xs {
		b = appendFloat(b, x)
	}
	return b
}

func appendCount(b []byte, n int64) []byte { return binary.AppendUvarint(b, uint64(n)) }

func (b *bets) save(out []byte) []byte {
	out = appendFloat(out, b.last)
	out = appendCount(out, b.steps)
	return appendFloats(out, b.logR)
}

func (b *bets) load(d *decoder) {
	b.last, b.steps, b.due = d.float(), d.count(), 0
	d.floats(b.logR)
	for k := range b.u {
		b.u[k] = b.unspent(k)
	}
	b.rest()
	b.settle()
}

func (e *proof) save(out []byte, proven bool) []byte {
	out = appendBool(out, proven)
	if e.rho > 0 {
		out = appendFloats(out, e.ratio.logE[:])
	}
	if e.delta > 0 {
		out = appendFloats(out, e.diff.logE[:])
	}
	return out
}

func (e *proof) load(d *decoder) (proven bool) {
	proven = d.bool()
	if e.rho > 0 {
		d.floats(e.ratio.logE[:])
	}
	if e.delta > 0 {
		d.floats(e.diff.logE[:])
	}
	e.settle()
	return proven
}

func (p *proofs) save(out []byte) []byte {
	for i := range p.each {
		out = p.each[i].save(out, p.proven[i])
	}
	return out
}

func (p *proofs) load(d *decoder) {
	for i := range p.each {
		p.proven[i] = p.each[i].load(d)
	}
}

func (e *eventShares) save(out []byte) []byte {
	used := int64(0)
	for i := range e.pools {
		if e.pools[i].n > 0 {
			used++
		}
	}
	out = appendCount(out, used)
	for i := range e.pools {
		p := &e.pools[i]
		if p.n == 0 {
			continue
		}
		out = append(out, byte(i))
		out = appendCount(out, int64(p.n))
		out = appendCount(out, int64(p.canary))
		out = appendShare(appendShare(out, p.least), p.most)
		if p.least != p.most { // otherwise their sum is known
			out = appendFloat(out, p.sumW)
		}
	}
	return out
}

func (e *eventShares) load(d *decoder) {
	for range min(d.count(), int64(len(e.pools))) {
		i := int(d.byte())
		if i >= len(e.pools) {
			d.fail("a pool of shares is out of range")
			return
		}
		p := &e.pools[i]
		p.n, p.canary = float64(d.count()), float64(d.count())
		p.least, p.most = d.share(), d.share()
		p.sumW = p.n * p.least
		if p.least != p.most {
			p.sumW = d.float()
		}
	}
}

func (t *tested) save(out []byte) []byte {
	out = appendShare(out, t.share)
	for _, n := range [4]int64{t.nc, t.ec, t.ns, t.es} {
		out = appendCount(out, n)
	}
	out = appendBool(out, t.clustered)
	out = t.clusters.save(out)
	out = t.guard.save(out)
	out = t.proofs.save(out)
	return t.events.save(out)
}

func (t *tested) load(d *decoder, horizon float64) {
	t.share = d.share()
	t.nc, t.ec, t.ns, t.es = d.count(), d.count(), d.count(), d.count()
	t.clustered = d.bool() && t.clusters.length > 0
	t.clusters.load(d)
	t.guard = loadGuard(d, horizon)
	t.proofs.load(d)
	t.events.load(d)
}

func (p *proportion) save(out []byte) []byte {
	out = p.labelBets.bets.save(out)
	out = appendFloats(out, []float64{p.bad, p.n})
	return p.tested.save(out)
}

func (p *proportion) load(d *decoder) {
	p.labelBets.bets.load(d)
	p.bad, p.n = d.float(), d.float()
	p.tested.load(d, p.labelBets.horizon)
}

// shareParts is the resolution of weights: most shares are whole numbers of
// this many parts.
const shareParts = 1e4

// appendShare writes a share as its parts, counted from 1, or as 0 and the
// number itself.
func appendShare(b []byte, w float64) []byte {
	if k := math.Round(w * shareParts); k/shareParts == w {
		return appendCount(b, int64(k)+1)
	}
	return appendFloat(appendCount(b, 0), w)
}

func (d *decoder) share() float64 {
	if k := d.count(); k > 0 {
		return float64(k-1) / shareParts
	}
	return d.float()
}

// save writes the bins that are not empty as pairs of gap and count.
func (t *tally) save(out []byte) []byte {
	used := 0
	for _, c := range t {
		if c > 0 {
			used++
		}
	}
	out = appendCount(out, int64(used))
	before := 0
	for i, c := range t {
		if c > 0 {
			out = appendCount(out, int64(i-before))
			out = appendCount(out, c)
			before = i
		}
	}
	return out
}

func (t *tally) load(d *decoder) int64 {
	bin, total := int64(0), int64(0)
	for range min(d.count(), scaleBins) {
		bin += d.count()
		if bin >= scaleBins {
			d.fail("a bin is out of range")
			return 0
		}
		t[bin] = d.count()
		total += t[bin]
	}
	return total
}

func (g *histogram) save(out []byte) []byte {
	out = g.bets.save(out)
	out = g.learned.save(out)
	out = appendFloats(g.clump.save(out), g.open.gain)
	for i := range g.margins {
		out = appendFloats(appendFloats(out, g.margins[i].logE[:]), g.margins[i].open.gain)
		out = appendBool(out, g.proven[i])
	}
	return g.guard.save(g.stable.save(g.canary.save(out)))
}

func (g *histogram) load(d *decoder) {
	g.bets.load(d)
	g.learned.load(d)
	g.clump.load(d)
	g.open.load(d, &g.clump)
	for i := range g.margins {
		d.floats(g.margins[i].logE[:])
		g.margins[i].open.load(d, &g.clump)
		g.proven[i] = d.bool()
	}
	g.canary.load(d)
	g.stable.load(d)
	g.guard = loadGuard(d, g.horizon)
	if g.baseN > 0 {
		g.build()
	}
}
