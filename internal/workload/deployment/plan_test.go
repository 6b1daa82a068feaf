package deployment

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
)

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "hello"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
	}
}

func version(image string) release.Version {
	t := template(image)
	return release.Version{ID: cluster.TemplateID(t), Name: image, Workload: release.Workload{Deployment: &release.Deployment{Name: "hello"}}}
}

// world describes a state in words: "v2 held; v1=3 v2=0; canary v2=1/1".
type world struct {
	template string
	held     bool
	full     int32
	sets     map[string]int32 // of the user's Deployment
	orphans  map[string]int32
	passing  bool
	canary   string // "": there is no second Deployment
	count    int32
	ready    int32
}

func (w world) state() *state {
	s := &state{key: types.NamespacedName{Namespace: "shop", Name: "hello"}, passing: w.passing}
	s.user = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{UID: "user", Labels: map[string]string{cluster.ReleaseLabel: "hello"}},
		Spec: appsv1.DeploymentSpec{Replicas: &w.full, Template: template(w.template), Paused: w.held}}
	if w.held {
		s.user.Annotations = map[string]string{cluster.HoldAnnotation: "x"}
	}
	add := func(image string, n int32, owner types.UID) {
		t := template(image)
		t.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = "h" + image
		s.sets = append(s.sets, set{owner: owner, version: cluster.TemplateID(t), ReplicaSet: &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{UID: types.UID(fmt.Sprint(owner, image))},
			Spec:       appsv1.ReplicaSetSpec{Replicas: &n, Template: t},
		}})
	}
	for image, n := range w.sets {
		add(image, n, "user")
	}
	for image, n := range w.orphans {
		add(image, n, "")
	}
	if w.canary != "" {
		s.canary = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{UID: "canary"},
			Spec: appsv1.DeploymentSpec{Replicas: &w.count, Template: template(w.canary)}, Status: appsv1.DeploymentStatus{AvailableReplicas: w.ready}}
		add(w.canary, w.count, "canary")
	}
	return s
}

