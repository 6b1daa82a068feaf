package telemetry

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/haldane-project/haldane/internal/release"
)

// spoken is a streamed answer of a model: 500 ms, the first token after 50 ms,
// 11 tokens, 20 ms for each after the first.
func spoken() *release.Observation {
	o := observation("b", 1000)
	o.Total = 500 * time.Millisecond
	o.Answer = &release.Answer{
		API: release.ChatAPI, RequestModel: "small", Model: "small-2026", Streamed: true, Complete: true, Chunks: 11,
		FirstToken: 50 * time.Millisecond, LastToken: 250 * time.Millisecond, PerToken: 20 * time.Millisecond, InputTokens: 300, OutputTokens: 11,
	}
	return o
}

func exposed(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}

func TestModelTrafficHasTheConventionsNames(t *testing.T) {
	r := New()
	for range 3 {
		r.Observe(spoken())
	}
	failed := spoken()
	failed.Outcome, failed.Cause, failed.Answer.Complete = release.Failed, release.CauseMissingEnd, false
	failed.Answer.Estimated, failed.Answer.InputTokens = true, 0
	r.Observe(failed)
	refused := observation("b", 1000)
	refused.Outcome, refused.Cause, refused.Status, refused.API, refused.RequestModel = release.Failed, "Refused", 502, release.ChatAPI, "small"
	r.Observe(refused)
	busy := observation("b", 1000)
	busy.Outcome, busy.Cause, busy.Status, busy.Answer = release.Failed, "Status5xx", 503, &release.Answer{API: release.EmbeddingAPI, RequestModel: "small"}
	r.Observe(busy)
	copied := spoken()
	copied.Route = release.ByMirror
	r.Observe(copied)

	const at = `gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="small",gen_ai_response_model="small-2026"`
	const where = `,release="hello",version="b"`
	text := exposed(t, collector{r})
	wantLines(t, text,
		`gen_ai_server_request_duration_seconds_bucket{error_type="",`+at+where+`,le="0.32"} 0`,
		`gen_ai_server_request_duration_seconds_bucket{error_type="",`+at+where+`,le="0.64"} 3`,
		`gen_ai_server_request_duration_seconds_sum{error_type="",`+at+where+`} 1.5`,
		`gen_ai_server_request_duration_seconds_count{error_type="MissingEnd",`+at+where+`} 1`,
		`gen_ai_server_request_duration_seconds_count{error_type="Refused",gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="small",gen_ai_response_model=""`+where+`} 1`,
		`gen_ai_server_request_duration_seconds_count{error_type="503",gen_ai_operation_name="embeddings",gen_ai_provider_name="openai",gen_ai_request_model="small",gen_ai_response_model=""`+where+`} 1`,
		`gen_ai_server_time_to_first_token_seconds_bucket{`+at+where+`,le="0.04"} 0`,
		`gen_ai_server_time_to_first_token_seconds_bucket{`+at+where+`,le="0.06"} 3`,
		`gen_ai_server_time_to_first_token_seconds_count{`+at+where+`} 3`,
		`gen_ai_server_time_per_output_token_seconds_bucket{`+at+where+`,le="0.025"} 3`,
		`gen_ai_client_token_usage_bucket{`+at+`,gen_ai_token_type="input"`+where+`,le="1024"} 3`,
		`gen_ai_client_token_usage_sum{`+at+`,gen_ai_token_type="input"`+where+`} 900`,
		`gen_ai_client_token_usage_count{`+at+`,gen_ai_token_type="output"`+where+`} 3`,
	)
	r.Forget("hello")
	if strings.Contains(exposed(t, collector{r}), "gen_ai_") {
		t.Error("a release that was forgotten has series")
	}
}

// TestRequestsThatNoRewriteFitsAreCounted, and a release that was forgotten begins anew.
func TestRequestsThatNoRewriteFitsAreCounted(t *testing.T) {
	r := New()
	for _, why := range append(release.Unfits(), "", release.UnfitNotJSON) {
		o := spoken()
		o.Unfit = why
		r.Observe(o)
	}
	wantLines(t, exposed(t, collector{r}), `haldane_unrewritten_requests_total{reason="not_json",release="hello",version="b"} 2`,
		`haldane_unrewritten_requests_total{reason="too_large",release="hello",version="b"} 1`)
	if n := r.Unfit("hello", "b"); n != int64(len(release.Unfits())+1) {
		t.Errorf("%d requests, want each but one", n)
	}
	if r.Forget("hello"); r.Unfit("hello", "b") != 0 {
		t.Error("they are still counted")
	}
}

