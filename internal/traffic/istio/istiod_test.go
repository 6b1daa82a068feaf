package istio_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/traffictest"
	"github.com/haldane-project/haldane/test/cluster"
	"github.com/haldane-project/haldane/test/cluster/xds"
	"github.com/haldane-project/haldane/test/routed"
)

// realWorld has pods that answer, and istiod.
func realWorld(t *testing.T) (*routed.World, *cluster.Istiod) {
	t.Helper()
	if os.Getenv("HALDANE_E2E") == "" {
		t.Skip("istiod and pods run with HALDANE_E2E=1")
	}
	c := cluster.Full(t)
	c.LoadGo(t, "haldane.test/echo:1", "./test/cluster/echo")
	istiod := c.Istiod(t)
	return with(routed.New(t, c, "haldane.test/echo:1", release.Traffic{Istio: &release.Istio{Service: "hello", DestinationRule: defaults, Settle: time.Second}})), istiod
}

// meshClient asks in the mesh, without a proxy.
type meshClient struct{ testgrpc.TestServiceClient }

func dial(t *testing.T, istiod *cluster.Istiod, ns string) meshClient {
	return meshClient{testgrpc.NewTestServiceClient(xds.Dial(t, istiod, ns, "hello."+ns+".svc.cluster.local:90"))}
}

func (c meshClient) call(headers ...string) (release.VersionID, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	res, err := c.UnaryCall(metadata.AppendToOutgoingContext(ctx, headers...), &testgrpc.SimpleRequest{})
	return release.VersionID(res.GetServerId()), err
}

// count makes n calls, none of which may fail.
func (c meshClient) count(t *testing.T, n int, headers ...string) map[release.VersionID]int {
	t.Helper()
	out := map[release.VersionID]int{}
	for range n {
		v, err := c.call(headers...)
		if err != nil {
			t.Fatal(err)
		}
		out[v]++
	}
	return out
}

// inForce applies a split and waits until it is.
func inForce(t *testing.T, w *routed.World, s release.Split) {
	t.Helper()
	routed.Must(t, w.Apply(s))
	cluster.Eventually(t, cluster.Patience, "the split is in force", func() error {
		if o := w.Observe(t); o.Pending {
			return errors.New("it is pending")
		}
		return nil
	})
}

// told makes a change and waits until the clients have taken routes in after it.
func told(t *testing.T, istiod *cluster.Istiod, ns string, change func()) {
	t.Helper()
	before := acked(t, istiod, ns, "")
	change()
	acked(t, istiod, ns, before)
}

// acked waits until the clients have taken in what istiod sent, which is not
// what it sent before.
func acked(t *testing.T, istiod *cluster.Istiod, ns, before string) string {
	t.Helper()
	var now string
	cluster.Eventually(t, cluster.Patience, "the clients have their routes", func() (err error) {
		if now, err = istiod.Routed(ns); err == nil && now == before {
			err = errors.New("nothing new was sent")
		}
		return err
	})
	return now
}

// load calls without a pause until it is stopped, and returns the failures.
func (c meshClient) load() (stop func() (calls int, failed []error)) {
	ctx, cancel := context.WithCancel(context.Background())
	var n int
	var failed []error
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			n++
			if _, err := c.call(); err != nil {
				failed = append(failed, err)
			}
		}
	})
	return func() (int, []error) { cancel(); wait.Wait(); return n, failed }
}

