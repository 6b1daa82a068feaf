package inference

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/release"
)

// exchange is a request and its answer, as a proxy sees them.
type exchange struct {
	path, request string
	status        int // 0: 200
	header        http.Header
	answer        string
	cut           bool // the answer breaks off
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// pass takes an exchange through an Interpreter, request and answer in the given
// pieces, the k-th of the answer at step*(k+1) after the beginning. It returns
// the observation, the request as sent and the answer as the client gets it.
func (e exchange) pass(t testing.TB, i *Interpreter, split func(string) []string, step time.Duration) (o release.Observation, sent, got string) {
	t.Helper()
	r := httptest.NewRequest("POST", e.path, nil)
	r.Header.Set("Content-Type", "application/json")
	d := i.Interpret(r)
	if d == nil {
		t.Fatalf("%s is no request to a model", e.path)
	}
	for _, p := range split(e.request) {
		d.Request([]byte(p))
	}
	sent = e.request
	if d.Rewrites() {
		sent = string(d.Rewrite([]byte(sent)))
	}
	if e.status == 0 {
		e.status = 200
	}
	a := d.Answer(epoch, e.status, e.header)
	var client strings.Builder
	for k, p := range split(e.answer) {
		at, b := epoch.Add(step*time.Duration(k+1)), []byte(p)
		if a.Hides() {
			client.Write(a.Hide(b, at))
			continue
		}
		a.Read(b, at)
		client.Write(b)
	}
	client.Write(a.Rest())
	a.End(&o, !e.cut)
	return o, sent, client.String()
}

func inOne(s string) []string { return []string{s} }
func byByte(s string) []string {
	return strings.Split(s, "") // runes; see byBytes for bytes
}

func byBytes(s string) []string {
	out := make([]string, len(s))
	for i := range out {
		out[i] = s[i : i+1]
	}
	return out
}

// byEvent keeps events whole, as servers send them.
func byEvent(s string) []string { return strings.SplitAfter(s, "\n\n") }

var (
	asJSON   = http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	asEvents = http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}}
)

