package inference

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/release"
)

// cutAt splits a text into pieces whose lengths the bytes of cuts say.
func cutAt(cuts []byte) func(string) []string {
	return func(s string) (out []string) {
		for i := 0; len(s) > 0; i++ {
			n := len(s)
			if len(cuts) > 0 {
				n = min(n, int(cuts[i%len(cuts)])+1)
			}
			out, s = append(out, s[:n]), s[n:]
		}
		return out
	}
}

// found is what a scanner tells of a text.
type found struct{ tokens []string }

func (f *found) open(_ field, b byte) { f.tokens = append(f.tokens, string(b)) }
func (f *found) value(_ field, k kind, w []byte) {
	f.tokens = append(f.tokens, string(rune('0'+k))+string(w))
}
func (f *found) raw(_ field, j []byte, whole bool) { f.tokens = append(f.tokens, "raw "+string(j)) }
func (f *found) text(_ field, p []byte) {
	if n := len(f.tokens); n > 0 && strings.HasPrefix(f.tokens[n-1], "text ") {
		f.tokens[n-1] += string(p)
		return
	}
	f.tokens = append(f.tokens, "text "+string(p))
}

func scanAll(s string, split func(string) []string) (tokens []string, whole bool) {
	root := (&node{}).want("a", 1, word).want("b", 2, pieces).want("c", 3, keepRaw).want("d.*.e", 4, pieces).want("d.1", 5, word)
	f := &found{}
	var sc scanner
	sc.reset(root, f)
	for _, p := range split(s) {
		sc.scan([]byte(p))
	}
	return f.tokens, sc.end()
}

// FuzzScan holds the scanner to encoding/json, and to itself in other pieces.
func FuzzScan(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":"x\u00e9\ud83d\ude00\ud800","c":[1,{"x":"\"}"}],"d":[{"e":"q"},null]}`, `[1.5e-3,-0,true]`, ` {"a" : "\n" } `, `{"a":01}`, `{"a":1,}`, `"`, `1`, ``, `{"c":`, `[[[[]]]]`} {
		f.Add(s, []byte{0})
		f.Add(s, []byte{2, 5})
	}
	f.Fuzz(func(t *testing.T, s string, cuts []byte) {
		tokens, whole := scanAll(s, inOne)
		again, wholeAgain := scanAll(s, cutAt(cuts))
		if diff := cmp.Diff(tokens, again); diff != "" || whole != wholeAgain {
			t.Fatalf("in pieces: whole %v, then %v\n%s", whole, wholeAgain, diff)
		}
		extended := strings.Contains(s, "NaN") || strings.Contains(s, "Infinity")
		deep := strings.Count(s, "[")+strings.Count(s, "{") > maxDepth
		long := longWord(s)
		if valid := json.Valid([]byte(s)); valid != whole && !extended && !deep && !long {
			t.Fatalf("whole %v; encoding/json says %v of %q", whole, valid, s)
		}
	})
}

// longWord reports numbers longer than the scanner keeps, whose end it does not see.
func longWord(s string) bool {
	n := 0
	for i := range len(s) {
		if !wordByte(s[i]) {
			n = 0
		} else if n++; n > maxWord {
			return true
		}
	}
	return false
}

// FuzzStream reads streams in other pieces: facts and the client's bytes stay
// the same, and what Hide takes out is whole events.
func FuzzStream(f *testing.F) {
	for _, s := range streams(f) {
		f.Add(s.exchange.answer, []byte{0}, true)
		f.Add(s.exchange.answer, []byte{40, 3, 200}, true)
		f.Add(s.exchange.answer, []byte{9}, false)
	}
	f.Fuzz(func(t *testing.T, answer string, cuts []byte, response bool) {
		e := exchange{path: "/v1/chat/completions", request: `{"model":"m","stream":true}`, header: asEvents, answer: answer}
		if response {
			e.path = "/v1/responses"
		}
		one, _, _ := e.pass(t, interpreterOfTests(), inOne, 0)
		many, _, got := e.pass(t, interpreterOfTests(), cutAt(cuts), 0)
		if diff := cmp.Diff(one, many); diff != "" {
			t.Fatalf("in pieces:\n%s", diff)
		}
		if got != answer {
			t.Fatalf("the client got %q of %q", got, answer)
		}
		e.path = "/v1/chat/completions"
		_, _, all := e.pass(t, New(release.Model{Usage: true}), inOne, 0)
		_, _, pieces := e.pass(t, New(release.Model{Usage: true}), cutAt(cuts), 0)
		if all != pieces {
			t.Fatalf("hidden in one piece %q, in several %q", all, pieces)
		}
		if !subsequence(all, answer) {
			t.Fatalf("the client got %q, which is not made of %q", all, answer)
		}
	})
}

func subsequence(part, whole string) bool {
	for i := 0; i < len(part); i++ {
		at := strings.IndexByte(whole, part[i])
		if at < 0 {
			return false
		}
		whole = whole[at+1:]
	}
	return true
}

// FuzzAnswer reads any bytes as an answer of any protocol.
func FuzzAnswer(f *testing.F) {
	for _, x := range append(wholeAnswers(), otherAnswers(f)...) {
		f.Add(x.exchange.path, x.exchange.request, x.exchange.answer, []byte{7})
	}
	f.Fuzz(func(t *testing.T, at, request, answer string, cuts []byte) {
		for _, path := range []string{"/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v2/models/m/infer", "/predict"} {
			e := exchange{path: path, request: request, header: asJSON, answer: answer}
			one, _, _ := e.pass(t, interpreterOfTests(), inOne, 0)
			many, _, _ := e.pass(t, interpreterOfTests(), cutAt(cuts), 0)
			if diff := cmp.Diff(one, many, cmp.Comparer(sameFloat)); diff != "" {
				t.Fatalf("%s in pieces:\n%s", path, diff)
			}
		}
	})
}

func sameFloat(a, b float64) bool { return a == b || a != a && b != b }

// FuzzRewrite asks for usage in any body: what was JSON stays JSON and says the
// same beside the option.
func FuzzRewrite(f *testing.F) {
	for _, s := range []string{`{"stream":true}`, `{"stream":true,"messages":[{"content":"}"}]} `, `{"stream":true,"stream_options":{}}`, `{"stream_options":{"a":[1]},"stream":true}`, `{"stream":false}`, `[]`, `{"stream":true`, `{"stream":true,"stream":false}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d := &Dialogue{i: New(release.Model{Usage: true}), api: release.ChatAPI, asks: true}
		got := d.Rewrite(bytes.Clone(body))
		if !d.hides {
			if !bytes.Equal(got, body) {
				t.Fatalf("changed without asking: %q to %q", body, got)
			}
			return
		}
		var was, is map[string]any
		if json.Unmarshal(body, &was) != nil {
			return // taken in by the scanner only: NaN
		}
		if err := json.Unmarshal(got, &is); err != nil {
			t.Fatalf("%q became %q: %v", body, got, err)
		}
		options, _ := was["stream_options"].(map[string]any)
		if options == nil {
			options = map[string]any{}
		}
		options["include_usage"] = true
		was["stream_options"] = options
		if diff := cmp.Diff(was, is); diff != "" {
			t.Fatalf("%s", diff)
		}
	})
}