// Istiod and a client without a proxy: shares as counted, conditions, and not
// one failed call from rest through every change to rest.
func TestIstiod(t *testing.T) {
	w, istiod := realWorld(t)
	w.Run(t, traffictest.A)
	w.Rest(t)
	cluster.Eventually(t, cluster.Patience, "istiod knows the objects at rest", func() error {
		r, err := xds.Routes(t, istiod, w.NS, "90")
		if err == nil && !strings.Contains(r.String(), "|canary|") {
			err = errors.New("nothing leads to the subset canary")
		}
		return err
	})
	c := dial(t, istiod, w.NS)
	cluster.Eventually(t, cluster.Patience, "a call", func() error { _, err := c.call(); return err })
	stop := c.load()
	inForce(t, w, release.Split{Salt: "r-1", Rest: traffictest.A, Shares: []release.Share{{Version: traffictest.A, Weight: release.Full}}})
	w.Run(t, traffictest.B)
	for range 5 {
		for _, weight := range []release.Weight{0, 1000, release.Full, 0, release.Full} {
			told(t, istiod, w.NS, func() { routed.Must(t, w.Apply(traffictest.Split(weight))) })
		}
	}
	inForce(t, w, traffictest.Split(1000))
	const n = 5000
	if got := c.count(t, n); got[traffictest.A]+got[traffictest.B] != n || math.Abs(float64(got[traffictest.B]-n/10)) > 128 { // 6 x 21.2
		t.Errorf("%d calls went to %v at 10 %%", n, got)
	} else {
		t.Logf("%d calls at 10 %%: %v", n, got)
	}
	s := traffictest.Split(0)
	s.Matched = []release.Matched{{Version: traffictest.B, Match: release.Match{
		Headers: []release.HeaderMatch{{Name: "x-beta", Prefix: "y"}}, Cookie: &release.HeaderMatch{Name: "beta", Regexp: "1|2"}}}}
	inForce(t, w, s)
	for headers, want := range map[string]release.VersionID{
		"x-beta=yes cookie=a=1; beta=2; c=3": traffictest.B, "x-beta=yes": traffictest.A, "x-beta=no cookie=beta=1": traffictest.A, "x-haldane=never": traffictest.A,
	} {
		var pairs []string
		for pair := range strings.SplitSeq(headers, " ") {
			if k, v, ok := strings.Cut(pair, "="); ok && (k == "x-beta" || k == "cookie" || k == "x-haldane") {
				pairs = append(pairs, k, v)
			} else {
				pairs[len(pairs)-1] += " " + pair
			}
		}
		if got := c.count(t, 50, pairs...); got[want] != 50 {
			t.Errorf("%s: %v, want %s", headers, got, want)
		}
	}
	inForce(t, w, traffictest.Split(0))
	w.Stop(t, traffictest.B)
	told(t, istiod, w.NS, func() { w.Rest(t) })
	calls, failed := stop()
	if len(failed) > 0 {
		t.Errorf("%d of %d calls failed; the first: %v", len(failed), calls, failed[0])
	} else {
		t.Logf("%d calls under way, none failed", calls)
	}
}

// What an Envoy is told of HTTP: weights, and the mirror that no client without
// a proxy makes.
func TestIstiodTellsEnvoy(t *testing.T) {
	w, istiod := realWorld(t)
	w.Run(t, traffictest.A)
	w.Run(t, traffictest.B)
	s := traffictest.Split(1000)
	s.Mirror = &release.Mirror{Version: traffictest.B, Share: 2500}
	inForce(t, w, s)
	cluster.Eventually(t, cluster.Patience, "what istiod tells", func() error {
		c, err := xds.Routes(t, istiod, w.NS, "80")
		if err != nil {
			return err
		}
		return parted(c, "hello."+w.NS+".svc.cluster.local")
	})
}

// parted compares the last route of a host with 90, 10 and a mirror of a quarter.
func parted(c *routev3.RouteConfiguration, host string) error {
	for _, h := range c.VirtualHosts {
		if !strings.HasPrefix(h.Name, host+":") || len(h.Routes) == 0 {
			continue
		}
		action := h.Routes[len(h.Routes)-1].GetRoute()
		got := map[string]uint32{}
		for _, x := range action.GetWeightedClusters().GetClusters() {
			got[x.Name] = x.GetWeight().GetValue()
		}
		canary := "outbound|80|canary|" + host
		if len(got) != 2 || got["outbound|80|stable|"+host] != 90 || got[canary] != 10 {
			return fmt.Errorf("the weights are %v", got)
		}
		m := action.GetRequestMirrorPolicies()
		if len(m) != 1 || m[0].Cluster != canary || m[0].GetRuntimeFraction().GetDefaultValue().GetNumerator() != 250000 {
			return fmt.Errorf("the mirrors are %v", m)
		}
		return nil
	}
	return fmt.Errorf("there is no host %s", host)
}
