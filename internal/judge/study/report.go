package study

import (
	"fmt"
	"math"
	"strings"

	"gonum.org/v1/gonum/mathext"
)

// writeErrors writes what was measured with rates of errors.
func (s Study) writeErrors(b *strings.Builder) {
	s.writeDetection(b)
	s.writePeers(b)
	s.writeNulls(b)
}

func (s Study) writeDetection(b *strings.Builder) {
	n, mean, most, excess := Summary(s.Cells)
	fmt.Fprintf(b, `### Requests to a rollback

Mean canary requests until a regression is found, and the limit w L / I(w) that no test with the same error probability
can beat on average: %d runs a cell, alpha 1 %%, 1,000 requests/s, a look after every request that matters. Over the %d
cells whose limit is at least %d: **mean %.2f, worst %.2f**; elsewhere at most %.1f requests over it.

| stable | canary | w 1 %% | w 5 %% | w 10 %% | w 50 %% |
|---|---|---|---|---|---|
`, s.Size.Detect, n, smallLimit, mean, most, excess)
	for i := range rates {
		for j := range outage {
			c := s.Cells[i][j]
			fmt.Fprintf(b, "| %s | %s |", percent(c[0].Stable), percent(c[0].Canary))
			for _, c := range c {
				fmt.Fprintf(b, " %.0f / %.0f = %.2f |", c.Mean, c.Limit, c.Ratio())
			}
			fmt.Fprintln(b)
		}
	}
	fmt.Fprint(b, "\nTotal outage, mean canary requests until it is found (promised: at most 3 for w up to 10 %):\n\n| stable | w 1 % | w 5 % | w 10 % | w 50 % |\n|---|---|---|---|---|\n")
	for i, p := range rates {
		fmt.Fprintf(b, "| %s |", percent(p))
		for _, c := range s.Cells[i][outage] {
			fmt.Fprintf(b, " %.2f (limit %.1f) |", c.Mean, c.Limit)
		}
		fmt.Fprintln(b)
	}
}

// bearable is the share of false rollbacks up to which a rule's time to a
// finding says something.
const bearable = 0.05

