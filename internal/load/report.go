package load

import (
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Report sums up a load. Durations are in nanoseconds in JSON.
type Report struct {
	Requests int64            `json:"requests"`
	Failed   int64            `json:"failed"` // no whole answer, or a 5xx
	ByStatus map[string]int64 `json:"byStatus,omitempty"`
	ByCause  map[string]int64 `json:"byCause,omitempty"`   // of requests without a whole answer
	ByHeader map[string]int64 `json:"byVersion,omitempty"` // by Options.VersionHeader
	Elapsed  time.Duration    `json:"elapsed"`
	Rate     float64          `json:"rate"` // requests finished a second
	P50      time.Duration    `json:"p50"`
	P90      time.Duration    `json:"p90"`
	P99      time.Duration    `json:"p99"`
	Max      time.Duration    `json:"max"`
}

// binWidth is the relative width of a latency bin, which bounds the error of a quantile.
const binWidth = 0.02

// recorder counts shots. The zero value is ready.
type recorder struct {
	mu       sync.Mutex
	start    time.Time
	end      time.Time
	n        int64
	failed   int64
	byStatus map[string]int64
	byCause  map[string]int64
	byHeader map[string]int64
	bins     map[int]int64
	lowest   int
	highest  int
	max      time.Duration
}

func (r *recorder) begin(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.start = now
	r.byStatus, r.byCause, r.byHeader = map[string]int64{}, map[string]int64{}, map[string]int64{}
	r.bins = map[int]int64{}
}

func (r *recorder) finish(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = now
}

func (r *recorder) add(s Shot) {
	bin := binOf(s.Latency)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 || bin < r.lowest {
		r.lowest = bin
	}
	if r.n == 0 || bin > r.highest {
		r.highest = bin
	}
	r.n++
	r.bins[bin]++
	r.max = max(r.max, s.Latency)
	if s.Failed() {
		r.failed++
	}
	if s.Err != nil {
		r.byCause[cause(s.Err)]++
	} else {
		r.byStatus[strconv.Itoa(s.Status)]++
	}
	if s.Version != "" {
		r.byHeader[s.Version]++
	}
}

func (r *recorder) report() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := r.end
	if end.IsZero() {
		end = time.Now()
	}
	rep := Report{
		Requests: r.n, Failed: r.failed, Max: r.max,
		ByStatus: maps.Clone(r.byStatus), ByCause: maps.Clone(r.byCause), ByHeader: maps.Clone(r.byHeader),
		P50: r.quantile(0.5), P90: r.quantile(0.9), P99: r.quantile(0.99),
	}
	if !r.start.IsZero() {
		rep.Elapsed = end.Sub(r.start)
		rep.Rate = float64(r.n) / max(rep.Elapsed.Seconds(), 1e-9)
	}
	return rep
}

// quantile is the upper end of the bin in which the q-th part of the requests
// is reached; the caller holds the lock.
func (r *recorder) quantile(q float64) time.Duration {
	if r.n == 0 {
		return 0
	}
	want := int64(math.Ceil(q * float64(r.n)))
	var seen int64
	for b := r.lowest; b <= r.highest; b++ {
		seen += r.bins[b]
		if seen >= want {
			return min(time.Duration(math.Pow(1+binWidth, float64(b+1))*float64(time.Microsecond)), r.max)
		}
	}
	return r.max
}

func binOf(d time.Duration) int {
	us := max(float64(d)/float64(time.Microsecond), 1)
	return int(math.Floor(math.Log(us) / math.Log(1+binWidth)))
}

// cause names an error in one word.
func cause(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &timeout) && timeout.Timeout()):
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return "cut off"
	default:
		return "other"
	}
}
