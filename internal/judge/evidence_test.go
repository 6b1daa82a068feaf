package judge

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestReplayOfAnExportGoesTheSameWay(t *testing.T) {
	for i, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(31, uint64(i)))
			p, state := s.policy(), 0.0
			h := History{N: 1000, Bad: 20, Bins: amounts(r, 500, s.metric.Kind, 0.1)}
			switch s.metric.Kind {
			case Category:
				h = History{Classes: []int64{60, 30, 10}}
			case Gauge:
				h = History{Values: []float64{1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2}}
			case Proportion, Rate, Agreement, ShareCheck:
				h.Bins = nil
			default:
				h.N, h.Bad = 0, 0
			}
			run := newRun(t, p, []History{h})
			var file bytes.Buffer
			for _, l := range LineOfHistory(p.Metrics[0], h) {
				if err := WriteEvidence(&file, l); err != nil {
					t.Fatal(err)
				}
			}
			for j := range 60 {
				b := s.draw(r, s.worse, float64(j)*s.gap, &state)
				if err := run.Update(0, b); err != nil {
					t.Fatal(err)
				}
				if err := WriteEvidence(&file, LineOf(p.Metrics[0], b)); err != nil {
					t.Fatal(err)
				}
			}
			looks := 0
			got, err := Replay(p, &file, 0, func(Look) error { looks++; return nil })
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(run.Report(0), got.Report); d != "" {
				t.Error(d)
			}
			if looks != 60 || got.Looks != 60 {
				t.Errorf("%d looks, want 60", looks)
			}
			if got.Report.Verdict == Fail && (got.Deciding == nil || got.Deciding.Verdict != Fail) {
				t.Errorf("the deciding look is %+v", got.Deciding)
			}
		})
	}
}

func TestForeignEvidence(t *testing.T) {
	p := twoMetrics()
	file := `{"t": 0, "metric": "errors", "stable": {"n": 1000, "bad": 10}, "history": true}

{"t": 1, "metric": "errors", "canary": {"n": 10, "bad": 9}, "stable": {"n": 90, "bad": 1}, "share": 0.1}
{"t": 1, "metric": "latency", "canary": {"values": [0.1, 0.2]}, "stable": {"bounds": [0.1, 1], "counts": [50, 40, 0]}, "share": null}
`
	got, err := Replay(p, strings.NewReader(file), 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Deciding == nil || got.Deciding.Line != 3 || got.Report.Verdict != Fail {
		t.Errorf("deciding look %+v, verdict %s; want a Fail on line 3", got.Deciding, got.Report.Verdict)
	}
}

func TestBrokenEvidenceIsNamedByLine(t *testing.T) {
	good := `{"t":1,"metric":"errors","canary":{"n":10},"stable":{"n":90}}` + "\n"
	for name, c := range map[string]struct{ line, want string }{
		"no JSON":          {`{"t":`, "it is no evidence"},
		"unknown field":    {`{"t":2,"metric":"errors","weight":3}`, "unknown field"},
		"two values":       {`{"t":2,"metric":"errors"} {}`, "more than one value"},
		"no metric":        {`{"t":2}`, "names no metric"},
		"unknown metric":   {`{"t":2,"metric":"error"}`, "expected one of errors, latency"},
		"time going back":  {`{"t":0.5,"metric":"errors"}`, "order of time"},
		"share 0":          {`{"t":2,"metric":"errors","share":0}`, "the share is 0"},
		"negative count":   {`{"t":2,"metric":"errors","canary":{"n":-1}}`, "-1 units"},
		"wrong form":       {`{"t":2,"metric":"errors","canary":{"value":1}}`, "needs n and bad"},
		"negative value":   {`{"t":2,"metric":"latency","canary":{"values":[-1]}}`, "value 0 is -1"},
		"too many counts":  {`{"t":2,"metric":"latency","canary":{"bounds":[1],"counts":[1,2,3]}}`, "3 counts for 1 bounds"},
		"bounds descend":   {`{"t":2,"metric":"latency","canary":{"bounds":[2,1],"counts":[1,2,3]}}`, "ascending"},
		"history too late": {`{"t":2,"metric":"errors","history":true}`, "expected it first"},
		"1e400":            {`{"t":1e400,"metric":"errors"}`, "it is no evidence"},
	} {
		_, err := Replay(twoMetrics(), strings.NewReader(good+c.line+"\n"), 0, nil)
		if err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one that names line 2 and says %q", name, err, c.want)
		}
	}
}

func TestNoEvidenceIsInconclusive(t *testing.T) {
	got, err := Replay(twoMetrics(), strings.NewReader(""), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Report.Verdict != Inconclusive || !strings.Contains(got.Report.Reason, "No data") {
		t.Errorf("%s: %s, want Inconclusive for want of data", got.Report.Verdict, got.Report.Reason)
	}
}

func FuzzReplay(f *testing.F) {
	f.Add(`{"t":1,"metric":"proportion","canary":{"n":10,"bad":1},"stable":{"n":90},"share":0.1}`)
	f.Add(`{"t":1,"metric":"latency","canary":{"values":[0.1,2]},"stable":{"bounds":[0.1,1],"counts":[5,4,3]}}`)
	f.Add(`{"t":1,"metric":"gauge","canary":{"value":3},"stable":{"value":2}}`)
	f.Add(`{"t":1,"metric":"category","canary":{"classes":[1,2]},"stable":{"classes":[3,4]},"history":true}`)
	p := Policy{Alpha: 0.01, AlphaPromote: 0.05, Horizon: 1800, Looseness: []float64{1}}
	for _, k := range Kinds {
		m := Metric{Name: string(k), Kind: k, Share: 0.1, Limit: math.NaN()}
		switch k {
		case Gauge:
			m.Difference = 1
		case ShareCheck:
			m.Share, m.Pause = 0, true
		}
		p.Metrics = append(p.Metrics, m)
	}
	f.Fuzz(func(t *testing.T, file string) {
		got, err := Replay(p, strings.NewReader(file), 0, nil)
		switch {
		case err != nil && !strings.Contains(err.Error(), "evidence line "):
			t.Fatalf("the error names no line: %v", err)
		case err != nil:
			return
		case math.IsNaN(got.Report.LogE):
			t.Fatal("evidence is not a number")
		}
		for _, m := range got.Report.Metrics {
			checkIntervals(t, m)
		}
	})
}

// TestSecondsOfTheHistoryAreExported: how far values come in clumps is part of
// what a run begins from.
func TestSecondsOfTheHistoryAreExported(t *testing.T) {
	m := Metric{Name: "latency", Kind: Latency}
	want := History{Bins: []BinCount{{Bin: 3, Count: 1}, {Bin: 500, Count: 7}, {Bin: 600, Count: 2}},
		Seconds: [][]BinCount{{{Bin: 500, Count: 4}}, nil, {{Bin: 500, Count: 3}, {Bin: 600, Count: 2}}}}
	var file bytes.Buffer
	for _, l := range LineOfHistory(m, want) {
		if err := WriteEvidence(&file, l); err != nil {
			t.Fatal(err)
		}
	}
	var got History
	err := ReadEvidence(&file, func(_ int, l EvidenceLine) error {
		b, err := l.Batch(m)
		if err != nil {
			return err
		}
		return got.add(m, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}
