package app

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	authv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/internal/kube"
	"github.com/haldane-project/haldane/internal/release"
)

// free is an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// everywhere gives an account of the namespace rights in the whole cluster.
func (s *shop) everywhere(account string, rules ...rbacv1.PolicyRule) {
	s.Helper()
	name := metav1.ObjectMeta{Name: s.ns + "-" + account}
	if _, err := s.Client.RbacV1().ClusterRoles().Create(s.Context(), &rbacv1.ClusterRole{ObjectMeta: name, Rules: rules}, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: name, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: s.ns}}}
	if _, err := s.Client.RbacV1().ClusterRoleBindings().Create(s.Context(), binding, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	s.Authorized(s.T, s.ns, account, rules[0], true)
}

// get asks an address, as the bearer of a token where one is given.
func get(url, token string) (code int, body string, err error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the certificate is the controller's own
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// answers reports whether an address answers with a code and with all the texts.
func answers(url, token string, code int, texts ...string) func() error {
	return func() error {
		got, body, err := get(url, token)
		if err != nil || got != code {
			return fmt.Errorf("%d, expected %d: %w", got, code, err)
		}
		for _, text := range texts {
			if !strings.Contains(body, text) {
				i := strings.Index(body, "haldane_")
				return fmt.Errorf("it does not say %q: %.600s", text, body[max(i, 0):])
			}
		}
		return nil
	}
}

// The metrics are for whom the cluster lets read them, and say what became of
// the runs.
func TestClusterMetricsAreForWhomTheClusterLets(t *testing.T) {
	s := newShop(t)
	s.metrics, s.health = free(t), free(t)
	s.everywhere("haldane",
		rbacv1.PolicyRule{APIGroups: []string{authv1.GroupName}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
		rbacv1.PolicyRule{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}})
	reader, nobody := s.ServiceAccount(t, s.ns, "reader"), s.ServiceAccount(t, s.ns, "nobody")
	s.everywhere("reader", rbacv1.PolicyRule{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}})
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), fmt.Sprintf(shopRelease, "hello"))
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	page := "https://" + s.metrics + "/metrics"
	s.until("nobody without a name", answers(page, "", http.StatusUnauthorized))
	s.until("nobody without the right", answers(page, nobody.BearerToken, http.StatusForbidden))
	s.until("one who has it", answers(page, reader.BearerToken, http.StatusOK,
		`haldane_releases{phase="Idle"} `, `haldane_runs_total{outcome="promoted"} `, "haldane_passes_total ", "haldane_pass_errors_total ", "haldane_looks_total "))
	s.until("it is healthy and ready", func() error {
		if err := answers("http://"+s.health+"/healthz", "", http.StatusOK)(); err != nil {
			return err
		}
		return answers("http://"+s.health+"/readyz", "", http.StatusOK)()
	})
}

// A controller is ready once it knows the cluster, and healthy before.
func TestClusterControllerIsReadyOnceItsCacheIsFilled(t *testing.T) {
	s := newShop(t)
	s.health, s.mayLack = free(t), true
	roles := s.Client.RbacV1().Roles(s.ns)
	role, err := roles.Get(t.Context(), "haldane", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods := slices.IndexFunc(role.Rules, func(r rbacv1.PolicyRule) bool {
		return slices.Contains(r.Resources, "pods") && slices.Contains(r.APIGroups, "")
	})
	list := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}
	role.Rules[pods].Verbs = []string{"get"}
	if role, err = roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Authorized(t, s.ns, "haldane", list, false)
	s.start(func(*kube.Shell, ControllerOptions) (parts, error) {
		return parts{router: &memoryRouter{splits: map[string]release.Split{}}, metrics: s.evidence}, nil
	})
	s.until("it is healthy", answers("http://"+s.health+"/healthz", "", http.StatusOK))
	if err := answers("http://"+s.health+"/readyz", "", http.StatusInternalServerError)(); err != nil {
		t.Error("without the pods: ", err)
	}
	role.Rules[pods].Verbs = []string{"get", "list", "watch"}
	if _, err = roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until("it is ready", answers("http://"+s.health+"/readyz", "", http.StatusOK))
}
