package study

import (
	"fmt"
	"io"
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Size is how many simulated runs a study makes of each kind.
type Size struct{ Detect, Null, Late, Promote int }

// The sizes: Small runs with the tests, Full writes docs/judge.md.
var (
	Small = Size{Detect: 60, Null: 60, Late: 20, Promote: 40}
	Full  = Size{Detect: 1000, Null: 2000, Late: 300, Promote: 400}
)

const (
	alpha = 0.01
	// LimitCells are judged by the ratio to the limit, the others by a difference.
	smallLimit = 20
)

var (
	rates  = []float64{0.001, 0.01, 0.05}
	shares = []float64{0.01, 0.05, 0.1, 0.5}
)

// worse are the canary's error rates at a stable rate: 1.5, 2 and 5 times, 20 %.
func worse(stable float64) []float64 { return []float64{1.5 * stable, 2 * stable, 5 * stable, 0.2} }

// Detection is every cell of the grid, the total outages apart.
func Detection(size Size) (cells, outages []Cell) {
	seed := uint64(1)
	for _, s := range rates {
		for _, c := range worse(s) {
			for _, w := range shares {
				cells = append(cells, Detect(seed, s, c, w, alpha, size.Detect))
				seed++
			}
		}
		for _, w := range shares[:3] {
			outages = append(outages, Detect(seed, s, 1, w, alpha, size.Detect))
			seed++
		}
	}
	return cells, outages
}

// Summary of the cells whose limit is at least 20 canary requests: mean and
// worst ratio; and the largest excess over the limit of the others, in requests.
func Summary(cells []Cell) (mean, worst, excess float64) {
	n := 0.0
	for _, c := range cells {
		if c.Limit < smallLimit {
			excess = max(excess, c.Mean-c.Limit)
			continue
		}
		mean, n = mean+c.Ratio(), n+1
		worst = max(worst, c.Ratio())
	}
	return mean / n, worst, excess
}

// Write runs the study and writes its figures as Markdown.
func Write(w io.Writer, size Size) {
	cells, outages := Detection(size)
	mean, most, excess := Summary(cells)
	fmt.Fprintf(w, "### Requests to a rollback\n\nMean canary requests until a regression is found, divided by the limit w L / I(w) that no test with the same error\nprobability can beat (%d simulated runs a cell, alpha 1 %%, 1,000 requests/s, a look after every request that matters).\nOver the %d cells whose limit is at least %d: **mean %.2f, worst %.2f**; elsewhere at most %.1f requests over it.\n\n",
		size.Detect, countLarge(cells), smallLimit, mean, most, excess)
	fmt.Fprint(w, "| stable | canary | w 1 % | w 5 % | w 10 % | w 50 % |\n|---|---|---|---|---|---|\n")
	for i := 0; i < len(cells); i += len(shares) {
		fmt.Fprintf(w, "| %s | %s |", percent(cells[i].Stable), percent(cells[i].Canary))
		for _, c := range cells[i : i+len(shares)] {
			fmt.Fprintf(w, " %.0f / %.0f = %.2f |", c.Mean, c.Limit, c.Ratio())
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "\nTotal outage, canary requests until it is found: ")
	for i, c := range outages {
		if i > 0 {
			fmt.Fprint(w, ", ")
		}
		fmt.Fprintf(w, "%.1f (stable %s, w %s)", c.Mean, percent(c.Stable), percent(c.Share))
	}
	fmt.Fprint(w, ".\n\n### False rollbacks\n\nOf a good version, over half an hour at 1,000 requests/s with a look at every error; promised at most 1 %.\n\n| situation | runs | rolled back | 95 % interval |\n|---|---|---|---|\n")
	for i, p := range rates {
		runs := size.Null
		if p > 0.01 {
			runs = max(20, runs/4)
		}
		for j, s := range []float64{0.05, 0.5} {
			nullRow(w, fmt.Sprintf("both %s errors, w %s", percent(p), percent(s)), NullRuns(uint64(500+2*i+j), p, s, alpha, runs))
		}
	}
	nullRow(w, "both ten times worse for five minutes, w 5 %", Incident(600, 0.05, alpha, max(20, size.Null/2)))
	nullRow(w, "ramp 1 to 50 % while both drift from 0.3 to 0.9 %", Ramp(601, alpha, size.Null))
	fmt.Fprint(w, "\n### Late regressions\n\nAfter a quarter of an hour that was good, w 5 %, stable 1 %: canary requests from the onset, and the limit.\n\n| canary | found | mean | limit | ratio |\n|---|---|---|---|---|\n")
	for i, c := range []float64{0.02, 0.05} {
		x := Late(uint64(700+i), 0.01, c, 0.05, alpha, size.Late)
		fmt.Fprintf(w, "| %s | %d of %d | %.0f | %.0f | %.2f |\n", percent(c), x.Found, x.Runs, x.Mean, x.Limit, x.Ratio())
	}
	fmt.Fprint(w, "\n### Promotion\n\nSeconds until a good version is proven to be within the margin (1,000 requests/s, w 10 %, stable 1 %), and how often a\nversion exactly at the margin is taken for good; promised at most 5 %.\n\n| margin | proven | median | wrongly proven |\n|---|---|---|---|\n")
	for i, ratio := range []float64{1.5, 2} {
		p := Promote(uint64(800+10*i), 0.01, 0.1, ratio, size.Promote, size.Promote)
		fmt.Fprintf(w, "| at most %g times | %d of %d | %.0f s | %d of %d |\n", ratio, p.Found, p.Runs, p.Median, p.Wrong, p.WrongRuns)
	}
}

func countLarge(cells []Cell) (n int) {
	for _, c := range cells {
		if c.Limit >= smallLimit {
			n++
		}
	}
	return n
}

func nullRow(w io.Writer, what string, n Null) {
	low, high := exact(n.Alarms, n.Runs)
	fmt.Fprintf(w, "| %s | %d | %d (%.2f %%) | %.2f to %.2f %% |\n", what, n.Runs, n.Alarms, 100*n.Part(), 100*low, 100*high)
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
