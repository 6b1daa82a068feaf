package inference

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/release"
)

const functionRequest = `{"model":"m","input":"Hi","tools":[` +
	`{"type":"function","name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}},` +
	`{"type":"function","name":"time","parameters":{"type":"object","properties":{"zone":{"type":"string"}},"required":["zone"]}}]`

// The members of an item in the order of OpenAI's own server, and in that of its
// Python types, which servers build on.
var functionItems = map[string][2]string{
	"type first": {
		`{"id":"fc_1","type":"function_call","status":"completed","call_id":"c1","name":"weather","arguments":"{\"city\":\"Ulm\"}"}`,
		`{"id":"fc_2","type":"function_call","status":"completed","call_id":"c2","name":"time","arguments":"{\"zone\":\"CET\"}"}`},
	"type last": {
		`{"arguments":"{\"city\":\"Ulm\"}","call_id":"c1","name":"weather","type":"function_call","id":"fc_1","status":"completed"}`,
		`{"arguments":"{\"zone\":\"CET\"}","call_id":"c2","name":"time","type":"function_call","id":"fc_2","status":"completed"}`},
}

// otherItem is no call, though it has a call's members.
const otherItem = `{"arguments":"{}","name":"ask","server_label":"s","type":"mcp_call","id":"mcp_1"}`

func wholeResponse(items ...string) string {
	return `{"id":"resp_1","object":"response","status":"completed","error":null,"model":"m-1","output":[` + strings.Join(items, ",") +
		`],"usage":{"input_tokens":3,"output_tokens":9}}`
}

// events writes events by their type and the rest of their data; named: with event lines.
func responseEvents(named bool, list ...[2]string) string {
	var b strings.Builder
	for i, e := range list {
		if named {
			b.WriteString("event: " + e[0] + "\n")
		}
		data := `"type":"` + e[0] + `"`
		if i%2 == 0 || !named {
			data = e[1] + `,` + data // the type may come last
		} else {
			data += `,` + e[1]
		}
		b.WriteString("data: {" + data + "}\n\n")
	}
	return b.String()
}

func functionEvents(items [2]string, named, indexed bool) string {
	at := func(i string) string {
		if !indexed {
			return `"sequence_number":1`
		}
		return `"output_index":` + i
	}
	blank := func(s string) string {
		return strings.NewReplacer(`"{\"city\":\"Ulm\"}"`, `""`, `"{\"zone\":\"CET\"}"`, `""`).Replace(s)
	}
	const added, delta, done = "response.output_item.added", "response.function_call_arguments.delta", "response.output_item.done"
	list := [][2]string{
		{added, `"item":` + blank(items[0]) + `,` + at("1")},
		{delta, `"delta":"{\"city\":",` + at("1")}, {delta, `"delta":"\"Ulm\"}",` + at("1")},
		{done, `"item":` + items[0] + `,` + at("1")},
		{added, `"item":` + blank(items[1]) + `,` + at("2")},
		{delta, `"delta":"{\"zone\":",` + at("2")}, {delta, `"delta":"\"CET\"}",` + at("2")},
		{done, `"item":` + items[1] + `,` + at("2")},
	}
	if indexed { // then they may mix
		list = [][2]string{list[0], list[4], list[1], list[5], list[2], list[6], list[3], list[7]}
	}
	list = append(list, [2]string{"response.completed", `"response":{"status":"completed","model":"m-1","usage":{"input_tokens":3,"output_tokens":9}}`})
	return responseEvents(named, list...)
}

