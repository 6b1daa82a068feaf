package cluster

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Traefik is an implementation of the Gateway API that serves one namespace, or all.
type Traefik struct {
	URL     string // of the listener, such as http://127.0.0.1:40123
	Metrics string // URL of its Prometheus metrics
	Gateway string // name of the Gateway in the namespace, for parentRefs
	process *process
}

// Stop ends it at once; t's clean-up does so anyway.
func (g *Traefik) Stop() { g.process.stop(0) }

const traefikConfig = `
entryPoints:
  web: {address: "127.0.0.1:%[1]d"}
  admin: {address: "127.0.0.1:%[2]d"}
ping: {entryPoint: admin}
metrics: {prometheus: {entryPoint: admin, addRoutersLabels: true, addServicesLabels: true, buckets: [%[4]s]}}
log: {level: INFO}
providers:
  providersThrottleDuration: 10ms
  kubernetesGateway: {namespaces: [%[3]s], statusAddress: {ip: 127.0.0.1}}
  kubernetesCRD: {namespaces: [%[3]s], allowEmptyServices: true}
  file: {filename: %[5]q, watch: false}
global: {checkNewVersion: false, sendAnonymousUsage: false}
`

// Without a certificate of its own Traefik makes an RSA key at every change of a
// route before it takes it in, a quarter of a second long on a busy machine.
const traefikCertificate = `tls: {stores: {default: {defaultCertificate: {certFile: %q, keyFile: %q}}}}`

// The listener's port must be that of an entry point.
const traefikObjects = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: traefik}
spec: {controllerName: traefik.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: traefik}
spec:
  gatewayClassName: traefik
  listeners: [{name: web, protocol: HTTP, port: %d, allowedRoutes: {namespaces: {from: %s}}}]
