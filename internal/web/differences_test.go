package web

import (
	"io"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/compare"
)

// What versions wrote reaches the page as text, side by side, with the lines
// marked that differ.
func TestDifferencesPage(t *testing.T) {
	m := newMemory()
	live(m, "hello")
	_, srv := start(t, m, func(o *Options) {
		o.Differences = func(string) client.Differences {
			return client.Differences{Dropped: 7, Report: compare.Report{
				Counts: compare.Counts{Copies: 40, Compared: 40, Differ: 10, Again: 8, Noise: 1, Skipped: map[string]int64{"a version failed": 3}},
				Pairs: []compare.Pair{{Method: "POST", Path: "/say", Why: "b differs", How: "json", Status: [2]int{200, 200},
					Answers: [2]string{"same\n<script>alert(1)</script>", "same\nother"}}},
			}}
		}
	})
	resp := send(t, srv, "GET", "/releases/hello/differences", "", "", "", nil)
	b, _ := io.ReadAll(resp.Body)
	page := string(b)
	for _, want := range []string{"POST /say", "b differs", "25", "12.5", "a version failed", `<span>same</span>`,
		`<span class="other">&lt;script&gt;alert(1)&lt;/script&gt;</span>`, `<span class="other">other</span>`, "7 were not made"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not contain %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "<script>alert") {
		t.Error("an answer is a part of the page")
	}
}
