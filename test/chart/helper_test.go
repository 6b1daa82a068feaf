package chart

import (
	"context"
	"fmt"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/test/cluster"
)

const wait = cluster.Patience

// available waits until a Deployment has its pods.
func available(t *testing.T, c *cluster.Cluster, ns, name string, pods int32) {
	t.Helper()
	cluster.Eventually(t, wait, "the Deployment "+name, func() error {
		d, err := c.Client.AppsV1().Deployments(ns).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Status.AvailableReplicas != pods {
			return fmt.Errorf("%d of %d pods available: %+v", d.Status.AvailableReplicas, pods, d.Status.Conditions)
		}
		return nil
	})
}

// aggregated says whether the cluster's role edit may write Releases.
func aggregated(c *cluster.Cluster) error {
	role, err := c.Client.RbacV1().ClusterRoles().Get(context.Background(), "edit", metav1.GetOptions{})
	if err != nil {
		return err
	}
	writes := func(r rbacv1.PolicyRule) bool {
		return slices.Contains(r.APIGroups, "haldane.dev") && slices.Contains(r.Resources, "releases") && slices.Contains(r.Verbs, "patch")
	}
	if !slices.ContainsFunc(role.Rules, writes) {
		return fmt.Errorf("the role edit does not patch releases: %d rules", len(role.Rules))
	}
	return nil
}
