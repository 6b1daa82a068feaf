package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	authv1 "k8s.io/api/authentication/v1"
	accessv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// ServiceAccount makes an account that may do, in its namespace, what the rules
// say and nothing else, and returns its configuration once it may. Its name in the
// audit log is system:serviceaccount:NS:NAME.
func (c *Cluster) ServiceAccount(t testing.TB, ns, name string, rules ...rbacv1.PolicyRule) *rest.Config {
	t.Helper()
	ctx := context.Background()
	if _, err := c.Client.CoreV1().ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(rules) > 0 {
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
		if _, err := c.Client.RbacV1().Roles(ns).Create(ctx, role, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: ns}},
		}
		if _, err := c.Client.RbacV1().RoleBindings(ns).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.Authorized(t, ns, name, rules[0], true)
	}
	return c.As(t, ns, name)
}

// Authorized waits until an account of a namespace may do there what a rule names
// first, or may not: the API server takes roles in behind their writes.
func (c *Cluster) Authorized(t testing.TB, ns, account string, rule rbacv1.PolicyRule, may bool) {
	t.Helper()
	review := &accessv1.SubjectAccessReview{Spec: accessv1.SubjectAccessReviewSpec{User: "system:serviceaccount:" + ns + ":" + account}}
	if len(rule.NonResourceURLs) > 0 {
		review.Spec.NonResourceAttributes = &accessv1.NonResourceAttributes{Verb: rule.Verbs[0], Path: rule.NonResourceURLs[0]}
	} else {
		resource, sub, _ := strings.Cut(rule.Resources[0], "/")
		review.Spec.ResourceAttributes = &accessv1.ResourceAttributes{Namespace: ns, Verb: rule.Verbs[0], Group: rule.APIGroups[0], Resource: resource, Subresource: sub}
		if len(rule.ResourceNames) > 0 {
			review.Spec.ResourceAttributes.Name = rule.ResourceNames[0]
		}
	}
	Eventually(t, Patience, "the rights of "+account, func() error {
		got, err := c.Client.AuthorizationV1().SubjectAccessReviews().Create(context.Background(), review, metav1.CreateOptions{})
		if err == nil && got.Status.Allowed != may {
			err = fmt.Errorf("%+v: allowed %v, expected %v", rule, got.Status.Allowed, may)
		}
		return err
	})
}

// As returns the configuration of a service account that exists, say one of
// manifests with their own RBAC rules.
func (c *Cluster) As(t testing.TB, ns, name string) *rest.Config {
	t.Helper()
	hour := int64(3600)
	token, err := c.Client.CoreV1().ServiceAccounts(ns).CreateToken(context.Background(), name,
		&authv1.TokenRequest{Spec: authv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(c.Config)
	config.QPS = -1
	config.BearerToken = token.Status.Token
	return config
}
