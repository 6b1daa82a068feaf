package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// metricsObjects let the API server answer metrics.k8s.io by a process of its
// machine.
const metricsObjects = `
apiVersion: v1
kind: Service
metadata: {name: metrics-server, namespace: kube-system}
spec: {type: ExternalName, externalName: localhost, ports: [{port: %[1]d}]}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: metrics-server, namespace: kube-system, port: %[1]d}
`

// MetricsServer starts a metrics-server as a process of this machine, reading the
// kubelets every 15 s, and returns once it has figures of the node.
func (c *Cluster) MetricsServer(t testing.TB) {
	t.Helper()
	bins := mustBuild(t, "metrics-server")
	ports, err := freePorts("127.0.0.1", 1)
	if err != nil {
		t.Fatal(err)
	}
	dir, kubeconfig := t.TempDir(), c.userKubeconfig("metrics-server")
	p := startFor(t, dir, "metrics-server", nil, bins[0], "--kubelet-insecure-tls", "--kubelet-preferred-address-types=InternalIP",
		fmt.Sprintf("--secure-port=%d", ports[0]), "--bind-address=127.0.0.1", "--cert-dir="+dir, "--metric-resolution=15s",
		"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig)
	c.Apply(t, "", fmt.Sprintf(metricsObjects, ports[0]))
	t.Cleanup(func() {
		_ = c.Client.Discovery().RESTClient().Delete().AbsPath("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io").Do(context.Background()).Error()
	})
	err = wait(Patience, "the metrics of the node", func() error {
		text, err := c.Client.Discovery().RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1/nodes").Timeout(5 * time.Second).DoRaw(context.Background())
		if err == nil && len(text) < 200 {
			err = errors.New(string(text))
		}
		return err
	}, p)
	if err != nil {
		t.Fatal(err)
	}
}
