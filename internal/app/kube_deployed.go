package app

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/cluster"
)

// Deployed is the content hash of the version that a release's Deployment asks
// for now. A change of a Deployment is not one of its Release, so that whoever
// waits for the run of what was just deployed has to know it; a name would not do,
// for an image can keep its tag. Empty: the release has no Deployment.
func Deployed(ctx context.Context, c Cluster, name string) (string, error) {
	cfg, namespace, err := c.connect()
	if err != nil {
		return "", err
	}
	scheme, err := kubeScheme()
	if err != nil {
		return "", err
	}
	live, err := ctrl.New(cfg, ctrl.Options{Scheme: scheme})
	if err != nil {
		return "", fmt.Errorf("connect to the cluster at %s: %w", cfg.Host, err)
	}
	key := cluster.Key(name)
	if key.Namespace == "" {
		key.Namespace = namespace
	}
	var rel v1alpha1.Release
	if err := live.Get(ctx, key, &rel); err != nil {
		return "", fmt.Errorf("read Release %s: %w", key, err)
	}
	if rel.Spec.Workload.Deployment == nil {
		return "", nil
	}
	var d appsv1.Deployment
	at := types.NamespacedName{Namespace: key.Namespace, Name: rel.Spec.Workload.Deployment.Name}
	if err := live.Get(ctx, at, &d); err != nil {
		return "", fmt.Errorf("read Deployment %s: %w", at, err)
	}
	return string(cluster.TemplateID(d.Spec.Template)), nil
}
