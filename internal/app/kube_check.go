package app

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/deploy/admission"
	"github.com/haldane-project/haldane/deploy/crds"
	"github.com/haldane-project/haldane/internal/cluster"
)

// CheckOptions of a cluster.
type CheckOptions struct {
	Names []string // of the Releases to look at; none: all
	// Account is the controller's, NAMESPACE/NAME; empty: the one that the
	// admission policy names.
	Account string
	// Release is one that is not in the cluster yet; nil: look at those that are.
	Release *v1alpha1.Release
}

// CheckCluster says whether a cluster has all that the Releases of a namespace,
// or of all, need. It changes nothing. An error says that no cluster is named.
func CheckCluster(ctx context.Context, c Cluster, all bool, o CheckOptions) ([]Finding, error) {
	k, err := newClusterCheck(c, all, o)
	if err != nil {
		return nil, err
	}
	if !k.server() {
		return k.findings, nil
	}
	k.user = whoami(ctx, k.live)
	k.definitions(ctx)
	k.policy(ctx)
	k.controller(ctx)
	k.rights(ctx)
	k.routers(ctx)
	k.resourceMetrics()
	k.releases(ctx)
	return k.findings, nil
}

// clusterCheck looks at one cluster.
type clusterCheck struct {
	subject
	options   CheckOptions
	config    *rest.Config
	live      ctrl.Client
	client    *cluster.Client
	namespace string // empty: all
	user      string // who asks
	account   string // user name of the controller; empty: not known
	asIs      bool   // the admission policy does not hold for the user
	findings  []Finding
}

// askIn bounds each question to the API server.
const askIn = 10 * time.Second

func newClusterCheck(c Cluster, all bool, o CheckOptions) (*clusterCheck, error) {
	config, namespace, err := c.connect()
	if err != nil {
		return nil, err
	}
	config.Timeout = askIn
	scheme, err := kubeScheme()
	if err != nil {
		return nil, err
	}
	k := &clusterCheck{options: o, config: config, namespace: namespace}
	if all {
		k.namespace = ""
	}
	k.subject = subject{"cluster", &k.findings}
	if ns, name, ok := strings.Cut(o.Account, "/"); ok {
		k.account = "system:serviceaccount:" + ns + ":" + name
	} else if o.Account != "" {
		return nil, fmt.Errorf("the controller's account is %q: expected NAMESPACE/NAME, such as haldane-system/haldane", o.Account)
	}
	if k.live, err = ctrl.New(config, ctrl.Options{Scheme: scheme}); err != nil {
		return nil, fmt.Errorf("connect to the cluster at %s: %w", config.Host, err)
	}
	k.client = cluster.New(k.live, k.live)
	return k, nil
}

// policySince is the first minor version of Kubernetes 1 that has the admission policy.
const policySince = 36

const belowPolicy = "upgrade, or install with --set admission.mode=none: Deployments of Releases then stay paused between runs, which Argo CD calls Suspended and helm --wait never ready"

// server reports whether the API server answers.
func (k *clusterCheck) server() bool {
	asked, err := discovery.NewDiscoveryClientForConfig(k.config)
	if err != nil {
		k.fail("API server", err.Error(), "see the kubeconfig")
		return false
	}
	v, err := asked.ServerVersion()
	if err != nil {
		k.fail("API server", fmt.Sprintf("%s does not answer: %v", k.config.Host, err), "try `kubectl version` with the same --kubeconfig and --context")
		return false
	}
	found := fmt.Sprintf("Kubernetes %s.%s at %s", v.Major, v.Minor, k.config.Host)
	minor, err := strconv.Atoi(strings.TrimRight(v.Minor, "+"))
	if err == nil && v.Major == "1" && minor < policySince {
		k.warn("API server", found+", which has no admission policy that changes what is written", belowPolicy)
		return true
	}
	k.ok("API server", found)
	return true
}

const install = "install Haldane (docs/kubernetes.md): `helm upgrade --install haldane deploy/helm/haldane --namespace haldane-system --create-namespace`, or `kubectl apply --server-side -f deploy/manifests/install.yaml`"

// definitions looks for the kinds Release and Run.
func (k *clusterCheck) definitions(ctx context.Context) {
	k.definition(ctx, "Release", crds.Releases)
	k.definition(ctx, "Run", crds.Runs)
}

