package judge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
)

// snapshotVersion is the first byte of a snapshot.
const snapshotVersion = 7

// Snapshot returns the state of the run, to be saved with the cursor of its
// evidence. Restore continues from it bit for bit.
func (r *Run) Snapshot() []byte {
	b := []byte{snapshotVersion}
	b = binary.LittleEndian.AppendUint64(b, r.policy.fingerprint())
	b = appendBool(b, r.failed)
	if r.failed {
		b = appendFloat(appendFloat(b, r.failAt), r.failLog)
	}
	for i, p := range r.metrics {
		b = appendTime(b, r.last[i])
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
	for i, m := range r.metrics {
		r.last[i] = d.time()
		d.at = r.last[i]
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

func (b *bets) save(out []byte) []byte { return b.saveOdds(appendTime(out, b.last)) }

// saveOdds leaves out the time of the last batch, for bets that every batch of
// the metric reaches.
func (b *bets) saveOdds(out []byte) []byte {
	switch {
	case b.coarse: // no step of a ramp restarts them
		return appendSingles(out, b.logR)
	case b.short:
		return appendShorts(appendCount(out, b.steps), b.logR)
	}
	return appendFloats(appendCount(out, b.steps), b.logR)
}

func (b *bets) load(d *decoder) { b.loadOdds(d, d.time()) }

func (b *bets) loadOdds(d *decoder, last float64) {
	b.last, b.due = last, 0
	switch {
	case b.coarse:
		d.singles(b.logR)
	case b.short:
		b.steps = d.count()
		d.shorts(b.logR)
	default:
		b.steps = d.count()
		d.floats(b.logR)
	}
	for k := range b.u {
		b.u[k] = b.unspent(k)
	}
	b.rest()
	b.settle()
}

// save leaves out what follows from the ledger, and from the units beside it.
func (p *proofs) save(out []byte, beside counts) []byte {
	out = appendBools(out, append(p.proven[:len(p.proven):len(p.proven)], p.isLoose))
	if p.isLoose {
		out = p.loose.save(out, p.each, beside)
	}
	return out
}

func (p *proofs) load(d *decoder, l *ledger, beside counts) {
	flags := make([]bool, len(p.proven)+1)
	d.bools(flags)
	copy(p.proven, flags)
	if p.isLoose = flags[len(p.proven)]; p.isLoose {
		p.loose.load(d, p.each, beside)
	}
	p.settle(l)
}

// save writes what the margins need.
func (e *looseParts) save(out []byte, each []proof, beside counts) []byte {
	if len(each) > 0 && each[0].rho > 0 {
		out = appendSingles(appendSingles(out, e.alts[:]), e.nulls)
	}
	if len(each) > 0 && each[0].delta > 0 {
		out = binary.AppendVarint(appendSingles(out, e.stakes[:]), int64(e.n-beside.nc-beside.ns))
		out = binary.AppendVarint(out, int64(e.drawn-beside.nc))
	}
	return out
}

func (e *looseParts) load(d *decoder, each []proof, beside counts) {
	if len(each) > 0 && each[0].rho > 0 {
		d.singles(e.alts[:])
		d.singles(e.nulls)
	}
	if len(each) > 0 && each[0].delta > 0 {
		d.singles(e.stakes[:])
		e.n, e.drawn = float64(d.signed())+beside.nc+beside.ns, float64(d.signed())+beside.nc
		if d.err == nil && !(e.drawn >= 0 && e.drawn <= e.n) {
			d.fail("the units of a proof are out of range")
		}
	}
}

// save leaves out how many units the last pool holds, of all that are in the pools.
func (e *eventShares) save(out []byte, all counts) []byte {
	used, last := byte(0), 0
	for i := range e.pools {
		if e.pools[i].n > 0 {
			used |= 1 << i
			last = i
		}
	}
	out = append(out, used)
	for i := range e.pools {
		p := &e.pools[i]
		if p.n == 0 {
			continue
		}
		all.ec, all.es = all.ec-p.canary, all.es-(p.n-p.canary)
		if i == last {
			out = binary.AppendVarint(binary.AppendVarint(out, int64(all.ec)), int64(all.es))
		} else {
			out = appendCount(appendCount(out, int64(p.canary)), int64(p.n-p.canary))
		}
		out = appendShare(appendShare(out, p.least), p.most)
		if p.least != p.most { // otherwise their sum is known
			out = appendCount(out, int64(p.sum))
		}
	}
	return out
}

func (e *eventShares) load(d *decoder, all counts) {
	used := d.byte()
	if d.err == nil && used>>len(e.pools) != 0 {
		d.fail("a pool of shares is out of range")
	}
	for i := range e.pools {
		if d.err != nil {
			return
		}
		if used>>i&1 == 0 {
			continue
		}
		p, stable := &e.pools[i], 0.0
		if used>>i == 1 {
			p.canary, stable = all.ec-float64(d.signed()), all.es-float64(d.signed())
		} else {
			p.canary, stable = float64(d.count()), float64(d.count())
		}
		p.n = p.canary + stable
		all.ec, all.es = all.ec-p.canary, all.es-stable
		p.least, p.most = d.share(), d.share()
		if p.sum = math.Round(p.n * p.least * shareParts); p.least != p.most {
			p.sum = float64(d.count())
		}
		if d.err == nil && !(p.canary >= 0 && stable >= 0 && p.n > 0) {
			d.fail("the units of a pool are out of range")
		}
	}
}

// besideLedger are the units that have no row of the ledger.
func (t *tested) besideLedger() counts {
	sum := t.ledger.total()
	return counts{nc: float64(t.nc) - sum.nc, ec: float64(t.ec) - sum.ec, ns: float64(t.ns) - sum.ns, es: float64(t.es) - sum.es}
}

func (t *tested) save(out []byte) []byte {
	beside := t.besideLedger()
	out = t.ledger.save(appendShare(out, t.share), beside != counts{})
	if beside != (counts{}) {
		for _, n := range [4]float64{beside.nc, beside.ec, beside.ns, beside.es} {
			out = binary.AppendVarint(out, int64(n))
		}
	}
	out = t.clusters.save(out)
	out = t.guard.save(out)
	if !t.clusters.decides { // what units prove no longer counts
		out = t.proofs.save(out, beside)
	}
	return t.events.save(out, beside)
}

func (t *tested) load(d *decoder, horizon float64) {
	t.share = d.share()
	more := t.ledger.load(d)
	sum := t.ledger.total()
	t.nc, t.ec, t.ns, t.es = int64(sum.nc), int64(sum.ec), int64(sum.ns), int64(sum.es)
	if more {
		for _, n := range [4]*int64{&t.nc, &t.ec, &t.ns, &t.es} {
			*n += d.signed()
		}
	}
	if d.err == nil && min(t.nc, t.ec, t.ns, t.es) < 0 {
		d.fail("a count is negative")
	}
	beside := t.besideLedger()
	t.clusters.load(d)
	t.guard = loadGuard(d, horizon)
	if !t.clusters.decides {
		t.proofs.load(d, &t.ledger, beside)
	}
	t.events.load(d, beside)
}

// save leaves out the bets of units where they no longer count.
func (p *proportion) save(out []byte) []byte {
	out = p.tested.save(appendNumber(appendLearned(out, p.bad), p.n))
	if p.clusters.decides {
		return out
	}
	return p.labelBets.saveOdds(out)
}

func (p *proportion) load(d *decoder) {
	p.bad, p.n = d.learned(), d.number()
	p.tested.load(d, p.labelBets.horizon)
	if !p.clusters.decides {
		p.labelBets.loadOdds(d, d.at)
	}
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
