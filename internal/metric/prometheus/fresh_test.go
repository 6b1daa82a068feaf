package prometheus

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/release"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestPollsFollowWhatIsStored: a quarter of an interval apart at the soonest, a whole one
// at the latest, and each of them wakes the one who looks.
func TestPollsFollowWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		next := make(chan struct{})
		store := func() {
			mu.Lock()
			defer mu.Unlock()
			close(next)
			next = make(chan struct{})
		}
		p, err := New(Options{
			URL: "http://inside", Interval: time.Second, Scraped: "up",
			Fresh: func() <-chan struct{} {
				mu.Lock()
				defer mu.Unlock()
				return next
			},
			Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(
					bytes.NewReader([]byte(`{"status":"success","data":{"resultType":"matrix","result":[]}}`)))}, nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r, err := p.Open(t.Context(), metric.Subject{
			Run: "hello-1", Started: began, Metrics: []release.Metric{{Name: "errors", Kind: release.Errors}},
			Stable: release.Version{ID: "a", Name: "v1"}, Canary: release.Version{ID: "b", Name: "v2"},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		after := func(d time.Duration) {
			t.Helper()
			<-r.Wake()
			if at := time.Since(began); at != d {
				t.Errorf("a poll after %v, expected after %v", at, d)
			}
		}
		after(0)
		time.Sleep(100 * time.Millisecond)
		store() // too soon after a poll
		after(250 * time.Millisecond)
		time.Sleep(700 * time.Millisecond)
		store()
		after(950 * time.Millisecond)
		after(1950 * time.Millisecond) // nothing is stored any more
	})
}
