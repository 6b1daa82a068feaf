package model

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/judge"
)

// python is Debian's, and so is its scikit-learn.
const python = "/usr/bin/python3"

var right = regexp.MustCompile(`(?m)^(v\d): (\d+) answers, ([\d.]+) % right$`)

// Real digits through the proxy: each version is as right as its README says.
func TestTheDigitsExample(t *testing.T) {
	needsE2E(t)
	if err := exec.Command(python, "-c", "import sklearn").Run(); err != nil {
		t.Fatalf("scikit-learn is not installed (package python3-sklearn): %v", err)
	}
	dir, err := filepath.Abs("../../examples/digits")
	if err != nil {
		t.Fatal(err)
	}
	for version, share := range map[string]float64{"release": 90, "v2": 71, "v3": 99} {
		t.Run(version, func(t *testing.T) {
			d := start(t)
			file := filepath.Join(dir, version+".yaml")
			d.release(file, example(t, file, "127.0.0.1:8080", d.front, "[python3,", "["+python+",", "env: {", `env: {PYTHONDONTWRITEBYTECODE: "1", `))
			answered := func(body string, status int, says string) {
				t.Helper()
				if got := raw(t, d.front, "POST", "/v2/models/digits/infer", body); got.status != status || !strings.Contains(got.body, says) {
					t.Errorf("%.80s: %d %s, expected %d %s", body, got.status, got.body, status, says)
				}
			}
			answered(fmt.Sprintf(`{"id":"a","inputs":[{"name":"pixels","datatype":"FP32","shape":[2,64],"data":[%s0]}]}`, strings.Repeat("0,", 127)), 200, `"id": "a"`)
			answered(`{"inputs":[{"name":"pixels","datatype":"FP32","shape":[1,64],"data":[NaN]}]}`, 400, "expected 64 numbers")
			answered(`{`, 400, "no JSON")
			answered(`{"inputs":[]}`, 400, "one tensor")
			out := run(t, dir, []string{"PYTHONDONTWRITEBYTECODE=1"}, python, "client.py", "http://"+d.front, "--rate", "200", "--requests", "800", "--label-after", "0.2")
			t.Log(out)
			m := right.FindStringSubmatch(out)
			if m == nil || !strings.Contains(out, "\n0 requests failed") {
				t.Fatalf("the client said %s", out)
			}
			// 800 different digits of 899: within three points of the whole half.
			if got, _ := strconv.ParseFloat(m[3], 64); got < share-3 || got > share+3 {
				t.Errorf("%s is right in %g %% of the answers, expected about %g", m[1], got, share)
			}
		})
	}
}

// digits is a daemon with users of the digits example, and the example's files.
type digits struct {
	*daemon
	dir string
}

// digitsUsers serves the example's first version and lets users send digits,
// whose labels follow soon.
func digitsUsers(t *testing.T) *digits {
	t.Helper()
	dir, err := filepath.Abs("../../examples/digits")
	if err != nil {
		t.Fatal(err)
	}
	d := &digits{start(t), dir}
	d.release(d.file("release"))
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, python, "client.py", "http://"+d.front, "--rate", "100", "--label-after", "0.5")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	return d
}

// file is a manifest of the example with this test's addresses in it.
func (d *digits) file(version string) (file, manifest string) {
	d.Helper()
	file = filepath.Join(d.dir, version+".yaml")
	return file, example(d.T, file, "127.0.0.1:8080", d.front, "[python3,", "["+python+",", "env: {", `env: {PYTHONDONTWRITEBYTECODE: "1", `)
}

// The example's README, step by step: labels, which come later, take off a
// classifier that answers as fast and as often as its predecessor, and wrongly.
// The better one is promoted.
func TestTheDigitsExampleIsJudged(t *testing.T) {
	needsE2E(t)
	d := digitsUsers(t)
	file, manifest := d.file("v2")
	d.wants(file, manifest, "RolledBack", "wrong")
	file, manifest = d.file("v3")
	d.wants(file, manifest, "Promoted", "")
}

// alone are analyses each of which must find the mixed labels of v2 by itself:
// the one metric that is not about status codes, how requests reach the new
// version, and what a finding does.
var alone = map[string]struct {
	metric, strategy, mirror, phase string
	outcome                         string // of digits_outcomes.py
}{
	"drift of the classes":    {"{name: class, kind: category, source: {llm: class}}", "canary: {steps: [{weight: 50}]}", "", "Paused", "class"},
	"drift of the scores":     {"{name: score, kind: drift, source: {llm: score}}", "canary: {steps: [{weight: 50}]}", "", "Paused", "score"},
	"agreement of the copies": {"{name: answers, kind: agreement}", "shadow: {share: 100}", "mirror: {methods: [GET, POST], noise: 0}", "Paused", "differ"},
	"labels that come later":  {"{name: wrong, kind: proportion, source: {feedback: labels}}", "canary: {steps: [{weight: 50}]}", "", "RolledBack", "wrong"},
}

func TestDigitsWithMixedLabelsAreFoundInEachWay(t *testing.T) {
	needsE2E(t)
	for name, a := range alone {
		t.Run(name, func(t *testing.T) {
			d := digitsUsers(t)
			file, manifest := d.file("v2")
			manifest, _, _ = strings.Cut(manifest, "\n  strategy:")
			manifest = strings.Replace(manifest, "model: {}", "model: {}\n      "+a.mirror, 1) + fmt.Sprintf(`
  strategy: {%s}
  analysis:
    minRequests: 10000
    metrics:
    - {name: errors, kind: errors, margin: "50%% or +1%%"}
    - %s
`, a.strategy, a.metric)
			r := d.release(file, manifest)
			run := r.Status.Run
			if run == nil || r.Status.Phase != a.phase {
				t.Fatalf("%s: %s; expected %s by %s", r.Status.Phase, r.Status.Message, a.phase, a.metric)
			}
			t.Logf("%s: %s", r.Status.Phase, r.Status.Message)
			rep := d.deciding(run.Name)
			for _, m := range rep.Metrics {
				switch {
				case m.Name == "errors":
					if m.Canary.Bad+m.Stable.Bad > 0 {
						t.Errorf("%d and %d requests failed: it must be found where no status code tells", m.Stable.Bad, m.Canary.Bad)
					}
				case m.LogE < m.Threshold:
					t.Errorf("evidence of %s: %.1f of %.1f nats", m.Name, m.LogE, m.Threshold)
				default:
					t.Logf("%s: %.1f of %.1f nats after %s", m.Name, m.LogE, m.Threshold, needed(m, outcomes(t, d.dir, a.outcome)))
				}
			}
		})
	}
}

// outcomes are the shares of what v1 and v2 answer of all digits that neither has seen.
func outcomes(t *testing.T, dir, of string) (shares [2][]float64) {
	t.Helper()
	script, err := filepath.Abs("digits_outcomes.py")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string][2][]float64
	out := run(t, dir, []string{"PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=" + dir}, python, script)
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return all[of]
}

// needed says how many requests a finding took, and how many every test needs on
// average: its threshold over what one outcome tells of its version. Of a pair of
// answers that differ it is which one is the user's: one of two.
func needed(m judge.MetricReport, shares [2][]float64) string {
	tells, took := judge.HistogramLimit(shares[0], shares[1], half, half).PerUnit, m.Canary.N+m.Stable.N
	if m.Kind == judge.Agreement {
		tells, took = shares[1][1]*math.Ln2, m.Canary.N
	}
	return fmt.Sprintf("%d requests, where no test needs fewer than %.0f", took, m.Threshold/tells)
}