func file(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const schemaRequest = `{"model":"m","response_format":{"type":"json_schema","json_schema":{"name":"city","strict":true,` +
	`"schema":{"type":"object","properties":{"name":{"type":"string"},"people":{"type":"integer"}},"required":["name","people"],"additionalProperties":false}}}}`

const toolRequest = `{"model":"m","tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object",` +
	`"properties":{"city":{"type":"string"}},"required":["city"]}}}]}`

func chat(message, finish string) string {
	return `{"id":"1","object":"chat.completion","model":"m-1","choices":[{"index":0,"message":` + message + `,"finish_reason":"` + finish +
		`"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}`
}

type fact struct {
	name     string
	exchange exchange
	cause    string
	want     release.Answer
}

// with returns the facts of a plain chat answer, changed.
func with(change func(*release.Answer)) release.Answer {
	a := release.Answer{API: release.ChatAPI, RequestModel: "m", Model: "m-1", Complete: true, InputTokens: 7, OutputTokens: 3, Finish: "stop"}
	change(&a)
	return a
}

func text(n int) func(*release.Answer) {
	return func(a *release.Answer) { a.Characters, a.Script = n, "Latin" }
}

func wholeAnswers() []fact {
	say := func(content, finish string) exchange {
		return exchange{path: "/v1/chat/completions", request: `{"model":"m"}`, header: asJSON, answer: chat(`{"role":"assistant","content":`+content+`,"refusal":null}`, finish)}
	}
	asked := func(request, message string) exchange {
		return exchange{path: "/v1/chat/completions", request: request, header: asJSON, answer: chat(message, "stop")}
	}
	call := func(name, arguments string) string {
		return `{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"` + name + `","arguments":"` + arguments + `"}}]}`
	}
	invalid := func(why string) func(*release.Answer) {
		return func(a *release.Answer) { a.Format, a.FormatProblem = release.FormatInvalid, why }
	}
	return []fact{
		{name: "plain", exchange: say(`"Hello w\u00f6rld \ud83d\ude00"`, "stop"), want: with(text(13))},
		{name: "cut at the limit", exchange: say(`"Hello"`, "length"), want: with(func(a *release.Answer) { text(5)(a); a.Truncated, a.Finish = true, "length" })},
		{name: "empty", exchange: say(`" \n"`, "stop"), want: with(func(a *release.Answer) { a.Empty, a.Characters = true, 2 })},
		{name: "null", exchange: say(`null`, "stop"), want: with(func(a *release.Answer) { a.Empty = true })},
		{name: "refusal", exchange: asked(`{"model":"m"}`, `{"role":"assistant","content":null,"refusal":"No."}`), want: with(func(a *release.Answer) { a.Refusal = true })},
		{name: "phrase", exchange: say(`"I’m sorry, but I can’t help with that."`, "stop"), want: with(func(a *release.Answer) { text(38)(a); a.RefusalPhrase, a.Language = true, "English" })},
		{name: "repeats", exchange: say(`"`+strings.Repeat("round and round it goes ", 40)+`"`, "stop"), want: with(func(a *release.Answer) { text(960)(a); a.Repeated, a.Language = true, "English" })},
		{name: "invalid UTF-8", exchange: say("\"a\xffb\"", "stop"), want: with(func(a *release.Answer) { text(3)(a); a.InvalidUTF8 = true })},
		{name: "Japanese", exchange: say(`"日本語で話します"`, "stop"), want: with(func(a *release.Answer) { a.Characters, a.Script = 8, "Kana" })},
		{name: "JSON object", exchange: asked(`{"model":"m","response_format":{"type":"json_object"}}`, `{"content":"{\"a\":1}"}`), want: with(func(a *release.Answer) { text(7)(a); a.Format = release.FormatValid })},
		{name: "no JSON", exchange: asked(`{"model":"m","response_format":{"type":"json_object"}}`, `{"content":"Sure! {}"}`), want: with(func(a *release.Answer) { text(8)(a); invalid("the text: is not JSON")(a) })},
		{name: "no object", exchange: asked(`{"model":"m","response_format":{"type":"json_object"}}`, `{"content":"[1]"}`), want: with(func(a *release.Answer) { a.Characters = 3; invalid("the text: is not a JSON object")(a) })},
		{name: "schema", exchange: asked(schemaRequest, `{"content":"{\"name\":\"Ulm\",\"people\":126000}"}`), want: with(func(a *release.Answer) { text(30)(a); a.Format = release.FormatValid })},
		{name: "broken schema", exchange: asked(schemaRequest, `{"content":"{\"name\":\"Ulm\",\"people\":\"many\"}"}`), want: with(func(a *release.Answer) { text(30)(a); invalid("the text: /people violates type")(a) })},
		{name: "tool", exchange: asked(toolRequest, call("weather", `{\"city\":\"Ulm\"}`)), want: with(func(a *release.Answer) { a.ToolCalls, a.Format = 1, release.FormatValid })},
		{name: "unknown tool", exchange: asked(toolRequest, call("whether", `{}`)), want: with(func(a *release.Answer) {
			a.ToolCalls = 1
			invalid("the call of a tool: names none of the request's tools")(a)
		})},
		{name: "tool without argument", exchange: asked(toolRequest, call("weather", `{}`)), want: with(func(a *release.Answer) { a.ToolCalls = 1; invalid("the call of a tool: / violates required")(a) })},
		{name: "error with 200", exchange: exchange{path: "/v1/chat/completions", request: `{"model":"m"}`, header: asJSON, answer: `{"error":{"message":"overloaded"}}`}, cause: "ErrorInAnswer",
			want: release.Answer{API: release.ChatAPI, RequestModel: "m", Complete: true}},
		{name: "half", exchange: exchange{path: "/v1/chat/completions", request: `{"model":"m"}`, header: asJSON, answer: `{"model":"m-1","choices":[`}, cause: "BadResponse",
			want: release.Answer{API: release.ChatAPI, RequestModel: "m", Model: "m-1", Unread: "Invalid"}},
		{name: "HTML", exchange: exchange{path: "/v1/chat/completions", request: `{"model":"m"}`, header: http.Header{"Content-Type": {"text/html"}}, answer: `<html>`}, cause: "BadResponse",
			want: release.Answer{API: release.ChatAPI, RequestModel: "m", Unread: "ContentType"}},
		{name: "whole where a stream was asked for", exchange: asked(`{"model":"m","stream":true}`, `{"content":"Hello"}`), cause: "BadResponse", want: with(text(5))},
		{name: "status", exchange: exchange{path: "/v1/chat/completions", request: `{"model":"m"}`, status: 429, header: asJSON, answer: `{"error":{}}`},
			want: release.Answer{API: release.ChatAPI, RequestModel: "m", Unread: "Status"}},
	}
}

func otherAnswers(t testing.TB) []fact {
	infer := func(outputs string) exchange {
		return exchange{path: "/v2/models/digits/versions/3/infer", request: `{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}`, header: asJSON,
			answer: `{"model_name":"digits","model_version":"3","id":"a","outputs":[` + outputs + `]}`}
	}
	base := release.Answer{API: release.InferAPI, Model: "digits", ModelVersion: "3", InputLength: 2, InputScore: 1.5, InputScored: true, Complete: true, Format: release.FormatValid}
	tensor := func(change func(*release.Answer)) release.Answer { a := base; change(&a); return a }
	return []fact{
		{name: "scores", exchange: infer(`{"name":"y","shape":[1,3],"datatype":"FP32","data":[0.1,0.7,0.2]}`),
			want: tensor(func(a *release.Answer) {
				a.Class, a.Score, a.Scored, a.Shape, a.Datatype, a.Length = "1", .7, true, "1x3", "FP32", 3
			})},
		{name: "nested rows", exchange: infer(`{"name":"y","shape":[2,2],"datatype":"FP32","data":[[0.9,0.1],[0.2,0.8]]}`),
			want: tensor(func(a *release.Answer) {
				a.Class, a.Score, a.Scored, a.Shape, a.Datatype, a.Length = "0", .9, true, "2x2", "FP32", 4
			})},
		{name: "label and scores", exchange: infer(`{"name":"label","datatype":"INT64","shape":[1,1],"data":[7]},{"name":"p","datatype":"FP64","shape":[1,2],"data":[0.25,0.75]}`),
			want: tensor(func(a *release.Answer) {
				a.Class, a.Score, a.Scored, a.Shape, a.Datatype, a.Length = "7", .75, true, "1x1", "INT64", 3
			})},
		{name: "text label", exchange: infer(`{"name":"label","datatype":"BYTES","shape":[1],"data":["cat"]}`),
			want: tensor(func(a *release.Answer) { a.Class, a.Shape, a.Datatype, a.Length = "cat", "1", "BYTES", 1 })},
		{name: "NaN", exchange: infer(`{"name":"y","shape":[1,3],"datatype":"FP32","data":[NaN,-Infinity,null]}`),
			want: tensor(func(a *release.Answer) { a.NaN, a.Shape, a.Datatype, a.Length = 3, "1x3", "FP32", 3 })},
		{name: "wrong shape", exchange: infer(`{"name":"y","shape":[1,4],"datatype":"FP32","data":[1,2,3]}`),
			want: tensor(func(a *release.Answer) {
				a.Class, a.Score, a.Scored, a.Shape, a.Datatype, a.Length = "2", 3, true, "1x4", "FP32", 3
				a.Format, a.FormatProblem = release.FormatInvalid, "output 0: the shape 1x4 has 4 values, the data 3"
			})},
		{name: "binary tensors", exchange: exchange{path: "/v2/models/d/infer", request: `{}`, header: http.Header{"Content-Type": {"application/octet-stream"}, "Inference-Header-Content-Length": {"long"}}, answer: "xx"},
			want: release.Answer{API: release.InferAPI, Unread: "Binary"}},
		{name: "embeddings", exchange: exchange{path: "/v1/embeddings", request: `{"model":"e","input":["ab","c"]}`, header: asJSON,
			answer: `{"object":"list","model":"e","data":[{"index":0,"embedding":[0.6,0.8]},{"index":1,"embedding":[0,1]}],"usage":{"prompt_tokens":4,"total_tokens":4}}`},
			want: release.Answer{API: release.EmbeddingAPI, RequestModel: "e", Model: "e", Complete: true, InputTokens: 4, InputCharacters: 3, Length: 2, Norm: 1}},
		{name: "embeddings in base64", exchange: exchange{path: "/v1/embeddings", request: `{"model":"e","input":"abc"}`, header: asJSON,
			answer: `{"model":"e","data":[{"embedding":"AABAQAAAgEA="}]}`},
			want: release.Answer{API: release.EmbeddingAPI, RequestModel: "e", Model: "e", Complete: true, InputCharacters: 3, Length: 2, Norm: 5}},
		{name: "any JSON", exchange: exchange{path: "/predict", request: `[1]`, header: asJSON, answer: `{"result":[{"label":"spam","score":0.875}],"v":"7"}`},
			want: release.Answer{API: release.JSONAPI, ModelVersion: "7", Complete: true, Class: "spam", Score: .875, Scored: true}},
		{name: "any JSON that is asked", exchange: exchange{path: "/predict", request: `{"ask":{"q":"größer?","rows":[[1,-2],[null,"x",4]]}}`, header: asJSON, answer: `{}`},
			want: release.Answer{API: release.JSONAPI, InputCharacters: 8, InputLength: 5, InputScore: 1, InputScored: true, Complete: true}},
		{name: "tensors that are asked", exchange: exchange{path: "/v2/models/digits/infer", header: asJSON, answer: `{}`,
			request: `{"inputs":[{"name":"x","data":[[1,2],[3,NaN]],"shape":[2,2],"datatype":"FP32"},{"name":"n","shape":[1],"datatype":"BYTES","data":["abc"]}]}`},
			want: release.Answer{API: release.InferAPI, InputCharacters: 3, InputLength: 5, InputScore: 2, InputScored: true, Complete: true}},
		{name: "tensors of which the request has the shapes", exchange: exchange{path: "/v2/models/digits/infer", header: asJSON, answer: `{}`,
			request: `{"inputs":[{"name":"x","shape":[2,3],"datatype":"FP32"},{"name":"y","shape":[4],"datatype":"INT64"},{"name":"z","shape":[9999999999999,9999999999999],"datatype":"INT64"}]}` + "\x00\x01"},
			want: release.Answer{API: release.InferAPI, InputLength: 10, Complete: true}},
		{name: "a score that is none", exchange: exchange{path: "/predict", request: `[1]`, header: asJSON, answer: `{"result":[{"score":NaN}]}`},
			want: release.Answer{API: release.JSONAPI, Complete: true, NaN: 1}},
		{name: "a null score", exchange: exchange{path: "/predict", request: `[1]`, header: asJSON, answer: `{"result":[{"label":"spam","score":null}]}`},
			want: release.Answer{API: release.JSONAPI, Complete: true, Class: "spam", NaN: 1}},
		{name: "a score in words", exchange: exchange{path: "/predict", request: `[1]`, header: asJSON, answer: `{"result":[{"score":"NaN"}]}`},
			want: release.Answer{API: release.JSONAPI, Complete: true, NaN: 1}},
		{name: "a negative score", exchange: exchange{path: "/predict", request: `[1]`, header: asJSON, answer: `{"result":[{"score":-2.5}]}`},
			want: release.Answer{API: release.JSONAPI, Complete: true, Score: -2.5, Scored: true}},
		{name: "response", exchange: exchange{path: "/v1/responses", request: `{"model":"m","input":"Hi","instructions":"Be"}`, header: asJSON, answer: file(t, "response.json")},
			want: release.Answer{API: release.ResponseAPI, RequestModel: "m", Model: "m-1", InputCharacters: 4, Complete: true, Finish: "completed", Characters: 11, Script: "Latin",
				InputTokens: 30, CachedTokens: 10, OutputTokens: 20, ReasoningTokens: 5}},
		{name: "incomplete response", exchange: exchange{path: "/v1/responses", request: `{"model":"m"}`, header: asJSON,
			answer: `{"model":"m-1","status":"incomplete","error":null,"incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}]}`},
			want: release.Answer{API: release.ResponseAPI, RequestModel: "m", Model: "m-1", Complete: true, Finish: "max_output_tokens", Truncated: true, Characters: 2, Script: "Latin"}},
	}
}

func streams(t testing.TB) []fact {
	say := func(answer string) exchange {
		return exchange{path: "/v1/chat/completions", request: `{"model":"m","stream":true}`, header: asEvents, answer: answer}
	}
	base := with(func(a *release.Answer) { text(11)(a); a.Streamed, a.Chunks = true, 3 })
	change := func(f func(*release.Answer)) release.Answer { a := base; f(&a); return a }
	plain := file(t, "chat.sse")
	return []fact{
		{name: "stream", exchange: say(plain), want: base},
		{name: "stream, CRLF", exchange: say(strings.ReplaceAll(plain, "\n", "\r\n")), want: base},
		{name: "stream, CR", exchange: say(strings.ReplaceAll(plain, "\n", "\r")), want: base},
		{name: "stream, byte order mark", exchange: say("\xef\xbb\xbf" + plain), want: base},
		{name: "stream without a type", exchange: exchange{path: "/v1/chat/completions", request: `{"model":"m","stream":true}`, answer: plain}, want: base},
		{name: "no end marker", exchange: say(strings.Replace(plain, "data: [DONE]\n\n", "", 1)), cause: "MissingEnd", want: change(func(a *release.Answer) { a.Complete = false })},
		{name: "half an event", exchange: say(plain[:len(plain)-len("data: [DONE]\n\n")-20]), cause: "MissingEnd",
			want: change(func(a *release.Answer) { a.Complete = false })},
		{name: "cut", exchange: exchange{path: "/v1/chat/completions", request: `{"model":"m"}`, header: asEvents, answer: plain[:len(plain)-14], cut: true},
			want: change(func(a *release.Answer) { a.Complete, a.Unread = false, "Cut" })},
		{name: "error event", exchange: say(strings.Replace(plain, `data: {"id":"1","choices":[],`, "data: {\"error\":{\"message\":\"out of memory\"}}\n\ndata: {\"id\":\"1\",\"choices\":[],", 1)), cause: "ErrorInAnswer", want: base},
		{name: "broken event", exchange: say(strings.Replace(plain, "data: [DONE]", "data: {\"a\":]\n\ndata: [DONE]", 1)), cause: "BadResponse",
			want: change(func(a *release.Answer) { a.Complete, a.Unread = false, "Invalid" })},
		{name: "tool call in pieces", exchange: exchange{path: "/v1/chat/completions", request: strings.Replace(toolRequest, `{`, `{"stream":true,`, 1), header: asEvents, answer: file(t, "tool.sse")},
			want: release.Answer{API: release.ChatAPI, RequestModel: "m", Model: "m-1", Streamed: true, Complete: true, Finish: "tool_calls", ToolCalls: 2, Chunks: 4,
				OutputTokens: 4, Estimated: true, Format: release.FormatValid}},
		{name: "completion", exchange: exchange{path: "/v1/completions", request: `{"model":"m","prompt":"Once","stream":true}`, header: asEvents,
			answer: "data: {\"model\":\"m-1\",\"choices\":[{\"text\":\" upon\",\"index\":0}]}\n\ndata: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"},
			want: release.Answer{API: release.CompletionAPI, RequestModel: "m", Model: "m-1", InputCharacters: 4, Streamed: true, Complete: true, Finish: "stop", Chunks: 1,
				OutputTokens: 1, Estimated: true, Characters: 5, Script: "Latin"}},
		{name: "response stream", exchange: exchange{path: "/v1/responses", request: `{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]}],"stream":true}`, header: asEvents, answer: file(t, "response.sse")},
			want: release.Answer{API: release.ResponseAPI, RequestModel: "m", Model: "m-1", InputCharacters: 2, Streamed: true, Complete: true, Finish: "completed", Chunks: 2, Characters: 11, Script: "Latin",
				InputTokens: 30, CachedTokens: 10, OutputTokens: 20, ReasoningTokens: 5}},
		{name: "response that failed", exchange: exchange{path: "/v1/responses", request: `{"model":"m","stream":true}`, header: asEvents,
			answer: "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\"}}}\n\n"}, cause: "ErrorInAnswer",
			want: release.Answer{API: release.ResponseAPI, RequestModel: "m", Streamed: true, Finish: "failed"}},
	}
}

func interpreterOfTests() *Interpreter {
	return New(release.Model{
		Paths: []release.ModelPath{{Path: "/predict", API: release.JSONAPI}},
		JSON:  map[string]string{"class": "result.0.label", "score": "result.0.score", "modelVersion": "v"},
		Input: map[string]string{"text": "ask.q", "values": "ask.rows.*.*"},
	})
}

func allFacts(t testing.TB) []fact {
	return append(append(wholeAnswers(), otherAnswers(t)...), streams(t)...)
}

func TestFacts(t *testing.T) {
	for _, f := range allFacts(t) {
		t.Run(f.name, func(t *testing.T) {
			o, _, got := f.exchange.pass(t, interpreterOfTests(), inOne, 0)
			if diff := cmp.Diff(f.want, unnamed(o.Answer)); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
			if o.Cause != f.cause || (o.Outcome == release.Failed) != (f.cause != "") {
				t.Errorf("outcome %v, cause %q; want %q", o.Outcome, o.Cause, f.cause)
			}
			if got != f.exchange.answer {
				t.Errorf("the client got %q", got)
			}
		})
	}
}

// However the bytes are split, the facts are the same.
func TestSplitsChangeNothing(t *testing.T) {
	for _, f := range allFacts(t) {
		t.Run(f.name, func(t *testing.T) {
			check := func(what string, split func(string) []string) {
				o, _, _ := f.exchange.pass(t, interpreterOfTests(), split, 0)
				if diff := cmp.Diff(f.want, unnamed(o.Answer)); diff != "" || o.Cause != f.cause {
					t.Fatalf("%s: cause %q, facts (-want +got):\n%s", what, o.Cause, diff)
				}
			}
			check("by byte", byBytes)
			check("by rune", byByte)
			for at := range f.exchange.answer {
				check("in two", func(s string) []string { at := min(at, len(s)); return []string{s[:at], s[at:]} })
			}
		})
	}
}

func TestCompressed(t *testing.T) {
	squeeze := map[string]func(*bytes.Buffer, string){
		"gzip": func(b *bytes.Buffer, s string) {
			z := gzip.NewWriter(b)
			for _, e := range byEvent(s) {
				z.Write([]byte(e))
				z.Flush()
			}
			z.Close()
		},
		"deflate": func(b *bytes.Buffer, s string) { z := zlib.NewWriter(b); z.Write([]byte(s)); z.Close() },
	}
	for encoding, write := range squeeze {
		for _, f := range streams(t)[:1] {
			var b bytes.Buffer
			write(&b, f.exchange.answer)
			e := f.exchange
			e.header = http.Header{"Content-Type": asEvents["Content-Type"], "Content-Encoding": {encoding}}
			e.answer = b.String()
			for _, split := range []func(string) []string{inOne, byBytes} {
				o, _, got := e.pass(t, interpreterOfTests(), split, 0)
				if diff := cmp.Diff(f.want, unnamed(o.Answer)); diff != "" || o.Outcome != release.OK || got != e.answer {
					t.Errorf("%s: outcome %v, facts (-want +got):\n%s", encoding, o.Outcome, diff)
				}
			}
			e.answer = e.answer[:len(e.answer)/2]
			if o, _, _ := e.pass(t, interpreterOfTests(), inOne, 0); o.Answer.Unread != release.UnreadEncoding || o.Outcome != release.OK {
				t.Errorf("half of %s: %v, unread %q; want it not read", encoding, o.Outcome, o.Answer.Unread)
			}
		}
	}
	br := streams(t)[0].exchange
	br.header = http.Header{"Content-Type": asEvents["Content-Type"], "Content-Encoding": {"br"}}
	if o, _, _ := br.pass(t, interpreterOfTests(), inOne, 0); o.Answer.Unread != release.UnreadEncoding || o.Outcome != release.OK {
		t.Errorf("br: %v, unread %q; want it not read", o.Outcome, o.Answer.Unread)
	}
}

// A bomb is read to a limit, and every decompressor is given back.
func TestDecompressionHasLimits(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(`{"a":"`))
	z.Write(bytes.Repeat([]byte("x"), maxInflated+1))
	z.Close()
	e := exchange{path: "/v1/chat/completions", request: `{}`, answer: b.String(),
		header: http.Header{"Content-Type": asJSON["Content-Type"], "Content-Encoding": {"gzip"}}}
	i := interpreterOfTests()
	if o, _, _ := e.pass(t, i, inOne, 0); o.Answer.Unread != release.UnreadTooLarge {
		t.Errorf("unread %q; want TooLarge", o.Answer.Unread)
	}
	var open []*Reply
	for range maxInflating + 1 {
		d := i.Interpret(httptest.NewRequest("POST", e.path, nil))
		open = append(open, d.Answer(epoch, 200, e.header))
	}
	if last := open[maxInflating]; last.facts.Unread != release.UnreadBusy {
		t.Errorf("one more than %d: unread %q; want Busy", maxInflating, last.facts.Unread)
	}
	for _, r := range open {
		r.End(&release.Observation{}, false)
	}
	if n := i.inflating.Load(); n != 0 {
		t.Errorf("%d decompressors are still counted", n)
	}
}