// TestAnswersThatWereNotReadAreCounted by the reason, and copies are not.
func TestAnswersThatWereNotReadAreCounted(t *testing.T) {
	r := New()
	for _, why := range []release.Unread{"", release.UnreadStatus, release.UnreadEncoding, release.UnreadEncoding, release.UnreadBinary} {
		o := spoken()
		o.Answer.Unread = why
		r.Observe(o)
	}
	copied := spoken()
	copied.Route, copied.Answer.Unread = release.ByMirror, release.UnreadBinary
	r.Observe(copied)
	text := exposed(t, collector{r})
	wantLines(t, text, `haldane_model_unread_total{reason="encoding",release="hello",version="b"} 2`, `haldane_model_unread_total{reason="binary",release="hello",version="b"} 1`)
	if n := strings.Count(text, "haldane_model_unread_total{"); n != 2 {
		t.Errorf("%d series, want two", n)
	}
}

func TestNamesOfModelsAreBounded(t *testing.T) {
	r := New()
	names := []string{strings.Repeat("x", 1000), "not\xffUTF-8"}
	for i := range 1000 {
		names = append(names, fmt.Sprint("model-", i))
	}
	for _, name := range names {
		o := spoken()
		o.Answer.RequestModel, o.Answer.Model = name, name
		r.Observe(o)
	}
	wrong := spoken()
	wrong.Outcome, wrong.Status, wrong.Answer = release.ClientFault, 404, &release.Answer{API: release.ChatAPI, RequestModel: "no-such-model"}
	r.Observe(wrong)
	series := testutil.CollectAndCount(collector{r}, "gen_ai_server_request_duration_seconds")
	if series > mostGenAI+2 {
		t.Errorf("%d series of %d models", series, len(names))
	}
	text := exposed(t, collector{r})
	const other = `gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="_OTHER",gen_ai_response_model="_OTHER",release="hello",version="b"`
	wantLines(t, text,
		fmt.Sprintf(`gen_ai_server_request_duration_seconds_count{error_type="",%s} %d`, other, len(names)-mostGenAI+1),
		`gen_ai_server_request_duration_seconds_count{error_type="404",`+other+`} 1`)
	if strings.Contains(text, "no-such-model") || strings.Contains(text, "xxx") {
		t.Error("what a client made up has a series")
	}
}

func TestModelTrafficCostsNoAllocation(t *testing.T) {
	r := New()
	s := r.of(key{"hello", "b"})
	o := spoken()
	many := spoken()
	for i := range mostGenAI + 1 {
		many.Answer.RequestModel = fmt.Sprint("model-", i)
		r.Observe(many) // the last one has no series of its own
	}
	count := func() {
		for i := range s.cells {
			c := s.lock(i)
			c.genAIs.count(o, &s.models)
			c.genAIs.count(many, &s.models)
			c.mu.Unlock()
		}
	}
	count()
	if n := testing.AllocsPerRun(1000, count); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRefusedFeedbackIsCounted(t *testing.T) {
	r := New()
	o := observation("b", 1000)
	o.ID = "1"
	r.Observe(o)
	say := func(id string, v release.Vote) error {
		return r.Feedback("hello", release.Feedback{ID: id, Vote: v}, time.Hour)
	}
	for i, said := range []struct {
		id    string
		vote  release.Vote
		taken bool
	}{{"1", "up", true}, {"1", "up", true}, {"1", "down", false}, {"2", "up", false}, {"3", "up", false}} {
		if err := say(said.id, said.vote); (err == nil) != said.taken {
			t.Fatalf("%d: %+v: %v", i, said, err)
		}
	}
	wantLines(t, exposed(t, collector{r}),
		`haldane_feedback_refused_total{reason="unknown",release="hello"} 2`,
		`haldane_feedback_refused_total{reason="contradicted",release="hello"} 1`)
}

func TestLossesAreCounters(t *testing.T) {
	c := Losses("copies_dropped", "Copies.", func() []Loss { return []Loss{{"hello", "budget", 3}} })
	wantLines(t, exposed(t, c), `haldane_copies_dropped_total{reason="budget",release="hello"} 3`)
	if p, err := testutil.CollectAndLint(c); err != nil || len(p) > 0 {
		t.Errorf("%v %v", p, err)
	}
}
