package inference

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// asking is a release that asks for the usage chunk.
func asking() *Interpreter { return New(release.Model{Usage: true}) }

func TestUsageIsAskedForAndHidden(t *testing.T) {
	plain := file(t, "chat.sse")
	chunk := "data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n"
	want := strings.Replace(plain, chunk, "", 1)
	if want == plain {
		t.Fatal("the stream has no usage chunk")
	}
	for name, ends := range map[string]string{"LF": "\n", "CRLF": "\r\n", "CR": "\r"} {
		in, out := strings.ReplaceAll(plain, "\n", ends), strings.ReplaceAll(want, "\n", ends)
		e := exchange{path: "/v1/chat/completions", request: `{"model":"m","stream":true}`, header: asEvents, answer: in}
		check := func(split func(string) []string) {
			o, sent, got := e.pass(t, asking(), split, 0)
			if sent != `{"model":"m","stream":true,"stream_options":{"include_usage":true}}` {
				t.Fatalf("sent %s", sent)
			}
			if got != out {
				t.Fatalf("%s: the client got\n%q\nwant\n%q", name, got, out)
			}
			if o.Answer.OutputTokens != 3 || o.Answer.Estimated {
				t.Fatalf("%d tokens, estimated %v; want 3 as counted by the server", o.Answer.OutputTokens, o.Answer.Estimated)
			}
		}
		check(byBytes)
		for at := range in {
			check(func(s string) []string { at := min(at, len(s)); return []string{s[:at], s[at:]} })
		}
	}
}

// What the client asks for itself, and what is no stream, passes as it is.
func TestUsageIsNotHiddenFromWhoAsks(t *testing.T) {
	plain := file(t, "chat.sse")
	for _, request := range []string{
		`{"stream":true,"stream_options":{"include_usage":true}}`, `{"stream":true,"stream_options":{"include_usage":false}}`, `{"stream":true,"stream_options":"x"}`,
		`{"stream":true,"stream_options":{},"stream_options":{}}`, `{"stream":false,"stream_options":{}}`, `{"stream":false}`, `{}`, `[]`, `no JSON`, ``,
	} {
		e := exchange{path: "/v1/chat/completions", request: request, header: asEvents, answer: plain}
		if _, sent, got := e.pass(t, asking(), byEvent, 0); sent != request || got != plain {
			t.Errorf("%s was sent as %s, the answer changed: %v", request, sent, got != plain)
		}
	}
}

// Who sends other options is not the one who asked for the chunk: it is asked for
// among them, and hidden.
func TestUsageIsAskedForAmongOtherOptions(t *testing.T) {
	plain := file(t, "chat.sse")
	for request, want := range map[string]string{
		`{"stream":true,"stream_options":{}}`: `{"stream":true,"stream_options":{"include_usage":true}}`,
		`{"stream_options": {"include_obfuscation":false},"messages":[{"stream_options":{"x":1}}],"stream":true}`: `{"stream_options": {"include_usage":true,"include_obfuscation":false},"messages":[{"stream_options":{"x":1}}],"stream":true}`,
		`{"a":["stream_options",{}],"b":"stream_options","stream":true,"stream_options":{ } }`:                    `{"a":["stream_options",{}],"b":"stream_options","stream":true,"stream_options":{"include_usage":true } }`,
	} {
		e := exchange{path: "/v1/chat/completions", request: request, header: asEvents, answer: plain}
		o, sent, got := e.pass(t, asking(), byEvent, 0)
		if sent != want {
			t.Errorf("%s was sent as %s", request, sent)
		}
		if strings.Contains(got, `"usage":{`) || o.Answer.OutputTokens != 3 || o.Answer.Estimated {
			t.Errorf("%s: %d tokens, the client got %q", request, o.Answer.OutputTokens, got)
		}
	}
}

