package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic"
)

// releases looks at each of those that were asked for.
func (k *clusterCheck) releases(ctx context.Context) {
	var list v1alpha1.ReleaseList
	if err := k.live.List(ctx, &list, ctrl.InNamespace(k.namespace)); err != nil {
		if k.options.Release == nil {
			k.fail("releases", "they can not be listed: "+err.Error(), "see the definitions and your rights above")
			return
		}
	}
	var wanted []v1alpha1.Release
	if one := k.options.Release; one != nil {
		one.Namespace = cmp.Or(one.Namespace, k.namespace, "default")
		wanted = []v1alpha1.Release{*one}
	} else {
		named := slices.Clone(list.Items)
		for i := range named {
			if k.namespace == "" {
				named[i].Name = named[i].Namespace + "/" + named[i].Name
			}
		}
		wanted = chosen(k.subject, named, k.options.Names)
	}
	for _, obj := range wanted {
		about := obj.Name
		obj.Name = obj.Name[strings.Index(obj.Name, "/")+1:]
		r := releaseCheck{clusterCheck: k, subject: subject{"release " + about, &k.findings}, obj: obj, all: list.Items}
		r.run(ctx)
	}
}

// releaseCheck looks at one Release.
type releaseCheck struct {
	*clusterCheck
	subject
	obj        v1alpha1.Release
	all        []v1alpha1.Release // of the namespace
	rel        release.Release
	deployment *appsv1.Deployment // nil: there is none
}

func (r *releaseCheck) run(ctx context.Context) {
	key := ctrl.ObjectKeyFromObject(&r.obj)
	doc, err := json.Marshal(r.obj)
	if err == nil {
		r.rel, err = declared(cluster.Name(key), doc)
	}
	if err != nil {
		r.fail("spec", inOneLine(err), "mend that; `haldane validate -f` tells the place in the file")
		return
	}
	r.ok("spec", "it is valid")
	if r.options.Release == nil {
		r.seen()
	}
	if r.workload(ctx) {
		r.held(ctx)
		r.content(ctx)
		r.service(ctx)
	}
	r.route(ctx)
	r.metrics(ctx)
}

func (r *releaseCheck) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: r.obj.Namespace, Name: name}
}

// seen tells what the controller says of it.
func (r *releaseCheck) seen() {
	if at := r.obj.Status.ObservedGeneration; at < r.obj.Generation {
		r.fail("state", fmt.Sprintf("no controller has taken in generation %d of it", r.obj.Generation),
			"see that a controller works, in this namespace or in all, and that its --selector selects the Release")
		return
	}
	checkConditions(r.subject, r.obj)
}

// workload reports whether there is a Deployment.
func (r *releaseCheck) workload(ctx context.Context) bool {
	const check = "Deployment"
	key := r.key(r.rel.Version.Workload.Deployment.Name)
	var d appsv1.Deployment
	switch err := r.live.Get(ctx, key, &d); {
	case apierrors.IsNotFound(err):
		r.fail(check, fmt.Sprintf("there is no Deployment %s in namespace %s", key.Name, key.Namespace), "create it, or name another in spec.workload.deployment.name")
		return false
	case err != nil:
		r.warn(check, err.Error(), "ask as somebody who may get deployments")
		return false
	}
	r.deployment = &d
	r.rel.Version.ID, r.rel.Version.Name = cluster.TemplateID(d.Spec.Template), cluster.VersionName(d.Spec.Template)
	if other := r.other(); other != "" {
		r.fail(check, fmt.Sprintf("Release %s works with Deployment %s, too", other, d.Name), "delete one of the two, or name another Deployment")
		return true
	}
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	found := fmt.Sprintf("%d of %d pods of %s are ready", d.Status.ReadyReplicas, want, d.Name)
	switch {
	case d.Status.ReadyReplicas == 0:
		r.fail(check, found, "see `kubectl describe deployment "+d.Name+"`: a run needs a version that serves")
	case d.Status.ReadyReplicas < want:
		r.warn(check, found, "see `kubectl describe deployment "+d.Name+"`")
	default:
		r.ok(check, found)
	}
	return true
}

// other is another Release of the same Deployment; empty: there is none.
func (r *releaseCheck) other() string {
	for _, o := range r.all {
		if d := o.Spec.Workload.Deployment; d != nil && o.Namespace == r.obj.Namespace && o.Name != r.obj.Name && d.Name == r.deployment.Name {
			return o.Name
		}
	}
	return ""
}

// tried is a change of a template that the API server is asked about only.
var tried = []byte(`{"spec":{"template":{"metadata":{"annotations":{"haldane.dev/check":"tried"}}}}}`)

// held asks the API server whether a changed template would be held.
func (r *releaseCheck) held(ctx context.Context) {
	const check = "hold"
	if r.deployment.Labels[cluster.ReleaseLabel] == "" || r.asIs {
		return // the controller has not taken it over, or may change what it likes
	}
	d := r.deployment.DeepCopy()
	err := r.live.Patch(ctx, d, ctrl.RawPatch(types.MergePatchType, tried), ctrl.DryRunAll)
	switch {
	case apierrors.IsForbidden(err):
		r.warn(check, "whether a changed template is held could not be tried: "+err.Error(), "ask as somebody who may patch deployments")
	case err != nil:
		r.warn(check, err.Error(), "see why nobody can change the Deployment")
	case !d.Spec.Paused:
		r.fail(check, "a changed template would roll out by itself, to everybody at once", "see the admission policy above")
	default:
		r.ok(check, "a changed template is held in the write that changes it")
	}
}

