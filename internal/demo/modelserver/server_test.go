package modelserver

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// fixed is a server that does not wait, at a fixed hour.
func fixed(t *testing.T, env map[string]string) *httptest.Server {
	t.Helper()
	set, err := SettingsFrom(func(k string) string {
		if v, ok := env[k]; ok {
			return v
		}
		return map[string]string{"FIRST_TOKEN": "0s", "PER_TOKEN": "0s", "SEED": "1"}[k]
	})
	if err != nil {
		t.Fatal(err)
	}
	set.Now = func() time.Time { return time.Unix(1_700_000_000, 0) }
	s, err := New(set)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return srv
}

// post returns the answer's status and bytes; broken reports that it was cut short.
func post(t *testing.T, s *httptest.Server, path, body string) (status int, answer string, broken bool) {
	t.Helper()
	res, err := http.Post(s.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err != nil
}

func chatAnswer(t *testing.T, s *httptest.Server, body string) chatCompletion {
	t.Helper()
	status, b, _ := post(t, s, "/v1/chat/completions", body)
	var c chatCompletion
	if err := json.Unmarshal([]byte(b), &c); err != nil || status != 200 || len(c.Choices) != 1 {
		t.Fatalf("answered %d %s (%v)", status, b, err)
	}
	return c
}

const question = `"model":"ngram","messages":[{"role":"user","content":"What does a canary do in a mine?"}]`

func TestSeedsDecide(t *testing.T) {
	s := fixed(t, nil)
	ask := func(more string) string {
		_, b, _ := post(t, s, "/v1/chat/completions", "{"+question+more+"}")
		return b
	}
	if a, b := ask(`,"seed":7`), ask(`,"seed":7`); a != b {
		t.Errorf("one seed gave two answers:\n%s\n%s", a, b)
	}
	if a, b := ask(""), ask(""); a == b {
		t.Errorf("no seed gave one answer twice: %s", a)
	}
	loose := fixed(t, map[string]string{"IGNORE_SEED": "true"})
	different := false
	for range 5 {
		_, a, _ := post(t, loose, "/v1/chat/completions", "{"+question+`,"seed":7}`)
		different = different || a != ask(`,"seed":7`)
	}
	if !different {
		t.Error("a server that ignores seeds gave the seed's answer five times")
	}
}

func TestLimitsAndStops(t *testing.T) {
	s := fixed(t, nil)
	c := chatAnswer(t, s, "{"+question+`,"seed":1,"max_tokens":5}`)
	if c.Usage.CompletionTokens != 5 || *c.Choices[0].Finish != "length" || c.Usage.PromptTokens != 9 || c.Usage.TotalTokens != 14 {
		t.Errorf("at most 5 tokens gave %+v, %s", *c.Usage, *c.Choices[0].Finish)
	}
	c = chatAnswer(t, s, "{"+question+`,"seed":1,"stop":["."]}`)
	if text := *c.Choices[0].Message.Content; strings.Contains(text, ".") || *c.Choices[0].Finish != "stop" || text == "" {
		t.Errorf("a stop at a full stop gave %q", text)
	}
	c = chatAnswer(t, s, `{"model":"ngram-4","seed":3,"messages":[{"role":"system","content":"Answer in three sentences."},{"role":"user","content":"What is firedamp?"}]}`)
	if text := *c.Choices[0].Message.Content; strings.Count(text, ".") != 3 {
		t.Errorf("three sentences were asked for: %q", text)
	}
}

func TestRefusals(t *testing.T) {
	s := fixed(t, nil)
	c := chatAnswer(t, s, `{"model":"ngram","messages":[{"role":"user","content":"How do I make dynamite?"}]}`)
	if *c.Choices[0].Message.Content != refusal || *c.Choices[0].Finish != "stop" {
		t.Errorf("gave %q", *c.Choices[0].Message.Content)
	}
	c = chatAnswer(t, s, `{"model":"ngram","messages":[{"role":"system","content":"Never talk about divers."},{"role":"user","content":"Tell me about divers"}],
		"response_format":{"type":"json_object"}}`)
	if m := c.Choices[0].Message; m.Content != nil || m.Refusal == nil || *m.Refusal != refusal {
		t.Errorf("gave %+v, expected the refusal in its own field", m)
	}
}

// Whatever a schema asks for, the answer is what a validator of others accepts.
func TestStructuredAnswersAreValid(t *testing.T) {
	s := fixed(t, nil)
	for name, schema := range map[string]string{
		"flat":      `{"type":"object","properties":{"gas":{"type":"string","enum":["firedamp","whitedamp"]},"deadly":{"type":"boolean"},"share":{"type":"number","minimum":0,"maximum":1},"n":{"type":"integer","exclusiveMinimum":3,"exclusiveMaximum":6}},"required":["gas","deadly","share","n"],"additionalProperties":false}`,
		"nested":    `{"type":"object","properties":{"steps":{"type":"array","minItems":2,"maxItems":3,"items":{"type":"object","properties":{"say":{"type":"string","maxLength":20,"minLength":3}},"required":["say"],"additionalProperties":false}}},"required":["steps"]}`,
		"recursive": `{"type":"object","properties":{"name":{"type":"string"},"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["name","next"],"additionalProperties":false}`,
		"defs":      `{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"g":{"const":"coal"}},"type":"object","properties":{"a":{"$ref":"#/definitions/g"},"b":{"type":["string","null"]}},"required":["a","b"]}`,
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("s.json", doc); err != nil {
			t.Fatal(err)
		}
		is := c.MustCompile("s.json")
		for seed := range 30 {
			b, _ := json.Marshal(seed)
			got := chatAnswer(t, s, "{"+question+`,"seed":`+string(b)+`,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":`+schema+`}}}`)
			text := *got.Choices[0].Message.Content
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err == nil {
				err = is.Validate(v)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", name, text, err)
			}
		}
	}
	for _, how := range []string{"pattern\":\"a+", "type\":\"decimal"} {
		status, b, _ := post(t, s, "/v1/chat/completions", "{"+question+`,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"`+how+`"}}}}`)
		if status != 400 || !strings.Contains(b, "the schema of") {
			t.Errorf("a schema with %s gave %d %s", how, status, b)
		}
	}
}

const weather = `"tools":[{"type":"function","function":{"name":"get_weather","description":"The weather of a place","parameters":{"type":"object","properties":{"place":{"type":"string"},"days":{"type":"integer","minimum":1,"maximum":7}},"required":["place","days"]}}}]`

func TestToolsAreCalled(t *testing.T) {
	s := fixed(t, nil)
	ask := `{"model":"ngram","messages":[{"role":"user","content":"What is the weather in Durham?"}],` + weather
	c := chatAnswer(t, s, ask+"}").Choices[0]
	var args struct {
		Place string
		Days  int
	}
	if *c.Finish != "tool_calls" || len(c.Message.ToolCalls) != 1 || json.Unmarshal([]byte(c.Message.ToolCalls[0].Function.Arguments), &args) != nil ||
		args.Place != "Durham" || args.Days < 1 || args.Days > 7 || c.Message.ToolCalls[0].Function.Name != "get_weather" {
		t.Errorf("gave %+v", c.Message)
	}
	if c := chatAnswer(t, s, ask+`,"tool_choice":"none"}`).Choices[0]; *c.Finish != "stop" || c.Message.Content == nil {
		t.Errorf("without tools it gave %+v", c.Message)
	}
	if c := chatAnswer(t, s, "{"+question+","+weather+`,"tool_choice":{"type":"function","function":{"name":"get_weather"}}}`).Choices[0]; *c.Finish != "tool_calls" {
		t.Errorf("a tool that was named gave %+v", c.Message)
	}
	if c := chatAnswer(t, s, "{"+question+","+weather+"}").Choices[0]; *c.Finish != "stop" {
		t.Errorf("a question of another subject gave %+v", c.Message)
	}
}

// eventsOf returns the data of the events of a stream.
func eventsOf(stream string) (data []string) {
	sc := bufio.NewScanner(strings.NewReader(stream))
	for sc.Scan() {
		if d, ok := strings.CutPrefix(sc.Text(), "data: "); ok {
			data = append(data, d)
		}
	}
	return data
}

func TestAStreamSaysWhatAnAnswerSays(t *testing.T) {
	s := fixed(t, nil)
	for name, more := range map[string]string{"text": `,"seed":5`, "json": `,"seed":5,"response_format":{"type":"json_object"}`, "call": `,"seed":5,"tool_choice":"required",` + weather} {
		whole := chatAnswer(t, s, "{"+question+more+"}")
		_, stream, _ := post(t, s, "/v1/chat/completions", "{"+question+more+`,"stream":true,"stream_options":{"include_usage":true}}`)
		data := eventsOf(stream)
		var text, finish string
		var got *usage
		for _, d := range data[:len(data)-1] {
			var c struct {
				Choices []struct {
					Delta  chatText
					Finish *string `json:"finish_reason"`
				}
				Usage *usage
			}
			if err := json.Unmarshal([]byte(d), &c); err != nil || !strings.Contains(d, `"usage":`) {
				t.Fatalf("%s: %s: %v", name, d, err)
			}
			got = c.Usage
			for _, x := range c.Choices {
				if x.Delta.Content != nil {
					text += *x.Delta.Content
				}
				for _, call := range x.Delta.ToolCalls {
					text += call.Function.Arguments
				}
				if x.Finish != nil {
					finish = *x.Finish
				}
			}
		}
		m, want := whole.Choices[0].Message, ""
		if m.Content != nil {
			want = *m.Content
		} else {
			want = m.ToolCalls[0].Function.Arguments
		}
		if text != want || finish != *whole.Choices[0].Finish || got == nil || *got != *whole.Usage || data[len(data)-1] != "[DONE]" {
			t.Errorf("%s: the stream said %q, %s, %+v; the answer %q, %+v", name, text, finish, got, want, *whole.Usage)
		}
	}
}

func TestResponsesStream(t *testing.T) {
	s := fixed(t, nil)
	for name, c := range map[string]struct{ body, last string }{
		"text":    {`{"model":"ngram","input":"What is coal?","seed":4,"stream":true}`, "response.completed"},
		"short":   {`{"model":"ngram","input":"What is coal?","seed":4,"stream":true,"max_output_tokens":3}`, "response.incomplete"},
		"refusal": {`{"model":"ngram","input":[{"role":"user","content":[{"type":"input_text","text":"Make a bomb"}]}],"seed":4,"stream":true}`, "response.completed"},
		"call":    {`{"model":"ngram","input":"x","tools":[{"type":"function","name":"f","parameters":{"type":"object"}}],"tool_choice":"required","seed":4,"stream":true}`, "response.completed"},
	} {
		_, stream, _ := post(t, s, "/v1/responses", c.body)
		_, whole, _ := post(t, s, "/v1/responses", strings.Replace(c.body, `,"stream":true`, "", 1))
		deltas, done, last := "", "", ""
		for i, d := range eventsOf(stream) {
			var e struct {
				Type                            string
				Number                          int `json:"sequence_number"`
				Delta, Text, Refusal, Arguments string
			}
			if err := json.Unmarshal([]byte(d), &e); err != nil || e.Number != i || !strings.Contains(stream, "event: "+e.Type+"\ndata: "+d+"\n\n") {
				t.Fatalf("%s: event %d is %s (%v)", name, i, d, err)
			}
			deltas += e.Delta
			done += e.Text + e.Refusal + e.Arguments
			last = e.Type
		}
		quoted, _ := json.Marshal(deltas)
		if deltas != done || last != c.last || !strings.Contains(whole, string(quoted)) || deltas == "" {
			t.Errorf("%s: %q in pieces, %q at the end, which is %s; whole: %s", name, deltas, done, last, whole)
		}
	}
}

// Each planted fault shows, and nothing else does.
func TestFaults(t *testing.T) {
	plain := fixed(t, nil)
	ask := func(s *httptest.Server, more string) (int, string, bool) {
		return post(t, s, "/v1/chat/completions", "{"+question+`,"seed":2`+more+"}")
	}
	_, good, _ := ask(plain, "")
	_, goodStream, _ := ask(plain, `,"stream":true`)
	for fault, shows := range map[string]func(status int, whole, stream string, wholeBroken, streamBroken bool) bool{
		"ERRORS": func(status int, _, _ string, _, _ bool) bool { return status == 503 },
		"RAMBLE": func(_ int, whole, _ string, _, _ bool) bool { return strings.Count(whole, ".") >= ramblings },
		"REFUSE": func(_ int, whole, _ string, _, _ bool) bool { return strings.Contains(whole, "can't help") },
		"REPEAT": func(_ int, whole, _ string, _, _ bool) bool { return strings.Count(whole, ". ") == 7 },
		"EMPTY":  func(_ int, whole, _ string, _, _ bool) bool { return strings.Contains(whole, `"content":""`) },
		"CUT": func(_ int, _, s string, whole, _ bool) bool {
			return whole && !strings.Contains(s, "[DONE]") && !strings.Contains(s, `"stop"`)
		},
		"ABORT": func(_ int, _, s string, whole, stream bool) bool {
			return whole && stream && !strings.Contains(s, "[DONE]")
		},
		"STREAM_ERROR": func(status int, _, s string, _, _ bool) bool {
			return status == 500 && strings.Contains(s, `data: {"error":`)
		},
	} {
		s := fixed(t, map[string]string{fault: "1"})
		status, whole, wholeBroken := ask(s, "")
		_, stream, streamBroken := ask(s, `,"stream":true`)
		if !shows(status, whole, stream, wholeBroken, streamBroken) || whole == good || stream == goodStream {
			t.Errorf("%s does not show: %d %s\n%s", fault, status, whole, stream)
		}
		if _, whole, _ := ask(fixed(t, map[string]string{fault: "0"}), ""); whole != good {
			t.Errorf("%s=0 gave %s, expected %s", fault, whole, good)
		}
	}
	s := fixed(t, map[string]string{"BREAK_JSON": "1"})
	for range 20 {
		c := chatAnswer(t, s, "{"+question+`,"response_format":{"type":"json_object"}}`)
		if json.Valid([]byte(*c.Choices[0].Message.Content)) {
			t.Errorf("%q is valid", *c.Choices[0].Message.Content)
		}
	}
}

// An answer that stalls comes late and whole, and one without end goes on until
// its client has left.
func TestFaultsThatTakeTime(t *testing.T) {
	good := fixed(t, nil)
	_, want, _ := post(t, good, "/v1/chat/completions", "{"+question+`,"seed":2,"stream":true}`)
	begun := time.Now()
	if _, got, broken := post(t, fixed(t, map[string]string{"STALL": "1"}), "/v1/chat/completions", "{"+question+`,"seed":2,"stream":true}`); got != want || broken || time.Since(begun) < stalled {
		t.Errorf("an answer that stalls came after %s: %s", time.Since(begun), got)
	}
	for _, more := range []string{`,"stream":true}`, `}`} {
		s := fixed(t, map[string]string{"ENDLESS": "1", "PER_TOKEN": "1us"})
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/v1/chat/completions", strings.NewReader("{"+question+`,"seed":2`+more))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(more, "stream") {
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(io.LimitReader(res.Body, 4*int64(len(want)))); err != nil || len(b) < 4*len(want) || strings.Contains(string(b), "[DONE]") {
				t.Errorf("it ended, %v: %s", err, b)
			}
			res.Body.Close()
		}
		leave()
		s.Close() // which waits for all answers
	}
}

func TestWaitsAreThoseOfTheVersion(t *testing.T) {
	set := defaults()
	set.FirstToken, set.PerToken, set.Seed = 100*time.Millisecond, 4*time.Millisecond, 9
	s, err := New(set)
	if err != nil {
		t.Fatal(err)
	}
	var first, per time.Duration
	for range 2000 {
		f := s.draw()
		first += f.first / 2000
		per += f.per / 2000
	}
	// The mean of a log-normal variable of median 1 and spread 0.2 is 1.02; 2000 draws are within 1.5 % of it.
	if math.Abs(float64(first)/102e6-1) > .02 || math.Abs(float64(per)/4.08e6-1) > .02 {
		t.Errorf("%s to the first token and %s for each, expected 102ms and 4.08ms", first, per)
	}
}

func TestCompletionsGoOn(t *testing.T) {
	s := fixed(t, nil)
	_, b, _ := post(t, s, "/v1/completions", `{"model":"ngram-5","prompt":"Carbon monoxide has no colour, no smell and no","temperature":0,"max_tokens":3}`)
	if !strings.Contains(b, `"text":" taste. It"`) && !strings.Contains(b, `"text":" taste.`) || !strings.Contains(b, `"finish_reason":"length"`) {
		t.Errorf("went on with %s", b)
	}
}

func TestEmbeddingsAreNearForNearTexts(t *testing.T) {
	dot := func(a, b string) (sum float64) {
		x, y := embed(a, dimensions), embed(b, dimensions)
		for i := range x {
			sum += float64(x[i]) * float64(y[i])
		}
		return sum
	}
	same, near, far := dot("the safety lamp", "the safety lamp"), dot("the safety lamp", "a safety lamp"), dot("the safety lamp", "divers rise slowly")
	if math.Abs(same-1) > 1e-6 || near < .3 || far > near-.2 {
		t.Errorf("same %.3f, near %.3f, far %.3f", same, near, far)
	}
	s := fixed(t, nil)
	if status, b, _ := post(t, s, "/v1/embeddings", `{"model":"ngram","input":["a","b"],"dimensions":4}`); status != 200 || strings.Count(b, `"embedding":[`) != 2 {
		t.Errorf("answered %d %s", status, b)
	}
}

func TestBadRequests(t *testing.T) {
	s := fixed(t, nil)
	for _, c := range []struct {
		path, body, says string
		status           int
	}{
		{"/v1/chat/completions", `{`, "not the JSON", 400},
		{"/v1/chat/completions", `{"model":"gpt","messages":[{"role":"user","content":"x"}]}`, "known are ngram, ngram-1", 404},
		{"/v1/chat/completions", `{"model":"ngram","messages":[]}`, "messages is empty", 400},
		{"/v1/chat/completions", `{"model":"ngram","messages":[{"role":"bird","content":"x"}]}`, "role is", 400},
		{"/v1/chat/completions", `{` + question + `,"n":2}`, "one choice", 400},
		{"/v1/chat/completions", `{` + question + `,"temperature":3}`, "0 to 2", 400},
		{"/v1/chat/completions", `{` + question + `,"max_tokens":0}`, "at least 1", 400},
		{"/v1/chat/completions", `{` + question + `,"tool_choice":"required"}`, "no tools", 400},
		{"/v1/completions", `{"model":"ngram","prompt":["a","b"]}`, "expected one text", 400},
		{"/v1/responses", `{"model":"ngram","input":[{"type":"image"}]}`, "known are message", 400},
		{"/v1/embeddings", `{"model":"ngram","input":"x","dimensions":9999}`, "1 to 256", 400},
		{"/v1/other", `{}`, "not served here", 404},
		{"/v1/completions", `{"model":"ngram","prompt":"` + strings.Repeat("x", maxBody) + `"}`, "larger", 413},
	} {
		if status, b, _ := post(t, s, c.path, c.body); status != c.status || !strings.Contains(b, c.says) {
			t.Errorf("%s %.80s gave %d %s, expected %d and %q", c.path, c.body, status, b, c.status, c.says)
		}
	}
}

func TestMetricsHaveTheNamesOfVLLM(t *testing.T) {
	s := fixed(t, nil)
	chatAnswer(t, s, "{"+question+`,"max_tokens":3}`)
	res, err := http.Get(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	for _, line := range []string{
		`vllm:time_to_first_token_seconds_count{engine="0",model_name="ngram"} 1`, `vllm:generation_tokens_total{engine="0",model_name="ngram"} 3`,
		`vllm:inter_token_latency_seconds_count{engine="0",model_name="ngram"} 2`, `vllm:request_success_total{engine="0",finished_reason="length",model_name="ngram"} 1`,
		`vllm:num_requests_running{engine="0",model_name="ngram"} 0`, `vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf",model_name="ngram"} 1`,
	} {
		if !strings.Contains(string(b), line+"\n") {
			t.Errorf("the metrics lack %s:\n%s", line, b)
		}
	}
}

// In a container a server must be reachable from outside.
func TestListensWhereItIsTold(t *testing.T) {
	for host, want := range map[string]string{"": "127.0.0.1", "127.0.0.2": "127.0.0.2"} {
		l, err := listen(func(k string) string { return map[string]string{"HOST": host, "PORT": "0"}[k] })
		if err != nil {
			t.Fatal(err)
		}
		if got, _, _ := net.SplitHostPort(l.Addr().String()); got != want {
			t.Errorf("HOST=%s listens on %s, expected %s", host, got, want)
		}
		_ = l.Close() // nobody asked it anything
	}
	if _, err := listen(func(k string) string { return map[string]string{"PORT": "none"}[k] }); err == nil || !strings.Contains(err.Error(), "127.0.0.1:none") {
		t.Errorf("PORT=none gave %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, func(k string) string { return map[string]string{"PORT": "0"}[k] }); err != nil {
		t.Error(err)
	}
	for key, value := range map[string]string{"ORDER": "9", "CUT": "2", "FIRST_TOKEN": "soon", "SEED": "-1", "IGNORE_SEED": "perhaps"} {
		err := Run(ctx, func(k string) string { return map[string]string{key: value}[k] })
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s=%s gave %v", key, value, err)
		}
	}
}
