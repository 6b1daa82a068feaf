package demo

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// release is the name of the demo's release.
const releaseName = "hello"

// version is one version of the sample service.
type version struct {
	name      string
	errorRate float64
	seed      uint64
}

// The cast: v1 and v3 are equally good, v2 has a bug.
var (
	v1 = version{"v1", 0.01, 101}
	v2 = version{"v2", 0.05, 202}
	v3 = version{"v3", 0.01, 303}
)

const sampleLatency = 40 * time.Millisecond

// manifestOf is what a user would apply. The error probabilities are the
// defaults. What differs is there to fit a minute on any machine: two steps and
// two seconds of bake; a margin for errors of twice as many, where the default is
// half as many again, whose proof takes about four times the requests; and
// latency must not get worse but need not be proven, since that takes a busy
// machine longer than a minute.
func manifestOf(v version, program, listen string) ([]byte, error) {
	type obj = map[string]any
	b, err := json.Marshal(obj{
		"apiVersion": "haldane.dev/v1alpha1",
		"kind":       "Release",
		"metadata":   obj{"name": releaseName},
		"spec": obj{
			"version": v.name,
			"workload": obj{"process": obj{
				"command": []string{program, "sample-app"},
				"env": obj{
					"VERSION":    v.name,
					"ERROR_RATE": strconv.FormatFloat(v.errorRate, 'g', -1, 64),
					"LATENCY":    sampleLatency.String(),
					"SEED":       strconv.FormatUint(v.seed, 10),
				},
				"ready": obj{"http": "/ready"},
				"drain": "3s",
			}, "warmUp": obj{"requests": 20, "path": "/ready"}},
			"traffic": obj{"embedded": obj{"listen": listen, "shield": obj{"enabled": true}}},
			"strategy": obj{
				"canary":       obj{"steps": []obj{{"weight": 10}, {"weight": 50}}},
				"bake":         "2s",
				"stepDeadline": "2m",
			},
			"analysis": obj{"metrics": []obj{
				{"name": "errors", "kind": "errors", "margin": "100%"},
				{"name": "latency", "kind": "latency", "required": false},
			}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("write the manifest of %s: %w", v.name, err)
	}
	return b, nil
}
