package replicas

import (
	"context"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic"
)

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "hello"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "hello", Image: image}}}}
}

func set(image string, ready int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: image, Labels: map[string]string{"app": "hello"}},
		Spec: appsv1.ReplicaSetSpec{Template: template(image)}, Status: appsv1.ReplicaSetStatus{ReadyReplicas: ready}}
}

// A share is in force once its version has a ready pod; nothing keeps a second
// version from being started.
func TestShareFollowsInstances(t *testing.T) {
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "hello"}}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "hello"}, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template("v1")}}
	v2 := set("v2", 0)
	api := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(d, set("v1", 3), v2).Build()
	r := New(cluster.New(api, api))
	rel := release.Release{Name: "ns/hello", Version: release.Version{Workload: release.Workload{Deployment: &release.Deployment{Name: "hello"}}}}
	a, b := cluster.TemplateID(template("v1")), cluster.TemplateID(template("v2"))
	observe := func(pending bool, shares int) {
		t.Helper()
		o, err := r.Observe(context.Background(), rel)
		if err != nil || !o.Known || o.Open || o.Pending != pending || len(o.Split.Shares) != shares {
			t.Errorf("observed %+v (%v): want pending %v and %d shares", o, err, pending, shares)
		}
	}
	apply := func(s release.Split) error {
		return r.Apply(context.Background(), traffic.Target{Release: rel, Split: s})
	}
	observe(false, 0)
	split := release.Split{Salt: "r-1", Rest: a, Shares: []release.Share{{Version: a, Weight: 7500}, {Version: b, Weight: 2500}}}
	if err := apply(split); err != nil {
		t.Fatal(err)
	}
	observe(true, 2)
	v2.Status.ReadyReplicas = 1
	if err := api.Status().Update(context.Background(), v2); err != nil {
		t.Fatal(err)
	}
	observe(false, 2)
	if o, _ := r.Observe(context.Background(), rel); o.Of(a) != 7500 || o.Of(b) != 2500 {
		t.Errorf("3 pods and 1: the shares are really %+v", o.Real)
	}
	for _, bad := range []release.Split{
		{Rest: a, Shares: []release.Share{{Version: a, Weight: 1}}},
		{Rest: a, Shares: split.Shares, Mirror: &release.Mirror{Version: b, Share: 1}},
		{Rest: a, Shares: split.Shares, Matched: []release.Matched{{Version: b, Match: release.Match{Path: "/beta"}}}},
	} {
		if err := apply(bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	observe(false, 2)
	if err := r.Remove(context.Background(), rel); err != nil {
		t.Fatal(err)
	}
	observe(false, 0)
}
