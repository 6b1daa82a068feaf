package model

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// exported is a release that is judged by what its servers export alone: the
// proxy reads no model traffic.
func (d *daemon) exported(version, metrics string, s *httptest.Server) string {
	d.Helper()
	return fmt.Sprintf(`apiVersion: haldane.dev/v1alpha1
kind: Release
metadata:
  name: llm
spec:
  version: %s
  workload: {endpoints: {addresses: [%q], ready: {http: /health, timeout: 30s}}}
  traffic: {embedded: {listen: %q}}
  strategy: {canary: {steps: [{weight: 50}]}, bake: 1s}
  analysis:
    falseRollback: 1%%
    metrics:
    - {name: errors, kind: errors, margin: "50%% or +3%%"}
    - %s
`, version, s.Listener.Addr(), d.front, metrics)
}

const streamed = `{"model":"ngram","stream":true,"messages":[{"role":"user","content":"What is firedamp?"}]}`

// The buckets of vLLM lie up to a factor of 2.5 apart, so no smaller margin can be
// proven; and of the median, which takes fewer requests than the tail of a busy
// machine.
const firstToken = `{name: first-token, kind: latency, quantile: 50%, margin: 150%, required: true, source: {server: {name: vllm, metric: timeToFirstToken}}}`

// A version that is slow to its first token is rolled back by the histogram that
// the server itself exports, and one like it is promoted by it.
func TestAServersOwnHistogramDecides(t *testing.T) {
	needsE2E(t)
	d := start(t)
	// 25 ms and what a busy machine adds lie in the midst of a bucket from 20 to 40 ms.
	quick := map[string]string{"FIRST_TOKEN": "25ms", "PER_TOKEN": "1ms", "SEED": "101"}
	d.release("v1.yaml", d.exported("v1", firstToken, server(t, quick)))
	users(d, "/v1/chat/completions", streamed, 50)
	slow := map[string]string{"FIRST_TOKEN": "150ms", "PER_TOKEN": "1ms", "SEED": "202"}
	d.wants("v2.yaml", d.exported("v2", firstToken, server(t, slow)), "RolledBack", "first-token")
	alike := map[string]string{"FIRST_TOKEN": "25ms", "PER_TOKEN": "1ms", "SEED": "303"}
	d.wants("v3.yaml", d.exported("v3", firstToken, server(t, alike)), "Promoted", "")
}

// A metric that no server offers promotes nothing, and says what there is.
func TestAnUnknownSeriesNamesWhatIsOffered(t *testing.T) {
	needsE2E(t)
	d := start(t)
	const other = `{name: first-token, kind: latency, source: {server: {name: sglang, metric: timeToFirstToken}}}`
	quick := map[string]string{"FIRST_TOKEN": "5ms", "PER_TOKEN": "1ms", "SEED": "101"}
	d.release("v1.yaml", d.exported("v1", other, server(t, quick)))
	users(d, "/v1/chat/completions", streamed, 50)
	why := ""
	manifest := strings.Replace(d.exported("v2", other, server(t, quick)), "bake: 1s", "bake: 1s, stepDeadline: 25s, onInconclusive: rollback", 1)
	r := d.release("v2.yaml", manifest)
	if r.Status.Run != nil {
		why = r.Status.Message + " " + r.Status.Run.Why
	}
	if r.Status.Phase != "RolledBack" || !strings.Contains(why, "sglang:time_to_first_token_seconds") || !strings.Contains(why, "vllm:time_to_first_token_seconds") {
		t.Errorf("%s: %s; expected a way back that names both series", r.Status.Phase, why)
	}
}