func (k *clusterCheck) definition(ctx context.Context, kind string, text []byte) {
	check := "definition of " + kind
	var own unstructured.Unstructured
	if err := yaml.Unmarshal(text, &own.Object); err != nil {
		k.fail(check, err.Error(), "build this program again")
		return
	}
	have := &unstructured.Unstructured{}
	have.SetGroupVersionKind(own.GroupVersionKind())
	err := k.live.Get(ctx, ctrl.ObjectKey{Name: own.GetName()}, have)
	served, servedErr := k.client.Serves(v1alpha1.GroupVersion.WithKind(kind))
	switch {
	case apierrors.IsNotFound(err) || servedErr == nil && !served:
		k.fail(check, "the cluster does not know the kind "+kind, install)
	case apierrors.IsForbidden(err):
		k.warn(check, "it is served; whether it is that of this program's version is not known: "+err.Error(), "ask as somebody who may get customresourcedefinitions")
	case err != nil || servedErr != nil:
		k.fail(check, errors.Join(err, servedErr).Error(), "try it again")
	case !reflect.DeepEqual(schemaOf(have), schemaOf(&own)):
		k.warn(check, "it is that of another version than this program's ("+Version+")", install)
	default:
		k.ok(check, "it is that of this program's version")
	}
}

// schemaOf is what a definition says of the fields, with numbers of one type.
func schemaOf(u *unstructured.Unstructured) (out []any) {
	versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
	for _, v := range versions {
		if m, ok := v.(map[string]any); ok {
			out = append(out, plain(m["schema"]))
		}
	}
	return out
}

func plain(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range x {
			out[k] = plain(v)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, v := range x {
			out[i] = plain(v)
		}
		return out
	case int64:
		return float64(x)
	}
	return v
}

// exempted finds the controller's user name in the admission policy.
var exempted = regexp.MustCompile(`request\.userInfo\.username != '([^']+)'`)

// policy looks for the admission policy by which a changed template is held.
func (k *clusterCheck) policy(ctx context.Context) {
	const check = "admission policy"
	kind := admissionv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy")
	if served, err := k.client.Serves(kind); err != nil {
		k.fail(check, err.Error(), "try it again")
		return
	} else if !served {
		k.warn(check, "the API server serves no MutatingAdmissionPolicy of "+kind.Version, belowPolicy)
		return
	}
	var policies admissionv1.MutatingAdmissionPolicyList
	var bindings admissionv1.MutatingAdmissionPolicyBindingList
	for _, list := range []ctrl.ObjectList{&policies, &bindings} {
		if err := k.live.List(ctx, list); err != nil {
			k.warn(check, "it can not be seen whether it is installed: "+err.Error(), "ask as somebody who may list mutatingadmissionpolicies")
			return
		}
	}
	space := k.labels(ctx)
	for i := range policies.Items {
		if p := &policies.Items[i]; holds(p, space) {
			k.installed(check, p, bindings.Items)
			return
		}
	}
	k.fail(check, "it is not installed: a changed Deployment rolls out by itself, to everybody at once", install)
}

// labels of the namespace; nil: of all namespaces.
func (k *clusterCheck) labels(ctx context.Context) labels.Set {
	if k.namespace == "" {
		return nil
	}
	var ns corev1.Namespace
	if err := k.live.Get(ctx, ctrl.ObjectKey{Name: k.namespace}, &ns); err != nil {
		return labels.Set{corev1.LabelMetadataName: k.namespace}
	}
	return ns.Labels
}

// holds reports whether a policy is Haldane's and of a namespace.
func holds(p *admissionv1.MutatingAdmissionPolicy, space labels.Set) bool {
	ours := false
	for _, c := range p.Spec.MatchConditions {
		ours = ours || strings.Contains(c.Expression, "'"+cluster.ReleaseLabel+"' in oldObject.metadata.labels")
	}
	if !ours || space == nil || p.Spec.MatchConstraints == nil || p.Spec.MatchConstraints.NamespaceSelector == nil {
		return ours
	}
	selector, err := metav1.LabelSelectorAsSelector(p.Spec.MatchConstraints.NamespaceSelector)
	return err == nil && selector.Matches(space)
}

