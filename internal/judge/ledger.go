package judge

import (
	"encoding/binary"
	"math"
)

// ledger counts units and bad ones by the share at which they were drawn. In
// routing mode few shares come in a run, and what a proof has earned follows
// from these counts alone: nothing else of it need be saved, whatever the number
// of its components and margins.
type ledger struct {
	rows []counts // by share, in the order in which they came
	open int      // the row of the last batch
}

// ledgerRows is how many shares have a row. Batches of others, and those of the
// counts mode, are bet on one by one.
const ledgerRows = 8

func newLedger() ledger { return ledger{rows: make([]counts, 0, ledgerRows)} }

// add books a batch of the routing mode; false: its share has no row.
func (l *ledger) add(n counts) bool {
	if l.open >= len(l.rows) || l.rows[l.open].w != n.w {
		if !l.find(n.w) {
			return false
		}
	}
	r := &l.rows[l.open]
	r.nc += n.nc
	r.ec += n.ec
	r.ns += n.ns
	r.es += n.es
	return true
}

// find opens the row of a share.
func (l *ledger) find(w float64) bool {
	for i := range l.rows {
		if l.rows[i].w == w {
			l.open = i
			return true
		}
	}
	if len(l.rows) == ledgerRows {
		return false
	}
	l.open, l.rows = len(l.rows), append(l.rows, counts{w: w})
	return true
}

// total is the sum of all rows.
func (l *ledger) total() (sum counts) {
	for _, r := range l.rows {
		sum.nc += r.nc
		sum.ec += r.ec
		sum.ns += r.ns
		sum.es += r.es
	}
	return sum
}

// due is how many of the units the canary was to get on average.
func (l *ledger) due() (n float64) {
	for _, r := range l.rows {
		n += r.expected()
	}
	return n
}

// ledgerBeside marks in the first byte that there are units beside the rows.
const ledgerBeside = ledgerRows

func (l *ledger) save(out []byte, beside bool) []byte {
	head := byte(len(l.rows))<<4 | byte(l.open)
	if beside {
		head |= ledgerBeside
	}
	out = append(out, head)
	for _, r := range l.rows {
		out = appendCount(appendShare(out, r.w), int64(r.nc+r.ns))
		out = binary.AppendVarint(out, int64(r.nc-r.expected()))
		out = appendCount(appendCount(out, int64(r.ec)), int64(r.es))
	}
	return out
}

// expected is how many of the units the canary gets on average.
func (n counts) expected() float64 { return math.Round(n.w * (n.nc + n.ns)) }

func (l *ledger) load(d *decoder) (beside bool) {
	head := d.byte()
	n, open := head>>4, head&(ledgerBeside-1)
	if d.err == nil && (n > ledgerRows || open > 0 && open >= n) {
		d.fail("the counts by share are out of range")
	}
	if d.err != nil {
		return false
	}
	for range n {
		r := counts{w: d.share(), ns: float64(d.count())}
		r.nc = r.expected() + float64(d.signed())
		r.ns -= r.nc
		r.ec, r.es = float64(d.count()), float64(d.count())
		if d.err == nil && !(r.w > 0 && r.w < 1 && r.nc >= 0 && r.ns >= 0) {
			d.fail("the counts of a share are out of range")
		}
		l.rows = append(l.rows, r)
	}
	l.open = int(open)
	return head&ledgerBeside != 0
}
