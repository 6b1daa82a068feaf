package history

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// instance is a version's process with metrics, served by f.
func instance(t *testing.T, f http.HandlerFunc) Target {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return Target{Release: "hello", Version: "v1id", Role: "canary", Instance: "0", URL: server.URL + "/metrics"}
}

func TestVersionsAreScrapedUnderOurLabels(t *testing.T) {
	target := instance(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "# TYPE queue gauge\nqueue{version=\"other\",release=\"forged\",kind=\"a\"} 7\n")
	})
	s, _ := opened(t, Options{})
	s.SetTargets([]Target{target})
	eventually(t, "the version's metrics", func() bool {
		v, ok := value(t, s, `queue{release="hello",version="v1id",role="canary",instance="0",kind="a",exported_version="other",exported_release="forged"}`)
		return ok && v == 7
	})
	s.SetTargets(nil)
	eventually(t, "no data of an instance that is gone", func() bool {
		_, ok := value(t, s, `queue`)
		return !ok
	})
}

func TestTargetWithoutMetricsIsAskedRarely(t *testing.T) {
	var asked atomic.Int64
	var has atomic.Bool
	target := instance(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if !has.Load() {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "late 1\n")
	})
	s, said := opened(t, Options{Interval: 50 * time.Millisecond, Rarely: time.Second})
	s.SetTargets([]Target{target})
	eventually(t, "the target is set apart", func() bool {
		s.scraper.mu.Lock()
		defer s.scraper.mu.Unlock()
		return len(s.scraper.without) == 1
	})
	eventually(t, "it is no longer up or down", func() bool {
		_, ok := value(t, s, `up{job="versions"}`)
		return !ok
	})
	has.Store(true)
	eventually(t, "it is found later", func() bool {
		_, ok := value(t, s, "late")
		return ok
	})
	if said.String() != "" {
		t.Errorf("a target without metrics is no news, but the log has %s", said)
	}
}

func TestHostileTargetsAreLimited(t *testing.T) {
	line := func(w http.ResponseWriter, i int) error {
		_, err := fmt.Fprintf(w, "many{n=\"%d\"} 1\n", i)
		return err
	}
	cases := []struct {
		name  string
		serve http.HandlerFunc
	}{
		{"EndlessBody", func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; line(w, i) == nil; i++ {
			}
		}},
		{"TooManySamples", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 20_001 {
				_ = line(w, i)
			}
		}},
		{"LongLabel", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "many{n=%q} 1\n", strings.Repeat("x", 3000))
		}},
		{"Garbage", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "many{{{ 1\x00\n") }},
		{"Redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/many", http.StatusFound) }},
		{"Silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	}
	good := instance(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "good 1\n") })
	s, _ := opened(t, Options{Interval: 300 * time.Millisecond})
	targets := []Target{good}
	for _, c := range cases {
		target := instance(t, c.serve)
		target.Instance = c.name
		targets = append(targets, target)
	}
	s.SetTargets(targets)
	for _, c := range cases {
		eventually(t, c.name, func() bool {
			for _, x := range s.scraper.manager.TargetsActive()[jobVersions] {
				if x.GetValue("instance") == c.name {
					return x.LastError() != nil
				}
			}
			s.scraper.mu.Lock()
			defer s.scraper.mu.Unlock()
			return len(s.scraper.without) > 0
		})
	}
	if v, ok := value(t, s, "count(many)"); ok {
		t.Errorf("%v series came from hostile targets", v)
	}
	eventually(t, "the good target", func() bool {
		_, ok := value(t, s, "good")
		return ok
	})
}

// TestSlowTargetIsSpared: one that takes long to answer is scraped less often, and
// with more patience; the others are as before.
func TestSlowTargetIsSpared(t *testing.T) {
	slow := instance(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done(): // it takes longer than a scrape may
		case <-time.After(150 * time.Millisecond):
			fmt.Fprint(w, "large 1\n")
		}
	})
	quick := instance(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "small 1\n") })
	quick.Instance = "1"
	s, _ := opened(t, Options{Interval: 100 * time.Millisecond, Sparing: time.Second})
	s.SetTargets([]Target{slow, quick})
	eventually(t, "the slow one is spared", func() bool {
		s.scraper.mu.Lock()
		defer s.scraper.mu.Unlock()
		return s.scraper.slow[slow.URL]
	})
	eventually(t, "it has a second, and is read", func() bool {
		v, ok := value(t, s, `large`)
		return ok && v == 1
	})
}

// TestOneLongScrapeSparesNoTarget: on a busy machine any one may take long; a page
// that takes long each time is spared until it no longer does, and one that does not
// end in time at once.
func TestOneLongScrapeSparesNoTarget(t *testing.T) {
	const quick, usual, long = 2 * time.Millisecond, 15 * time.Millisecond, 40 * time.Millisecond
	s := &scraper{usual: 100 * time.Millisecond, sparing: time.Second, slow: map[string]bool{}, against: map[string]int{}}
	for i, x := range []struct {
		took time.Duration
		err  error
		slow bool
	}{
		{took: long}, {took: long}, {took: usual}, {took: long}, {took: long}, {took: long, slow: true},
		{took: usual, slow: true}, {took: quick, slow: true}, {took: quick, slow: true}, {took: long, slow: true},
		{took: quick, slow: true}, {took: quick, slow: true}, {took: quick},
		{took: 90 * time.Millisecond, err: context.DeadlineExceeded, slow: true},
		{took: quick, err: errors.New("refused"), slow: true}, {took: quick, slow: true}, {took: quick, slow: true}, {took: quick},
	} {
		was := s.slow["a"]
		if changed := s.spare("a", x.took, x.err); s.slow["a"] != x.slow || changed != (was != x.slow) {
			t.Fatalf("look %d, %v %v: slow %v, changed %v; want slow %v", i, x.took, x.err, s.slow["a"], changed, x.slow)
		}
	}
}

// TestQuickTargetIsScrapedTwiceAsOften: for as long as it is to be, and never one
// that takes long to answer.
func TestQuickTargetIsScrapedTwiceAsOften(t *testing.T) {
	target := instance(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "small 1\n") })
	// At an interval so long that no busy machine makes it a slow one.
	s, _ := opened(t, Options{Interval: 4 * time.Second, Sparing: 10 * time.Second})
	every := func() string {
		for _, x := range s.scraper.manager.TargetsActive()[jobVersions] {
			return x.GetValue(model.ScrapeIntervalLabel)
		}
		return ""
	}
	for _, x := range []struct {
		quick, slow bool
		want        string
	}{{false, false, "4s"}, {true, false, "2s"}, {false, false, "4s"}, {true, true, "10s"}} {
		s.scraper.mu.Lock()
		s.scraper.slow[target.URL] = x.slow
		s.scraper.mu.Unlock()
		target.Quick = x.quick
		s.SetTargets([]Target{target})
		eventually(t, "scraped every "+x.want, func() bool { return every() == x.want })
		eventually(t, "it is read", func() bool { v, ok := value(t, s, "small"); return ok && v == 1 })
	}
}
