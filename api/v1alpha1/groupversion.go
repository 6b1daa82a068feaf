package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion of every object here.
var GroupVersion = schema.GroupVersion{Group: "haldane.dev", Version: "v1alpha1"}

// AddToScheme registers the types, for clients of a cluster.
var AddToScheme = (&runtime.SchemeBuilder{addTypes}).AddToScheme

func addTypes(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &Release{}, &ReleaseList{}, &Run{}, &RunList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
