package demo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/haldane-project/haldane/internal/load"
)

// scenario is a service, its users and the three versions that the story is of:
// one that serves, a bad one and a good one.
type scenario struct {
	name   string // of the release, too
	cast   [3]version
	rate   float64      // of requests a second
	visit  load.Options // what a user asks; the URL is the path
	usual  float64      // share of v1's answers that are errors
	sample string       // command of this binary that is the service
	ready  string       // path
	preset string       // of metrics
	watch  []obj        // further metrics
	shield obj
	model  bool // answers are read along
}

// version is one version of a service.
type version struct {
	name     string
	entrance string // what is said when it comes
	env      map[string]string
}

type obj = map[string]any

// Both scenarios have the default error probabilities. What differs from the
// defaults is there to fit a minute on any machine: two steps and two seconds of
// bake, and margins whose proof takes fewer requests.
var scenarios = []scenario{
	{
		name: "hello", rate: 400, visit: load.Options{URL: "/hello"}, usual: 0.01, sample: "sample-app", ready: "/ready",
		cast: [3]version{
			{"v1", "v1 serves; 1 % of its answers are errors.", map[string]string{"ERROR_RATE": "0.01", "LATENCY": "40ms", "SEED": "101"}},
			{"v2", "v2 is applied. It has a bug: 5 % of its answers are errors.", map[string]string{"ERROR_RATE": "0.05", "LATENCY": "40ms", "SEED": "202"}},
			{"v3", "v3 is applied. The bug is gone: 1 % errors, as v1.", map[string]string{"ERROR_RATE": "0.01", "LATENCY": "40ms", "SEED": "303"}},
		},
		shield: obj{"enabled": true},
		// A margin of twice as many errors, where the default is half as many again,
		// whose proof takes about four times the requests; and latency must not get
		// worse but need not be proven, since that takes a busy machine longer than
		// a minute.
		watch: []obj{
			{"name": "errors", "kind": "errors", "margin": "100%"},
			{"name": "latency", "kind": "latency", "required": false},
		},
	},
	{
		name: "llm", model: true, rate: 60, sample: "sample-llm", ready: "/health",
		visit: load.Options{
			URL: "/v1/chat/completions", Method: http.MethodPost, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(llmQuestion),
		},
		cast: [3]version{
			{"v1", "v1 serves: a language model that it trained a moment ago, asked for JSON.", map[string]string{"SEED": "101"}},
			{"v2", "v2 is applied. It takes twice as long to its first token, and three in ten of its answers are not the JSON that was asked for.",
				map[string]string{"SEED": "202", "FIRST_TOKEN": "60ms", "BREAK_JSON": "0.3"}},
			{"v3", "v3 is applied. The fault is gone, and its model remembers one word more.", map[string]string{"SEED": "303", "ORDER": "4"}},
		},
		// To ask a model twice harms nobody.
		shield: obj{"methods": []string{http.MethodGet, http.MethodPost}},
		preset: "llm",
		watch:  []obj{{"name": "errors", "kind": "errors", "margin": "+2%"}},
	},
}

// llmQuestion is what every user asks; without a seed each answer is another one.
const llmQuestion = `{"model": "ngram", "stream": true, "messages": [{"role": "user", "content": "Which gas did the canary warn of?"}],
"response_format": {"type": "json_schema", "json_schema": {"name": "warning", "strict": true, "schema": {"type": "object",
"properties": {"gas": {"type": "string", "enum": ["firedamp", "whitedamp", "afterdamp"]}, "deadly": {"type": "boolean"}, "share": {"type": "number", "minimum": 0, "maximum": 1}},
"required": ["gas", "deadly", "share"], "additionalProperties": false}}}}`

// Scenarios lists the names; the first is the default.
func Scenarios() []string {
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

func scenarioOf(name string) (scenario, error) {
	for _, s := range scenarios {
		if s.name == name || name == "" {
			return s, nil
		}
	}
	return scenario{}, fmt.Errorf("there is no demo %q; known are %s", name, strings.Join(Scenarios(), ", "))
}

// manifest is what a user might apply.
func (s scenario) manifest(v version, program, listen string) ([]byte, error) {
	env := obj{"VERSION": v.name}
	for name, value := range v.env {
		env[name] = value
	}
	embedded := obj{"listen": listen, "shield": s.shield}
	if s.model {
		embedded["model"] = obj{}
	}
	analysis := obj{"metrics": s.watch}
	if s.preset != "" {
		analysis["preset"] = s.preset
	}
	b, err := json.Marshal(obj{
		"apiVersion": "haldane.dev/v1alpha1",
		"kind":       "Release",
		"metadata":   obj{"name": s.name},
		"spec": obj{
			"version": v.name,
			"workload": obj{
				"process": obj{"command": []string{program, s.sample}, "env": env, "ready": obj{"http": s.ready}, "drain": "3s"},
				"warmUp":  obj{"requests": 20, "path": s.ready},
			},
			"traffic": obj{"embedded": embedded},
			"strategy": obj{
				"canary":       obj{"steps": []obj{{"weight": 10}, {"weight": 50}}},
				"bake":         "2s",
				"stepDeadline": "5m",
			},
			"analysis": analysis,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("write the manifest of %s: %w", v.name, err)
	}
	return b, nil
}
