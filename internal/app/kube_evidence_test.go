package app

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	engine "github.com/haldane-project/haldane/internal/cluster"
)

// asked is a Prometheus server that has nothing and keeps what it was asked.
type asked struct {
	mu      sync.Mutex
	queries []string
	headers []http.Header
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queries, a.headers = append(a.queries, r.FormValue("query")), append(a.headers, r.Header)
	fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
}

var podMatcher = regexp.MustCompile(`pod=~("(?:[^"\\]|\\.)*")`)

// pods are the expressions of pods' names that were asked for of a counter, since the last call.
func (a *asked) pods(counter string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, q := range a.queries {
		if m := podMatcher.FindStringSubmatch(q); m != nil && strings.HasPrefix(q, counter) {
			if text, err := strconv.Unquote(m[1]); err == nil && !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
	}
	a.queries = nil
	return out
}

// TestClusterSeriesAreOfEachVersionsPods: in the second run stable's pods are those
// that the first run's canary had, by name too, and each version is asked for by
// its own.
func TestClusterSeriesAreOfEachVersionsPods(t *testing.T) {
	s, server := newShop(t), &asked{}
	at := httptest.NewServer(server)
	defer at.Close()
	e, err := openEvidence(engine.New(s.live, s.live), t.TempDir(), at.URL, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s.evidence = e
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), halfRelease)
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	for n, version := range []string{"v2", "v3"} {
		s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, version))
		s.until(version+" has half of the traffic", s.weighs("hello", "50%"))
		server.pods("")
		s.until("both versions are asked for", s.asks(server, fmt.Sprintf("v%d", n+1), version))
		s.annotate("hello", fmt.Sprintf(`{"haldane.dev/promote-full": "hello-%d"}`, n+2))
		s.until(version+" serves", s.serves("hello", version))
		s.until("the Deployment is free", s.free)
	}
}

// asks reports whether each of the versions was asked for by what names all of its pods,
// and none of the other's.
func (s *shop) asks(server *asked, versions ...string) func() error {
	return func() error {
		list, err := s.Client.CoreV1().Pods(s.ns).List(s.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var got []string
		asked := server.pods("http_server_request_duration_seconds_count")
		for _, text := range asked {
			named, all := map[string]bool{}, regexp.MustCompile("^(?:"+text+")$")
			for _, p := range list.Items {
				if all.MatchString(p.Name) {
					named[p.Spec.Containers[0].Image] = true
				}
			}
			for image := range named {
				got = append(got, strings.TrimPrefix(image, "hello:"))
			}
		}
		if slices.Sort(got); !slices.Equal(got, versions) {
			return fmt.Errorf("pods of %v were asked for, by %q", got, asked)
		}
		return nil
	}
}
