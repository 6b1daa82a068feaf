package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// heard keeps what was said, and refuses what is named so.
type heard struct{ list []release.Feedback }

func (h *heard) Feedback(_ string, f release.Feedback, _ time.Duration) error {
	switch f.ID {
	case "gone":
		return release.UnknownAnswer{Why: "no answer is known"}
	case "changed":
		return release.TakenFeedback{Why: "something else was said"}
	}
	h.list = append(h.list, f)
	return nil
}

// Feedback is taken at the release's own address and reaches no version; answers
// say their ids.
func TestFeedbackIsTaken(t *testing.T) {
	h := &heard{}
	w := newWorld(t, Options{Feedback: h})
	w.set(t, Routing{Config: release.Embedded{Sticky: release.Sticky{Header: "X-User"}, Feedback: &release.TakesFeedback{Path: "/feedback", Keep: time.Hour}},
		Split: shares(0), Backends: backends(serve(t, named("s")), serve(t, named("c")))})
	_, _, header := get(t, http.DefaultClient, request("GET", w.url, nil))
	if id := header.Get("X-Request-Id"); len(id) != 32 || w.seen.wait(t, 1)[0].ID != id {
		t.Errorf("the answer's id is %q, the observation's %q", id, w.seen.wait(t, 1)[0].ID)
	}
	_, _, header = get(t, http.DefaultClient, request("GET", w.url, nil, "X-Request-Id", "mine"))
	if header.Get("X-Request-Id") != "mine" {
		t.Errorf("the client's own id came back as %q", header.Get("X-Request-Id"))
	}
	for _, c := range []struct {
		method, body string
		status       int
		says         string
	}{
		{"POST", `{"id": "mine", "vote": "up"}`, 204, ""},
		{"POST", `{"session": "ann", "vote": "down"}`, 204, ""},
		{"POST", `{"vote": "down"}`, 400, "names the answer"},
		{"POST", `{"id": "gone", "vote": "up"}`, 404, "no answer"},
		{"POST", `{"id": "changed", "vote": "up"}`, 409, "something else"},
		{"POST", `nonsense`, 400, "no feedback"},
		{"POST", strings.Repeat(" ", 5000), 413, "at most 4096 bytes"},
		{"GET", ``, 405, "by POST"},
	} {
		status, body, _ := get(t, http.DefaultClient, request(c.method, w.url+"/feedback", strings.NewReader(c.body)))
		if status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s %.40s: %d %s, want %d %q", c.method, c.body, status, body, c.status, c.says)
		}
	}
	if len(h.list) != 2 || h.list[0].Vote != release.VoteUp || h.list[1].User != w.Table().keyOf("ann").user {
		t.Errorf("heard %+v", h.list)
	}
	if got := w.seen.wait(t, 2); len(got) != 2 {
		t.Errorf("%d observations, want those of the two requests", len(got))
	}
}

// A conversation stays with its version, by a field of the body, which reaches the
// version as it was sent.
func TestStickyByBody(t *testing.T) {
	echo := func(name string) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			fmt.Fprint(w, name, string(b))
		})
	}
	w := newWorld(t, Options{})
	w.set(t, Routing{Config: release.Embedded{Sticky: release.Sticky{JSON: "metadata.conversation"}}, Split: shares(5000), Backends: backends(echo("s"), echo("c"))})
	ask := func(body, kind string) string {
		_, b, _ := get(t, http.DefaultClient, request("POST", w.url, strings.NewReader(body), "Content-Type", kind))
		if b[1:] != body {
			t.Errorf("the version got %.60q, want %.60q", b[1:], body)
		}
		return b[:1]
	}
	seen := map[string]bool{}
	for i := range 20 {
		body := fmt.Sprintf(`{"metadata": {"conversation": %d}}`, i)
		first := ask(body, "application/json")
		for range 5 {
			if got := ask(body, "application/json; charset=utf-8"); got != first {
				t.Errorf("conversation %d went from %s to %s", i, first, got)
			}
		}
		seen[first] = true
	}
	if len(seen) != 2 {
		t.Errorf("versions %v, want both", seen)
	}
	long := `{"metadata": {"conversation": "x"}, "pad": "` + strings.Repeat("x", maxStickyBody) + `"}`
	for _, body := range []string{long, `{"metadata": 7}`, `{`, `{"metadata": {"conversation": null}}`} {
		ask(body, "application/json")
	}
	for _, o := range w.seen.wait(t, 124)[120:] {
		if o.Unit != 0 {
			t.Errorf("a request without a conversation has the unit %d", o.Unit)
		}
	}
}
