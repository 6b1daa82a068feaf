package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/demo/modelserver"
	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/load"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/store"
)

// TestMain is the sample services, too, as the binary is.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && strings.HasPrefix(os.Args[1], "sample-") {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
		var err error
		switch os.Args[1] {
		case "sample-app":
			err = Sample(ctx)
		case "sample-llm":
			err = modelserver.Run(ctx, os.Getenv)
		}
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestStory tells the whole story with the real daemon and real processes. It
// takes most of a minute, so it runs only where HALDANE_E2E is set.
func TestStory(t *testing.T) {
	if os.Getenv("HALDANE_E2E") == "" {
		t.Skip("HALDANE_E2E is not set")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Scenarios() {
		t.Run(name, func(t *testing.T) {
			staged := false
			rep, err := Run(t.Context(), Options{Scenario: name, Program: program, Say: func(s string) { t.Log(s) }, Stage: func(Stage) { staged = true }})
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range rep.Lines() {
				t.Log(line)
			}
			if !rep.OK || !staged || len(rep.Outcomes) != 2 {
				t.Errorf("the story ended otherwise than it should: %+v", rep)
			}
			if rep.Outcomes[0].Exposed <= 0 || rep.Outcomes[0].CanaryRequests == 0 {
				t.Errorf("the report lacks figures: %+v", rep)
			}
			if rep.Usual > 0 && (rep.Shielded == 0 || rep.Users.Failed == 0) {
				t.Errorf("v1 fails at times, and the report shows none of it: %+v", rep)
			}
		})
	}
}

func TestUnknownScenario(t *testing.T) {
	_, err := Run(t.Context(), Options{Scenario: "opera"})
	if err == nil || !strings.Contains(err.Error(), "hello, llm") {
		t.Errorf("an unknown scenario gave %v, expected an error that lists the known ones", err)
	}
}

// The manifests are what a user might write.
func TestManifestsAreValid(t *testing.T) {
	for _, s := range scenarios {
		for _, v := range s.cast {
			b, err := s.manifest(v, "/bin/true", "127.0.0.1:8080")
			if err != nil {
				t.Fatal(err)
			}
			if _, rel, err := manifest.Parse("demo.json", b, manifest.WithDir(t.TempDir())); err != nil || rel.Version.Name != v.name {
				t.Errorf("%s: %s: %v", s.name, v.name, err)
			}
		}
	}
}

func TestSampleFailsAsOftenAsItShouldAndAlwaysTheSame(t *testing.T) {
	count := func() (fails int) {
		s, err := sampleOf(func(k string) string {
			return map[string]string{"PORT": "0", "VERSION": "v1", "ERROR_RATE": "0.05", "LATENCY": "40ms", "SEED": "7"}[k]
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 20_000 {
			if failed, wait := s.draw(); failed {
				fails++
			} else if wait < 10*time.Millisecond || wait > 160*time.Millisecond {
				t.Fatalf("waits %s, expected about 40 ms", wait)
			}
		}
		return fails
	}
	// 1000 expected, standard deviation 31.
	if a, b := count(), count(); a != b || a < 880 || a > 1120 {
		t.Errorf("%d and %d of 20000 requests failed, expected the same and about 1000", a, b)
	}
}

func TestSampleServesAndEnds(t *testing.T) {
	s, err := sampleOf(func(k string) string {
		return map[string]string{"PORT": "0", "VERSION": "v9", "ERROR_RATE": "0", "LATENCY": "0s", "SEED": "1"}[k]
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, l) }()
	res, err := http.Get("http://" + l.Addr().String() + "/hello")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if string(b) != "Hello from v9\n" || res.Header.Get(VersionHeader) != "v9" {
		t.Errorf("answered %q with version %q", b, res.Header.Get(VersionHeader))
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestSampleRefusesBadSettings(t *testing.T) {
	good := map[string]string{"PORT": "1", "VERSION": "v1", "ERROR_RATE": "0.01", "LATENCY": "1ms", "SEED": "1"}
	for key, value := range map[string]string{"PORT": "", "VERSION": "", "ERROR_RATE": "2", "LATENCY": "soon", "SEED": "-1"} {
		_, err := sampleOf(func(k string) string {
			if k == key {
				return value
			}
			return good[k]
		})
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s=%q gave %v, expected an error that names it", key, value, err)
		}
	}
}

func TestSumOf(t *testing.T) {
	text := `# HELP haldane_shielded_requests_total x
haldane_shielded_requests_total{release="hello",version="a"} 3
haldane_shielded_requests_total{release="hello",version="b } c"} 4 1700000000
haldane_shielded_requests_total_created 99
other 5
`
	if n, err := sumOf(strings.NewReader(text), "haldane_shielded_requests_total"); err != nil || n != 7 {
		t.Errorf("got %d, %v, expected 7", n, err)
	}
	if _, err := sumOf(strings.NewReader("x{} much\n"), "x"); err == nil {
		t.Error("a value that is no number was accepted")
	}
}

func TestReportSaysWhatWentWrong(t *testing.T) {
	rep := Report{Users: load.Report{Requests: 100, Failed: 2, Elapsed: time.Second}, Outcomes: []Outcome{
		{Version: "v2", Result: "Promoted", Should: "RolledBack", Why: "every step was passed"},
		{Version: "v3", Result: "Promoted", Should: "Promoted", Took: 30 * time.Second, CanaryRequests: 5000, Evidence: "none"},
	}}
	text := strings.Join(rep.Lines(), "\n")
	for _, want := range []string{"v2 was promoted, and should not have been: every step was passed", "v3 was promoted after 30 s", "2 errors reached users (2.0%"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

func TestDecidingLook(t *testing.T) {
	looks := []store.Look{{Report: judge.Report{Canary: 1}}, {Report: judge.Report{Canary: 2, Verdict: judge.Fail}}, {Report: judge.Report{Canary: 3, Verdict: judge.Fail}}}
	if r := deciding(looks); r.Canary != 2 {
		t.Errorf("took the look at %d requests, expected the one that failed the run", r.Canary)
	}
	if r := deciding(looks[:1]); r.Canary != 1 {
		t.Error("without a failure the last look is the one")
	}
	if deciding(nil) != nil {
		t.Error("no look, no report")
	}
}
