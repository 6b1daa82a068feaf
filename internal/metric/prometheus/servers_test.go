package prometheus

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// grown is a page of testdata some requests later: counters and buckets have so
// many times what stands behind " +" added, levels stay.
func grown(t *testing.T, text string, times float64) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(text) {
		series, more, grows := strings.Cut(strings.TrimSpace(line), " +")
		if !grows || strings.HasPrefix(line, "#") {
			out.WriteString(line)
			continue
		}
		i := strings.LastIndexByte(series, ' ')
		value, err := strconv.ParseFloat(series[i+1:], 64)
		by, err2 := strconv.ParseFloat(more, 64)
		if err != nil || err2 != nil {
			t.Fatalf("%s: %v, %v", line, err, err2)
		}
		fmt.Fprintf(&out, "%s %g\n", series[:i], value+times*by)
	}
	return out.String()
}

// wants are the metrics of a page: "NAME COUNT VALUE" of a histogram that grows by
// COUNT, where half of the values are at most VALUE in the metric's own unit and more
// than half of that; "NAME BAD/N" of two counters; "NAME = LEVEL".
func wants(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "# reads "); ok {
			name, what, _ := strings.Cut(rest, " ")
			out[name] = what
		}
	}
	return out
}

// middle is the value that half of a side's are at most.
func middle(s judge.Side, kind judge.Kind) float64 {
	n, all := int64(0), binned(s)
	bins := slices.SortedFunc(slices.Values(s.Bins), func(a, b judge.BinCount) int { return cmp.Compare(a.Bin, b.Bin) })
	for _, b := range bins {
		if n += b.Count; 2*n >= all {
			return judge.BinValue(kind, b.Bin)
		}
	}
	return math.NaN()
}

// Each page is what a server exports at /metrics, written after its own
// documentation: what is known of the server is found on it, counted, and in its unit.
func TestPagesOfServersAreRead(t *testing.T) {
	files, err := filepath.Glob("testdata/*.prom")
	if err != nil || len(files) < len(release.Servers()) {
		t.Fatalf("%d pages of %d servers: %v", len(files), len(release.Servers()), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".prom")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			server, _, _ := strings.Cut(name, "-")
			want := wants(string(b))
			if !strings.Contains(name, "-") && len(want) != len(release.ServerMetrics(server)) {
				t.Errorf("the page is about %d metrics of %v", len(want), release.ServerMetrics(server))
			}
			readPage(t, server, string(b), want)
		})
	}
}

func readPage(t *testing.T, server, text string, want map[string]string) {
	t.Helper()
	var metrics []release.Metric
	for _, name := range release.ServerMetrics(server) {
		if _, ok := want[name]; ok {
			m := release.ServerMetric{Name: server, Metric: name}
			metrics = append(metrics, release.Metric{Name: name, Kind: m.Kinds()[0], Quantile: 0.5, Source: release.Source{Server: m}})
		}
	}
	pages := [2]*page{{}, {}}
	for _, p := range pages {
		p.write("%s", grown(t, text, 0))
	}
	r, _ := exporting(t, pages, metrics...)
	got := make([]judge.Side, len(metrics))
	found := func(i int) string {
		m, s := metrics[i], got[i]
		switch {
		case strings.Contains(want[m.Name], "="):
			return fmt.Sprintf("= %.3g", s.Value)
		case strings.Contains(want[m.Name], "/"):
			var bad, n int64
			if _, err := fmt.Sscanf(want[m.Name], "%d/%d", &bad, &n); err != nil {
				t.Fatalf("%s: %s: %v", m.Name, want[m.Name], err)
			}
			if s.N == 0 || s.Bad*n != bad*s.N {
				return fmt.Sprintf("%d/%d", s.Bad, s.N)
			}
			return want[m.Name]
		}
		var n int64
		var below float64
		kind := map[release.MetricKind]judge.Kind{release.Latency: judge.Latency, release.Amount: judge.Amount, release.Drift: judge.Drift}[m.Kind]
		if _, err := fmt.Sscan(want[m.Name], &n, &below); err != nil {
			t.Fatalf("%s: %s: %v", m.Name, want[m.Name], err)
		}
		if v := middle(s, kind); binned(s) == 0 || binned(s)%n != 0 || v > below*1.05 || v < below/2 {
			return fmt.Sprintf("%d %g", binned(s), v)
		}
		return want[m.Name]
	}
	state := ""
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(state)
		}
	})
	ticks, times := 0, 0.0
	eventually(t, "all that the page has", func() bool {
		if ticks++; ticks%50 == 0 { // what grew before a metric was first read is no evidence
			times++
			for _, p := range pages {
				p.write("%s", grown(t, text, times))
			}
		}
		read, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range read.Samples {
			side := s.Batch.Canary
			got[s.Metric].N, got[s.Metric].Bad, got[s.Metric].Value = got[s.Metric].N+side.N, got[s.Metric].Bad+side.Bad, side.Value
			got[s.Metric].Bins = append(got[s.Metric].Bins, side.Bins...)
		}
		state = ""
		for i, m := range metrics {
			if f := found(i); f != want[m.Name] {
				state += fmt.Sprintf("%s reads %s, want %s; ", m.Name, f, want[m.Name])
			}
		}
		state += read.Missing
		return !strings.Contains(state, " reads ")
	})
}