func TestTimes(t *testing.T) {
	e := streams(t)[0].exchange // role, three chunks of text, the end, usage, [DONE]
	o, _, _ := e.pass(t, interpreterOfTests(), byEvent, 10*time.Millisecond)
	a := o.Answer
	if a.FirstToken != 20*time.Millisecond || a.LastToken != 50*time.Millisecond || a.Gap != 20*time.Millisecond || a.PerToken != 15*time.Millisecond {
		t.Errorf("first %v, last %v, gap %v, per token %v", a.FirstToken, a.LastToken, a.Gap, a.PerToken)
	}
}

// TestHiddenReasoningTakesNoTime: tokens that no chunk brought are none of those
// between the first and the last.
func TestHiddenReasoningTakesNoTime(t *testing.T) {
	const usage = `{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":1003,"completion_tokens_details":{"reasoning_tokens":1000}}}`
	chunk := func(member string) string {
		return `data: {"choices":[{"delta":{"` + member + `":"word "}}]}` + "\n\n"
	}
	for name, c := range map[string]struct {
		first string
		want  time.Duration
	}{
		"hidden": {chunk("content"), 10 * time.Millisecond}, // two more tokens in 20 ms
		"sent":   {chunk("reasoning_content"), 20 * time.Millisecond / 1002},
	} {
		e := exchange{path: "/v1/chat/completions", request: `{"stream":true}`, header: asEvents,
			answer: c.first + chunk("content") + chunk("content") + "data: " + usage + "\n\ndata: [DONE]\n\n"}
		if o, _, _ := e.pass(t, interpreterOfTests(), byEvent, 10*time.Millisecond); o.Answer.PerToken != c.want {
			t.Errorf("%s: %v for each token, want %v", name, o.Answer.PerToken, c.want)
		}
	}
	e := exchange{path: "/v1/responses", request: `{"stream":true}`, header: asEvents, answer: file(t, "response.sse")}
	if o, _, _ := e.pass(t, interpreterOfTests(), byEvent, 10*time.Millisecond); o.Answer.PerToken != 10*time.Millisecond/14 {
		t.Errorf("a response: %v for each of 15 tokens, want a 14th of 10 ms", o.Answer.PerToken)
	}
}

