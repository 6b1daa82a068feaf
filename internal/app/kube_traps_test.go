package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/internal/status"
	"github.com/haldane-project/haldane/test/cluster"
)

// hindrance is what keeps a run from going on until somebody mends it.
type hindrance struct {
	name, reason, text, remedy string
	set, clear                 func(s *shop)
}

var hindrances = []hindrance{
	{
		name: "a right that the controller lacks", reason: accessDenied, text: "cannot create resource \"deployments\" in API group \"apps\"",
		remedy: "give the controller's account that right",
		set:    func(s *shop) { s.rights("create", false) },
		clear:  func(s *shop) { s.rights("create", true) },
	},
	{
		name: "an admission policy that refuses the write", reason: writeRefused, text: "denied request: no second Deployment here",
		remedy: "exempt what the controller's account writes",
		set: func(s *shop) {
			s.Cluster.Apply(s.T, "", fmt.Sprintf(refusal, s.ns))
			s.until("the policy refuses", func() error {
				second := s.deployment()
				second.ObjectMeta = metav1.ObjectMeta{Name: "hello-canary"}
				_, err := s.Client.AppsV1().Deployments(s.ns).Create(context.Background(), second, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err == nil {
					err = errors.New("it would be taken")
				} else if strings.Contains(err.Error(), "no second Deployment") {
					err = nil
				}
				return err
			})
		},
		clear: func(s *shop) {
			policies := s.Client.AdmissionregistrationV1()
			if err := errors.Join(policies.ValidatingAdmissionPolicyBindings().Delete(s.Context(), "refuse-"+s.ns, metav1.DeleteOptions{}),
				policies.ValidatingAdmissionPolicies().Delete(s.Context(), "refuse-"+s.ns, metav1.DeleteOptions{})); err != nil {
				s.Fatal(err)
			}
		},
	},
	{
		name: "a quota that is used up", reason: status.WorkloadNotReady, text: "exceeded quota: full, requested: pods=1, used: pods=2, limited: pods=2",
		remedy: "raise the quota",
		set: func(s *shop) {
			quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "full"}, Spec: corev1.ResourceQuotaSpec{
				Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("2")}}}
			if _, err := s.Client.CoreV1().ResourceQuotas(s.ns).Create(s.Context(), quota, metav1.CreateOptions{}); err != nil {
				s.Fatal(err)
			}
			s.until("the quota counts", func() error {
				q, err := s.Client.CoreV1().ResourceQuotas(s.ns).Get(context.Background(), "full", metav1.GetOptions{})
				if used := q.Status.Used[corev1.ResourcePods]; err == nil && used.Value() != 2 {
					err = fmt.Errorf("%d pods", used.Value())
				}
				return err
			})
		},
		clear: func(s *shop) {
			if err := s.Client.CoreV1().ResourceQuotas(s.ns).Delete(s.Context(), "full", metav1.DeleteOptions{}); err != nil {
				s.Fatal(err)
			}
		},
	},
}

const refusal = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: refuse-%[1]s}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]
  validations: [{expression: "object.metadata.name != 'hello-canary'", message: no second Deployment here}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: refuse-%[1]s}
