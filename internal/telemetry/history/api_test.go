package history

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
)

// served is a store with three series behind its HTTP API.
func served(t *testing.T) (s *Store, server *httptest.Server, begin time.Time) {
	t.Helper()
	s, _ = opened(t, Options{})
	begin = time.Now().Add(-time.Minute).Truncate(time.Second)
	for i := range 10 {
		at := begin.Add(time.Duration(i) * time.Second)
		add(t, s.db, at, float64(i), "__name__", "queue", "version", "a")
		add(t, s.db, at, float64(2*i), "__name__", "queue", "version", "b")
		add(t, s.db, at, 1, "__name__", "other", "release", "hello")
	}
	server = httptest.NewServer(http.StripPrefix("/prometheus", s.QueryHandler()))
	t.Cleanup(server.Close)
	return s, server, begin
}

// TestTheCommonClientReadsIt asks through the client that others use.
func TestTheCommonClientReadsIt(t *testing.T) {
	_, server, begin := served(t)
	c, err := api.NewClient(api.Config{Address: server.URL + "/prometheus", Client: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	client, ctx := v1.NewAPI(c), t.Context()
	got, _, _, err := client.Query(ctx, `sum(queue)`, begin.Add(4*time.Second))
	if v, ok := got.(model.Vector); err != nil || !ok || len(v) != 1 || v[0].Value != 12 {
		t.Errorf("query: %v %v, want 12", got, err)
	}
	if got, _, _, err = client.Query(ctx, `nothing`, begin); err != nil || len(got.(model.Vector)) != 0 {
		t.Errorf("query without a result: %v %v", got, err)
	}
	if got, _, _, err = client.Query(ctx, `1/0`, begin); err != nil || float64(got.(*model.Scalar).Value) != math.Inf(1) {
		t.Errorf("scalar: %v %v", got, err)
	}
	got, _, _, err = client.QueryRange(ctx, `queue{version="b"}`, v1.Range{Start: begin, End: begin.Add(9 * time.Second), Step: 3 * time.Second})
	if m, ok := got.(model.Matrix); err != nil || !ok || len(m) != 1 || len(m[0].Values) != 4 || m[0].Values[3].Value != 18 {
		t.Errorf("range query: %v %v", got, err)
	}
	end := begin.Add(time.Minute)
	if names, _, _, err := client.LabelNames(ctx, nil, begin, end); err != nil || fmt.Sprint(names) != "__name__, release, version" {
		t.Errorf("label names: %v %v", names, err)
	}
	if names, _, _, err := client.LabelNames(ctx, []string{`queue`}, begin, end); err != nil || fmt.Sprint(names) != "__name__, version" {
		t.Errorf("label names of queue: %v %v", names, err)
	}
	if values, _, _, err := client.LabelValues(ctx, "version", nil, begin, end); err != nil || len(values) != 2 || values[1] != "b" {
		t.Errorf("label values: %v %v", values, err)
	}
	if series, _, _, err := client.Series(ctx, []string{`{version=~".+"}`, `queue`}, begin, end); err != nil || len(series) != 2 {
		t.Errorf("series: %v %v", series, err)
	}
	if info, err := client.Buildinfo(ctx); err != nil || info.Version == "" {
		t.Errorf("build info: %+v %v", info, err)
	}
}

func TestMetadataAndTargets(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "haldane_level", Help: "How high."}))
	s, _ := opened(t, Options{Own: reg})
	server := httptest.NewServer(s.QueryHandler())
	defer server.Close()
	c, err := api.NewClient(api.Config{Address: server.URL, Client: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	client := v1.NewAPI(c)
	eventually(t, "metadata", func() bool {
		m, err := client.Metadata(t.Context(), "haldane_level", "")
		return err == nil && len(m["haldane_level"]) == 1 && m["haldane_level"][0].Help == "How high."
	})
	targets, err := client.Targets(t.Context())
	if err != nil || len(targets.Active) != 1 || targets.Active[0].Health != v1.HealthGood {
		t.Errorf("targets: %+v %v", targets, err)
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	_, server, _ := served(t)
	cases := []struct {
		path string
		code int
		want string
	}{
		{"query?query=sum(", 400, "query"},
		{"query", 400, "query"},
		{"query?query=up&time=yesterday", 400, "not a time"},
		{"query_range?query=up&start=0&end=1", 400, "step"},
		{"query_range?query=up&start=0&end=100000&step=1", 400, "longer step"},
		{"query_range?query=up&start=5&end=1&step=1", 400, "not before"},
		{"query_range?query=up&start=0&end=10&step=-1", 400, "positive"},
		{"query_range?query=up&start=0&end=10&step=NaN", 400, "not a duration"},
		{"query?query=sum(queue)%2Bon()queue&time=now", 400, "time"},
		{"series", 400, "at least one"},
		{"series?match[]=queue{", 400, "match[]"},
		{"labels?limit=-1", 400, "limit"},
		{"label/%FF/values", 400, "no label name"},
		{"admin/tsdb/delete_series", 404, "not served"},
	}
	for _, c := range cases {
		resp, err := server.Client().Get(server.URL + "/prometheus/api/v1/" + c.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		var got response
		if err := json.Unmarshal(body, &got); err != nil {
			t.Errorf("%s: %s is not JSON: %v", c.path, body, err)
		}
		if resp.StatusCode != c.code || got.Status != "error" || !strings.Contains(got.Error, c.want) {
			t.Errorf("%s: %d %s, want %d and %q", c.path, resp.StatusCode, body, c.code, c.want)
		}
	}
	resp, err := server.Client().PostForm(server.URL+"/prometheus/api/v1/query", url.Values{"query": {strings.Repeat("x", 2*maxBody)}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("a body over the limit gives %d", resp.StatusCode)
	}
}

func FuzzParameters(f *testing.F) {
	f.Add("1.5", "15s")
	f.Add("2026-01-02T03:04:05Z", "1e300")
	f.Add("-Inf", "NaN")
	f.Fuzz(func(t *testing.T, at, step string) {
		r := httptest.NewRequest(http.MethodGet, "/?"+url.Values{"at": {at}}.Encode(), nil)
		if got, err := timeOf(r, "at", time.Unix(0, 0)); err == nil && (got.Year() < -1200 || got.Year() > 9999) {
			t.Errorf("%q is the year %d", at, got.Year())
		}
		if d, err := durationOf(step); err == nil && math.Abs(d.Seconds()) > 1e11 {
			t.Errorf("%q is %v", step, d)
		}
	})
}
