package app

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/compare"
	"github.com/haldane-project/haldane/internal/evaluate"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic"
	router "github.com/haldane-project/haldane/internal/traffic/embedded"
)

// What was to be done beside the traffic and was not is counted for operators.
func TestLossesAreOnMetrics(t *testing.T) {
	m := openMetrics(Options{Data: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	defer m.close()
	evals := evaluate.New(slog.New(slog.DiscardHandler), compare.Words)
	rt := router.New(router.Options{})
	defer rt.Shutdown(t.Context())
	m.countLosses(rt, evals)

	rel := release.Release{Name: "llm", Traffic: release.Traffic{Embedded: &release.Embedded{Listen: "127.0.0.1:0"}}}
	if err := rt.Apply(t.Context(), traffic.Target{Release: rel}); err != nil {
		t.Fatal(err)
	}
	tap := evals.Tap("llm", "s", "c", []evaluate.Job{{Metric: "rude", Evaluator: &release.Evaluator{Share: release.Full}}}) // no budget
	defer tap.Close()
	evals.Hear(&release.Heard{Release: "llm", Version: "c", Weight: 1000})
	w := httptest.NewRecorder()
	m.handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`haldane_mirror_dropped_total{reason="budget",release="llm"} 0`,
		`haldane_evaluations_lost_total{reason="budget",release="llm"} 1`,
		`haldane_evaluations_lost_total{reason="unclear",release="llm"} 0`,
	} {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}
