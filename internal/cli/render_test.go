package cli

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/render"
)

// Questions are asked for what no flag says, and for nothing else.
func TestRenderAsks(t *testing.T) {
	for name, c := range map[string]struct {
		given      render.App
		said       string
		want       render.App
		asked, not string
	}{
		"all": {said: "hello\nhello:v1\n\n\n\n9090/metrics\n", asked: "[8080]", not: "Gateway",
			want: render.App{Name: "hello", Image: "hello:v1", Port: 8080, Router: "replicas", Evidence: render.Evidence{Scrape: "9090/metrics"}}},
		"gateway": {given: render.App{Name: "hello", Image: "hello:v1", Port: 80}, said: "gatewayapi\ninfra/public\nhttp://prometheus:9090\n", asked: "Gateway", not: "Image",
			want: render.App{Name: "hello", Image: "hello:v1", Port: 80, Router: "gatewayapi", Gateway: "infra/public", Evidence: render.Evidence{Prometheus: "http://prometheus:9090"}}},
		"nothing": {given: render.App{Name: "hello", Image: "hello:v1", Port: 80, Router: "istio", Evidence: render.Evidence{Scrape: "80"}}, not: ":",
			want: render.App{Name: "hello", Image: "hello:v1", Port: 80, Router: "istio", Evidence: render.Evidence{Scrape: "80"}}},
	} {
		var talk bytes.Buffer
		a := c.given
		if err := newShell(strings.NewReader(c.said), &bytes.Buffer{}, &talk).askFor(&a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(a, c.want) {
			t.Errorf("%s: got %+v, expected %+v", name, a, c.want)
		}
		if !strings.Contains(talk.String(), c.asked) || strings.Contains(talk.String(), c.not) {
			t.Errorf("%s asked %q", name, talk.String())
		}
	}
	var a render.App
	if err := newShell(strings.NewReader("hello\nhello:v1\nmany\n\n\n80\n"), &bytes.Buffer{}, &bytes.Buffer{}).askFor(&a); exitCode(err) != exitUsage {
		t.Errorf("a port in words: %v", err)
	}
	if err := newShell(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}).askFor(&a); err == nil {
		t.Error("a closed input gave answers")
	}
}
