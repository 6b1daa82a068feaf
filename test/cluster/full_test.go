package cluster_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/test/cluster"
	"github.com/haldane-project/haldane/test/cluster/xds"
)

// full is the whole cluster; these tests run with HALDANE_E2E=1.
func full(t *testing.T) (*cluster.Cluster, string) {
	t.Helper()
	if os.Getenv("HALDANE_E2E") == "" {
		t.Skip("a full cluster is started with HALDANE_E2E=1")
	}
	c := cluster.Full(t)
	return c, c.Namespace(t)
}

const echo = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: 1
  selector: {matchLabels: {app: echo, version: %[1]s}}
  template:
    metadata: {labels: {app: echo, version: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: echo
        image: haldane.test/echo:1
        imagePullPolicy: Never
        env: [{name: VERSION, value: %[1]s}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  selector: {version: %[1]s}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 90, targetPort: 9090, appProtocol: grpc}]
`

// pod waits until the one pod of a version is Ready.
func pod(t *testing.T, c *cluster.Cluster, ns, version string) corev1.Pod {
	t.Helper()
	var found corev1.Pod
	cluster.Eventually(t, cluster.Patience, "a pod of "+version, func() error {
		pods, err := c.Client.CoreV1().Pods(ns).List(context.Background(), metav1.ListOptions{LabelSelector: "version=" + version})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			for _, condition := range p.Status.Conditions {
				if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
					found = p
					return nil
				}
			}
		}
		return fmt.Errorf("of %d none is Ready", len(pods.Items))
	})
	return found
}

// client connects anew for each request: a connection made before the Service's
// rules were in place stays with whoever answered it.
var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func get(url string) (string, error) {
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), err
}

// answers waits until a URL answers with a text.
func answers(t *testing.T, url, want string) {
	t.Helper()
	cluster.Eventually(t, cluster.Patience, url, func() error {
		got, err := get(url)
		if err == nil && got != want {
			err = fmt.Errorf("it said %q, expected %q", got, want)
		}
		return err
	})
}

func TestPodsServicesAndNamesAnswer(t *testing.T) {
	c, ns := full(t)
	c.LoadGo(t, "haldane.test/echo:1", "./test/cluster/echo")
	c.Apply(t, ns, fmt.Sprintf(echo, "v1"))
	p := pod(t, c, ns, "v1")
	answers(t, "http://"+p.Status.PodIP+":8080/", "v1")

	service, err := c.Client.CoreV1().Services(ns).Get(context.Background(), "v1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	answers(t, "http://"+service.Spec.ClusterIP+"/", "v1")

	dns := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, cluster.DNS)
	}}
	cluster.Eventually(t, cluster.Patience, "the Service's name", func() error {
		addresses, err := dns.LookupHost(context.Background(), "v1."+ns+".svc.cluster.local")
		if err == nil && (len(addresses) != 1 || addresses[0] != service.Spec.ClusterIP) {
			err = fmt.Errorf("it has %v, expected %s", addresses, service.Spec.ClusterIP)
		}
		return err
	})

	logs, err := c.Client.CoreV1().Pods(ns).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(context.Background())
	if err != nil || string(logs) != "echo v1\n" {
		t.Errorf("the pod's log is %q (%v), expected its first line", logs, err)
	}
}

const route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: echo}
spec:
  parentRefs: [{name: %s}]
  rules:
  - backendRefs: [{name: v1, port: 80, weight: 90}, {name: v2, port: 80, weight: 10}]
`

func TestTraefikSplitsByRoute(t *testing.T) {
	c, ns := full(t)
	c.LoadGo(t, "haldane.test/echo:1", "./test/cluster/echo")
	c.Apply(t, ns, fmt.Sprintf(echo, "v1"), fmt.Sprintf(echo, "v2"))
	pod(t, c, ns, "v1")
	pod(t, c, ns, "v2")
	traefik := c.Traefik(t, ns)
	c.Apply(t, ns, fmt.Sprintf(route, traefik.Gateway))
	cluster.Eventually(t, cluster.Patience, "the route", func() error { _, err := get(traefik.URL); return err })
	n := map[string]int{}
	for range 1000 {
		version, err := get(traefik.URL)
		if err != nil {
			t.Fatal(err)
		}
		n[version]++
	}
	// Traefik splits by smooth weighted round robin: exact but for a configuration loaded midway.
	if n["v1"]+n["v2"] != 1000 || math.Abs(float64(n["v2"]-100)) > 10 {
		t.Errorf("1,000 requests went to %v, expected 900 and 100", n)
	}
}

const virtualService = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [v1.%[1]s.svc.cluster.local]
  http:
  - route:
    - {destination: {host: v1.%[1]s.svc.cluster.local, port: {number: 90}}, weight: 90}
    - {destination: {host: v2.%[1]s.svc.cluster.local, port: {number: 90}}, weight: 10}
`

func TestIstioSplitsWithoutProxy(t *testing.T) {
	c, ns := full(t)
	c.LoadGo(t, "haldane.test/echo:1", "./test/cluster/echo")
	c.Apply(t, ns, fmt.Sprintf(echo, "v1"), fmt.Sprintf(echo, "v2"))
	pod(t, c, ns, "v1")
	pod(t, c, ns, "v2")
	istiod := c.Istiod(t)
	c.Apply(t, ns, fmt.Sprintf(virtualService, ns))
	echoes := testgrpc.NewTestServiceClient(xds.Dial(t, istiod, ns, "v1."+ns+".svc.cluster.local:90"))
	call := func() (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		res, err := echoes.UnaryCall(ctx, &testgrpc.SimpleRequest{})
		return res.GetServerId(), err
	}
	cluster.Eventually(t, cluster.Patience, "a call to v2", func() error {
		version, err := call()
		if err == nil && version != "v2" {
			err = fmt.Errorf("%s answered", version)
		}
		return err
	})
	n := map[string]int{}
	for range 2000 {
		version, err := call()
		if err != nil {
			t.Fatal(err)
		}
		n[version]++
	}
	// Drawn at random: 200 expected, 6 standard deviations of 13.4.
	if n["v1"]+n["v2"] != 2000 || math.Abs(float64(n["v2"]-200)) > 80 {
		t.Errorf("2,000 calls went to %v, expected 1,800 and 200", n)
	}
}

func TestFlaskImage(t *testing.T) {
	c, ns := full(t)
	app := t.TempDir()
	program := "from flask import Flask\napp = Flask(__name__)\n@app.get('/')\ndef hello():\n    return 'flask'\napp.run(host='0.0.0.0', port=5000)\n"
	if err := os.WriteFile(filepath.Join(app, "app.py"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	c.LoadFlask(t, "haldane.test/flask:1", app)
	c.Apply(t, ns, `
apiVersion: v1
kind: Pod
metadata: {name: flask, labels: {version: flask}}
spec:
  containers:
  - name: flask
    image: haldane.test/flask:1
    imagePullPolicy: Never
    readinessProbe: {httpGet: {path: /, port: 5000}, periodSeconds: 1}
`)
	answers(t, "http://"+pod(t, c, ns, "flask").Status.PodIP+":5000/", "flask")
}