// content looks for the ConfigMaps and Secrets that belong to the version, and for
// the controller's right to read them.
func (r *releaseCheck) content(ctx context.Context) {
	for _, p := range contentParts(r.rel.Version.Workload.Deployment.Content) {
		check, resource, obj := p.kind+" "+p.name, "configmaps", ctrl.Object(&corev1.ConfigMap{})
		if p.kind == "Secret" {
			resource, obj = "secrets", &corev1.Secret{}
		}
		err := r.live.Get(ctx, r.key(p.name), obj)
		switch {
		case apierrors.IsNotFound(err):
			r.fail(check, "it does not exist in namespace "+r.obj.Namespace, "create it, or take it out of spec.workload.deployment.content")
			continue
		case err != nil:
			r.warn(check, "whether it is there can not be seen: "+err.Error(), "ask as somebody who may get "+resource)
			continue
		}
		var needs []authorizationv1.ResourceAttributes
		for _, verb := range []string{"get", "list", "watch"} {
			needs = append(needs, authorizationv1.ResourceAttributes{Namespace: r.obj.Namespace, Resource: resource, Name: p.name, Verb: verb})
		}
		var lacks []string
		if r.account != "" {
			lacks, err = r.review(ctx, r.account, needs)
		}
		switch {
		case err != nil:
			r.warn(check, "whether the controller may read it is not known: "+err.Error(), "ask as somebody who may create subjectaccessreviews")
		case len(lacks) > 0:
			r.fail(check, fmt.Sprintf("%s may not %s", r.account, strings.Join(lacks, ", ")), "let it: rbac.configMaps and rbac.secrets of the chart")
		default:
			r.ok(check, "it is there")
		}
	}
}

// serviceOf is the user's Service; empty: the release names none.
func serviceOf(t release.Traffic) string {
	switch {
	case t.GatewayAPI != nil:
		return t.GatewayAPI.Service
	case t.Istio != nil:
		return t.Istio.Service
	case t.Linkerd != nil:
		return t.Linkerd.Service
	case t.NGINX != nil:
		return t.NGINX.Service
	case t.Replicas != nil:
		return t.Replicas.Service
	}
	return ""
}

// service looks at whom the user's Service reaches.
func (r *releaseCheck) service(ctx context.Context) {
	name := serviceOf(r.rel.Traffic)
	if name == "" {
		return
	}
	const check = "Service"
	var svc corev1.Service
	switch err := r.live.Get(ctx, r.key(name), &svc); {
	case apierrors.IsNotFound(err):
		r.fail(check, fmt.Sprintf("there is no Service %s in namespace %s", name, r.obj.Namespace), "create it, or name another in spec.traffic")
		return
	case err != nil:
		r.warn(check, err.Error(), "ask as somebody who may get services")
		return
	}
	pods := labels.Set(r.deployment.Spec.Template.Labels)
	switch {
	case len(svc.Spec.Selector) == 0:
		r.fail(check, "Service "+name+" has no selector, so that its versions can not be told apart", "give it one that matches the pods of Deployment "+r.deployment.Name)
		return
	case !selects(svc.Spec.Selector, pods):
		r.fail(check, fmt.Sprintf("Service %s selects %s, and the pods of Deployment %s are %s", name, labels.Set(svc.Spec.Selector), r.deployment.Name, pods), "give it a selector that matches them")
		return
	}
	var slices discoveryv1.EndpointSliceList
	if err := r.live.List(ctx, &slices, ctrl.InNamespace(r.obj.Namespace), ctrl.MatchingLabels{discoveryv1.LabelServiceName: name}); err != nil {
		r.warn(check, "whom it reaches can not be seen: "+err.Error(), "ask as somebody who may list endpointslices")
		return
	}
	n := 0
	for _, s := range slices.Items {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				n++
			}
		}
	}
	if n == 0 {
		r.fail(check, "Service "+name+" reaches no ready pod", "see that pods are ready and that its port is one of theirs")
		return
	}
	r.ok(check, fmt.Sprintf("%s reaches %d ready pods", name, n))
}

// selects reports whether a Service's selector matches pods. In a run without a
// router it has the hash of one version's, too.
func selects(selector map[string]string, pods labels.Set) bool {
	for k, v := range selector {
		if k != appsv1.DefaultDeploymentUniqueLabelKey && pods[k] != v {
			return false
		}
	}
	return true
}

// route asks the release's router whether it could split its requests.
func (r *releaseCheck) route(ctx context.Context) {
	field := trafficField(r.rel.Traffic)
	router, err := clusterRouters(r.client).of(r.rel)
	if err != nil {
		r.fail("route", err.Error(), "choose another router in spec.traffic")
		return
	}
	prober, ok := router.(traffic.Prober)
	if !ok {
		r.ok("route", field+": the share of the requests follows the number of pods")
		return
	}
	if err := prober.Probe(ctx, r.rel, r.mirrored()); err != nil {
		r.fail("route", err.Error(), "a run waits at 0 % until that is mended")
		return
	}
	r.ok("route", field+": its objects can be split between two versions")
}

// mirrored is the greatest share of requests that the plan copies.
func (r *releaseCheck) mirrored() (most release.Weight) {
	for _, s := range r.rel.Strategy.Compile(r.rel.Analysis, max(r.rel.Replicas, 1)).Steps {
		most = max(most, s.Mirror)
	}
	return most
}
