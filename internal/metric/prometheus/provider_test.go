package prometheus

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

var queueMetric = release.Metric{Name: "queue", Kind: release.Gauge, Source: release.Source{Prometheus: `queue{version="$version"}`}}

// TestNoDataIsNotGood gives the provider what real servers give on bad days. None
// of it is evidence, and each has its reason.
func TestNoDataIsNotGood(t *testing.T) {
	const secret = "do-not-show-this"
	reply := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); w.Write([]byte(text)) }
	}
	vector := func(v string) http.HandlerFunc {
		return reply(200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"`+v+`"]}]}}`)
	}
	cases := []struct {
		name  string
		serve http.HandlerFunc
		want  string
	}{
		{"Empty", reply(200, `{"status":"success","data":{"resultType":"vector","result":[]}}`), "nothing for v1"},
		{"NaN", vector("NaN"), "NaN"},
		{"Infinite", vector("+Inf"), "+Inf"},
		{"WrongType", reply(200, `{"status":"success","data":{"resultType":"string","result":[1,"x"]}}`), `type "string"`},
		{"NotANumber", vector("many"), "broken"},
		{"Histogram", reply(200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}`), "histogram"},
		{"TwoSeries", reply(200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]},{"metric":{"a":"b"},"value":[1,"1"]}]}}`), "2 series"},
		{"Refused", reply(400, `{"status":"error","errorType":"bad_data","error":"parse\nerror"}`), "refused the query with 400: parse error"},
		{"ServerError", reply(500, secret), "500"},
		{"LoginPage", reply(200, "<html>"+secret), "is the URL right"},
		{"Redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "302"},
		{"Silent", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then a server sees that the client has gone
			<-r.Context().Done()
		}, "did not answer within"},
		{"Endless", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, "more than 16 MiB"},
		{"HangsUp", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "cannot be reached"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.serve)
			defer server.Close()
			timeout := 30 * time.Second
			if c.name == "Silent" {
				timeout = 100 * time.Millisecond
			}
			p, err := New(Options{URL: server.URL, Interval: 10 * time.Millisecond, Timeout: timeout, Stale: time.Nanosecond})
			if err != nil {
				t.Fatal(err)
			}
			defer p.client.http.CloseIdleConnections()
			r, err := p.Open(context.Background(), subject(queueMetric), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			eventually(t, "a poll", func() bool { return p.polls.Load() > 0 })
			got, err := r.Read(context.Background())
			if err != nil || len(got.Samples) != 0 || !contains(got.Missing, c.want) || contains(got.Missing, secret) {
				t.Errorf("%+v %v, want no sample and %q", got, err, c.want)
			}
		})
	}
}

func TestCredentialsAreNamedAndSent(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HALDANE_TEST_PASSWORD", "open sesame")
	var seen atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"))
		w.Write([]byte(`{"status":"success","data":{"resultType":"scalar","result":[1,"4"]}}`))
	}))
	defer server.Close()
	ask := func(a Auth) string {
		p, err := New(Options{URL: server.URL, Auth: a})
		if err != nil {
			t.Fatal(err)
		}
		defer p.client.http.CloseIdleConnections()
		got, err := p.client.query(t.Context(), "4", time.Now())
		if v, ok, _ := got.number(); err != nil || !ok || v != 4 {
			t.Errorf("got %+v %v", got, err)
		}
		return seen.Load().(string)
	}
	if got := ask(Auth{BearerFrom: "file:" + file}); got != "Bearer first" {
		t.Errorf("sent %q", got)
	}
	if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := ask(Auth{BearerFrom: "file:" + file}); got != "Bearer second" {
		t.Errorf("after the file changed: sent %q", got)
	}
	if got := ask(Auth{User: "ada", PasswordFrom: "env:HALDANE_TEST_PASSWORD"}); got != "Basic YWRhOm9wZW4gc2VzYW1l" {
		t.Errorf("sent %q", got)
	}
	for want, o := range map[string]Options{
		"credentials in the URL": {URL: "http://ada:pw@127.0.0.1:1"},
		"such as http":           {URL: "127.0.0.1:9090"},
		"not set":                {URL: server.URL, Auth: Auth{BearerFrom: "env:HALDANE_TEST_ABSENT"}},
		"env:NAME":               {URL: server.URL, Auth: Auth{BearerFrom: "hunter2"}},
		"a selector such as":     {URL: server.URL, Layout: Layout{Requests: "sum(x)"}},
		"PEM":                    {URL: server.URL, TLS: TLS{CAFrom: "file:" + file}},
	} {
		if _, err := New(o); err == nil || !contains(err.Error(), want) || contains(err.Error(), "hunter2") || contains(err.Error(), ":pw") {
			t.Errorf("%+v: error %v, want %q and no secret", o, err, want)
		}
	}
}

func TestHistoryIsStablesGainOfTheLastMinute(t *testing.T) {
	begin := float64(time.Now().Unix())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !contains(r.FormValue("query"), "stable0000") {
			w.Write([]byte(`{"status":"success","data":{"resultType":"matrix","result":[]}}`))
			return
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[
			{"metric":{"code":"200"},"values":[[%[1]f,"1000"],[%[2]f,"1500"],[%[3]f,"1900"]]},
			{"metric":{"code":"500"},"values":[[%[2]f,"7"],[%[3]f,"9"]]}]}}`, begin-200, begin-70, begin-10)
	}))
	defer server.Close()
	p, err := New(Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer p.client.http.CloseIdleConnections()
	r, err := p.Open(t.Context(), subject(release.Metric{Name: "errors", Kind: release.Errors}), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h, err := r.History(t.Context())
	if err != nil || h[0].N != 402 || h[0].Bad != 2 {
		t.Errorf("history %+v %v, want 2 of 402", h, err)
	}
}

func httpLayout(t *testing.T) *reading {
	r, err := Layouts["http"].compile()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGain(t *testing.T) {
	one := func(code string, samples ...sample) answer {
		return answer{[]series{{labels: map[string]string{"code": code}, samples: samples}}}
	}
	cases := []struct {
		name  string
		polls []answer
		want  count
		gaps  int
	}{
		{"was there before", []answer{one("200", sample{90, 1000}), one("200", sample{90, 1000}, sample{110, 1010})}, count{10, 0}, 0},
		{"born in the run", []answer{one("500", sample{105, 3}), one("500", sample{105, 3}, sample{110, 5})}, count{5, 5}, 0},
		{"told again and again", []answer{one("200", sample{90, 7}, sample{110, 9}), one("200", sample{90, 7}, sample{110, 9})}, count{2, 0}, 0},
		{"began again", []answer{one("200", sample{90, 50}, sample{110, 60}, sample{120, 4}, sample{130, 6})}, count{16, 0}, 0},
		{"began again twice", []answer{one("503", sample{90, 5}, sample{100.5, 1}, sample{101, 0}, sample{102, 2})}, count{3, 3}, 0},
		{"gap", []answer{one("200", sample{90, 5}, sample{110, 6}), one("200", sample{200, 500}, sample{210, 507})}, count{8, 0}, 1},
		{"late", []answer{one("200", sample{90, 5}, sample{120, 8}), one("200", sample{90, 5}, sample{110, 7}, sample{120, 8}, sample{121, 9})}, count{4, 0}, 0},
		{"rubbish", []answer{one("200", sample{90, 5}, sample{110, math.NaN()}, sample{111, math.Inf(1)}, sample{112, -4}, sample{113, 6})}, count{1, 0}, 0},
		{"nothing", []answer{{}, one("200")}, count{}, 0},
	}
	for _, c := range cases {
		m, sum, gaps := marks{}, count{}, 0
		for _, a := range c.polls {
			got, _, g := m.gain(a, births{since: 100}, httpLayout(t))
			sum.add(got)
			gaps += g
		}
		if sum != c.want || gaps != c.gaps {
			t.Errorf("%s: %+v with %d gaps, want %+v with %d", c.name, sum, gaps, c.want, c.gaps)
		}
	}
}

// TestAnotherVersionBehindTheSameService: the failures of the run before, which
// were not scraped then, are not this one's.
func TestAnotherVersionBehindTheSameService(t *testing.T) {
	a := answer{[]series{{labels: map[string]string{"code": "500"}, samples: []sample{{60, 100}, {99, 120}, {101, 140}, {102, 141}}}}}
	if got, _, _ := (marks{}).gain(a, births{since: 100, another: true}, httpLayout(t)); got != (count{N: 1, Bad: 1}) {
		t.Errorf("gained %+v, want the one request after the first sample of the run", got)
	}
}

// TestSeriesAtRestBelongsToNobody: where the Service had no requests any more,
// what grows across the beginning of the run is the run's.
func TestSeriesAtRestBelongsToNobody(t *testing.T) {
	a := answer{[]series{{labels: map[string]string{"code": "500"}, samples: []sample{{60, 100}, {98, 120}, {99, 120}, {101, 140}, {102, 141}}}}}
	if got, _, _ := (marks{}).gain(a, births{since: 100, another: true}, httpLayout(t)); got != (count{N: 21, Bad: 21}) {
		t.Errorf("gained %+v, want the 21 requests since the run began", got)
	}
}

// TestSeriesTakenAwayMeanwhileBeganAtZero: a gateway drops the series of a
// Service without a route. One that was not there at a scrape in the run began at
// zero after it, with the first failure of the new version.
func TestSeriesTakenAwayMeanwhileBeganAtZero(t *testing.T) {
	code := func(code string, samples ...sample) series {
		return series{labels: map[string]string{"job": "gateway", "instance": "a", "code": code}, samples: samples}
	}
	a := answer{[]series{
		code("500", sample{60, 100}, sample{90, 120}, sample{102, 1}, sample{103, 3}),
		code("200", sample{60, 900}, sample{90, 950}, sample{101, 2}, sample{102, 4}, sample{103, 4}),
	}}
	h := heard{}
	h.note(&poll{parts: [][2]part{{{total: answer{[]series{code("200", sample{99, 1000}, sample{100.5, 1100}, sample{101, 1200})}}}, {total: a}}}})
	got, _, _ := (marks{}).gain(a, births{since: 100, another: true, heard: h}, httpLayout(t))
	if want := (count{N: 7, Bad: 3}); got != want {
		t.Errorf("gained %+v, want %+v", got, want)
	}
}

// TestStableAloneIsNoComparison: what it did before the canary was asked anything
// is left out, however long that took.
func TestStableAloneIsNoComparison(t *testing.T) {
	f := newFlow(requestsFlow, nil, time.Unix(100, 0))
	f.metrics = []int{0}
	metrics := []release.Metric{{Name: "errors", Kind: release.Errors}}
	at := func(sec, stableN, canaryN float64) map[int]judge.Batch {
		for who, n := range []float64{stableN, canaryN} {
			p := part{layout: httpLayout(t), total: answer{[]series{{labels: map[string]string{"code": "200"}, samples: []sample{{sec, n}}}}}}
			f.count(who, p, time.Unix(int64(sec), 0), births{since: 100, another: who == canary})
		}
		out, err := f.batches(sec, metrics)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for sec := 99.0; sec < 110; sec++ {
		if got := at(sec, 1000*sec, 0); len(got) > 0 {
			t.Fatalf("evidence before the canary's first request: %+v", got)
		}
	}
	if got := at(110, 110_000, 7)[0]; got.Stable.N != 1000 || got.Canary.N != 7 {
		t.Errorf("the first batch has %d and %d requests, want those of one second", got.Stable.N, got.Canary.N)
	}
}

// TestOldCountersAreNoGain: an instance that is scraped for the first time may
// hold the counts of an earlier run.
func TestOldCountersAreNoGain(t *testing.T) {
	a := answer{[]series{
		{labels: map[string]string{"code": "500", "instance": "old"}, samples: []sample{{110, 900}, {111, 901}}},
		{labels: map[string]string{"code": "503", "instance": "old"}, samples: []sample{{112, 2}}},
	}}
	got, _, _ := marks{}.gain(a, births{since: 100, scraped: map[string]float64{"old": 110}}, httpLayout(t))
	if got != (count{N: 3, Bad: 3}) {
		t.Errorf("gained %+v, want the one request and the series that began since", got)
	}
}

func TestMarksSurviveTheCursor(t *testing.T) {
	m := marks{}
	a := answer{[]series{{labels: map[string]string{"path": "/a\x00\"b", "code": "200"}, samples: []sample{{90, 1}, {110, 4}}}}}
	m.gain(a, births{since: 100}, httpLayout(t))
	b, err := json.Marshal(cursor{Flows: map[string]*flowState{requestsFlow: {Marks: [2]marks{m, nil}}}})
	if err != nil {
		t.Fatal(err)
	}
	var back cursor
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := back.Flows[requestsFlow].Marks[0].gain(a, births{since: 100}, httpLayout(t)); got != (count{}) {
		t.Errorf("after the cursor was saved, %+v is counted again", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(200, []byte(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"code":"500"},"values":[[1.5,"3"],[2,"1e9"]]}]}}`))
	f.Add(200, []byte(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}`))
	f.Add(422, []byte(`{"status":"error","error":"\u202e`+"\x00"+`"}`))
	f.Fuzz(func(t *testing.T, code int, text []byte) {
		a, err := decode(code, text)
		if err != nil {
			if len(err.Error()) > 1200 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if v, ok, err := a.number(); ok && (err != nil || math.IsNaN(v) || math.IsInf(v, 0)) {
			t.Errorf("%v %v", v, err)
		}
		m := marks{}
		if got, _, _ := m.gain(a, births{}, httpLayout(t)); got.N < 0 || got.Bad < 0 || got.Bad > got.N {
			t.Errorf("gained %+v", got)
		}
	})
}
