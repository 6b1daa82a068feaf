package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/haldane-project/haldane/internal/release"
)

// TemplateID is the identity of a pod template: a hash of its content without
// the label by which ReplicaSets tell their pods apart, so that a Deployment's
// template and those of the ReplicaSets made from it have one identity.
func TemplateID(t corev1.PodTemplateSpec) release.VersionID {
	if _, has := t.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; has {
		t.Labels = maps.Clone(t.Labels) // the caller's
		delete(t.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	}
	if len(t.Labels) == 0 {
		t.Labels = nil
	}
	if len(t.Annotations) == 0 {
		t.Annotations = nil
	}
	b, err := json.Marshal(&t)
	if err != nil {
		panic(fmt.Sprintf("a pod template does not encode: %v", err)) // plain data always does
	}
	sum := sha256.Sum256(b)
	return release.VersionID(hex.EncodeToString(sum[:5]))
}

// Content reads the ContentAnnotation of a Deployment: for that content a
// template stands that has the annotation as; empty: none.
func Content(d *appsv1.Deployment) (content, as string) {
	content, as, _ = strings.Cut(d.Annotations[ContentAnnotation], "=")
	return content, as
}

// VersionName is what people call a template: its app.kubernetes.io/version
// label, or the tags of its images.
func VersionName(t corev1.PodTemplateSpec) string {
	if v := t.Labels["app.kubernetes.io/version"]; v != "" {
		return v
	}
	var tags []string
	for _, c := range t.Spec.Containers {
		tags = append(tags, tag(c.Image))
	}
	return strings.Join(tags, "+")
}

// tag is the tag of an image, the beginning of its digest, or its last name.
func tag(image string) string {
	if name, digest, ok := strings.Cut(image, "@"); ok {
		if strings.Contains(name[strings.LastIndex(name, "/")+1:], ":") {
			return tag(name)
		}
		_, hash, _ := strings.Cut(digest, ":")
		return hash[:min(len(hash), 12)]
	}
	last := image[strings.LastIndex(image, "/")+1:]
	if _, t, ok := strings.Cut(last, ":"); ok {
		return t
	}
	return last
}
