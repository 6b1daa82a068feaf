package model

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/haldane-project/haldane/internal/app"
	"github.com/haldane-project/haldane/internal/telemetry/trace/tracetest"
)

// followed asks a model through the proxy as part of a caller's trace.
func (d *daemon) followed(parent string) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.front+chat, strings.NewReader(streamed))
	if err != nil {
		d.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Traceparent", parent)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		d.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(b), "[DONE]") {
		d.Fatalf("%v: %s", err, b)
	}
}

// A caller's trace goes on through the proxy: its span lies between the caller's
// and the model server's, and says which version answered and what that cost.
// What the proxy measured is on /metrics under the same names.
func TestModelRequestsAreTraced(t *testing.T) {
	collector := tracetest.Start(t)
	d := startWith(t, app.Options{OTLP: collector.URL})
	model := server(t, map[string]string{"FIRST_TOKEN": "5ms", "PER_TOKEN": "1ms"})
	parents := make(chan string, 10)
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == chat {
			parents <- r.Header.Get("Traceparent")
		}
		model.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(back.Close)
	d.behind(back, "{}")

	const trace, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	d.followed("00-" + trace + "-" + caller + "-00")
	if p := <-parents; p != "00-"+trace+"-"+caller+"-00" {
		t.Errorf("the server got %s of a trace that nobody records", p)
	}
	d.followed("00-" + trace + "-" + caller + "-01")
	var span tracetest.Span
	select {
	case span = <-collector.Spans:
	case <-time.After(patience):
		t.Fatal("no span came")
	}
	if p := <-parents; p != "00-"+trace+"-"+span.ID()+"-01" {
		t.Errorf("the server got %s, expected the proxy's span %s of the caller's trace", p, span.ID())
	}
	if span.Trace() != trace || span.Parent() != caller || span.Name != "chat ngram" {
		t.Errorf("%s: trace %s, parent %s", span.Name, span.Trace(), span.Parent())
	}
	for k, v := range map[string]any{
		"haldane.release": "model", "feature_flag.result.variant": "v1", "feature_flag.result.reason": "split",
		"http.response.status_code": int64(200), "gen_ai.request.model": "ngram", "gen_ai.response.model": "ngram",
	} {
		if span.Attributes[k] != v {
			t.Errorf("%s is %v, expected %v", k, span.Attributes[k], v)
		}
	}
	d.exposes(`gen_ai_server_time_to_first_token_seconds_count\{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="ngram",gen_ai_response_model="ngram",release="model",version="[^"]+"\} 2\n`,
		`gen_ai_server_request_duration_seconds_count\{error_type="",gen_ai_operation_name="chat",[^}]*release="model"[^}]*\} 2\n`)
}

// exposes waits for lines of /metrics: a request is counted behind its answer.
func (d *daemon) exposes(patterns ...string) {
	d.Helper()
	for _, p := range patterns {
		line := regexp.MustCompile(p)
		// Nothing tells of a request that was counted.
		err := wait.PollUntilContextTimeout(d.Context(), 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
			return line.MatchString(d.metrics()), nil
		})
		if err != nil {
			d.Fatalf("/metrics has no %s: %v", p, err)
		}
	}
}

func (d *daemon) metrics() string {
	d.Helper()
	res, err := http.Get("http://" + d.address + "/metrics")
	if err != nil {
		d.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.Fatal(err)
	}
	return string(b)
}
