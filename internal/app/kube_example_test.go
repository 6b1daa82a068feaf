package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/test/cluster"
)

// proxied is the example whose proxy stands before models.
const proxied = "../../examples/llm/kubernetes"

// The proxy before models in a cluster: an API server takes its objects, their
// pods are let into a namespace that enforces the standard "restricted", every
// Service leads to one, and the addresses of its releases are those of Services.
func TestAProxyBeforeModelsOnKubernetes(t *testing.T) {
	c := cluster.ControlPlane(t)
	ns := c.Namespace(t)
	enforced := []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`)
	if _, err := c.Client.CoreV1().Namespaces().Patch(context.Background(), ns, types.MergePatchType, enforced, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.FakeKubelet(t, ns, cluster.Running)
	c.ApplyFiles(t, ns, filepath.Join(proxied, "proxy.yaml"), filepath.Join(proxied, "models.yaml"))
	behind := map[string]string{} // address of a Service: ports of its pods
	for _, address := range []string{"haldane:7070", "llm:80", "model-v1:8000", "model-v2:8000"} {
		cluster.Eventually(t, cluster.Patience, address, func() (err error) {
			behind[address], err = portBehind(c, ns, address)
			return err
		})
	}
	for _, name := range []string{"release.yaml", "v2.yaml"} {
		text, err := os.ReadFile(filepath.Join(proxied, name))
		if err != nil {
			t.Fatal(err)
		}
		_, rel, err := manifest.Parse(name, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range rel.Version.Workload.Endpoints.Addresses {
			if behind[address] == "" {
				t.Errorf("%s: %s leads to no pod; there are %v", name, address, behind)
			}
		}
		if _, port, _ := net.SplitHostPort(rel.Traffic.Embedded.Listen); behind["llm:80"] != port {
			t.Errorf("%s listens on port %s, users are led to %s", name, port, behind["llm:80"])
		}
	}
	proxyKeepsItsFiles(t, c, ns, behind["haldane:7070"])
}

// portBehind is the port of the one pod that an address of a Service leads to.
func portBehind(c *cluster.Cluster, ns, address string) (string, error) {
	service, port, _ := net.SplitHostPort(address)
	svc, err := c.Client.CoreV1().Services(ns).Get(context.Background(), service, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	list, err := c.Client.DiscoveryV1().EndpointSlices(ns).List(context.Background(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		return "", err
	}
	for _, s := range list.Items {
		if len(s.Endpoints) != 1 || s.Endpoints[0].Conditions.Ready == nil || !*s.Endpoints[0].Conditions.Ready {
			continue
		}
		for _, p := range s.Ports {
			if slices.ContainsFunc(svc.Spec.Ports, func(of corev1.ServicePort) bool { return of.Name == *p.Name && fmt.Sprint(of.Port) == port }) {
				return fmt.Sprint(*p.Port), nil
			}
		}
	}
	return "", errors.New("no pod is ready behind it")
}

// proxyKeepsItsFiles: its data is on the claim, its tokens are the Secret's, and it
// listens where its Service leads.
func proxyKeepsItsFiles(t *testing.T, c *cluster.Cluster, ns, port string) {
	t.Helper()
	d, err := c.Client.AppsV1().Deployments(ns).Get(context.Background(), "haldane", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := d.Spec.Template.Spec
	mounted := map[string]corev1.VolumeSource{}
	for _, m := range pod.Containers[0].VolumeMounts {
		at := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		mounted[m.MountPath] = pod.Volumes[at].VolumeSource
	}
	option := func(name string) (value string) {
		for _, a := range pod.Containers[0].Args {
			if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
				value = v
			}
		}
		return value
	}
	if mounted[option("data")].PersistentVolumeClaim == nil {
		t.Errorf("--data is %q, which is on no claim", option("data"))
	}
	if s := mounted[filepath.Dir(option("tokens"))].Secret; s == nil || len(s.Items) != 1 || s.Items[0].Path != filepath.Base(option("tokens")) {
		t.Errorf("--tokens is %q, which is not of the Secret", option("tokens"))
	}
	if option("listen") != "0.0.0.0:"+port {
		t.Errorf("--listen is %q, its Service leads to port %s", option("listen"), port)
	}
}
