package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/compare"
	"github.com/haldane-project/haldane/internal/evaluate"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/notify"
	"github.com/haldane-project/haldane/internal/notify/webhook"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/internal/store"
	"github.com/haldane-project/haldane/internal/telemetry"
	router "github.com/haldane-project/haldane/internal/traffic/embedded"
	"github.com/haldane-project/haldane/internal/web"
	"github.com/haldane-project/haldane/internal/workload/process"
)

// readTokens reads the token file; no file means no tokens.
func readTokens(file string) ([]web.Token, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the token file: %w", err)
	}
	tokens, err := web.ParseTokens(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return tokens, nil
}

// sinks are who hears of events, with what runs for them.
func sinks(o Options) ([]notify.Sink, []func(context.Context) error, error) {
	if o.Notify == "" {
		return nil, nil, nil
	}
	hook, err := webhook.New(webhook.Options{URL: o.Notify, TokenFile: o.NotifyToken, Log: o.Log})
	if err != nil {
		return nil, nil, err
	}
	return []notify.Sink{hook}, []func(context.Context) error{hook.Run}, nil
}

// parse turns a stored manifest into the release that it declares.
func parse(rec store.Record) (release.Release, error) {
	var obj v1alpha1.Release
	if err := json.Unmarshal(rec.Manifest, &obj); err != nil {
		return release.Release{}, fmt.Errorf("the stored manifest does not decode: %w", err)
	}
	return manifest.FromObject(obj)
}

// applyFiles applies the manifests that were named at the start.
func applyFiles(ctx context.Context, db store.Store, files []string, check func(context.Context, release.Release) error) error {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the manifest: %w", err)
		}
		dir, err := filepath.Abs(filepath.Dir(file))
		if err != nil {
			return fmt.Errorf("find the directory of %s: %w", file, err)
		}
		obj, rel, err := manifest.Parse(file, data, manifest.WithDir(dir))
		if err != nil {
			return err
		}
		if err := check(ctx, rel); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		body, err := manifest.Canonical(obj)
		if err != nil {
			return err
		}
		by := store.Actor{Subject: "serve", From: "local"}
		if _, err := db.Apply(ctx, obj.Name, body, by, time.Now()); err != nil {
			return fmt.Errorf("apply %s: %w", file, err)
		}
	}
	return nil
}

// noRefusal lets a daemon without a metrics history serve the files that it is
// started with: their users come first, and a run says what it misses.
func noRefusal([]release.Metric) error { return nil }

// check says whether this daemon can serve a release and measure what it asks.
func check(p metric.Provider, refuse func([]release.Metric) error) func(context.Context, release.Release) error {
	return func(ctx context.Context, rel release.Release) error {
		if rel.Version.Workload.Deployment != nil {
			return errors.New("spec.workload.deployment: this daemon runs process and endpoints; a Deployment needs the Kubernetes controller")
		}
		if rel.Traffic.Embedded == nil {
			return errors.New("spec.traffic: this daemon splits traffic with embedded only")
		}
		if err := refuse(rel.Analysis.Metrics); err != nil {
			return err
		}
		return p.Check(ctx, rel, rel.Analysis.Metrics)
	}
}

func plan(_ context.Context, rel release.Release, before *store.Record) ([]string, error) {
	var st *rollout.State
	if before != nil {
		st = &before.State
	}
	return status.Plan(rel, st), nil
}

// usage tells the recorder what the instances use; it is asked once a second.
func usage(p *process.Runtime, log *slog.Logger) func() []telemetry.Usage {
	return func() []telemetry.Usage {
		list, err := p.Instances()
		if err != nil {
			log.Warn("the usage of instances is not known", "error", err)
			return nil
		}
		out := make([]telemetry.Usage, 0, len(list))
		for _, u := range list {
			out = append(out, telemetry.Usage{Release: u.Release, Version: u.Version, Instance: u.Instance,
				CPUSeconds: u.CPUSeconds, Memory: float64(u.RSSBytes)})
		}
		return out
	}
}

// inFlight tells the recorder what is inside the versions when it is asked.
func inFlight(r *router.Router) func() []telemetry.InFlight {
	return func() []telemetry.InFlight {
		var out []telemetry.InFlight
		for _, f := range r.InFlight() {
			out = append(out, telemetry.InFlight{Release: f.Release, Version: f.Version, Count: f.Count})
		}
		return out
	}
}

// rates joins what the proxy saw and what the processes use lately.
func rates(r *telemetry.Recorder, p *process.Runtime) func(string) []web.Rate {
	return func(name string) []web.Rate {
		used, _ := p.Usage(name) // a page without usage is better than none
		var out []web.Rate
		for _, x := range r.Rates(name, 10*time.Second) {
			rate := web.Rate{Version: x.Version, Requests: x.PerSecond}
			if x.ErrorShare != nil {
				rate.Errors = *x.ErrorShare
			}
			if x.P50 != nil {
				rate.Latency = *x.P50
			}
			for _, u := range used {
				if u.Version == x.Version {
					mem := float64(u.RSSBytes)
					rate.Memory, rate.Restarts = &mem, u.Restarts
				}
			}
			if s := r.UsageSince(name, x.Version, time.Now().Add(-5*time.Second)); len(s) > 0 {
				if cpu := s[len(s)-1].CPU; cpu == cpu {
					rate.CPU = &cpu
				}
			}
			out = append(out, rate)
		}
		return out
	}
}

// logs returns the last output of a release's instances.
func logs(p *process.Runtime, db store.Store) func(context.Context, string, release.VersionID) (string, error) {
	return func(ctx context.Context, name string, v release.VersionID) (string, error) {
		rec, err := db.Get(ctx, name)
		if err != nil {
			return "", err
		}
		var lines []string
		for _, g := range rec.Observed.Fleet {
			if v == "" || g.Version == v {
				lines = append(lines, p.Logs(name, g.Version)...)
			}
		}
		return strings.Join(lines, "\n"), nil
	}
}

// comparers hands copied requests to those who compare them and to those who
// have them evaluated.
type comparers struct {
	*compare.Recorder
	evals *evaluate.Recorder
}

// Compare implements proxy.Comparer.
func (c comparers) Compare(x *release.Copied) {
	c.evals.Compare(x)
	c.Recorder.Compare(x)
}

// differences says what was found of copied requests.
func differences(c *compare.Recorder, r *router.Router) func(string) client.Differences {
	return func(name string) client.Differences {
		return client.Differences{Report: c.Report(name), Dropped: r.Dropped(name)}
	}
}

// serveWeb tells the address once connections are accepted.
func serveWeb(s *web.Server, ready func(string)) func(context.Context, net.Listener) error {
	return func(ctx context.Context, l net.Listener) error {
		if ready != nil {
			ready(l.Addr().String())
		}
		return s.Serve(ctx, l)
	}
}
