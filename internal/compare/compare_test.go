package compare

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

func leg(kind, body string) *release.Leg {
	return &release.Leg{Status: 200, Type: kind, Body: []byte(body)}
}

func TestCompare(t *testing.T) {
	const j, s = "application/json", "text/event-stream"
	chat := func(words string) string {
		return fmt.Sprintf(`{"id":"x","choices":[{"message":{"content":%q}}]}`, words)
	}
	scores := func(a, b float64) string {
		return fmt.Sprintf(`{"outputs":[{"datatype":"FP32","shape":[1,2],"data":[%v,%v]}]}`, a, b)
	}
	for name, c := range map[string]struct {
		rule release.Comparing
		a, b *release.Leg
		want string // same, differ: why, or skipped: why
	}{
		"order of members":  {release.Comparing{}, leg(j, `{"a":1,"b":[2]}`), leg(j, `{"b":[2],"a":1}`), "same"},
		"a value":           {release.Comparing{}, leg(j, `{"a":{"b":1}}`), leg(j, `{"a":{"b":2}}`), "differ: a.b differs"},
		"ignored":           {release.Comparing{Ignore: []string{"x.*.id"}}, leg(j, `{"x":[{"id":1}]}`), leg(j, `{"x":[{"id":2}]}`), "same"},
		"tolerated":         {release.Comparing{Tolerance: 0.01}, leg(j, `{"p":0.500}`), leg(j, `{"p":0.504}`), "same"},
		"not tolerated":     {release.Comparing{Tolerance: 0.001}, leg(j, `{"p":0.500}`), leg(j, `{"p":0.504}`), "differ: p differs"},
		"same class":        {release.Comparing{}, leg(j, scores(0.9, 0.1)), leg(j, scores(0.6, 0.4)), "same"},
		"another class":     {release.Comparing{}, leg(j, scores(0.9, 0.1)), leg(j, scores(0.2, 0.8)), "differ: class 0 and 1"},
		"words":             {release.Comparing{Threshold: 0.8}, leg(j, chat("The canary sings well.")), leg(j, chat("the canary sings well")), "same"},
		"other words":       {release.Comparing{Threshold: 0.8}, leg(j, chat("The canary sings well.")), leg(j, chat("I can not help.")), "differ: the words are 0 % alike"},
		"a stream":          {release.Comparing{Threshold: 1}, leg(s, "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]\n\n"), leg(j, chat("Hi")), "same"},
		"status":            {release.Comparing{}, leg(j, "{}"), &release.Leg{Status: 404, Type: j}, "differ: status 200 and 404"},
		"bytes":             {release.Comparing{}, leg("image/png", "a"), leg("image/png", "b"), "differ: the bytes differ"},
		"failed":            {release.Comparing{}, leg(j, "{}"), &release.Leg{Outcome: release.Failed}, "skipped: a version failed"},
		"long":              {release.Comparing{}, leg(j, "{}"), &release.Leg{Status: 200, Long: true}, "skipped: longer than 256 KiB"},
		"br":                {release.Comparing{}, leg(j, "{}"), &release.Leg{Status: 200, Encoding: "br"}, `skipped: its encoding "br" is not read`},
		"another form":      {release.Comparing{How: release.CompareJSON}, leg(j, "{}"), leg(j, "oops"), "differ: one of them is of another form"},
		"switched off":      {release.Comparing{How: release.CompareNone}, leg(j, "1"), leg(j, "2"), "skipped: answers are not compared"},
		"half a compressed": {release.Comparing{}, leg(j, "{}"), &release.Leg{Status: 200, Encoding: "gzip", Body: []byte{0x1f, 0x8b}}, "skipped: it is badly compressed or too long"},
	} {
		r := NewDiffer(c.rule).Compare(c.a, c.b)
		got := "same"
		switch {
		case r.Skipped != "":
			got = "skipped: " + r.Skipped
		case !r.Same:
			got = "differ: " + r.Why
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestTextsWithoutSpaces: in scripts without spaces texts that differ in a word
// are nearly alike, and other texts are not.
func TestTextsWithoutSpaces(t *testing.T) {
	for name, c := range map[string]struct {
		a, b string
		like bool
	}{
		"Chinese":            {"金丝雀在矿井里唱歌，直到空气变坏。", "金丝雀在矿井里唱歌，直到空气变差。", true},
		"other Chinese":      {"金丝雀在矿井里唱歌，直到空气变坏。", "很抱歉，我无法回答这个问题。", false},
		"Japanese":           {"カナリアは坑道で歌い続けました。", "カナリアは坑道で歌い続けます。", true},
		"Thai":               {"นกขมิ้นร้องเพลงอยู่ในเหมือง", "นกขมิ้นร้องเพลงอยู่ในบ้าน", true},
		"Chinese and a name": {"我用 Haldane 发布新版本", "我用 haldane 发布新版本。", true},
		"English":            {"the canary sings in the mine", "the canary sings in the house", true},
	} {
		if got := similarity(c.a, c.b); (got >= 0.6) != c.like {
			t.Errorf("%s: %.2f alike; want them alike: %v", name, got, c.like)
		}
	}
}

// TestResponsesSay: of an answer of the responses API its words and calls count,
// whole as in events, and nothing that the model thought.
func TestResponsesSay(t *testing.T) {
	whole := func(output string) *release.Leg {
		return leg("application/json", `{"object":"response","output":[`+output+`]}`)
	}
	message := func(kind, text string) string {
		return `{"type":"message","content":[{"text":"` + text + `","type":"` + kind + `"}]}`
	}
	const thought = `{"type":"reasoning","content":[{"text":"Let me think.","type":"reasoning_text"}],"summary":[{"text":"He thought.","type":"summary_text"}]},`
	call := func(city string) string {
		return `{"arguments":"{` + city + `}","name":"weather","type":"function_call"}`
	}
	for name, c := range map[string]struct {
		leg  *release.Leg
		want string
	}{
		"words":     {whole(thought + message("output_text", "Hello.")), "Hello."},
		"a thought": {whole(message("reasoning_text", "Hm.")), ""},
		"a refusal": {whole(`{"type":"message","content":[{"refusal":"No.","type":"refusal"}]}`), "No."},
		"a call":    {whole(thought + call("Ulm")), "weather{Ulm}"},
		"events": {leg("text/event-stream", "event: response.reasoning_text.delta\ndata: {\"type\":\"response.reasoning_text.delta\",\"delta\":\"Hm.\"}\n\n"+
			"data: {\"item\":{\"name\":\"weather\",\"arguments\":\"\",\"type\":\"function_call\"},\"type\":\"response.output_item.added\"}\n\n"+
			"data: {\"delta\":\"{Ulm}\",\"type\":\"response.function_call_arguments.delta\"}\n\n"+
			"data: {\"type\":\"response.completed\",\"response\":{\"object\":\"response\",\"output\":["+strings.TrimSuffix(thought, ",")+"]}}\n\n"), "weather{Ulm}"},
	} {
		a, why := read(c.leg)
		if why != "" || !a.hasText || a.text != c.want {
			t.Errorf("%s says %q (%s), expected %q", name, a.text, why, c.want)
		}
	}
	if r := NewDiffer(release.Comparing{Threshold: 1}).Compare(whole(call("Ulm")), whole(call("Bonn"))); r.Same {
		t.Error("calls with other arguments are the same")
	}
}

func TestSecretsAreMasked(t *testing.T) {
	m := newMasks(release.Keeping{Fields: []string{"Email"}, Texts: []string{`\d{3}-\d{4}`}})
	text := m.show([]byte(`{"email":"a@b.c","api_key":"k","x":{"accessToken":"t","max_tokens":5},"say":"Bearer abcdefgh123 call 555-1234 eyJhbGciOi.eyJzdWIi.c2ln"}`), "application/json")
	for _, secret := range []string{"a@b.c", `"k"`, `"t"`, "abcdefgh123", "555-1234", "eyJ"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is kept in %s", secret, text)
		}
	}
	if !strings.Contains(text, `"max_tokens": 5`) || !strings.Contains(text, "call") {
		t.Errorf("too much is masked in %s", text)
	}
}

// TestSecretsAreMaskedInAnyForm: in forms, in the data of events and where a text
// says name=value.
func TestSecretsAreMaskedInAnyForm(t *testing.T) {
	m := newMasks(release.Keeping{Fields: []string{"email"}, Texts: []string{`[a-z]+@example\.org`}})
	const form, events = "application/x-www-form-urlencoded", "text/event-stream"
	for name, c := range map[string]struct{ got, want string }{
		"a form":         {m.show([]byte("user=ann&password=hunter2&email=x%40y&note=to+ann%40example.org"), form), "user=ann\npassword=[masked]\nemail=[masked]\nnote=to [masked]"},
		"JSON in a form": {m.show([]byte(`payload=%7B%22token%22%3A%22hunter2%22%2C%22n%22%3A1%7D`), form+"; charset=utf-8"), `payload={"n":1,"token":"[masked]"}`},
		"a bad form":     {m.show([]byte("password=%zz&a"), form), "password=[masked]\na="},
		"an address":     {m.show([]byte("see https://x/?api_key=hunter2&page=2"), "text/plain"), "see https://x/?api_key=[masked]&page=2"},
		"a path":         {m.prose("/login?access%5Ftoken=hunter2&n=1"), "/login?access%5Ftoken=[masked]&n=1"},
		"events":         {m.answer(leg(events, "event: user\ndata: {\"password\":\"hunter2\",\"n\":1}\n\ndata: plain\n\n")), "{\"n\":1,\"password\":\"[masked]\"}\nplain\n"},
		"events asked":   {m.show([]byte("data: {\"secret\":\"hunter2\"}\n\n"), events), "data: {\"secret\":\"[masked]\"}\n\n"},
		"words":          {m.answer(leg("application/json", `{"choices":[{"message":{"content":"{\"password\":\"hunter2\"}"}}]}`)), `{"password":"[masked]"}`},
		"a sum":          {m.prose("x=1, y=2 and max_tokens=5"), "x=1, y=2 and max_tokens=5"},
	} {
		if c.got != c.want {
			t.Errorf("%s is kept as %q, want %q", name, c.got, c.want)
		}
	}
}

func copied(user, canary, again string) *release.Copied {
	c := &release.Copied{Release: "r", Stable: "s", Canary: "c", Begin: time.Now(), Shared: release.Full,
		User: *leg("application/json", user), Copy: *leg("application/json", canary), Again: leg("application/json", again)}
	return c
}

// Who is nearer to the user's answer wins; what both share is no evidence.
func TestEvidence(t *testing.T) {
	r := New()
	r.Configure("r", release.Mirroring{Keep: release.Keeping{Count: 2, Age: time.Hour}, Timeout: time.Minute})
	tap := r.Tap("r", "s", "c", 0)
	defer tap.Close()
	r.Compare(copied("1", "1", "1"))
	r.Compare(copied("1", "2", "1"))
	r.Compare(copied("1", "2", "2"))
	r.Compare(copied("1", "1", "2"))
	r.Compare(copied("1", "3", "1"))
	broken := copied("1", "", "1")
	broken.Copy.Outcome = release.Failed
	r.Compare(broken)
	slow := copied("1", "1", "1")
	slow.User.Total = time.Hour
	r.Compare(slow)
	other := copied("1", "2", "1")
	other.Canary = "another"
	r.Compare(other)
	e := tap.Drain()
	if e.Pairs != 7 || e.CanaryFailed != 1 || e.StableFailed != 1 || e.Answers != 6 || e.StableWon != 2 || e.CanaryWon != 1 {
		t.Errorf("evidence %+v", e)
	}
	if again := tap.Drain(); again.Pairs != 0 {
		t.Errorf("evidence came twice: %+v", again)
	}
	if found := r.Report("r"); found.Counts.Differ != 4 || found.Counts.Noise != 2 || len(found.Pairs) != 2 || found.Pairs[0].Canary != "another" {
		t.Errorf("report %+v", found)
	}
}

// Pairs are let go when they are too old, too many, or their release is gone, and
// none is kept where that was said.
func TestPairsAreNotKeptForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		rule := release.Mirroring{Keep: release.Keeping{Count: 3, Age: time.Hour}}
		r.Configure("r", rule)
		kept := func(want int, what string) {
			t.Helper()
			if n := len(r.Report("r").Pairs); n != want {
				t.Errorf("%s: %d pairs are kept, expected %d", what, n, want)
			}
		}
		for range 5 {
			r.Compare(copied("1", "2", "1"))
		}
		kept(3, "five came")
		time.Sleep(time.Hour)
		r.Compare(copied("1", "2", "1"))
		kept(3, "an hour later")
		time.Sleep(time.Second)
		kept(1, "those were too old")
		rule.Keep.Count = 0
		r.Configure("r", rule)
		kept(0, "none is to be kept")
		r.Compare(copied("1", "2", "1"))
		kept(0, "none is kept")
		r.Forget("r")
		kept(0, "the release is gone")
	})
}