func TestCost(t *testing.T) {
	i := New(release.Model{Prices: map[string]release.Price{
		"m-1": {Input: 2, Output: 10, Cached: 1, Reasoning: 20}, "*": {Input: 100, Output: 100, Cached: 100, Reasoning: 100}}})
	e := exchange{path: "/v1/responses", request: `{"model":"m"}`, header: asJSON, answer: file(t, "response.json")}
	o, _, _ := e.pass(t, i, inOne, 0)
	if want := (20*2 + 10*1 + 15*10 + 5*20) / 1e6; o.Answer.Cost != want || !o.Answer.Priced {
		t.Errorf("cost %v; want %v", o.Answer.Cost, want)
	}
	e.answer = strings.ReplaceAll(e.answer, "m-1", "other")
	if o, _, _ := e.pass(t, i, inOne, 0); o.Answer.Cost != 50*100/1e6 {
		t.Errorf("cost of another model %v; want that of *", o.Answer.Cost)
	}
}

func TestPaths(t *testing.T) {
	i := interpreterOfTests()
	for at, want := range map[string]release.ModelAPI{
		"/v1/chat/completions": "chat", "/openai/deployments/x/chat/completions": "chat", "/v1/completions": "completions",
		"/v1/embeddings": "embeddings", "/v1/responses": "responses", "/v2/models/a/infer": "infer", "/v2/models/a/versions/1/infer": "infer",
		"/predict": "json", "/v1/chat": "", "/": "", "/v2/models/a/ready": "", "/v1/responses/1/cancel": "",
	} {
		if got := i.apiOf(httptest.NewRequest("POST", at, nil)); got != want {
			t.Errorf("%s is %q; want %q", at, got, want)
		}
		if got := i.apiOf(httptest.NewRequest("GET", at, nil)); got != "" {
			t.Errorf("GET %s is %q; want nothing", at, got)
		}
	}
}

