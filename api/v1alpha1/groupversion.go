package v1alpha1

import "k8s.io/apimachinery/pkg/runtime/schema"

// GroupVersion of every object here.
var GroupVersion = schema.GroupVersion{Group: "haldane.dev", Version: "v1alpha1"}
