package study

import (
	"fmt"
	"strings"
)

// Size is how many simulated runs a study makes of each kind.
type Size struct{ Detect, Null, Late, Promote, Wrong, Peers, Slow, SlowNull int }

// The sizes: Small runs with the tests, Full writes docs/judge.md, and Long is
// the runs of each cell where the promise about false rollbacks is checked.
var (
	Small = Size{Detect: 16, Null: 24, Late: 20, Promote: 40, Wrong: 100, Peers: 6, Slow: 8, SlowNull: 1}
	Full  = Size{Detect: 1000, Null: 2000, Late: 1000, Promote: 1000, Wrong: 20000, Peers: 200, Slow: 200, SlowNull: 400}
	Long  = 20000
)

// smallLimit parts the cells judged by the ratio to the limit from those judged
// by the difference, in canary requests.
const smallLimit = 20

var (
	rates  = []float64{0.001, 0.01, 0.05}
	shares = []float64{0.01, 0.05, 0.1, 0.5}
	// kinds of regressions, as columns of the tables
	kinds = []string{"1.5 times", "2 times", "5 times", "20 %", "100 %"}
)

// worse are the canary's error rates at a stable rate, in the order of kinds.
func worse(stable float64) []float64 {
	return []float64{1.5 * stable, 2 * stable, 5 * stable, 0.2, 1}
}

// seedOf numbers the cells of the grid.
func seedOf(base uint64, rate, kind, share int) uint64 {
	return base + uint64((rate*len(kinds)+kind)*len(shares)+share)
}

// Grid is figures by rate, kind of regression and share.
type Grid[T any] [3][5][4]T

func fillGrid[T any](base uint64, f func(seed uint64, t truth) T) (g Grid[T]) {
	for i, s := range rates {
		for j, c := range worse(s) {
			for k, w := range shares {
				g[i][j][k] = f(seedOf(base, i, j, k), truth{s, c, w})
			}
		}
	}
	return g
}

// Detection is the judge in every cell of the grid.
func Detection(size Size) Grid[Cell] {
	return fillGrid(1, func(seed uint64, t truth) Cell { return Detect(seed, t.stable, t.canary, t.share, size.Detect) })
}

// outage is the last of kinds; its figure is promised for shares up to 10 %.
const (
	outage       = 4
	outageShares = 3
)

// Summary of the cells whose limit is at least 20 canary requests, outages
// apart: their number, mean and worst ratio; and the largest excess over the
// limit of the others, in requests.
func Summary(g Grid[Cell]) (n int, mean, worst, excess float64) {
	for i := range rates {
		for j := range outage {
			for _, c := range g[i][j] {
				if c.Limit < smallLimit {
					excess = max(excess, c.Mean-c.Limit)
					continue
				}
				mean, n = mean+c.Ratio(), n+1
				worst = max(worst, c.Ratio())
			}
		}
	}
	return n, mean / float64(n), worst, excess
}

// Study is everything that was measured.
type Study struct {
	Size       Size
	Cells      Grid[Cell]
	PeerCells  Grid[PeerCell]
	PeerNulls  [3][4]PeerCell // by rate and share
	Nulls      []Null
	Contrast   []Null // what other rules do in the same situations
	Slow       [4][4]Cell
	SlowPeers  [4][4]SlowPeerCell
	SlowNulls  []Null
	LateCells  []Cell
	Promotions []Proof
}

// Part is a part of the study that can be run by itself; it has a section of
// its own in docs/judge.md.
type Part struct {
	Name    string
	measure func(*Study)
	write   func(Study, *strings.Builder)
	plots   func(Study) map[string]string
}

// Parts of the study, in their order on the page.
var Parts = []Part{
	{"errors", (*Study).errors, Study.writeErrors, Study.plotErrors},
	{"latency", (*Study).latency, Study.writeLatency, func(s Study) map[string]string { return map[string]string{"latency.svg": s.plotLatency()} }},
	{"time", (*Study).time, Study.writeTime, func(Study) map[string]string { return map[string]string{"evidence.svg": plotEvidence()} }},
}

// Run measures the part and returns its section and its plots by file name.
func (p Part) Run(size Size) (markdown string, plots map[string]string) {
	s := Study{Size: size}
	p.measure(&s)
	var b strings.Builder
	p.write(s, &b)
	return strings.TrimLeft(b.String(), "\n"), p.plots(s)
}

