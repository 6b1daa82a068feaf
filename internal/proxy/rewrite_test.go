package proxy

import (
	"cmp"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/release"
)

// TestRewritesThatDoNotFit: a request that a version's rewrite does not fit is
// passed on as it came and is evidence of neither version, whichever was drawn.
func TestRewritesThatDoNotFit(t *testing.T) {
	const chat, asJSON = "/v1/chat/completions", "application/json"
	back := serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for name, c := range map[string]struct {
		method, path, kind, encoding string
		size                         int64 // 0: a small one; negative: not said
		want                         release.Unfit
	}{
		"fits":                   {path: chat, kind: asJSON + "; charset=utf-8"},
		"compressed":             {path: chat, kind: asJSON, encoding: "gzip", want: release.UnfitCompressed},
		"of another type":        {path: chat, kind: "text/plain", want: release.UnfitNotJSON},
		"large":                  {path: chat, kind: asJSON, size: maxJSON + 1, want: release.UnfitTooLarge},
		"large, as it turns out": {path: chat, kind: asJSON, size: -(maxJSON + 1), want: release.UnfitTooLarge},
		"no place for a prompt":  {path: "/v1/completions", kind: asJSON, want: release.UnfitNoPrompt},
		"a place for it":         {path: "/v1/responses", kind: asJSON},
		"nothing to rewrite":     {method: "GET", path: "/v1/models"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, drawn := range []release.Weight{0, release.Full} {
				w := newWorld(t, Options{})
				list := backends(back, back)
				list[1].Rewrite = &release.Rewrite{System: "Be brief."}
				w.set(t, Routing{Split: shares(drawn), Backends: list})
				var body io.Reader
				switch {
				case c.size < 0:
					body = io.LimitReader(spaces{}, -c.size)
				case c.method == "":
					body = strings.NewReader(`{"messages":[]}` + strings.Repeat(" ", int(c.size)))
				}
				r := request(cmp.Or(c.method, "POST"), w.url+c.path, body)
				r.Header.Set("Content-Type", c.kind)
				if c.encoding != "" {
					r.Header.Set("Content-Encoding", c.encoding)
				}
				get(t, http.DefaultClient, r)
				o := w.seen.wait(t, 1)[0]
				if o.Unfit != c.want || (o.Route == release.BySplit) != (c.want == "") || o.Outcome != release.OK {
					t.Errorf("version %s: route %v, unfit %q, %v; want %q", o.Version, o.Route, o.Unfit, o.Outcome, c.want)
				}
			}
		})
	}
}

// spaces is a body of spaces.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
