package switchboard_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/supervise/supervisetest"
	"github.com/haldane-project/haldane/internal/workload"
	"github.com/haldane-project/haldane/internal/workload/endpoints"
	"github.com/haldane-project/haldane/internal/workload/process"
	"github.com/haldane-project/haldane/internal/workload/switchboard"
	"github.com/haldane-project/haldane/internal/workload/workloadtest"
)

func TestMain(m *testing.M) {
	supervisetest.Main(nil)
	goleak.VerifyTestMain(m)
}

// Good versions are processes and endpoints in turn, so that a test with two
// versions moves from one runtime to the other.
func TestConformance(t *testing.T) {
	workloadtest.Run(t, func(t *testing.T) workloadtest.Subject {
		count := 0
		return workloadtest.Subject{
			Runtime: newRuntime(t),
			Good: func(name string, n int) release.Version {
				count++
				if count%2 == 0 || n > 1 {
					return elsewhere(t, name, n)
				}
				return local(name)
			},
			Bad:     release.NewVersion("bad", release.Workload{Endpoints: &release.Endpoints{Addresses: []string{"127.0.0.1:1"}}}),
			Foreign: release.NewVersion("foreign", release.Workload{Deployment: &release.Deployment{Name: "x"}}),
		}
	})
}

func newRuntime(t *testing.T) *switchboard.Runtime {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	local, err := process.New(process.Options{Dir: filepath.Join(t.TempDir(), "run"), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	away := endpoints.New(logger)
	r := switchboard.New(map[string]workload.Runtime{switchboard.Process: local, switchboard.Endpoints: away})
	t.Cleanup(func() {
		for _, c := range []interface{ Close(context.Context) error }{r, local, away} {
			if err := c.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

func local(name string) release.Version {
	env, value := supervisetest.Env("serve")
	return release.NewVersion(name, release.Workload{Process: &release.Process{
		Command: supervisetest.Self(),
		Env:     []release.EnvVar{{Name: env, Value: value}},
		Ready:   release.Probe{HTTP: "/healthz", Interval: 10 * time.Millisecond},
	}})
}

func elsewhere(t *testing.T, name string, n int) release.Version {
	e := &release.Endpoints{}
	for range n {
		s := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(s.Close)
		e.Addresses = append(e.Addresses, s.Listener.Addr().String())
	}
	return release.NewVersion(name, release.Workload{Endpoints: e})
}

func TestAnUnknownKindListsTheKnownOnes(t *testing.T) {
	r := newRuntime(t)
	v := release.NewVersion("v1", release.Workload{Deployment: &release.Deployment{Name: "x"}})
	err := r.Apply(t.Context(), release.Release{Name: "shop"}, workloadtest.Groups(v))
	if err == nil || !strings.Contains(err.Error(), `kind "deployment": this Haldane runs endpoints, process`) {
		t.Errorf("error %v, want the kinds that are known", err)
	}
}
