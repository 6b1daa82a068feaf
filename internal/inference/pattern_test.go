package inference

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haldane-project/haldane/internal/release"
)

func said(content, more string) string {
	return `data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":` + content + `}` + more + `}]}` + "\n\n"
}

// alike are streams whose events are nearly alike, so that one may be taken for
// another.
var alike = map[string]string{
	"plain":                  said(`"a"`, ``) + said(`" b"`, ``) + said(`""`, ``) + said(`"é 中"`, ``),
	"escapes":                said(`"a"`, ``) + said(`"\n"`, ``) + said(`"b\"c"`, ``) + said(`"d"`, ``) + said(`"\u0041"`, ``) + said(`"e"`, ``),
	"control characters":     said(`"a"`, ``) + said("\"a\tb\"", ``),
	"lines within":           said(`"a"`, ``) + said("\"a\nb\"", ``) + said(`"c"`, ``),
	"not UTF-8":              said(`"a"`, ``) + said("\"\xff\"", ``) + said("\"\xc3\"", ``) + said(`"b"`, ``),
	"text like the model":    strings.ReplaceAll(said(`"m"`, ``)+said(`"x"`, ``), `"model"`, ` "model"`) + said(`"m"`, ``) + said(`"y"`, ``),
	"escaped like the model": strings.ReplaceAll(said(`"\u006d"`, ``), `"1"`, `"2"`) + strings.ReplaceAll(said(`"\u006d"`, ``), `"m"`, `"n"`),
	"finish goes to and fro": said(`"a"`, `,"finish_reason":"stop"`) + said(`"b"`, `,"finish_reason":"length"`) + said(`"a"`, `,"finish_reason":"stop"`),
	"others between":         said(`"a"`, `,"finish_reason":"stop"`) + `data: {"choices":[],"model":"n","usage":{"completion_tokens":3}}` + "\n\n" + said(`"b"`, `,"finish_reason":"stop"`),
	"two texts":              said(`"a","reasoning":"b"`, ``) + said(`"c","reasoning":"b"`, ``),
	"reasoning":              strings.ReplaceAll(said(`"a"`, ``)+said(`"b"`, ``), "content", "reasoning_content") + said(`"c"`, ``),
	"usage each time":        said(`"a"`, `,"x":1}],"usage":{"completion_tokens":1},"y":[{"z":1`) + said(`"b"`, `,"x":1}],"usage":{"completion_tokens":1},"y":[{"z":1`),
	"tools":                  said(`null,"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{"}}]`, ``) + said(`null,"tool_calls":[{"index":0,"function":{"name":"f","arguments":"}"}}]`, ``),
	"an error each time":     said(`"a"`, `}],"error":null,"y":[{"z":1`) + said(`"b"`, `}],"error":"x","y":[{"z":1`),
	"names":                  "event: a\n" + said(`"a"`, ``) + "event: a\n" + said(`"b"`, ``) + said(`"c"`, ``),
	"CRLF":                   strings.ReplaceAll(said(`"a"`, ``)+said(`"b"`, ``)+said(`"c"`, ``), "\n", "\r\n"),
	"CR":                     strings.ReplaceAll(said(`"a"`, ``)+said(`"b"`, ``)+said(`"c"`, ``), "\n", "\r"),
	"a mark":                 "\xef\xbb\xbf" + said(`"a"`, ``) + "\xef\xbb\xbf" + said(`"b"`, ``) + said(`"c"`, ``),
	"several lines":          strings.ReplaceAll(said(`"a"`, ``)+said(`"b"`, ``), `"choices"`, "\ndata: \"choices\""),
	"cut":                    said(`"a"`, ``) + said(`"b"`, ``) + said(`"c"`, ``)[:70],
	"the end":                said(`"a"`, ``) + "data: [DONE]\n\n" + said(`"b"`, ``),
	"long":                   said(`"a"`, `,"x":"`+strings.Repeat("y", 2*maxPattern)+`"`) + said(`"b"`, `,"x":"`+strings.Repeat("y", 2*maxPattern)+`"`),
	"never the same":         never(),
}

func never() string {
	var b strings.Builder
	for i := range 3 * maxMissed {
		b.WriteString(said(fmt.Sprintf(`"w%d"`, i), fmt.Sprintf(`,"x":%d`, i)))
	}
	return b.String() + said(`"a"`, ``) + said(`"b"`, ``)
}

// Events that are read by comparing say what they say when they are read byte by
// byte, where none is ever seen whole.
func TestAlikeEventsAreReadAlike(t *testing.T) {
	byByte := func(s string) (out []string) {
		for i := range len(s) {
			out = append(out, s[i:i+1])
		}
		return out
	}
	byEvent := func(s string) []string { return strings.SplitAfter(s, "\n\n") }
	for name, s := range alike {
		for _, rest := range []string{"", doneEvent} {
			for _, usage := range []bool{false, true} {
				e := exchange{path: "/v1/chat/completions", request: `{"model":"m","stream":true}`, header: asEvents, answer: opening + s + rest}
				i := New(release.Model{Usage: usage})
				want, _, wantBytes := e.pass(t, i, byByte, 0)
				for how, split := range map[string]func(string) []string{"whole": inOne, "by event": byEvent} {
					got, _, bytes := e.pass(t, i, split, 0)
					if diff := cmp.Diff(want, got); diff != "" || bytes != wantBytes {
						t.Errorf("%s, %s: %s\n%q\n%q", name, how, diff, bytes, wantBytes)
					}
				}
			}
		}
	}
}

const (
	// No pattern is taken from the first event, before which a byte order mark may stand.
	opening   = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n"
	doneEvent = "data: [DONE]\n\n"
)

// Most events of a stream are read by comparing, as servers write them.
func TestMostEventsFollowThePattern(t *testing.T) {
	r := (&Dialogue{i: New(release.Model{}), api: release.ChatAPI}).Answer(time.Now(), 200, http.Header{"Content-Type": {"text/event-stream"}})
	slow := 0
	for i := range 100 {
		e := said(fmt.Sprintf(`" word%d"`, i), ``)
		if text, _ := r.pattern.match([]byte(e)); text == nil {
			slow++
		}
		r.Read([]byte(e), time.Now())
	}
	if slow > 2 || r.facts.Chunks != 100 {
		t.Errorf("%d of %d events were read byte by byte", slow, r.facts.Chunks)
	}
}
