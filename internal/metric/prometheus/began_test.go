package prometheus

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

// scrapeAmidPoll is a server of one instance that counted 900 requests of each version
// before it is first scraped: what that scrape brings is there from some query on.
type scrapeAmidPoll struct {
	at    time.Time // of the first scrape
	after int       // queries

	mu    sync.Mutex
	asked int
	grown bool // 7 requests of each later
}

func (s *scrapeAmidPoll) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	series := ""
	if s.asked > s.after {
		labels, values := `{"job":"gateway","instance":"a","code":"500"}`, fmt.Sprintf(`[%.3f,"900"]`, seconds(s.at))
		if s.grown {
			values += fmt.Sprintf(`,[%.3f,"907"]`, seconds(s.at)+1)
		}
		if contains(r.FormValue("query"), "up[") {
			labels, values = `{"job":"gateway","instance":"a"}`, fmt.Sprintf(`[%.3f,"1"]`, seconds(s.at))
		}
		series = fmt.Sprintf(`{"metric":%s,"values":[%s]}`, labels, values)
	}
	fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[%s]}}`, series)
}

// TestScrapeThatEndsAmidAPollIsNoBeginning: between any two of its queries.
func TestScrapeThatEndsAmidAPollIsNoBeginning(t *testing.T) {
	for after := range 4 {
		t.Run(fmt.Sprintf("after %d queries", after), func(t *testing.T) {
			s := &scrapeAmidPoll{at: time.Now().Add(time.Second), after: after}
			server := httptest.NewServer(s)
			defer server.Close()
			p, err := New(Options{URL: server.URL, Interval: 10 * time.Millisecond, Scraped: "up"})
			if err != nil {
				t.Fatal(err)
			}
			defer p.client.http.CloseIdleConnections()
			r, err := p.Open(t.Context(), subject(release.Metric{Name: "errors", Kind: release.Errors}), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			eventually(t, "polls that see it", func() bool { return p.polls.Load() >= int64(after)+3 })
			s.mu.Lock()
			s.grown = true
			s.mu.Unlock()
			var stable, canary int64
			eventually(t, "the evidence", func() bool {
				n, m := evidence(t, r)
				stable, canary = stable+n, canary+m
				return stable >= 7 && canary >= 7
			})
			if stable != 7 || canary != 7 {
				t.Errorf("%d and %d requests are evidence, want 7 of each", stable, canary)
			}
		})
	}
}

// evidence is how many requests of stable and of the canary one reading is about.
func evidence(t *testing.T, r metric.Reader) (stable, canary int64) {
	t.Helper()
	got, err := r.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range got.Samples {
		stable, canary = stable+x.Batch.Stable.N, canary+x.Batch.Canary.N
	}
	return stable, canary
}

// TestSeriesFoundLateDidNotBeginThen: counters of a model server whose names are not
// found for a while, as when its scrapes fail, hold what they counted before the run.
func TestSeriesFoundLateDidNotBeginThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &simulated{
			scraped: func(i int) time.Time { return began.Add(time.Duration(i-20) * 5 * time.Second) },
			value: func(_ string, at time.Time) float64 { // ten requests a second from 100 s on
				return 10_000 + max(0, 10*(at.Sub(began).Seconds()-100))
			},
		}
		found := roundTrip(func(r *http.Request) (*http.Response, error) {
			_ = r.ParseForm()
			if !contains(r.PostForm.Get("query"), "group by") {
				return s.RoundTrip(r)
			}
			names := ""
			if time.Since(began) > time.Minute {
				names = `{"metric":{"__name__":"vllm:num_preemptions_total"},"value":[1,"1"]},{"metric":{"__name__":"vllm:request_success_total"},"value":[1,"1"]}`
			}
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(
				bytes.NewReader(fmt.Appendf(nil, `{"status":"success","data":{"resultType":"vector","result":[%s]}}`, names)))}, nil
		})
		p, err := New(Options{URL: "http://simulated", Transport: found})
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.Open(t.Context(), subject(release.Metric{
			Name: "preempted", Kind: release.Rate, Source: release.Source{Server: release.ServerMetric{Name: "vllm", Metric: "preemptions"}},
		}), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var stable, canary int64
		for range 150 {
			time.Sleep(time.Second)
			n, m := evidence(t, r)
			stable, canary = stable+n, canary+m
		}
		if stable < 400 || stable > 500 || canary < 400 || canary > 500 {
			t.Errorf("%d and %d requests are evidence, want the 500 of 50 s of each, at most", stable, canary)
		}
	})
}
