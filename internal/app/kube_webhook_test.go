package app

import (
	"cmp"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/haldane-project/haldane/internal/client"
	"github.com/haldane-project/haldane/internal/kube"
)

// webhookAnswer is what a webhook says of a write; empty: it is let through.
type webhookAnswer func(r *admissionv1.AdmissionRequest) (refusal string)

// webhook registers a server of this test with the API server for updates of the
// shop's routes; say changes what it answers.
func (s *shop) webhook() (say func(webhookAnswer)) {
	s.Helper()
	var now atomic.Pointer[webhookAnswer]
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		out := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		if f := now.Load(); f != nil && *f != nil {
			if refusal := (*f)(review.Request); refusal != "" {
				out.Allowed, out.Result = false, &metav1.Status{Message: refusal}
			}
		}
		review.Request, review.Response = nil, out
		_ = json.NewEncoder(w).Encode(review)
	}))
	s.Cleanup(server.Close)
	config := &registration.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "routes-" + s.ns}}
	fail, none := registration.Fail, registration.SideEffectClassNone
	config.Webhooks = []registration.ValidatingWebhook{{
		Name: "routes.test.dev", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		ClientConfig: registration.WebhookClientConfig{URL: &server.URL,
			CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": s.ns}},
		Rules: []registration.RuleWithOperations{{Operations: []registration.OperationType{registration.Update},
			Rule: registration.Rule{APIGroups: []string{httpRoutes.Group}, APIVersions: []string{httpRoutes.Version}, Resources: []string{httpRoutes.Resource}}}},
	}}
	hooks := s.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := hooks.Create(s.Context(), config, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = hooks.Delete(context.Background(), config.Name, metav1.DeleteOptions{}) })
	say = func(f webhookAnswer) { now.Store(&f) }
	say(func(*admissionv1.AdmissionRequest) string { return "it is heard" })
	s.until("the webhook is asked", func() error {
		_, err := s.Dynamic.Resource(httpRoutes).Namespace(s.ns).Patch(context.Background(), "hello", types.MergePatchType, []byte(`{"metadata":{"labels":{"try":"it"}}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), "it is heard") {
			return fmt.Errorf("the write: %w", err)
		}
		return nil
	})
	say(nil)
	return say
}

// TestClusterRouteThatOthersHoldUp: a webhook that refuses the controller's writes
// of a route, and somebody who always writes it at the same time, are conditions
// with a reason and a remedy; stable keeps all of the traffic, and the run goes on
// once they leave it alone.
func TestClusterRouteThatOthersHoldUp(t *testing.T) {
	s := newShop(t)
	s.evidence = newScript()
	s.gateway()
	s.start(func(sh *kube.Shell, o ControllerOptions) (parts, error) {
		return parts{router: clusterRouters(sh.Client), metrics: s.evidence, sinks: clusterSinks(sh, o)}, nil
	})
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), shopRoute,
		strings.Replace(halfRelease, "{replicas: {}}", "{gatewayAPI: {service: hello, settle: 0s, routes: [{name: hello}]}}", 1))
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	say := s.webhook()
	var n atomic.Int64
	for i, h := range []struct {
		name, reason, text, remedy string
		answer                     webhookAnswer
	}{
		{"a webhook that refuses", writeRefused, `admission webhook "routes.test.dev" denied the request: no weights on a Friday`, "exempt what the controller's account writes",
			func(r *admissionv1.AdmissionRequest) string {
				if r.UserInfo.Username == s.user {
					return "no weights on a Friday"
				}
				return ""
			}},
		{"somebody who writes at the same time", fieldConflict, "the object has been modified", "see who else writes the object",
			func(r *admissionv1.AdmissionRequest) string {
				if r.UserInfo.Username != s.user || r.DryRun != nil && *r.DryRun {
					return ""
				}
				label := fmt.Sprintf(`{"metadata":{"labels":{"edited":"%d"}}}`, n.Add(1))
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				_, err := s.Dynamic.Resource(httpRoutes).Namespace(s.ns).Patch(ctx, "hello", types.MergePatchType, []byte(label), metav1.PatchOptions{})
				if err != nil {
					return err.Error()
				}
				return ""
			}},
	} {
		old, next := fmt.Sprintf("v%d", i+1), fmt.Sprintf("v%d", i+2)
		pods := s.podUIDs("hello:" + old)
		say(h.answer)
		s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, next))
		s.until(h.name+" is told", s.hindered("hello", h.reason, h.text, h.remedy))
		st := s.release("hello").Status
		if w := cmp.Or(st.Weight, "0%"); w != "0%" || st.Stable.Name != old || len(s.podUIDs("hello:"+old)) != len(pods) {
			t.Errorf("%s: %s has %s of the traffic, stable is %+v", h.name, next, w, st.Stable)
		}
		say(nil)
		s.until(next+" goes on", s.weighs("hello", "50%"))
		s.annotate("hello", fmt.Sprintf(`{"haldane.dev/promote-full": %q}`, st.Run.Name))
		s.until(next+" serves", s.serves("hello", next))
	}
}

// TestClusterApplyNamesTheFieldThatIsNotKnown: a misspelled field is refused by
// `haldane apply --kube` with the one that was meant, and by the API server.
func TestClusterApplyNamesTheFieldThatIsNotKnown(t *testing.T) {
	s := newShop(t)
	c, err := Connect(t.Context(), Cluster{Kubeconfig: kubeconfig(t, s.Config, s.ns), Namespace: s.ns}, false)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(fmt.Sprintf(shopRelease, "hello"), "weight: 50", "wieght: 50", 1)
	_, err = c.Apply(t.Context(), "hello", []byte(text), client.ApplyOptions{})
	if !client.IsInvalid(err) || !strings.Contains(err.Error(), "spec.strategy.canary.steps[0].wieght") || !strings.Contains(err.Error(), "did you mean weight") {
		t.Errorf("the typing error is told so: %v", err)
	}
	other := strings.Replace(fmt.Sprintf(shopRelease, "hello"), "bake: 0s", "qqqq: 0s", 1)
	if _, err = c.Apply(t.Context(), "hello", []byte(other), client.ApplyOptions{}); !client.IsInvalid(err) || !strings.Contains(err.Error(), "spec.strategy.qqqq") || !strings.Contains(err.Error(), "canary") {
		t.Errorf("a field that is like none is told so: %v", err)
	}
	if _, err := s.post([]byte(text)); err == nil || !strings.Contains(err.Error(), `unknown field "spec.strategy.canary.steps[0].wieght"`) {
		t.Errorf("the API server says %v", err)
	}
	if rel := s.release("hello"); rel.Name != "" {
		t.Errorf("it was kept: %+v", rel.Spec)
	}
}