// unnamed is what an answer tells beside its id, which TestIDs is about.
func unnamed(a *release.Answer) release.Answer {
	out := *a
	out.ID, out.Prompt = "", 0
	return out
}

// TestPromptsAreToldApart by all of their texts, however they come, and by nothing else.
func TestPromptsAreToldApart(t *testing.T) {
	hash := func(path, body string, piece int) uint64 {
		d := New(release.Model{}).Interpret(httptest.NewRequest("POST", path, nil))
		for ; len(body) > piece; body = body[piece:] {
			d.Request([]byte(body[:piece]))
		}
		d.Request([]byte(body))
		return d.Answer(time.Now(), 200, http.Header{"Content-Type": {"application/json"}}).facts.Prompt
	}
	const chat = "/v1/chat/completions"
	one := `{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Gr\u00f6\u00dfe?"}],"seed":1}`
	want := hash(chat, one, 1<<20)
	if want == 0 || hash(chat, one, 1) != want || hash(chat, strings.Replace(one, `"seed":1`, `"seed":2,"stream":true`, 1), 7) != want {
		t.Error("the same question is told apart")
	}
	if hash(chat, strings.Replace(one, "brief", "short", 1), 1<<20) == want || hash(chat, `{"model":"m"}`, 1<<20) != 0 || hash("/v1/embeddings", `{"input":"x"}`, 1<<20) != 0 {
		t.Error("other questions are not")
	}
}

// TestIDs: what an answer calls itself, in whichever API.
func TestIDs(t *testing.T) {
	said := map[string]bool{}
	for _, f := range allFacts(t) {
		o, _, _ := f.exchange.pass(t, interpreterOfTests(), inOne, 0)
		if o.Answer.ID != "" {
			said[string(o.Answer.API)] = true
		}
	}
	for _, api := range []release.ModelAPI{release.ChatAPI, release.ResponseAPI} {
		if !said[string(api)] {
			t.Errorf("no answer of %s has an id; those of %v have", api, said)
		}
	}
}
