package sim

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Truth is what is really so of the two versions of a simulated run.
type Truth struct {
	StableErrors  float64       `json:"stableErrors"`  // share of requests that fail
	CanaryErrors  float64       `json:"canaryErrors"`  //
	StableLatency time.Duration `json:"stableLatency"` // median
	CanaryLatency time.Duration `json:"canaryLatency"` //
	Spread        float64       `json:"spread"`        // of latencies: standard deviation of their logarithm
	Drift         float64       `json:"drift"`         // both versions' errors and latencies swing by this share, up and down in an hour
	After         time.Duration `json:"after"`         // the canary is like stable until then
	Start         time.Duration `json:"start"`         // how long instances take to get ready
	History       time.Duration `json:"history"`       // of stable, known before the run
}

type truthKey struct {
	key, help string
	set       func(*Truth, string) error
}

// truthKeys are the words of a truth, with how each is read.
var truthKeys = []truthKey{
	{"stable.errors", "share of stable's requests that fail, such as 1%", func(t *Truth, v string) error { return share(v, &t.StableErrors) }},
	{"canary.errors", "the canary's; like stable's where it is not given", func(t *Truth, v string) error { return share(v, &t.CanaryErrors) }},
	{"stable.latency", "median of stable's answers, such as 120ms", func(t *Truth, v string) error { return span(v, &t.StableLatency) }},
	{"canary.latency", "the canary's; like stable's where it is not given", func(t *Truth, v string) error { return span(v, &t.CanaryLatency) }},
	{"latency.spread", "standard deviation of the latencies' logarithm, such as 0.5", func(t *Truth, v string) error { return number(v, &t.Spread) }},
	{"drift", "share by which errors and latencies of both versions swing in an hour", func(t *Truth, v string) error { return share(v, &t.Drift) }},
	{"after", "time after the run's start until which the canary is like stable", func(t *Truth, v string) error { return span(v, &t.After) }},
	{"start", "time that instances take to get ready", func(t *Truth, v string) error { return span(v, &t.Start) }},
	{"history", "time for which stable was known before the run", func(t *Truth, v string) error { return span(v, &t.History) }},
}

// DefaultTruth is two versions that are alike: 1 % errors, a median of 100 ms.
func DefaultTruth() Truth {
	return Truth{
		StableErrors: 0.01, CanaryErrors: math.NaN(), StableLatency: 100 * time.Millisecond, CanaryLatency: -1,
		Spread: 0.5, History: 10 * time.Minute,
	}
}

// ParseTruth reads words such as "canary.errors=2%" over DefaultTruth. What is
// not said of the canary is as it is for stable.
func ParseTruth(words []string) (Truth, error) {
	t := DefaultTruth()
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		i := slices.IndexFunc(truthKeys, func(k truthKey) bool { return k.key == strings.TrimSpace(key) })
		if i < 0 || !ok {
			return Truth{}, fmt.Errorf("truth %q: expected KEY=VALUE with one of the keys %s", w, strings.Join(TruthKeys(), ", "))
		}
		if err := truthKeys[i].set(&t, strings.TrimSpace(value)); err != nil {
			return Truth{}, fmt.Errorf("truth %q: %w", w, err)
		}
	}
	if math.IsNaN(t.CanaryErrors) {
		t.CanaryErrors = t.StableErrors
	}
	if t.CanaryLatency < 0 {
		t.CanaryLatency = t.StableLatency
	}
	return t, nil
}

// TruthKeys lists the words that a truth knows.
func TruthKeys() []string {
	var out []string
	for _, k := range truthKeys {
		out = append(out, k.key)
	}
	return out
}

// TruthHelp says what a key means, for a command's help.
func TruthHelp(key string) string {
	for _, k := range truthKeys {
		if k.key == key {
			return k.help
		}
	}
	return ""
}

func share(v string, into *float64) error {
	text, percent := strings.CutSuffix(v, "%")
	x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if percent {
		x /= 100
	}
	if err != nil || !(x >= 0 && x < 1) {
		return fmt.Errorf("expected a share of at least 0%% and less than 100%%, such as 2%%")
	}
	*into = x
	return nil
}

func span(v string, into *time.Duration) error {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return fmt.Errorf("expected a time such as 120ms or 10m")
	}
	*into = d
	return nil
}

func number(v string, into *float64) error {
	x, err := strconv.ParseFloat(v, 64)
	if err != nil || !(x > 0 && x <= 5) {
		return fmt.Errorf("expected a number above 0 and at most 5")
	}
	*into = x
	return nil
}