spec: {policyName: refuse-%[1]s, validationActions: [Deny]}
`

// halfRelease stays at half of the traffic until a person promotes.
var halfRelease = strings.Replace(fmt.Sprintf(shopRelease, "hello"), "require: none", "require: none, hold: 10m", 1)

// TestClusterHinderedRunSaysWhyAndGoesOn: each hindrance is a condition with a
// reason and a remedy, the old version keeps the traffic and its pods, and once
// it is mended the same run goes on.
func TestClusterHinderedRunSaysWhyAndGoesOn(t *testing.T) {
	s := newShop(t)
	s.evidence, s.mayLack = newScript(), true
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), halfRelease)
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	for i, h := range hindrances {
		old, next := fmt.Sprintf("v%d", i+1), fmt.Sprintf("v%d", i+2)
		pods := s.podUIDs("hello:" + old)
		h.set(s)
		s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, next))
		s.until(h.name+" is told", s.hindered("hello", h.reason, h.text, h.remedy))
		st := s.release("hello").Status
		if w := cmp.Or(st.Weight, "0%"); w != "0%" || st.Stable.Name != old || !slices.Equal(s.podUIDs("hello:"+old), pods) {
			t.Errorf("%s: %s has %s of the traffic, stable is %s with pods %v, before %v", h.name, next, w, st.Stable.Name, s.podUIDs("hello:"+old), pods)
		}
		run := st.Run.Name
		h.clear(s)
		s.until(next+" goes on", s.weighs("hello", "50%"))
		if now := s.release("hello").Status.Run.Name; now != run {
			t.Errorf("%s: run %s became %s", h.name, run, now)
		}
		s.annotate("hello", fmt.Sprintf(`{"haldane.dev/promote-full": %q}`, run))
		s.until(next+" serves", s.serves("hello", next))
		if c := meta.FindStatusCondition(s.release("hello").Status.Conditions, "Ready"); c.Reason != "Idle" || strings.Contains(c.Message, "trouble") {
			t.Errorf("%s: it is told still: %+v", h.name, c)
		}
	}
}

// hindered reports whether the run's condition has a reason, a text and a remedy.
func (s *shop) hindered(name, reason, text, remedy string) func() error {
	return func() error {
		c := meta.FindStatusCondition(s.release(name).Status.Conditions, "Reconciling")
		if c == nil || c.Status != metav1.ConditionTrue || c.Reason != reason || !strings.Contains(c.Message, text) || !strings.Contains(c.Message, remedy) {
			return fmt.Errorf("the condition: %+v", c)
		}
		return nil
	}
}

// rights gives the controller a verb on Deployments, or takes it away.
func (s *shop) rights(verb string, given bool) {
	s.Helper()
	roles := s.Client.RbacV1().Roles(s.ns)
	role, err := roles.Get(s.Context(), "haldane", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	i := slices.IndexFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "deployments") })
	verbs := slices.DeleteFunc(role.Rules[i].Verbs, func(v string) bool { return v == verb })
	if given {
		verbs = append(verbs, verb)
	}
	role.Rules[i].Verbs = verbs
	if _, err := roles.Update(s.Context(), role, metav1.UpdateOptions{}); err != nil {
		s.Fatal(err)
	}
	s.Authorized(s.T, s.ns, "haldane", rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{verb}}, given)
}

// TestClusterOthersWriteTheDeployment: an applier that owns spec.paused and says
// false, one that resumes, one that pauses, and edits of what is no version.
func TestClusterOthersWriteTheDeployment(t *testing.T) {
	s := newShop(t)
	s.evidence = newScript()
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), halfRelease)
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	first := s.podUIDs("hello:v1")

	unpaused := strings.Replace(fmt.Sprintf(shopDeployment, "v2"), "replicas: 2", "replicas: 2\n  paused: false", 1)
	for range 3 { // a delivery tool that heals what drifts
		s.Cluster.Apply(t, s.ns, unpaused)
		if d := s.deployment(); !d.Spec.Paused {
			t.Fatal("an applier let the new template roll out")
		}
	}
	s.until("v2 has half of the traffic", s.weighs("hello", "50%"))
	s.Cluster.Apply(t, s.ns, unpaused)
	s.patchDeployment("hello", `{"spec":{"paused":null}}`)
	s.patchDeployment("hello", `{"spec":{"paused":true}}`)
	if d := s.deployment(); !d.Spec.Paused {
		t.Error("somebody resumed it")
	}
	s.patchDeployment("hello", `{"metadata":{"annotations":{"team":"blue"}},"spec":{"replicas":4}}`)
	s.until("both versions follow the count", func() error {
		if a, b := len(s.podUIDs("hello:v1")), len(s.podUIDs("hello:v2")); a != 4 || b != 4 { // without a router half of the traffic is half of the pods
			return fmt.Errorf("%d of v1, %d of v2", a, b)
		}
		return nil
	})
	second, err := s.Client.AppsV1().Deployments(s.ns).Get(t.Context(), "hello-canary", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.patchDeployment("hello-canary", `{"spec":{"replicas":1}}`)
	s.until("the second Deployment has its count again", func() error {
		d, err := s.Client.AppsV1().Deployments(s.ns).Get(t.Context(), "hello-canary", metav1.GetOptions{})
		if err != nil || d.Generation < second.Generation+2 || *d.Spec.Replicas != 4 {
			return fmt.Errorf("it is not written yet: %w", err)
		}
		return s.instances("hello:v2", 4)()
	})
	for _, uid := range first {
		if !slices.Contains(s.podUIDs("hello:v1"), uid) {
			t.Errorf("pod %s of v1 is gone", uid)
		}
	}
	s.annotate("hello", `{"haldane.dev/promote-full": "hello-2"}`)
	s.until("v2 serves", s.serves("hello", "v2"))
	s.until("the Deployment is free", s.free)
	s.until("it has its pods", s.instances("hello:v2", 4))
	if d := s.deployment(); d.Annotations["team"] != "blue" || *d.Spec.Replicas != 4 {
		t.Errorf("what others wrote was lost: annotations %v, %d replicas", d.Annotations, *d.Spec.Replicas)
	}
}

// TestClusterThirdTemplateAndDeletionMidway: the third version begins its own run
// once the second's traffic is off, and what is deleted midway leaves nothing.
func TestClusterThirdTemplateAndDeletionMidway(t *testing.T) {
	s := newShop(t)
	s.evidence = newScript()
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), halfRelease)
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	first := s.podUIDs("hello:v1")
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("v2 has half of the traffic", s.weighs("hello", "50%"))
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v3"))
	s.until("v3 has half of the traffic in a run of its own", func() error {
		st := s.release("hello").Status
		if st.Run.Name != "hello-3" || st.Run.To != "v3" || st.Run.From != "v1" || st.Weight != "50%" {
			return fmt.Errorf("%+v %s", st.Run, st.Weight)
		}
		return nil
	})
	s.until("v2 is gone", func() error {
		if n := len(s.podUIDs("hello:v2")); n > 0 {
			return fmt.Errorf("%d pods", n)
		}
		return nil
	})
	if now := s.podUIDs("hello:v1"); !slices.Equal(now, first) {
		t.Errorf("pods of v1 are %v, they were %v", now, first)
	}
	rel := s.release("hello")
	if err := s.live.Delete(t.Context(), &rel); err != nil {
		t.Fatal(err)
	}
	s.until("the Release is gone", func() error {
		if rel := s.release("hello"); rel.Name != "" {
			return fmt.Errorf("%s: %s", rel.Status.Phase, rel.Status.Message)
		}
		return nil
	})
	d := s.deployment()
	if d.Spec.Paused || d.Labels["haldane.dev/release"] != "" || d.Annotations["haldane.dev/hold"] != "" {
		t.Errorf("it keeps paused %v, labels %v, annotations %v", d.Spec.Paused, d.Labels, d.Annotations)
	}
	s.until("the Deployment rolls out what it asks for by itself", func() error {
		if a, c := len(s.podUIDs("hello:v1")), len(s.podUIDs("hello:v3")); a != 0 || c != 2 || s.free() != nil {
			return fmt.Errorf("%d of v1, %d of v3", a, c)
		}
		return nil
	})
	if list, err := s.Client.AppsV1().Deployments(s.ns).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 1 {
		t.Errorf("%d Deployments are left: %v", len(list.Items), err)
	}
}

// TestClusterNodeLost: pods whose node is lost are not ready any more. A new
// version without any gets no traffic; the old one keeps it.
func TestClusterNodeLost(t *testing.T) {
	s := newShop(t)
	s.evidence = newScript()
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), halfRelease)
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("v2 has half of the traffic", s.weighs("hello", "50%"))
	s.lose("hello:v2")
	s.until("v2 has lost its traffic, and why is told", func() error {
		st := s.release("hello").Status
		if w := cmp.Or(st.Weight, "0%"); w != "0%" || !strings.Contains(st.Message, "none of its instances is ready while it has 50% of the traffic") {
			return fmt.Errorf("%s %s: %s", st.Phase, st.Weight, st.Message)
		}
		return nil
	})
	t.Log(s.release("hello").Status.Message)
	if st := s.release("hello").Status; st.Stable.Name != "v1" || st.Stable.Ready != 2 {
		t.Errorf("stable is %+v", st.Stable)
	}
}

// lose takes the node of an image's pods away, as the node controller tells it.
func (s *shop) lose(image string) {
	s.lost.Store(&image)
	s.kubelet.Refresh()
}

// pod is what the kubelet of the shop says of a pod.
func (s *shop) pod(p *corev1.Pod) cluster.PodState {
	if lost := s.lost.Load(); lost != nil && p.Spec.Containers[0].Image == *lost {
		return cluster.PodState{Running: true}
	}
	return cluster.PodState{Ready: true}
}

// patchDeployment changes a Deployment as anybody does.
func (s *shop) patchDeployment(name, part string) {
	s.Helper()
	if _, err := s.Client.AppsV1().Deployments(s.ns).Patch(context.Background(), name, types.MergePatchType, []byte(part), metav1.PatchOptions{}); err != nil {
		s.Fatal(err)
	}
}