func (s Study) writePeers(b *strings.Builder) {
	fmt.Fprintf(b, `
### Beside other rules

The same releases, judged by the rules of other tools and by other tests. They are written again from their definitions
for this study; the tools themselves were not run. False rollbacks of a good version over half an hour, from the best to
the worst share of traffic, %d runs a cell:

| rule | both 0.1 %% | both 1 %% | both 5 %% |
|---|---|---|---|
`, s.PeerNulls[0][0].Runs)
	for k, r := range rules {
		fmt.Fprintf(b, "| %s |", r.name)
		for i := range rates {
			low, high := 1.0, 0.0
			for _, c := range s.PeerNulls[i] {
				x := float64(c.Found[k]) / float64(c.Runs)
				low, high = min(low, x), max(high, x)
			}
			fmt.Fprintf(b, " %s |", between(low, high))
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintf(b, `
![False rollbacks by rule](judge/false-rollbacks.svg)

Mean canary requests to the finding divided by the limit, for w 1 / 5 / 10 / 50 %%, the mean over those error rates at
which the rule rolls back at most %.0f %% of good versions; ≥ where some of the %d runs found nothing in the time (half
an hour, or four times what the best test needs, up to two hours).

| rule | %s |
|---|---|---|---|---|---|
| **this judge** |`, 100*bearable, s.Size.Peers, strings.Join(kinds, " | "))
	for j := range kinds {
		fmt.Fprintf(b, " %s |", s.ours(j))
	}
	fmt.Fprintln(b)
	for k, r := range rules {
		fmt.Fprintf(b, "| %s |", r.name)
		for j := range kinds {
			fmt.Fprintf(b, " %s |", s.peer(k, j))
		}
		fmt.Fprintln(b)
	}
	fmt.Fprint(b, "\n![Canary requests to a rollback by rule](judge/detection.svg)\n\nThe rules:\n\n")
	for _, r := range rules {
		fmt.Fprintf(b, "- %s: %s.\n", r.name, r.note)
	}
}

// ours is the judge's mean ratio over the rates, by share.
func (s Study) ours(kind int) string {
	var parts []string
	for k := range shares {
		sum := 0.0
		for i := range rates {
			sum += s.Cells[i][kind][k].Ratio() / float64(len(rates))
		}
		parts = append(parts, brief(sum))
	}
	return strings.Join(parts, " / ")
}

func (s Study) peer(k, kind int) string {
	var parts []string
	for w := range shares {
		sum, n, more := 0.0, 0.0, ""
		for i := range rates {
			null, c := s.PeerNulls[i][w], s.PeerCells[i][kind][w]
			if float64(null.Found[k]) > bearable*float64(null.Runs) {
				continue
			}
			sum, n = sum+c.Mean[k]/c.Limit, n+1
			if c.Found[k] < c.Runs {
				more = "≥ "
			}
		}
		if n == 0 {
			parts = append(parts, "–")
			continue
		}
		parts = append(parts, more+brief(sum/n))
	}
	return strings.Join(parts, " / ")
}

// brief writes a ratio with two or three digits.
func brief(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func between(low, high float64) string {
	if low == high {
		return percent(low)
	}
	return fmt.Sprintf("%s to %s", percent(low), percent(high))
}

const nullHead = "| situation | runs | rolled back | 95 % interval |\n|---|---|---|---|\n"

func (s Study) writeNulls(b *strings.Builder) {
	fmt.Fprint(b, `
### False rollbacks caused by the world

Of a good version over half an hour with a look at every error of the canary; promised at most 1 %. Intervals are exact
(Clopper, Pearson 1934).

`+nullHead)
	for _, n := range s.Nulls {
		fmt.Fprint(b, n.row())
	}
	fmt.Fprint(b, "\nFor contrast, the same situations with rules that do not heed them:\n\n"+nullHead)
	for _, n := range s.Contrast {
		fmt.Fprint(b, n.row())
	}
}

func (s Study) writeLatency(b *strings.Builder) {
	fmt.Fprintf(b, `
### Latency

Lognormal around 100 ms with sigma 0.5, 1,000 requests/s, a look each 100 ms, %d runs a cell (%d for the other rules, over
half an hour). Mean canary requests divided by the limit, for w 1 / 5 / 10 / 50 %%; promised at most 2.5. The limits in
canary requests stand in the first row; ≥ where some runs found nothing.

| rule | false rollbacks |`, s.Size.Slow, s.SlowPeers[0][0].Runs)
	for _, x := range latencyShapes {
		fmt.Fprintf(b, " %s |", x.name)
	}
	fmt.Fprint(b, "\n|---|---|---|---|---|---|\n| limit | |")
	each := func(cell func(shape, share int) string) {
		for i := range latencyShapes {
			var parts []string
			for k := range shares {
				parts = append(parts, cell(i, k))
			}
			fmt.Fprintf(b, " %s |", strings.Join(parts, " / "))
		}
		fmt.Fprintln(b)
	}
	each(func(i, k int) string { return fmt.Sprintf("%.0f", s.Slow[i][k].Limit) })
	alarms, runs := 0, 0
	for _, n := range s.SlowNulls {
		alarms, runs = alarms+n.Alarms, runs+n.Runs
	}
	low, high := exact(alarms, runs)
	fmt.Fprintf(b, "| **this judge** | %d of %d (%s) |", alarms, runs, between(low, high))
	each(func(i, k int) string {
		c := s.Slow[i][k]
		return atLeast(c.Found < c.Runs) + brief(c.Ratio())
	})
	for r, rule := range slowRules {
		fmt.Fprintf(b, "| %s | |", rule.name)
		each(func(i, k int) string {
			c := s.SlowPeers[i][k]
			if c.Found[r] == 0 {
				return "never"
			}
			return atLeast(c.Found[r] < c.Runs) + brief(c.Mean[r]/c.Limit)
		})
	}
	fmt.Fprint(b, "\n![Requests to a finding of slower versions](judge/latency.svg)\n\nThe rules:\n\n")
	for _, r := range slowRules {
		fmt.Fprintf(b, "- %s: %s.\n", r.name, r.note)
	}
}

func atLeast(some bool) string {
	if some {
		return "≥ "
	}
	return ""
}

func (s Study) writeTime(b *strings.Builder) {
	fmt.Fprint(b, "\n### Late regressions\n\nAfter a quarter of an hour that was good, w 5 %, stable 1 %: canary requests from the onset, and the limit; promised at\nmost 3 times the limit.\n\n| canary | found | mean | limit | ratio |\n|---|---|---|---|---|\n")
	for _, x := range s.LateCells {
		fmt.Fprintf(b, "| %s | %d of %d | %.0f | %.0f | %.2f ± %.2f |\n", percent(x.Canary), x.Found, x.Runs, x.Mean, x.Limit, x.Ratio(), 1.96*x.Error/x.Limit)
	}
	fmt.Fprintf(b, `
![How the evidence grows](judge/evidence.svg)

### Promotion

Seconds until a good version is proven to be within the margin (1,000 requests/s, w 10 %%, stable 1 %%), and how often a
version exactly at the margin is taken for good within %d s; promised at most 5 %%. Simulated, and computed exactly: the
bets on errors by a recursion over the counts of both versions' errors, as many as come in that time on average, where
no run is rolled back before.

| margin | proven | median | exactly | simulated | 95 %% interval |
|---|---|---|---|---|---|
`, wrongSeconds)
	for _, p := range s.Promotions {
		low, high := exact(p.Wrong, p.WrongRuns)
		fmt.Fprintf(b, "| at most %g times | %d of %d | %.0f s | %.2f %% | %d of %d (%.2f %%) | %.2f to %.2f %% |\n",
			p.Ratio, p.Found, p.Runs, p.Median, 100*p.Exact, p.Wrong, p.WrongRuns, 100*float64(p.Wrong)/float64(p.WrongRuns), 100*low, 100*high)
	}
}

func (n Null) row() string {
	low, high := exact(n.Alarms, n.Runs)
	return fmt.Sprintf("| %s | %d | %d (%.2f %%) | %.2f to %.2f %% |\n", n.What, n.Runs, n.Alarms, 100*n.Part(), 100*low, 100*high)
}

// exact is the Clopper-Pearson interval at 95 %.
func exact(k, n int) (low, high float64) {
	low, high = 0, 1
	if k > 0 {
		low = mathext.InvRegIncBeta(float64(k), float64(n-k+1), 0.025)
	}
	if k < n {
		high = mathext.InvRegIncBeta(float64(k+1), float64(n-k), 0.975)
	}
	return low, high
}

func percent(x float64) string { return fmt.Sprintf("%g %%", math.Round(x*1e5)/1e3) }