// installed compares a policy with that of this program's version.
func (k *clusterCheck) installed(check string, p *admissionv1.MutatingAdmissionPolicy, bindings []admissionv1.MutatingAdmissionPolicyBinding) {
	account := ""
	for _, c := range p.Spec.MatchConditions {
		if m := exempted.FindStringSubmatch(c.Expression); m != nil {
			account = m[1]
		}
	}
	if k.asIs = account == k.user; k.account == "" {
		k.account = account
	}
	bound := false
	for _, b := range bindings {
		bound = bound || b.Spec.PolicyName == p.Name
	}
	text, err := admission.Policy(account)
	var own admissionv1.MutatingAdmissionPolicy
	if err == nil {
		err = yaml.Unmarshal([]byte(strings.SplitN(string(text), "\n---", 2)[0]), &own)
	}
	switch {
	case !bound:
		k.fail(check, p.Name+" is there, but no MutatingAdmissionPolicyBinding puts it in force", install)
	case account != k.account:
		k.fail(check, fmt.Sprintf("%s lets %s change what it holds, and the controller is %s", p.Name, account, k.account), "install the policy for the controller's own account")
	case err != nil || !reflect.DeepEqual(own.Spec.MatchConditions, p.Spec.MatchConditions) || !reflect.DeepEqual(own.Spec.Mutations, p.Spec.Mutations):
		k.warn(check, p.Name+" is that of another version than this program's ("+Version+")", install)
	default:
		k.ok(check, fmt.Sprintf("%s pauses a Deployment in the write that changes its template, for all but %s", p.Name, account))
	}
}

// freshFor is how long ago a lease may have been renewed: some leaseDurations.
const freshFor = 15 * time.Second

// controller looks for one that leads.
func (k *clusterCheck) controller(ctx context.Context) {
	const check = "controller"
	space := k.space()
	if space == "" {
		k.warn(check, "it is not known where it runs", "name its account with --account NAMESPACE/NAME")
		return
	}
	var list coordinationv1.LeaseList
	if err := k.live.List(ctx, &list, ctrl.InNamespace(space)); err != nil {
		k.warn(check, "whether one works can not be seen: "+err.Error(), "ask as somebody who may list leases in namespace "+space)
		return
	}
	var newest *coordinationv1.Lease
	for i := range list.Items {
		l := &list.Items[i]
		if (l.Name == leaseName || strings.HasPrefix(l.Name, leaseName+"-")) && l.Spec.RenewTime != nil && l.Spec.HolderIdentity != nil &&
			(newest == nil || l.Spec.RenewTime.After(newest.Spec.RenewTime.Time)) {
			newest = l
		}
	}
	see := fmt.Sprintf("see `kubectl get pods --namespace %s` and their logs", space)
	switch {
	case newest == nil:
		k.warn(check, "none has a lease in namespace "+space+": none works, or one without --leader-elect does", see)
	case *newest.Spec.HolderIdentity == "" || time.Since(newest.Spec.RenewTime.Time) > freshFor:
		k.fail(check, fmt.Sprintf("none works: lease %s/%s was renewed last at %s", space, newest.Name, newest.Spec.RenewTime.UTC().Format(time.RFC3339)), see)
	default:
		k.ok(check, fmt.Sprintf("%s works (lease %s/%s)", *newest.Spec.HolderIdentity, space, newest.Name))
	}
}

// space is the namespace of the controller; empty: not known.
func (k *clusterCheck) space() string {
	rest, ok := strings.CutPrefix(k.account, "system:serviceaccount:")
	if !ok {
		return ""
	}
	ns, _, _ := strings.Cut(rest, ":")
	return ns
}

// podMetrics is the kind by which metrics.k8s.io tells what pods use.
var podMetrics = schema.GroupVersionKind{Group: "metrics.k8s.io", Version: "v1beta1", Kind: "PodMetrics"}

const withoutUsage = "install metrics-server, or leave out metrics whose source.process is cpu or memory"

func (k *clusterCheck) resourceMetrics() {
	switch served, err := k.client.Serves(podMetrics); {
	case err != nil:
		k.warn("metrics.k8s.io", err.Error(), withoutUsage)
	case !served:
		k.ok("metrics.k8s.io", "it is not served, so that no release can be judged by cpu or memory of its pods (source.process)")
	default:
		k.ok("metrics.k8s.io", "it is served")
	}
}
