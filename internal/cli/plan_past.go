package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/sim"
)

// stableFlags is what flags say of stable; empty: not given.
type stableFlags struct{ rate, errors, latency, spread string }

func (k stableFlags) asked(cmd *cobra.Command) bool {
	for _, name := range []string{"rate", "errors", "latency", "spread"} {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

// past is what the newest run of a release showed of stable; zero: nothing.
type past struct {
	run             string
	rate            float64 // requests a second
	errors          float64
	hasErrors       bool
	latency, spread float64 // median in seconds; 0: not known
}

// pastOf asks the daemon; c is nil where there is none.
func pastOf(ctx context.Context, c *client.Client, name string) (past, error) {
	if c == nil {
		return past{}, nil
	}
	runs, err := c.Runs(ctx, name, 1)
	if client.IsNotFound(err) || err == nil && len(runs) == 0 {
		return past{}, nil
	}
	if err != nil {
		return past{}, err
	}
	looks, err := c.Looks(ctx, runs[0].Name, 1)
	if err != nil || len(looks) == 0 {
		return past{}, err
	}
	return seen(runs[0].Name, looks[0].Report), nil
}

// seen takes stable's figures out of a report.
func seen(run string, r judge.Report) past {
	p := past{run: run}
	if n := float64(r.Canary + r.Stable); r.At > 0 {
		p.rate = n / r.At
	}
	for _, m := range r.Metrics {
		switch {
		case m.Kind == judge.Proportion && m.Stable.Value != nil && !p.hasErrors:
			p.errors, p.hasErrors = *m.Stable.Value, true
		case m.Kind == judge.Latency && p.latency == 0:
			at := map[float64]float64{}
			for _, q := range m.Stable.Quantiles {
				at[q.Q] = q.Value
			}
			if at[0.5] > 0 && at[0.9] > at[0.5] {
				p.latency, p.spread = at[0.5], math.Log(at[0.9]/at[0.5])/normal90
			}
		}
	}
	return p
}

// normal90 is the normal law's 90 % quantile.
const normal90 = 1.2815515655446004

// over takes what flags say over what is known from the past.
func (k stableFlags) over(p past) (rate float64, t sim.Truth, err error) {
	var words []string
	add := func(key, name, flag, known string) {
		if flag != "" {
			known = flag
			if _, bad := sim.ParseTruth([]string{key + "=" + flag}); bad != nil && err == nil {
				err = fmt.Errorf("--%s is %q: %w", name, flag, errors.Unwrap(bad))
			}
		}
		if known != "" {
			words = append(words, key+"="+known)
		}
	}
	errorsSeen := ""
	if p.hasErrors {
		errorsSeen = strconv.FormatFloat(p.errors, 'g', -1, 64)
	}
	add("stable.errors", "errors", k.errors, errorsSeen)
	latency := ""
	if p.latency > 0 {
		latency = time.Duration(p.latency * float64(time.Second)).String()
	}
	add("stable.latency", "latency", k.latency, latency)
	spread := ""
	if p.spread > 0 {
		spread = strconv.FormatFloat(p.spread, 'g', -1, 64)
	}
	add("latency.spread", "spread", k.spread, spread)
	if err != nil {
		return 0, t, err
	}
	if t, err = sim.ParseTruth(words); err != nil {
		return 0, t, err
	}
	if t.StableLatency <= 0 {
		return 0, t, errors.New("--latency is 0, expected a time such as 80ms")
	}
	if k.rate == "" {
		if p.rate == 0 {
			return 0, t, errors.New("--rate is missing and no run of the release tells it; expected requests a second, such as --rate 200")
		}
		return p.rate, t, nil
	}
	rate, err = strconv.ParseFloat(k.rate, 64)
	if err != nil || !(rate > 0) || math.IsInf(rate, 0) {
		return 0, t, fmt.Errorf("--rate is %q, expected requests a second, such as 200", k.rate)
	}
	return rate, t, nil
}

// secondsOf writes a time of a simulation.
func secondsOf(s float64) string {
	if s <= 0 {
		return "-"
	}
	return spanOf(sim.Quantiles{Runs: 1}, s)
}