// TestPlan: what is written in every state of a run's life.
func TestPlan(t *testing.T) {
	for name, c := range map[string]struct {
		world world
		want  map[string]int
		rest  bool // PauseAtRest
		plan  string
	}{
		"at rest nothing is written": {
			world{template: "v1", full: 3, sets: map[string]int32{"v1": 3}}, map[string]int{"v1": 3}, false, ""},
		"at rest without the policy it is paused": {
			world{template: "v1", full: 3, sets: map[string]int32{"v1": 3}}, map[string]int{"v1": 3}, true, "pause"},
		"a changed template is held before anything starts": {
			world{template: "v2", full: 3, sets: map[string]int32{"v1": 3}}, map[string]int{"v1": 3}, false, "pause"},
		"a template that rolled out unheld is taken back": {
			world{template: "v2", full: 3, sets: map[string]int32{"v1": 3, "v2": 1}}, map[string]int{"v1": 3, "v2": 1}, false, "pause, take back pods that are not to run there"},
		"and so it is after a rollback": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 2, "v2": 2}}, map[string]int{"v1": 3}, false, "take back pods that are not to run there"},
		"one that was handed over is not": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 1, "v2": 3}}, map[string]int{"v1": 3, "v2": 3}, false, ""},
		"nor is the first version of all": {
			world{template: "v2", full: 3, sets: map[string]int32{"v1": 2, "v2": 2}}, map[string]int{"v2": 3}, false, ""},
		"the template changed before a version served: it rolls by itself": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 3}}, map[string]int{"v2": 3}, false, "un-pause"},
		"and so it does without the policy": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 3}}, map[string]int{"v2": 3}, true, "un-pause"},
		"while it rolls it is left alone": {
			world{template: "v2", full: 3, sets: map[string]int32{"v1": 2, "v2": 2}}, map[string]int{"v2": 3}, true, ""},
		"once it has rolled it is paused": {
			world{template: "v2", full: 3, sets: map[string]int32{"v1": 0, "v2": 3}}, map[string]int{"v2": 3}, true, "pause"},
		"a new Deployment may make its ReplicaSet": {
			world{template: "v1", full: 3}, map[string]int{"v1": 3}, true, ""},
		"one that was paused before it had any may too": {
			world{template: "v1", held: true, full: 3}, map[string]int{"v1": 3}, true, "un-pause"},
		"scaled by the user it stays paused": {
			world{template: "v1", held: true, full: 5, sets: map[string]int32{"v1": 3}}, map[string]int{"v1": 3}, true, ""},
		"the new version starts beside": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 3}}, map[string]int{"v1": 3, "v2": 1}, false, "start the second Deployment"},
		"its instances follow": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 3}, canary: "v2", count: 1, ready: 1}, map[string]int{"v1": 3, "v2": 3}, false, "scale the second Deployment"},
		"all as wanted": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 3}, canary: "v2", count: 3, ready: 3}, map[string]int{"v1": 3, "v2": 3}, false, ""},
		"promoted: the pods are handed over": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 3}, canary: "v2", count: 3, ready: 3}, map[string]int{"v2": 3}, false, "hand over the pods of v2"},
		"promoted, and scaled by the user meanwhile": {
			world{template: "v2", held: true, full: 5, sets: map[string]int32{"v1": 5}, canary: "v2", count: 3, ready: 3}, map[string]int{"v2": 5}, false, "scale the second Deployment"},
		"promoted, not all of them available yet": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 3}, canary: "v2", count: 3, ready: 2}, map[string]int{"v2": 3}, false, ""},
		"handed over, not adopted yet: it stays paused": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 3}, orphans: map[string]int32{"v2": 3}}, map[string]int{"v2": 3}, false, ""},
		"handed over, which the cache knows of the second Deployment only": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 3}, passing: true}, map[string]int{"v2": 3}, false, ""},
		"adopted, the old one still there": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 3, "v2": 3}}, map[string]int{"v2": 3}, false, ""},
		"adopted: an ordinary Deployment again": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 0, "v2": 3}}, map[string]int{"v2": 3}, false, "un-pause"},
		"rolled back: it stays paused, the second goes": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 3}, canary: "v2", count: 1}, map[string]int{"v1": 3}, false, "take down the second Deployment"},
		"the user went back: it rolls by itself again": {
			world{template: "v1", held: true, full: 3, sets: map[string]int32{"v1": 3}}, map[string]int{"v1": 3}, false, "un-pause"},
		"a third template: the second's Deployment makes room": {
			world{template: "v3", held: true, full: 3, sets: map[string]int32{"v1": 3}, canary: "v2", count: 1}, map[string]int{"v1": 3, "v3": 1}, false, "take down the second Deployment"},
		"a third template, while the second drains": {
			world{template: "v3", held: true, full: 3, sets: map[string]int32{"v1": 3}, canary: "v2", count: 1, ready: 1}, map[string]int{"v1": 3, "v2": 1, "v3": 1}, false, ""},
		"somebody resumed it midway": {
			world{template: "v2", held: false, full: 3, sets: map[string]int32{"v1": 3}, canary: "v2", count: 1, ready: 1}, map[string]int{"v1": 3, "v2": 1}, false, "pause"},
		"a person goes back to an earlier version": {
			world{template: "v2", full: 3, sets: map[string]int32{"v1": 0, "v2": 3}}, map[string]int{"v1": 3, "v2": 3}, false, "pause, start the second Deployment"},
		"and it is adopted under its old template": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v1": 0, "v2": 3}, canary: "v1", count: 3, ready: 3}, map[string]int{"v1": 3}, false,
			"go back to the template of v1, forget the empty ReplicaSet of v1, hand over the pods of v1"},
		"an earlier version that is not kept": {
			world{template: "v2", held: true, full: 3, sets: map[string]int32{"v2": 3}}, map[string]int{"v0": 3, "v2": 3}, false, "start version v0"},
		"the user wants no instance at all": {
			world{template: "v2", held: true, full: 0, sets: map[string]int32{"v1": 0}}, map[string]int{"v1": 1, "v2": 1}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var want []rollout.Group
			for _, image := range []string{"v0", "v1", "v2", "v3"} {
				if n, ok := c.want[image]; ok {
					want = append(want, rollout.Group{Version: version(image), Replicas: n})
				}
			}
			var got []string
			for _, a := range plan(c.world.state(), want, Options{PauseAtRest: c.rest}) {
				got = append(got, a.what)
			}
			if s := strings.Join(got, ", "); s != c.plan {
				t.Errorf("plans %q, want %q", s, c.plan)
			}
		})
	}
}
