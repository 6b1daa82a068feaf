package gatewayapi_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/gatewayapi"
	"github.com/haldane-project/haldane/internal/traffic/traffictest"
	"github.com/haldane-project/haldane/test/cluster"
	"github.com/haldane-project/haldane/test/cluster/xds"
	"github.com/haldane-project/haldane/test/routed"
)

// The route that is written for Linkerd, enforced by another mesh that takes
// it: istiod, and a client without a proxy. Linkerd's own proxy is not run.
func TestMeshRouteIsEnforced(t *testing.T) {
	if os.Getenv("HALDANE_E2E") == "" {
		t.Skip("istiod and pods run with HALDANE_E2E=1")
	}
	c := cluster.Full(t)
	c.LoadGo(t, "haldane.test/echo:1", "./test/cluster/echo")
	istiod := c.Istiod(t)
	w := routed.New(t, c, "haldane.test/echo:1", release.Traffic{Linkerd: &release.Linkerd{Service: "hello", Port: 90, Settle: time.Second}})
	w.Router = gatewayapi.New(w.Client, nil)
	w.Run(t, traffictest.A)
	w.Run(t, traffictest.B)
	s := traffictest.Split(1000)
	s.Matched = []release.Matched{{Version: traffictest.B, Match: release.Match{Headers: []release.HeaderMatch{{Name: "x-beta", Exact: "on"}}}}}
	must(t, w.Apply(s))
	cluster.Eventually(t, cluster.Patience, "the split is in force", func() error {
		if o := w.Observe(t); o.Pending {
			return errors.New("it is pending")
		}
		return nil
	})
	echoes := testgrpc.NewTestServiceClient(xds.Dial(t, istiod, w.NS, "hello."+w.NS+".svc.cluster.local:90"))
	call := func(headers ...string) (release.VersionID, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		res, err := echoes.UnaryCall(metadata.AppendToOutgoingContext(ctx, headers...), &testgrpc.SimpleRequest{})
		return release.VersionID(res.GetServerId()), err
	}
	cluster.Eventually(t, cluster.Patience, "a call by its header", func() error {
		v, err := call("x-beta", "on")
		if err == nil && v != traffictest.B {
			err = fmt.Errorf("%s answered", v)
		}
		return err
	})
	const n = 5000
	got := map[release.VersionID]int{}
	for range n {
		v, err := call()
		must(t, err)
		got[v]++
	}
	if got[traffictest.A]+got[traffictest.B] != n || math.Abs(float64(got[traffictest.B]-n/10)) > 128 { // 6 x 21.2
		t.Errorf("%d calls went to %v at 10 %%", n, got)
	}
	t.Logf("%d calls at 10 %%: %v", n, got)
}
