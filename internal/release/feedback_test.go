package release

import (
	"strings"
	"testing"
)

func TestParseFeedback(t *testing.T) {
	f, session, err := ParseFeedback([]byte(`{"id": "a", "vote": "down", "score": 0, "label": "7"}`))
	if err != nil || session != "" || f != (Feedback{ID: "a", Vote: VoteDown, Scored: true, Label: "7"}) {
		t.Errorf("%+v, %q, %v", f, session, err)
	}
	if _, session, err = ParseFeedback([]byte(`{"session": "s", "vote": "up"}`)); err != nil || session != "s" {
		t.Errorf("%q, %v", session, err)
	}
	if f, _, err = ParseFeedback([]byte(`{"id": "a", "vote": "regenerate"}`)); err != nil || f != (Feedback{ID: "a", Regenerated: true}) {
		t.Errorf("%+v, %v", f, err)
	}
	for in, want := range map[string]string{
		`{`: "no feedback", `{"id": "a"}`: "nothing is said", `{"id": "a", "vote": "meh"}`: "up, down or regenerate", `{"id": "a", "score": 7}`: "0 (bad) to 1",
		`{"id": "a", "session": "b", "vote": "up"}`: "one of them", `{"id": "a", "votes": "up"}`: "no feedback",
		`{"id": "` + strings.Repeat("x", 300) + `", "vote": "up"}`: "at most 256 bytes",
	} {
		if _, _, err := ParseFeedback([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", in, err, want)
		}
	}
}