// An event that is no usage chunk is passed on as soon as that is seen.
func TestHidingHoldsNoTextBack(t *testing.T) {
	d := &Dialogue{i: asking(), api: release.ChatAPI, asks: true}
	d.Rewrite([]byte(`{"stream":true}`))
	a := d.Answer(epoch, 200, asEvents)
	const begun = `data: {"choices":[{"delta":{"content":"Hel`
	if got := string(a.Hide([]byte(begun), epoch)); got != begun {
		t.Errorf("got %q of half an event; want all of it", got)
	}
	if got := string(a.Hide([]byte("lo\"}}]}\n\ndata: "), epoch)); got != "lo\"}}]}\n\n" {
		t.Errorf("got %q; want the end of the event", got)
	}
	if got := string(a.Rest()); got != "data: " {
		t.Errorf("the rest is %q; want what was held", got)
	}
}

// A line without end is neither kept nor held back.
func TestEndlessLine(t *testing.T) {
	piece := []byte(strings.Repeat("x", 64<<10))
	for _, usage := range []bool{false, true} {
		d := &Dialogue{i: asking(), api: release.ChatAPI, asks: usage, request: newRequest(chatRequest)}
		if usage {
			d.Rewrite([]byte(`{"stream":true}`))
		}
		a := d.Answer(epoch, 200, asEvents)
		feed := func(p []byte) int {
			if a.Hides() {
				return len(a.Hide(append([]byte(nil), p...), epoch))
			}
			a.Read(p, epoch)
			return len(p)
		}
		n := feed([]byte(`data: {"choices":[{"delta":{"content":"`))
		for range 50 << 20 / len(piece) {
			n += feed(piece)
		}
		if n < 50<<20 {
			t.Errorf("usage %v: %d bytes passed; want all of 50 MiB", usage, n)
		}
		if kept := cap(a.scanner.word) + cap(a.scanner.raw) + cap(a.kept) + cap(a.filter.held) + cap(a.prose.head); kept > 8<<10 {
			t.Errorf("usage %v: %d bytes are kept", usage, kept)
		}
		if a.facts.Chunks != 1 || a.prose.characters != 50<<20 {
			t.Errorf("%d chunks, %d characters", a.facts.Chunks, a.prose.characters)
		}
	}
}

// A schema that branches without end is refused, not followed.
func TestSchemasAreBounded(t *testing.T) {
	var s schemas
	deep := []byte(strings.Repeat(`{"x":`, 60) + `1` + strings.Repeat(`}`, 60))
	bomb := []byte(`{"$defs":{"default":{"anyOf":[{"properties":{"x":{"$ref":"#/$defs/default"}}},{"properties":{"x":{"$ref":"#/$defs/default"}}}]}},"$ref":"#/$defs/default"}`)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, unchecked := s.check(bomb, deep); !errors.Is(unchecked, errCostly) {
			t.Errorf("the schema was applied, or %v", unchecked)
		}
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("the schema is still being applied after two minutes")
	}
	for name, schema := range map[string]string{
		"a file": `{"$ref":"file:///etc/passwd"}`, "a host": `{"$ref":"http://127.0.0.1:1/x"}`, "no schema": `{"type":7}`, "no JSON": `{`,
	} {
		if problem, unchecked := s.check([]byte(schema), []byte(`{}`)); problem != nil || unchecked == nil {
			t.Errorf("%s: problem %v, unchecked %v; want it unchecked", name, problem, unchecked)
		}
	}
	tree := `{"$defs":{"t":{"type":"object","properties":{"value":{"type":"integer"},"of":{"type":"array","items":{"$ref":"#/$defs/t"}}},"required":["value"]}},"$ref":"#/$defs/t"}`
	if problem, unchecked := s.check([]byte(tree), []byte(`{"value":1,"of":[{"value":2,"of":[{"value":"3"}]}]}`)); problem == nil || unchecked != nil {
		t.Errorf("a tree: problem %v, unchecked %v; want a problem", problem, unchecked)
	}
}
