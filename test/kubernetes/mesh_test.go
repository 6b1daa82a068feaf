package kubernetes

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/haldane-project/haldane/test/cluster/xds"
)

const meshService = `
apiVersion: v1
kind: Service
metadata: {name: hello}
spec:
  selector: {app: hello}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 90, targetPort: 9090, appProtocol: grpc}]
`

const meshRelease = `
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: hello}
spec:
  workload: {deployment: {name: hello}}
  traffic: {istio: {service: hello}}
  strategy: {canary: {steps: [{weight: 10}, {weight: 50}]}, bake: 2s}
  analysis:
    falseRollback: 0.01%
    scrape: {port: 8080, layout: http}
    metrics: [{name: errors, kind: errors}]
`

// TestMesh: a Release through Istio, whose clients take their routes from istiod
// and split their own calls: two promotions in a row and a rollback, and no call
// fails but those that the bad version answers so.
func TestMesh(t *testing.T) {
	onlyLong(t)
	w := prepare(t)
	istiod := w.Istiod(t)
	w.controller()
	w.Apply(t, w.ns, meshService)
	w.deploy("v1", 2)
	w.Apply(t, w.ns, meshRelease)
	w.phase("v1", "Promoted")
	c := &callers{service: testgrpc.NewTestServiceClient(xds.Dial(t, istiod, w.ns, "hello."+w.ns+".svc.cluster.local:90")), by: map[string]int{}}
	w.until("a call is answered", func() error { return c.call() })
	end := c.start(100)
	for _, v := range []string{"v2", "v3"} {
		w.deploy(v, 2)
		w.phase(v, "Promoted")
	}
	w.deploy("v4", 2, "ERRORS=0.2")
	w.phase("v4", "RolledBack")
	w.Logf("v4: %s", w.release().Status.Run.Why)
	end()
	t.Logf("calls by version and code: %v", c.by)
	if c.err != nil {
		t.Errorf("a call failed by no version's will: %v", c.err)
	}
}

// callers are clients of the mesh and what their calls came to.
type callers struct {
	service testgrpc.TestServiceClient

	mu  sync.Mutex
	by  map[string]int
	err error // the first one that no version answered
}

func (c *callers) call() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, err := c.service.UnaryCall(ctx, &testgrpc.SimpleRequest{})
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.by[res.GetServerId()]++
	case status.Code(err) == codes.Internal && status.Convert(err).Message() == "v4":
		c.by["v4 Internal"]++
	case c.err == nil:
		c.err = err
	}
	return err
}

// start makes calls at a constant rate until the function that it returns is
// called. What failed before is no matter.
func (c *callers) start(rate int) (end func()) {
	c.err = nil
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			running.Go(func() { _ = c.call() }) // it is counted
		}
	})
	return func() { cancel(); running.Wait() }
}
