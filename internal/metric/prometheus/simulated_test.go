package prometheus

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// simulated is a Prometheus server on the clock of a bubble: it scraped both
// versions at given times, and answers ranges of a counter without labels.
type simulated struct {
	scraped func(i int) time.Time // the i-th scrape, on the server's clock
	value   func(version string, at time.Time) float64
	ahead   time.Duration // of the server's clock

	mu    sync.Mutex
	asked []time.Time // one for each version and flow
}

var (
	askedVersion = regexp.MustCompile(`version="(\w+)"`)
	askedRange   = regexp.MustCompile(`\[(\d+)ms\]`)
)

// RoundTrip implements http.RoundTripper.
func (s *simulated) RoundTrip(r *http.Request) (*http.Response, error) {
	_ = r.ParseForm()
	text := r.PostForm.Get("query")
	at, _ := strconv.ParseFloat(r.PostForm.Get("time"), 64)
	length, _ := strconv.ParseFloat(askedRange.FindStringSubmatch(text)[1], 64)
	s.mu.Lock()
	s.asked = append(s.asked, time.Now())
	s.mu.Unlock()
	var values []string
	for i := 0; ; i++ {
		x := s.scraped(i)
		if t := seconds(x); x.After(time.Now().Add(s.ahead)) || t > at {
			break
		} else if t > at-length/1000 {
			values = append(values, fmt.Sprintf(`[%.3f,"%g"]`, t, s.value(askedVersion.FindStringSubmatch(text)[1], x)))
		}
	}
	body := `{"status":"success","data":{"resultType":"matrix","result":[`
	if len(values) > 0 {
		body += `{"metric":{"code":"200"},"values":[` + strings.Join(values, ",") + `]}`
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader([]byte(body + `]}}`)))}, nil
}

// open opens a reader of errors.
func (s *simulated) open(t *testing.T) metric.Reader {
	t.Helper()
	p, err := New(Options{URL: "http://simulated", Transport: s})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Open(t.Context(), subject(release.Metric{Name: "errors", Kind: release.Errors}), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOneMinuteIsAnIntervalAndNoGap: Prometheus' default, a little late or early,
// as it comes: every request counts, and nothing is missing in between.
func TestOneMinuteIsAnIntervalAndNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, rnd := time.Now(), rand.New(rand.NewPCG(3, 4))
		var jitter [60]time.Duration
		for i := range jitter {
			jitter[i] = time.Duration(rnd.IntN(2000)-1000) * time.Millisecond
		}
		s := &simulated{
			scraped: func(i int) time.Time {
				return began.Add(-10*time.Minute + 20*time.Second + time.Duration(i)*time.Minute + jitter[i%len(jitter)])
			},
			value: func(version string, at time.Time) float64 {
				if version == "canary0000" { // it came with the run
					return max(0, at.Sub(began).Seconds())
				}
				return 10_000 + 9*at.Sub(began).Seconds()
			},
		}
		r := s.open(t)
		defer r.Close()
		var canary, stable int64
		for range 20 * 60 {
			time.Sleep(time.Second)
			got, err := r.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.Missing != "" && time.Since(began) > 2*time.Minute {
				t.Fatalf("after %v: %s", time.Since(began), got.Missing)
			}
			for _, x := range got.Samples {
				canary, stable = canary+x.Batch.Canary.N, stable+x.Batch.Stable.N
			}
		}
		if canary < 1100 || canary > 1200 || stable < 9*1080 || stable > 9*1200 {
			t.Errorf("of 1200 and 10800 requests in 20 minutes %d and %d are evidence", canary, stable)
		}
	})
}

