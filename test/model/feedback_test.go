package model

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// poor is what an answer says that nobody wants.
const poor = "I do not know."

// chatter answers with a stream; share in ten of its answers are poor, and so long.
func chatter(t *testing.T, share int64, long int) *httptest.Server {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		words := []string{"Coal", " gas", " burns", "."}
		if n.Add(1)%10 < share {
			words = slices.Repeat(strings.SplitAfter(poor, " "), long)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, x := range words {
			delta, _ := json.Marshal(map[string]any{"choices": []any{map[string]any{"index": 0, "delta": map[string]string{"content": x}}}})
			fmt.Fprintf(w, "data: %s\n\n", delta)
			w.(http.Flusher).Flush()
			if long > 1 {
				time.Sleep(time.Millisecond) // of its own, as a model takes
			}
		}
		_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)
	return s
}

func (d *daemon) implicit(version, metric string, s *httptest.Server) string {
	return fmt.Sprintf(`apiVersion: haldane.dev/v1alpha1
kind: Release
metadata:
  name: llm
spec:
  version: %s
  workload: {endpoints: {addresses: [%q]}}
  traffic: {embedded: {listen: %q, model: {}, feedback: {}, sticky: {header: X-User}}}
  strategy: {canary: {steps: [{weight: 50}]}, bake: 1s}
  analysis:
    falseRollback: 1%%
    minRequests: 300
    metrics:
    - {name: errors, kind: errors, margin: "50%% or +5%%"}
    - %s
`, version, s.Listener.Addr(), d.front, metric)
}

// chats lets users come one after the other until the test ends; each asks one
// question. The impatient leave a poor answer; else react says what they do.
func (d *daemon) chats(impatient bool, react func(ctx context.Context, user, question string)) {
	ctx, cancel := context.WithCancel(context.Background())
	var users sync.WaitGroup
	var n atomic.Int64
	for range 2 {
		users.Go(func() {
			for ctx.Err() == nil {
				user := fmt.Sprintf("user-%d", n.Add(1))
				question := `{"stream":true,"messages":[{"role":"user","content":"What burns? I am ` + user + `"}]}`
				if answer := d.says(ctx, user, question, impatient); strings.Contains(answer, poor[:5]) {
					react(ctx, user, question)
				}
			}
		})
	}
	d.Cleanup(func() { cancel(); users.Wait() })
}

// says is the answer to a user's question; where it is poor, the user may leave.
func (d *daemon) says(ctx context.Context, user, question string, leaves bool) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.front+chat, strings.NewReader(question))
	if err != nil {
		d.Error(err)
		return ""
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-User", user)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return "" // the release does not listen yet, or the test has ended
	}
	defer res.Body.Close()
	var text strings.Builder
	for in := bufio.NewScanner(res.Body); in.Scan(); {
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		data, _ := strings.CutPrefix(in.Text(), "data: ")
		if json.Unmarshal([]byte(data), &chunk) == nil && len(chunk.Choices) > 0 {
			text.WriteString(chunk.Choices[0].Delta.Content)
		}
		if leaves && strings.HasPrefix(text.String(), poor[:2]) {
			break
		}
	}
	return text.String()
}

// What users do tells of a version that answers in time, in form and poorly: they
// ask once more, or say that they did. One as good as the first is promoted.
func TestWhatUsersDoIsJudged(t *testing.T) {
	ask := func(d *daemon) func(context.Context, string, string) {
		return func(ctx context.Context, user, question string) { d.says(ctx, user, question, false) }
	}
	tell := func(d *daemon) func(context.Context, string, string) {
		return func(ctx context.Context, user, _ string) {
			body := fmt.Sprintf(`{"session":%q,"vote":"regenerate"}`, user)
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.front+"/feedback", strings.NewReader(body))
			if err != nil {
				d.Error(err)
				return
			}
			if res, err := http.DefaultClient.Do(r); err == nil {
				if res.StatusCode != http.StatusNoContent {
					d.Errorf("feedback of %s: %s", user, res.Status)
				}
				res.Body.Close()
			}
		}
	}
	const regenerated = "{name: again, kind: rate, source: {feedback: regenerated}}"
	for name, react := range map[string]func(*daemon) func(context.Context, string, string){"they ask again": ask, "they say so": tell} {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			d.release("v1.yaml", d.implicit("v1", regenerated, chatter(t, 1, 1)))
			d.chats(false, react(d))
			d.wants("v2.yaml", strings.Replace(d.implicit("v2", regenerated, chatter(t, 6, 1)), "minRequests: 300", "minRequests: 5000", 1), "RolledBack", "again")
			d.wants("v3.yaml", d.implicit("v3", regenerated, chatter(t, 1, 1)), "Promoted", "")
		})
	}
}

// Users who leave while a poor answer comes tell of it as well.
func TestUsersWhoLeaveAreJudged(t *testing.T) {
	const left = "{name: left, kind: proportion, source: {llm: abandoned}}"
	d := start(t)
	d.release("v1.yaml", d.implicit("v1", left, chatter(t, 1, 30)))
	d.chats(true, func(context.Context, string, string) {})
	d.wants("v2.yaml", strings.Replace(d.implicit("v2", left, chatter(t, 7, 30)), "minRequests: 300", "minRequests: 5000", 1), "RolledBack", "left")
}
