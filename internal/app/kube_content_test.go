package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/internal/cluster"
)

const (
	shopConfig = `
apiVersion: v1
kind: ConfigMap
metadata: {name: hello}
data: {GREETING: %q}
`
	shopSecret = `
apiVersion: v1
kind: Secret
metadata: {name: hello}
stringData: {PASSWORD: "x"}
`
	contentRelease = `
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: hello}
spec:
  workload: {deployment: {name: hello, content: {configMaps: [hello], secrets: [hello]}}}
  traffic: {replicas: {}}
  strategy:
    canary: {steps: [{weight: 50, require: none, gates: [{person: true}]}]}
    rollbackWindow: 1h
    bake: 0s
`
)

// withRights lets the controller read ConfigMaps and Secrets of the name hello.
func (s *shop) withRights() {
	s.Helper()
	roles := s.Client.RbacV1().Roles(s.ns)
	role, err := roles.Get(s.Context(), "haldane", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps", "secrets"},
		ResourceNames: []string{"hello"}, Verbs: []string{"get", "list", "watch"}})
	if _, err := roles.Update(s.Context(), role, metav1.UpdateOptions{}); err != nil {
		s.Fatal(err)
	}
	s.Authorized(s.T, s.ns, "haldane", role.Rules[len(role.Rules)-1], true)
}

// runs reports which run a release is in, or was in last, and its phase.
func (s *shop) runIs(run, phase string) func() error {
	return func() error {
		st := s.release("hello").Status
		if st.Run == nil || st.Run.Name != run || st.Run.Phase != phase {
			return fmt.Errorf("%+v: %s", st.Run, st.Message)
		}
		return nil
	}
}

func (s *shop) allPods() (uids []string) {
	s.Helper()
	list, err := s.Client.CoreV1().Pods(s.ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	for _, p := range list.Items {
		uids = append(uids, string(p.UID))
	}
	slices.Sort(uids)
	return uids
}

func TestClusterReleasesTheContentOfConfigMaps(t *testing.T) {
	s := newShop(t)
	s.withRights()
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), fmt.Sprintf(shopConfig, "Hello"), shopSecret, contentRelease)
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	known := func() error {
		if d := s.deployment(); d.Annotations[cluster.ContentAnnotation] == "" || d.Spec.Template.Annotations[cluster.ContentAnnotation] != "" {
			return fmt.Errorf("annotations %v, of the template %v", d.Annotations, d.Spec.Template.Annotations)
		}
		return nil
	}
	s.until("the content is known, and starts no run", known)
	if err := s.runIs("hello-1", "Promoted")(); err != nil {
		t.Error(err)
	}
	first := s.allPods()

	// Another content is another version, through all steps.
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopConfig, "Hi"))
	s.until("a run begins", s.runIs("hello-2", "Progressing"))
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1")) // GitOps, which knows of no annotation
	s.annotate("hello", `{"haldane.dev/abort": "hello-2"}`)
	s.until("it is taken off", s.runIs("hello-2", "Aborted"))
	if d := s.deployment(); !d.Spec.Paused || d.Spec.Template.Annotations[cluster.ContentAnnotation] == "" {
		t.Errorf("paused %v, the template's annotations %v", d.Spec.Paused, d.Spec.Template.Annotations)
	}

	// The old content again: the pods that serve stay.
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopConfig, "Hello"))
	s.until("the template is the old one", known)
	s.until("the Deployment is given back", s.free)
	s.until("the pods that serve are those that did, and no others", func() error {
		if now := s.allPods(); !slices.Equal(first, now) {
			return fmt.Errorf("pods %v, then %v", first, now)
		}
		return nil
	})

	// One that is promoted is what serves; who goes back to the version before stays there.
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopConfig, "Good day"))
	s.until("the next run begins", s.runIs("hello-3", "Progressing"))
	s.annotate("hello", `{"haldane.dev/promote-full": "hello-3"}`)
	s.until("it is promoted", s.runIs("hello-3", "Promoted"))
	s.until("it serves", s.serves("hello", "v1"))
	if d := s.deployment(); d.Spec.Template.Annotations[cluster.ContentAnnotation] == "" {
		t.Error("the template does not stand for the content")
	}
	s.until("the Deployment is given back", s.free)
	served := s.allPods()
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1")) // and again nothing begins
	s.annotate("hello", `{"haldane.dev/rollback": ""}`)
	s.until("the version before serves", func() error {
		if err := s.runIs("hello-4", "Promoted")(); err != nil {
			return err
		}
		return known()
	})
	s.until("the Deployment is given back", s.free)
	if slices.Equal(served, s.allPods()) {
		t.Error("the pods are still those of the version that was left")
	}
}

func TestClusterSaysWhichContentIsMissing(t *testing.T) {
	s := newShop(t)
	s.mayLack = true
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), contentRelease)
	s.controller()
	s.until("the missing right is told", s.stalled("hello", "ContentNotFound", "ConfigMap hello can not be read: let the controller get, list and watch it"))
	s.withRights()
	s.until("the missing ConfigMap is told", s.stalled("hello", "ContentNotFound", "There is no ConfigMap hello in namespace "+s.ns+": create it"))
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopConfig, "Hello"))
	s.until("the missing Secret is told", s.stalled("hello", "ContentNotFound", "There is no Secret hello"))
	s.Cluster.Apply(t, s.ns, shopSecret)
	s.until("v1 serves", s.serves("hello", "v1"))

	if err := s.Client.CoreV1().ConfigMaps(s.ns).Delete(t.Context(), "hello", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until("the deleted ConfigMap is told", s.stalled("hello", "ContentNotFound", "There is no ConfigMap hello"))
	if st := s.release("hello").Status; st.Run.Name != "hello-1" || st.Stable == nil || st.Stable.Ready != 2 {
		t.Errorf("it started a run: %+v", st.Run)
	}
	rel := s.release("hello")
	if err := s.live.Delete(t.Context(), &rel); err != nil {
		t.Fatal(err)
	}
	s.until("the Deployment is the user's", func() error {
		if d := s.deployment(); d.Labels[cluster.ReleaseLabel] != "" || d.Annotations[cluster.ContentAnnotation] != "" {
			return errors.New("it is still Haldane's")
		}
		return nil
	})
}
