package chart

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/haldane-project/haldane/deploy/admission"
	"github.com/haldane-project/haldane/test/cluster"
)

const (
	chartDir  = "../../deploy/helm/haldane"
	manifests = "../../deploy/manifests"
	user      = "system:serviceaccount:haldane-system:haldane"
)

func TestMain(m *testing.M) { cluster.Main(m) }

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// samePolicy: the policy stands in the text word for word.
func samePolicy(t *testing.T, text, user string) {
	t.Helper()
	want, err := admission.Policy(user)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range strings.Split(string(want), "\n---\n") {
		_, doc, _ = strings.Cut(doc, "apiVersion: ") // without the comment above
		if doc = strings.TrimSpace(doc); !strings.Contains(text, doc) {
			t.Errorf("this does not stand in the rendered text:\n%s", doc)
		}
	}
}

// may is a question to the API server: verb, group, resource, object's name.
type may struct {
	verb, group, resource, name, ns string
	allowed                         bool
}

// ask asks as an account what it may do. What it may is waited for: the API server
// takes roles in behind their writes.
func ask(t *testing.T, c *cluster.Cluster, ns, account string, questions []may) {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.As(t, ns, account))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range questions {
		if q.allowed {
			cluster.Eventually(t, wait, "the rights of "+account, func() error { return q.answered(client) })
		} else if err := q.answered(client); err != nil {
			t.Error(err)
		}
	}
}

// answered tells an error unless the API server answers as expected.
func (q may) answered(client kubernetes.Interface) error {
	resource, sub, _ := strings.Cut(q.resource, "/")
	review := &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authv1.ResourceAttributes{
		Verb: q.verb, Group: q.group, Resource: resource, Subresource: sub, Name: q.name, Namespace: q.ns}}}
	got, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(context.Background(), review, metav1.CreateOptions{})
	if err == nil && got.Status.Allowed != q.allowed {
		err = fmt.Errorf("%s %s.%s %s in %q: allowed %v, expected %v (%s)", q.verb, q.resource, q.group, q.name, q.ns, got.Status.Allowed, q.allowed, got.Status.Reason)
	}
	return err
}

// work is what the controller does in a namespace of Releases.
func work(ns string, allowed bool) []may {
	var all []may
	for resource, verbs := range map[string]string{
		"releases.haldane.dev":                 "get list watch patch",
		"releases/status.haldane.dev":          "update patch",
		"runs.haldane.dev":                     "get list create update delete",
		"deployments.apps":                     "get list watch create update patch delete",
		"replicasets.apps":                     "get list watch patch delete",
		"pods.":                                "get list watch",
		"services.":                            "get list watch create patch delete",
		"endpointslices.discovery.k8s.io":      "get list watch",
		"httproutes.gateway.networking.k8s.io": "get list watch create patch delete",
		"grpcroutes.gateway.networking.k8s.io": "get list watch create patch delete",
		"virtualservices.networking.istio.io":  "get list watch create patch delete",
		"destinationrules.networking.istio.io": "get list watch create patch delete",
		"ingresses.networking.k8s.io":          "get list watch create patch delete",
		"events.events.k8s.io":                 "create patch",
	} {
		name, group, _ := strings.Cut(resource, ".")
		for _, verb := range strings.Fields(verbs) {
			all = append(all, may{verb: verb, group: group, resource: name, ns: ns, allowed: allowed})
		}
	}
	return all
}

// never is what no controller of ours may do anywhere.
func never(ns string) []may {
	return []may{
		{verb: "get", resource: "secrets", name: "any", ns: ns},
		{verb: "list", resource: "secrets", ns: ns},
		{verb: "create", resource: "pods", ns: ns},
		{verb: "create", resource: "pods/exec", ns: ns},
		{verb: "delete", resource: "pods", ns: ns},
		{verb: "get", resource: "configmaps", ns: ns},
		{verb: "create", group: "rbac.authorization.k8s.io", resource: "rolebindings", ns: ns},
		{verb: "impersonate", resource: "users"},
		{verb: "list", resource: "nodes"},
		{verb: "delete", group: "haldane.dev", resource: "releases", ns: ns},
	}
}

// TestInstallManifest applies install.yaml as a user would: two pods that the
// restricted Pod Security Standard admits, and an account with the rights that
// the controller needs and no others.
func TestInstallManifest(t *testing.T) {
	c := cluster.ControlPlane(t)
	text := string(read(t, manifests, "install.yaml"))
	samePolicy(t, text, user)
	c.Apply(t, "haldane-system", text)
	c.FakeKubelet(t, "haldane-system", cluster.Running)
	available(t, c, "haldane-system", "haldane", 2)

	other := c.Namespace(t)
	ask(t, c, "haldane-system", "haldane", work(other, true))
	ask(t, c, "haldane-system", "haldane", never(other))
	ask(t, c, "haldane-system", "haldane", []may{
		{verb: "update", group: "coordination.k8s.io", resource: "leases", ns: "haldane-system", allowed: true},
		{verb: "update", group: "coordination.k8s.io", resource: "leases", ns: other},
		{verb: "create", group: "authentication.k8s.io", resource: "tokenreviews", allowed: true},
	})
	// The cluster's own roles learned about Releases.
	cluster.Eventually(t, wait, "the aggregated role", func() error { return aggregated(c) })
}

// TestNamespacedManifest: nothing outside of the one namespace.
func TestNamespacedManifest(t *testing.T) {
	c := cluster.ControlPlane(t)
	c.ApplyFiles(t, "", "../../deploy/crds")
	ns, other := c.Namespace(t), c.Namespace(t)
	text := strings.ReplaceAll(string(read(t, manifests, "namespaced.yaml")), "NAMESPACE", ns)
	for _, obj := range c.Apply(t, ns, text) {
		if obj.GetNamespace() != ns {
			t.Errorf("%s %s is not in the namespace", obj.GetKind(), obj.GetName())
		}
	}
	c.FakeKubelet(t, ns, cluster.Running)
	available(t, c, ns, "haldane", 2)
	ask(t, c, ns, "haldane", work(ns, true))
	ask(t, c, ns, "haldane", never(ns))
	ask(t, c, ns, "haldane", work(other, false))
	ask(t, c, ns, "haldane", []may{
		{verb: "update", group: "coordination.k8s.io", resource: "leases", ns: ns, allowed: true},
		{verb: "create", group: "authentication.k8s.io", resource: "tokenreviews"},
	})
}
