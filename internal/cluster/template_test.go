package cluster_test

import (
	"maps"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/haldane-project/haldane/internal/cluster"
)

// TestTemplateIDIsKept: runs and rejected versions are kept by it, and it changes
// nothing of the template, which may be a cache's own.
func TestTemplateIDIsKept(t *testing.T) {
	template := func(labels, annotations map[string]string) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "hello:v1"}}}}
	}
	hash := appsv1.DefaultDeploymentUniqueLabelKey
	for _, c := range []struct {
		want                string
		labels, annotations map[string]string
	}{
		{"a7eb82b0b3", map[string]string{"app": "hello"}, nil},
		{"a7eb82b0b3", map[string]string{"app": "hello", hash: "6d5f"}, map[string]string{}},
		{"96b2ed26f5", nil, nil},
		{"96b2ed26f5", map[string]string{hash: "6d5f"}, nil},
		{"223b5f1d2a", map[string]string{"app": "hello"}, map[string]string{"a": "b"}},
	} {
		before := maps.Clone(c.labels)
		if got := cluster.TemplateID(template(c.labels, c.annotations)); string(got) != c.want {
			t.Errorf("labels %v, annotations %v: %s, want %s", c.labels, c.annotations, got, c.want)
		}
		if !maps.Equal(c.labels, before) {
			t.Errorf("the labels %v became %v", before, c.labels)
		}
	}
}