// errors is about rates of errors: this judge and other rules.
func (s *Study) errors() {
	s.Cells = Detection(s.Size)
	s.nulls()
	s.PeerCells = fillGrid(2000, func(seed uint64, t truth) PeerCell { return Peers(seed, t, horizon(t), s.Size.Peers) })
	for i, p := range rates {
		for k, w := range shares {
			s.PeerNulls[i][k] = Peers(seedOf(3000, i, 0, k), truth{p, p, w}, Release, 5*s.Size.Peers)
		}
	}
}

// time is about regressions that begin late, and proofs.
func (s *Study) time() {
	for i, c := range []float64{0.02, 0.05} {
		s.LateCells = append(s.LateCells, Late(uint64(700+i), 0.01, c, 0.05, s.Size.Late))
	}
	for i, ratio := range []float64{1.5, 2} {
		s.Promotions = append(s.Promotions, Promote(uint64(800+10*i), 0.01, 0.1, ratio, s.Size.Promote, s.Size.Wrong))
	}
}

// horizon is how long rules are given to find a regression: four times what the
// best test needs, within half an hour and two hours.
func horizon(t truth) int {
	return int(max(Release, min(4*Release, 4*newCell(t, 1).Limit/t.share/PerSecond)))
}

func (s *Study) nulls() {
	n := s.Size.Null
	for i, w := range []float64{0.05, 0.5} {
		s.Nulls = append(s.Nulls, Incident(uint64(600+i), w, n))
	}
	s.Nulls = append(s.Nulls, Ramp(610, n))
	for i, w := range []float64{0.05, 0.5} {
		s.Nulls = append(s.Nulls, Bursts(uint64(620+i), w, byInterval, n), Bursts(uint64(670+i), w, byPlacebo, n), Bursts(uint64(680+i), w, byUser, n))
	}
	s.Contrast = append(s.Contrast, Bursts(630, 0.05, eachRequest, max(20, n/4)))
	for i, more := range []float64{1, 1.15} {
		s.Nulls = append(s.Nulls, Gauges(uint64(640+i), more, n))
		k, t := GaugePeers(uint64(650+i), more, max(20, n/2))
		k.What, t.What = "Kayenta's rule, "+k.What, "t-test each minute, "+t.What
		s.Contrast = append(s.Contrast, k, t)
	}
}

func (s *Study) latency() {
	for i, shape := range latencyShapes {
		for k, w := range shares {
			s.Slow[i][k] = DetectSlow(uint64(900+10*i+k), shape, w, s.Size.Slow)
			s.SlowPeers[i][k] = SlowPeers(uint64(950+10*i+k), shape, w, Release, max(2, s.Size.Slow/8))
		}
	}
	for i, w := range []float64{0.05, 0.5} {
		s.SlowNulls = append(s.SlowNulls, SlowNull(uint64(990+i), w, s.Size.SlowNull))
	}
}

// LongCheck is a check of the promise about false rollbacks with many runs; it has
// a section of its own in docs/judge.md.
type LongCheck struct {
	Name string
	text string
	each func(done func(Null))
}

// LongChecks are the checks with many runs, the quick cells of each first.
var LongChecks = []LongCheck{
	{"errors", fmt.Sprintf(`Half an hour at 1,000 requests/s, %d releases a cell, a look after every error of the canary, at the end of
every second and, until the canary has answered %d requests and wherever the evidence is within %d nats of the bar, after
every request. Errors that can not bring it there are judged at once.`, Long, early, near), longErrors},
	{"world", fmt.Sprintf("The same of what the world does to both versions, %d releases a cell.", Long), longWorld},
	{"latency", fmt.Sprintf("Latency of a good version, lognormal with sigma 0.5, a look each 100 ms, %d releases a cell.", Long/5), longLatency},
}

// Run measures the cells one by one; done gets the section with all that is known
// after each, so that it can be stopped.
func (c LongCheck) Run(done func(markdown string)) {
	text := c.text + "\n\n" + nullHead
	c.each(func(n Null) {
		text += n.row()
		done(text)
	})
}

func longErrors(done func(Null)) {
	for i, p := range rates {
		for k, w := range shares {
			done(NullRuns(seedOf(5000, i, 0, k), p, w, Long))
		}
	}
}

func longWorld(done func(Null)) {
	for i, w := range []float64{0.05, 0.5} {
		done(Incident(uint64(5100+i), w, Long))
	}
}

func longLatency(done func(Null)) {
	for k, w := range shares {
		done(SlowNull(uint64(5200+k), w, Long/5))
	}
}
