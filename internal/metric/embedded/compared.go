package embedded

import (
	"cmp"
	"slices"

	"github.com/haldane-project/haldane/internal/judge"
)

// compared holds what was measured of answers until both versions have some. A
// request that fails, or whose answer never comes, has nothing to measure, so
// that the chance of being drawn does not say how many answers a version should
// have: their numbers do, and they take two versions.
type compared struct {
	share          float64
	canary, stable judge.Side
}

// take puts what is held into a batch; what one version has alone it keeps. A
// share that changed begins anew: what was before it compares with nothing.
func (c *compared) take(b *judge.Batch) bool {
	if c.share != b.Share {
		*c = compared{share: b.Share}
	}
	c.canary, c.stable = joined(c.canary, b.Canary), joined(c.stable, b.Stable)
	if empty(c.canary) || empty(c.stable) {
		return false
	}
	b.Share, b.Canary, b.Stable = 0, c.canary, c.stable
	*c = compared{share: c.share}
	return true
}

func empty(s judge.Side) bool {
	return s.N == 0 && len(s.Bins) == 0 && !slices.ContainsFunc(s.Classes, func(n int64) bool { return n > 0 })
}

// joined is the sum of two sides.
func joined(a, b judge.Side) judge.Side {
	if empty(a) {
		return b
	}
	a.N, a.Bad, a.Units, a.Firsts = a.N+b.N, a.Bad+b.Bad, a.Units+b.Units, a.Firsts+b.Firsts
	a.Bins = joinedBins(a.Bins, b.Bins)
	classes := make([]int64, max(len(a.Classes), len(b.Classes)))
	for _, list := range [][]int64{a.Classes, b.Classes} {
		for i, n := range list {
			classes[i] += n
		}
	}
	a.Classes = classes
	return a
}

func joinedBins(a, b []judge.BinCount) []judge.BinCount {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y judge.BinCount) int { return cmp.Compare(x.Bin, y.Bin) })
	out := all[:0]
	for _, x := range all {
		if n := len(out); n > 0 && out[n-1].Bin == x.Bin {
			out[n-1].Count += x.Count
		} else {
			out = append(out, x)
		}
	}
	return out
}
