package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/load"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
)

// Report is what the story came to. Durations are in nanoseconds in JSON.
type Report struct {
	OK       bool          `json:"ok"` // both versions ended as they should
	Took     time.Duration `json:"took"`
	Users    load.Report   `json:"users"`
	Usual    float64       `json:"usual"`    // share of errors that v1 alone makes
	Shielded int64         `json:"shielded"` // failures that users did not see
	Outcomes []Outcome     `json:"outcomes"`
}

// Outcome is the end of one version's run.
type Outcome struct {
	Version string `json:"version"`
	Result  string `json:"result"` // the run's last phase
	Should  string `json:"should"`
	Why     string `json:"why"`
	// Exposed is the time from the first to the last request that the version
	// answered, as its users saw it; only for a version that was taken off.
	Exposed        time.Duration        `json:"exposed,omitempty"`
	Took           time.Duration        `json:"took"` // of the run
	CanaryRequests int64                `json:"canaryRequests"`
	Evidence       string               `json:"evidence"` // against it, as odds
	Metrics        []judge.MetricReport `json:"metrics"`
	Run            v1alpha1.RunStatus   `json:"run"`
}

// outcome gathers what became of a version.
func (s *story) outcome(ctx context.Context, v version, run v1alpha1.RunStatus, should string) (Outcome, error) {
	o := Outcome{Version: v.name, Result: run.Phase, Should: should, Why: run.Why, Took: run.Ended.Sub(run.Started.Time), Run: run}
	looks, err := s.c.Looks(ctx, run.Name, 1000)
	if err != nil {
		return o, fmt.Errorf("read the looks of %s: %w", run.Name, err)
	}
	if r := deciding(looks); r != nil {
		o.CanaryRequests, o.Evidence, o.Metrics = r.Canary, status.Odds(r.LogE), r.Metrics
	}
	if run.Phase != "Promoted" {
		s.mu.Lock()
		seen := s.sight[v.name]
		s.mu.Unlock()
		o.Exposed = seen.last.Sub(seen.first)
	}
	return o, nil
}

// deciding is the look that failed the run, else the last one.
func deciding(looks []store.Look) *judge.Report {
	for _, l := range looks {
		if l.Report.Verdict == judge.Fail {
			return &l.Report
		}
	}
	if len(looks) == 0 {
		return nil
	}
	return &looks[len(looks)-1].Report
}

func (s *story) report(ctx context.Context, took time.Duration) (Report, error) {
	shielded, err := s.shielded(ctx)
	if err != nil {
		return Report{}, err
	}
	rep := Report{OK: true, Took: took, Users: s.users.Report(), Usual: s.usual, Shielded: shielded, Outcomes: s.reports}
	for _, o := range rep.Outcomes {
		rep.OK = rep.OK && o.Result == o.Should
	}
	return rep, nil
}

// shielded asks the daemon's own metrics how many failures users did not see.
func (s *story) shielded(ctx context.Context) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.c.URL("/metrics"), nil)
	if err != nil {
		return 0, fmt.Errorf("ask for the metrics: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask for the metrics: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("ask for the metrics: %s", res.Status)
	}
	return sumOf(res.Body, "haldane_shielded_requests_total")
}

// sumOf adds up the samples of one counter in the Prometheus text format.
func sumOf(r io.Reader, name string) (int64, error) {
	sum := 0.0
	sc := bufio.NewScanner(io.LimitReader(r, 16<<20))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		rest, ok := strings.CutPrefix(sc.Text(), name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		if i := strings.LastIndexByte(rest, '}'); i >= 0 {
			rest = rest[i+1:]
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			return 0, fmt.Errorf("the metric %s has a line without a value", name)
		}
		v, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return 0, fmt.Errorf("the metric %s: %w", name, err)
		}
		sum += v
	}
	return int64(sum), sc.Err()
}

// Lines is the report in words.
func (r Report) Lines() []string {
	users := r.Users
	out := []string{
		fmt.Sprintf("%d requests in %s, %.0f a second; p50 %s, p99 %s.", users.Requests, status.Duration(users.Elapsed), users.Rate,
			status.Seconds(users.P50.Seconds()), status.Seconds(users.P99.Seconds())),
		fmt.Sprintf("%d errors reached users (%s; v1 alone makes %s); %d were shielded: stable answered in the canary's place.",
			users.Failed, status.Share(float64(users.Failed)/float64(max(users.Requests, 1))), percent(r.Usual), r.Shielded),
	}
	for _, o := range r.Outcomes {
		out = append(out, "", o.headline())
		for _, m := range o.Metrics {
			if line := metricLine(m); line != "" {
				out = append(out, "  "+line)
			}
		}
	}
	return out
}

// word is the result in a sentence.
func (o Outcome) word() string {
	switch o.Result {
	case "Promoted":
		return "was promoted"
	case "RolledBack":
		return "was rolled back"
	}
	return "ended as " + o.Result
}

func (o Outcome) headline() string {
	switch {
	case o.Result != o.Should:
		return fmt.Sprintf("%s %s, and should not have been: %s", o.Version, o.word(), o.Why)
	case o.Exposed > 0:
		return fmt.Sprintf("%s was rolled back: traffic off %.1f s after its first request, decided after %d canary requests, evidence %s.",
			o.Version, o.Exposed.Seconds(), o.CanaryRequests, o.Evidence)
	}
	return fmt.Sprintf("%s was promoted after %s: decided after %d canary requests, evidence against it %s.",
		o.Version, status.Duration(o.Took), o.CanaryRequests, o.Evidence)
}

func metricLine(m judge.MetricReport) string {
	line := fmt.Sprintf("%s: %s on the new version, %s on the old", m.Name, status.Figure(m, m.Canary), status.Figure(m, m.Stable))
	if i := status.Interval(m.Ratio); i != "" {
		line += ", ratio " + i
	}
	if m.Verdict == judge.Pass && m.Margin != "" {
		line += "; proven: " + m.Margin
	}
	return line
}

func percent(share float64) string { return strconv.FormatFloat(100*share, 'g', 3, 64) + " %" }