// TestFunctionCalls: a call is one whatever the order of its members, whole and
// in events, alone and beside others.
func TestFunctionCalls(t *testing.T) {
	want := release.Answer{API: release.ResponseAPI, RequestModel: "m", Model: "m-1", InputCharacters: 2, Complete: true, Finish: "completed",
		InputTokens: 3, OutputTokens: 9, ToolCalls: 2, Format: release.FormatValid}
	for order, items := range functionItems {
		check := func(name string, e exchange, want release.Answer) {
			t.Run(order+"/"+name, func(t *testing.T) {
				for how, split := range map[string]func(string) []string{"whole": inOne, "by byte": byBytes} {
					o, _, _ := e.pass(t, interpreterOfTests(), split, 0)
					if diff := cmp.Diff(want, unnamed(o.Answer)); diff != "" || o.Outcome != release.OK {
						t.Errorf("%s: %v %s (-want +got):\n%s", how, o.Outcome, o.Cause, diff)
					}
				}
			})
		}
		ask := func(header http.Header, answer string) exchange {
			return exchange{path: "/v1/responses", request: functionRequest + `}`, header: header, answer: answer}
		}
		check("two", ask(asJSON, wholeResponse(items[0], otherItem, items[1])), want)
		one := want
		one.ToolCalls = 1
		check("one", ask(asJSON, wholeResponse(`{"summary":[],"type":"reasoning","id":"rs_1"}`, items[0])), one)
		broken := one
		broken.Format, broken.FormatProblem = release.FormatInvalid, "the call of a tool: / violates required"
		check("without its argument", ask(asJSON, wholeResponse(strings.Replace(items[0], `{\"city\":\"Ulm\"}`, `{}`, 1))), broken)
		streamed := want
		streamed.Streamed, streamed.Chunks = true, 6
		check("events", ask(asEvents, functionEvents(items, true, true)), streamed)
		check("events without an index", ask(asEvents, functionEvents(items, true, false)), streamed)
		check("events without a name", ask(asEvents, functionEvents(items, false, true)), streamed)
		bare := streamed
		bare.Chunks = 2
		check("items only", ask(asEvents, responseEvents(true,
			[2]string{"response.output_item.added", `"item":` + items[0]}, [2]string{"response.output_item.done", `"item":` + items[0]},
			[2]string{"response.output_item.added", `"item":` + items[1]}, [2]string{"response.output_item.done", `"item":` + items[1]},
			[2]string{"response.completed", `"response":{"status":"completed","model":"m-1","usage":{"input_tokens":3,"output_tokens":9}}`})), bare)
	}
}

// TestReasoningIsNoAnswer: what a model thinks counts for nothing that is said of
// its answer, wherever the type of the text stands.
func TestReasoningIsNoAnswer(t *testing.T) {
	const format = `,"text":{"format":{"type":"json_schema","schema":{"type":"object","required":["a"]}}}`
	part := func(kind, text string, last bool) string {
		if last {
			return `{"annotations":[],"text":` + text + `,"type":"` + kind + `"}`
		}
		return `{"type":"` + kind + `","text":` + text + `,"annotations":[]}`
	}
	for _, last := range []bool{false, true} {
		thought := `{"id":"rs_1","summary":[{"text":"brief","type":"summary_text"}],"type":"reasoning","content":[` +
			part("reasoning_text", `"`+strings.Repeat("round and round it goes ", 40)+`{"`, last) + `,` + part("reasoning_text", `"über"`, last) + `]}`
		for _, c := range []struct {
			name, request, text string
			want                release.Answer
		}{
			{"words", ``, `"Hello world"`, release.Answer{Characters: 11, Script: "Latin"}},
			{"a format", format, `"{\"a\":1}"`, release.Answer{Characters: 7, Script: "Latin", Format: release.FormatValid}},
		} {
			c.want.API, c.want.RequestModel, c.want.Model, c.want.InputCharacters = release.ResponseAPI, "m", "m-1", 2
			c.want.Complete, c.want.Finish, c.want.InputTokens, c.want.OutputTokens = true, "completed", 3, 9
			e := exchange{path: "/v1/responses", request: `{"model":"m","input":"Hi"` + c.request + `}`, header: asJSON,
				answer: wholeResponse(thought, `{"id":"msg_1","content":[`+part("output_text", c.text, last)+`],"role":"assistant","type":"message"}`)}
			for how, split := range map[string]func(string) []string{"whole": inOne, "by byte": byBytes} {
				o, _, _ := e.pass(t, interpreterOfTests(), split, 0)
				if diff := cmp.Diff(c.want, unnamed(o.Answer)); diff != "" {
					t.Errorf("%s, type last %v, %s (-want +got):\n%s", c.name, last, how, diff)
				}
			}
		}
		only := exchange{path: "/v1/responses", request: `{"model":"m","input":"Hi"}`, header: asJSON, answer: wholeResponse(thought)}
		if o, _, _ := only.pass(t, interpreterOfTests(), inOne, 0); !o.Answer.Empty {
			t.Errorf("type last %v: an answer of nothing but reasoning is not empty", last)
		}
	}
}