// TestRequestsOfTheWarmUpAreNotJudged: of neither version, up to the first sample
// after it, also where a reader begins midway.
func TestRequestsOfTheWarmUpAreNotJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &simulated{
			scraped: func(i int) time.Time { return began.Add(time.Duration(i-20) * 5 * time.Second) },
			value: func(version string, at time.Time) float64 {
				sec := at.Sub(began).Seconds()
				if version == "canary0000" { // its first request comes after 20 s, all of it is seen at 25 s
					return max(0, 10*(sec-20))
				}
				return 10_000 + 90*sec
			},
		}
		sub := subject(release.Metric{Name: "errors", Kind: release.Errors})
		sub.Release.Analysis.WarmUp = 30 * time.Second
		p, err := New(Options{URL: "http://simulated", Transport: s})
		if err != nil {
			t.Fatal(err)
		}
		var cursor []byte
		var canary, stable int64
		for range 2 { // 41 s and 82 s
			r, err := p.Open(t.Context(), sub, cursor)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(41 * time.Second)
			synctest.Wait()
			got, err := r.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			cursor = got.Cursor
			if warm := time.Since(began) < 55*time.Second; warm != contains(got.Missing, "v2 is warming up for another 14s") {
				t.Errorf("after %v missing is %q", time.Since(began), got.Missing)
			}
			for _, x := range got.Samples {
				canary, stable = canary+x.Batch.Canary.N, stable+x.Batch.Stable.N
			}
		}
		if canary != 250 || stable != 9*250 {
			t.Errorf("%d and %d requests are evidence, want those of the 25 s from 55 s on", canary, stable)
		}
	})
}

// TestPollsFollowScrapes: whatever the server's clock says, and whenever it scrapes,
// its samples are read soon after they were taken, at less than twice the polls.
func TestPollsFollowScrapes(t *testing.T) {
	for name, c := range map[string]struct {
		every, ahead, phase, jitter time.Duration
		most                        time.Duration // from the scrape to the poll, on average
	}{
		"each second":            {time.Second, 0, 437 * time.Millisecond, 0, 120 * time.Millisecond},
		"its clock is ahead":     {time.Second, 700 * time.Millisecond, 437 * time.Millisecond, 0, 120 * time.Millisecond},
		"its clock is behind":    {time.Second, -7 * time.Second, 900 * time.Millisecond, 0, 120 * time.Millisecond},
		"every five seconds":     {5 * time.Second, 0, 3300 * time.Millisecond, 0, 150 * time.Millisecond},
		"a little early or late": {2 * time.Second, 0, 730 * time.Millisecond, 20 * time.Millisecond, 250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				rnd := rand.New(rand.NewPCG(5, 6))
				var jitter [1000]time.Duration
				for i := range jitter {
					jitter[i] = time.Duration(rnd.Int64N(int64(c.jitter + 1)))
				}
				taken := func(i int) time.Time { return began.Add(time.Duration(i-20)*c.every + c.phase + jitter[i]) }
				s := &simulated{ahead: c.ahead,
					scraped: func(i int) time.Time { return taken(i).Add(c.ahead) },
					value:   func(_ string, at time.Time) float64 { return 10 * at.Sub(began.Add(-time.Hour)).Seconds() },
				}
				r := s.open(t)
				defer r.Close()
				time.Sleep(100 * c.every)
				synctest.Wait()
				s.mu.Lock()
				defer s.mu.Unlock()
				var sum time.Duration
				n := 0
				for i := 40; i < 118; i++ { // once it knows the server
					for _, at := range s.asked {
						visible := at
						if c.ahead > 0 { // it is asked for what was until now by our clock
							visible = at.Add(-c.ahead)
						}
						if !visible.Before(taken(i)) {
							sum, n = sum+visible.Sub(taken(i)), n+1
							break
						}
					}
				}
				polls := float64(len(s.asked)) / 2 / time.Since(began).Seconds()
				t.Logf("read %v after a scrape on average, by %.2f polls a second", sum/time.Duration(n), polls)
				if sum/time.Duration(n) > c.most || polls > 2 {
					t.Errorf("read %v after a scrape on average, by %.2f polls a second", sum/time.Duration(n), polls)
				}
			})
		})
	}
}
