package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/deploy/rbac"
)

// clusterWide are the groups of rights that only a controller of all namespaces
// needs (deploy/rbac/role.yaml).
var clusterWide = []string{"authentication.k8s.io", "authorization.k8s.io", "apiextensions.k8s.io"}

// reviewsAtOnce is how many reviews are under way at a time.
const reviewsAtOnce = 8

// rights asks for the controller's account, and for whoever asks.
func (k *clusterCheck) rights(ctx context.Context) {
	own := []authorizationv1.ResourceAttributes{}
	for _, verb := range []string{"get", "list", "watch", "create", "patch", "delete"} {
		own = append(own, authorizationv1.ResourceAttributes{Namespace: k.namespace, Group: v1alpha1.GroupVersion.Group, Resource: "releases", Verb: verb})
	}
	if lacks, err := k.review(ctx, "", own); err != nil {
		k.warn("your rights", err.Error(), "try it again")
	} else if len(lacks) > 0 {
		k.warn("your rights", fmt.Sprintf("%s may not %s", k.user, strings.Join(lacks, ", ")), "what you can do is limited by that; ask for these rights, or name another user with --context")
	} else {
		k.ok("your rights", k.user+" may read and change Releases")
	}
	const check = "controller's rights"
	if k.account == "" {
		k.warn(check, "its account is not known", "name it with --account NAMESPACE/NAME")
		return
	}
	needs, err := k.needs()
	if err != nil {
		k.fail(check, err.Error(), "build this program again")
		return
	}
	lacks, err := k.review(ctx, k.account, needs)
	switch {
	case apierrors.IsForbidden(err):
		k.warn(check, "they can not be seen: "+err.Error(), "ask as somebody who may create subjectaccessreviews")
	case err != nil:
		k.warn(check, err.Error(), "try it again")
	case len(lacks) > 0:
		k.fail(check, fmt.Sprintf("%s may not %s", k.account, strings.Join(lacks, ", ")), "bind it to the role deploy/rbac/role.yaml, which has all that it needs")
	default:
		k.ok(check, fmt.Sprintf("%s has all %d that it needs", k.account, len(needs)))
	}
}

// needs are the single rights of the controller's role, without those to routers
// that the cluster does not have.
func (k *clusterCheck) needs() ([]authorizationv1.ResourceAttributes, error) {
	var role rbacv1.ClusterRole
	if err := yaml.Unmarshal(rbac.Role, &role); err != nil {
		return nil, err
	}
	served := map[string]bool{}
	for _, kind := range append(optionalGVKs(), podMetrics) {
		yes, err := k.client.Serves(kind)
		if err != nil {
			return nil, err
		}
		served[kind.Group] = served[kind.Group] || yes
	}
	var out []authorizationv1.ResourceAttributes
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			if here, optional := served[group]; optional && !here || k.namespace != "" && slices.Contains(clusterWide, group) {
				continue
			}
			out = append(out, k.single(group, rule)...)
		}
	}
	return out, nil
}

// single are the rights of a rule to one group, one by one.
func (k *clusterCheck) single(group string, rule rbacv1.PolicyRule) (out []authorizationv1.ResourceAttributes) {
	namespace := k.namespace
	if group == "coordination.k8s.io" {
		namespace = k.space()
	}
	for _, resource := range rule.Resources {
		name, sub, _ := strings.Cut(resource, "/")
		if name == "gatewayclasses" && k.namespace != "" {
			continue // not in a namespace: asked for where requests are copied only
		}
		for _, verb := range rule.Verbs {
			out = append(out, authorizationv1.ResourceAttributes{Namespace: namespace, Group: group, Resource: name, Subresource: sub, Verb: verb})
		}
	}
	return out
}

// review says which rights somebody lacks, in words; an empty user is who asks.
func (k *clusterCheck) review(ctx context.Context, user string, list []authorizationv1.ResourceAttributes) ([]string, error) {
	denied := make([]bool, len(list))
	errs := make([]error, len(list))
	var all sync.WaitGroup
	free := make(chan struct{}, reviewsAtOnce)
	for i := range list {
		all.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			denied[i], errs[i] = k.denies(ctx, user, &list[i])
		})
	}
	all.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return nil, errs[i]
	}
	var out []string
	for i, a := range list {
		if denied[i] {
			out = append(out, words(a))
		}
	}
	return out, nil
}

// words of a right: "patch deployments.apps in namespace shop".
func words(a authorizationv1.ResourceAttributes) string {
	text := a.Verb + " " + a.Resource
	if a.Group != "" {
		text += "." + a.Group
	}
	if a.Subresource != "" {
		text += "/" + a.Subresource
	}
	if a.Name != "" {
		text += " " + a.Name
	}
	if a.Namespace != "" {
		text += " in namespace " + a.Namespace
	}
	return text
}

func (k *clusterCheck) denies(ctx context.Context, user string, a *authorizationv1.ResourceAttributes) (bool, error) {
	if user == "" {
		r := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: a}}
		err := k.live.Create(ctx, r)
		return !r.Status.Allowed, err
	}
	r := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groupsOf(user), ResourceAttributes: a}}
	err := k.live.Create(ctx, r)
	if err == nil && r.Status.EvaluationError != "" && !r.Status.Allowed {
		err = errors.New(r.Status.EvaluationError)
	}
	return !r.Status.Allowed, err
}

// groupsOf are the groups that the API server puts a service account into.
func groupsOf(user string) []string {
	parts := strings.Split(user, ":")
	if len(parts) != 4 {
		return nil
	}
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + parts[2], "system:authenticated"}
}