`

// buckets are bounds from 5 ms to 5 s, 15 % apart: with those that Traefik has by
// itself, 0.1, 0.3, 1.2 and 5 s, no margin of a latency below 200 % is ever proven.
func buckets() string {
	var list []string
	for bound := 0.005; bound < 6; bound *= 1.15 {
		list = append(list, fmt.Sprintf("%.4g", bound))
	}
	return strings.Join(list, ", ")
}

// GatewayAPI installs the CRDs of the Gateway API's standard channel, at the
// version in go.mod.
func (c *Cluster) GatewayAPI(t testing.TB) {
	t.Helper()
	c.once("the Gateway API", func() {
		dir, err := ModuleDir("sigs.k8s.io/gateway-api")
		if err != nil {
			t.Fatal(err)
		}
		c.ApplyFiles(t, "", filepath.Join(dir, "config/crd/standard"))
	})
}

// Traefik installs the Gateway API and Traefik's own CRDs and starts Traefik as
// a process of this machine for the routes of a namespace. It sends requests to
// the addresses in EndpointSlices, which must be reachable from here.
func (c *Cluster) Traefik(t testing.TB, ns string) *Traefik {
	t.Helper()
	return c.traefik(t, ns, ns, "Same")
}

// TraefikForAll is the same for the routes of all namespaces, by their host
// names; its Gateway stands in ns.
func (c *Cluster) TraefikForAll(t testing.TB, ns string) *Traefik {
	t.Helper()
	return c.traefik(t, ns, "", "All")
}

// traefik watches the namespace served, or all, and takes routes from there.
func (c *Cluster) traefik(t testing.TB, ns, served, from string) *Traefik {
	t.Helper()
	c.GatewayAPI(t)
	bins := mustBuild(t, "traefik")
	c.once("Traefik", func() {
		c.ApplyFiles(t, "", filepath.Join(toolModule(t, "traefik", "github.com/traefik/traefik/v3"),
			"docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml"))
	})
	ports, err := freePorts("127.0.0.1", 2)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, ns, fmt.Sprintf(traefikObjects, ports[0], from))
	dir := t.TempDir()
	config := writeFile(t, dir, "traefik.yaml", fmt.Sprintf(traefikConfig, ports[0], ports[1], served, buckets(), certified(t, dir)))
	g := &Traefik{
		URL: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), Metrics: fmt.Sprintf("http://127.0.0.1:%d/metrics", ports[1]), Gateway: "traefik",
		process: startFor(t, dir, "traefik", []string{"KUBECONFIG=" + c.userKubeconfig("traefik")}, bins[0], "--configFile="+config),
	}
	ready(t, g.process, strings.TrimSuffix(g.Metrics, "metrics")+"ping")
	return g
}

// certified gives a Traefik a certificate and returns the file that says so.
func certified(t testing.TB, dir string) string {
	t.Helper()
	cert, private := filepath.Join(dir, "traefik.crt"), filepath.Join(dir, "traefik.key")
	key, err := newKey(private)
	if err != nil {
		t.Fatal(err)
	}
	self := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, self, self, &key.PublicKey, key)
	if err == nil {
		err = writePEM(cert, "CERTIFICATE", der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, dir, "tls.yaml", fmt.Sprintf(traefikCertificate, cert, private))
}

// Istiod is Istio's control plane; its data plane here is a gRPC client without
// a proxy (package xds beside this one).
type Istiod struct {
	XDS     string // host:port of plaintext xDS
	Debug   string // URL of /debug/syncz and the like
	process *process
}

// Stop ends it at once; t's clean-up does so anyway.
func (i *Istiod) Stop() { i.process.stop(0) }

// Routed returns what marks the routes that istiod sent last to the clients of a
// namespace; an error while there are none, or one has not taken them in yet.
func (i *Istiod) Routed(ns string) (string, error) {
	client := &http.Client{Timeout: 5 * time.Second}
	res, err := client.Get(i.Debug + "/debug/syncz?namespace=" + ns)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var clients []struct {
		Proxy string `json:"proxy"`
		Sent  string `json:"route_sent"`
		Acked string `json:"route_acked"`
	}
	if err := json.NewDecoder(res.Body).Decode(&clients); err != nil {
		return "", fmt.Errorf("%s of istiod: %w", res.Status, err)
	}
	var sent []string
	for _, c := range clients {
		if c.Sent == "" || c.Sent != c.Acked {
			return "", fmt.Errorf("%s was sent the routes %q and has taken in %q", c.Proxy, c.Sent, c.Acked)
		}
		sent = append(sent, c.Sent)
	}
	if len(sent) == 0 {
		return "", fmt.Errorf("no client of namespace %s is connected to istiod", ns)
	}
	return strings.Join(sent, " "), nil
}

// IstioCRDs installs Istio's CRDs, at the version of istio.io/api in go.mod.
func (c *Cluster) IstioCRDs(t testing.TB) {
	t.Helper()
	c.once("Istio", func() {
		dir, err := ModuleDir("istio.io/api")
		if err != nil {
			t.Fatal(err)
		}
		c.ApplyFiles(t, "", filepath.Join(dir, "kubernetes/customresourcedefinitions.gen.yaml"))
	})
}

// Istiod installs the CRDs of Istio and of the Gateway API and starts istiod as
// a process of this machine. env is added to its environment, such as
// PILOT_DEBOUNCE_AFTER=1ms.
func (c *Cluster) Istiod(t testing.TB, env ...string) *Istiod {
	t.Helper()
	c.GatewayAPI(t)
	c.IstioCRDs(t)
	bins := mustBuild(t, "istiod")
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "istio-system"}}
	if _, err := c.Client.CoreV1().Namespaces().Create(context.Background(), ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	ports, err := freePorts("127.0.0.1", 5)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mesh := writeFile(t, dir, "mesh.yaml", "rootNamespace: istio-system\ntrustDomain: cluster.local\n")
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	env = append([]string{"POD_NAMESPACE=istio-system", "POD_NAME=istiod-local", "REVISION=default", "CLUSTER_ID=Kubernetes"}, env...)
	i := &Istiod{XDS: at(0), Debug: "http://" + at(2), process: startFor(t, dir, "istiod", env, bins[0], "discovery",
		"--kubeconfig", c.userKubeconfig("istiod"), "--meshConfig", mesh, "--grpcAddr", at(0), "--secureGRPCAddr", at(1),
		"--httpAddr", at(2), "--httpsAddr", at(3), "--monitoringAddr", at(4), "--ctrlz_port", "0", "--domain", "cluster.local")}
	ready(t, i.process, i.Debug+"/ready")
	return i
}

// Prometheus starts a Prometheus with a configuration (YAML) and returns its URL.
func Prometheus(t testing.TB, config string) string {
	t.Helper()
	bins := mustBuild(t, "prometheus")
	ports, err := freePorts("127.0.0.1", 1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	url := fmt.Sprintf("127.0.0.1:%d", ports[0])
	p := startFor(t, dir, "prometheus", nil, bins[0], "--config.file="+writeFile(t, dir, "prometheus.yaml", config),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+url, "--log.level=warn")
	ready(t, p, "http://"+url+"/-/ready")
	return "http://" + url
}

// startFor runs a program until the test's end and shows the end of its log
// where the test failed.
func startFor(t testing.TB, dir, name string, env []string, path string, args ...string) *process {
	t.Helper()
	p, err := start(dir, name, false, env, path, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop(2 * time.Second)
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, name+".log"))
			t.Logf("the end of the log of %s:\n%s", name, tail(log, 4000))
		}
	})
	return p
}

// ready waits until a URL answers 200.
func ready(t testing.TB, p *process, url string) {
	t.Helper()
	client := &http.Client{Timeout: 2 * time.Second}
	err := wait(Patience, url, func() error {
		res, err := client.Get(url)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
			return errors.New(res.Status + ": " + string(text))
		}
		return nil
	}, p)
	if err != nil {
		t.Fatal(err)
	}
}

func mustBuild(t testing.TB, names ...string) []string {
	t.Helper()
	paths, err := Build(names...)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func toolModule(t testing.TB, tool, module string) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := moduleDirIn(filepath.Join(root, "test/cluster/tools", tool), module)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// userKubeconfig is that of a user of plane.go; the only one there is where
// somebody else started the cluster.
func (c *Cluster) userKubeconfig(user string) string {
	if c.plane == nil {
		return c.Kubeconfig
	}
	return c.plane.path(user + ".kubeconfig")
}
