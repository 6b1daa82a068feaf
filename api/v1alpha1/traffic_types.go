package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TrafficSpec says what splits the requests: exactly one field. All but
// embedded work in a cluster, on a workload that is a Deployment.
//
// +kubebuilder:validation:ExactlyOneOf=embedded;gatewayAPI;istio;linkerd;nginx;replicas
type TrafficSpec struct {
	// Embedded is Haldane's own proxy.
	// +optional
	Embedded *EmbeddedSpec `json:"embedded,omitempty"`
	// GatewayAPI splits in your HTTPRoutes and GRPCRoutes, by any
	// implementation of the Gateway API.
	// +optional
	GatewayAPI *GatewayAPISpec `json:"gatewayAPI,omitempty"`
	// Istio splits in VirtualServices, by subsets of a DestinationRule.
	// +optional
	Istio *IstioSpec `json:"istio,omitempty"`
	// Linkerd splits in an HTTPRoute of Haldane's with your Service as its parent.
	// +optional
	Linkerd *LinkerdSpec `json:"linkerd,omitempty"`
	// NGINX splits by the canary annotations of the NGINX ingress controller.
	// +optional
	NGINX *NGINXSpec `json:"nginx,omitempty"`
	// Replicas uses no router: the share follows the number of instances, and
	// the new version gets requests as soon as its first instance is ready. It
	// knows no matches and no mirror.
	// +optional
	Replicas *ReplicasSpec `json:"replicas,omitempty"`
}

// GatewayAPISpec says which of your routes lead to the workload. During a run
// their references to the Service are parted into SERVICE-stable and
// SERVICE-canary; at rest they are what you wrote.
type GatewayAPISpec struct {
	// Service that selects the workload's pods and that the routes refer to.
	// +kubebuilder:validation:MinLength=1
	Service string `json:"service"`
	// Routes that refer to the Service, in the namespace of the release. They
	// change together or not at all.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Routes []RouteSpec `json:"routes"`
	// Settle is how long the implementation may take to follow a route whose
	// status says that it was accepted. Default: 3s.
	// +optional
	Settle *metav1.Duration `json:"settle,omitempty"`
}

// RouteSpec names one route.
type RouteSpec struct {
	// Kind of the route. Default: HTTPRoute.
	// +kubebuilder:validation:Enum=HTTPRoute;GRPCRoute
	// +optional
	Kind string `json:"kind,omitempty"`
	// Name of the route.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// Rules that are split: their names, or their numbers counted from 0.
	// Default: all rules that refer to the Service.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Rules []string `json:"rules,omitempty"`
}

// IstioSpec says how a mesh or gateway of Istio leads to the workload. At rest
// your own objects are what you wrote.
type IstioSpec struct {
	// Service that selects the workload's pods.
	// +kubebuilder:validation:MinLength=1
	Service string `json:"service"`
	// VirtualServices of yours that send requests to the Service. Default: none,
	// Haldane owns one of the Service's name.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	VirtualServices []VirtualServiceSpec `json:"virtualServices,omitempty"`
	// DestinationRule of yours for the Service. Default: none, Haldane owns one
	// of the Service's name.
	// +optional
	DestinationRule *DestinationRuleSpec `json:"destinationRule,omitempty"`
	// Settle is how long the proxies may take to follow a change. Default: 1s.
	// +optional
	Settle *metav1.Duration `json:"settle,omitempty"`
}

// VirtualServiceSpec names one VirtualService.
type VirtualServiceSpec struct {
	// Name of the VirtualService, in the namespace of the release.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// Routes are the names of the HTTP routes that are split. Default: all that
	// send requests to the Service.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Routes []string `json:"routes,omitempty"`
}

// DestinationRuleSpec names a DestinationRule and its subsets.
type DestinationRuleSpec struct {
	// Name of the DestinationRule, in the namespace of the release.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// StableSubset is the subset for the stable version. Default: stable.
	// +optional
	StableSubset string `json:"stableSubset,omitempty"`
	// CanarySubset is the subset for the new version. Default: canary.
	// +optional
	CanarySubset string `json:"canarySubset,omitempty"`
}

// LinkerdSpec names the Service that clients in the mesh ask.
type LinkerdSpec struct {
	// Service that selects the workload's pods.
	// +kubebuilder:validation:MinLength=1
	Service string `json:"service"`
	// Port of the Service that is split. Default: its only port.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port *int32 `json:"port,omitempty"`
	// Settle is how long the proxies may take to follow a change. Default: 1s.
	// +optional
	Settle *metav1.Duration `json:"settle,omitempty"`
}

// NGINXSpec names an Ingress. During a run its paths to the Service lead to
// SERVICE-stable, and an Ingress NAME-canary has the canary's share; at rest it
// is what you wrote.
type NGINXSpec struct {
	// Service that selects the workload's pods and that the Ingress refers to.
	// +kubebuilder:validation:MinLength=1
	Service string `json:"service"`
	// Ingress that refers to the Service, in the namespace of the release.
	// +kubebuilder:validation:MinLength=1
	Ingress string `json:"ingress"`
	// Settle is how long the controller may take to follow a change. Default: 3s.
	// +optional
	Settle *metav1.Duration `json:"settle,omitempty"`
}

// ReplicasSpec is no router: between 0% and 100% a version's share is that of its
// ready instances, whatever the weight, and the status says how much that is.
type ReplicasSpec struct {
	// Service is yours before the pods of the Deployment. During a run its
	// selector leads to the pods of one version wherever that has all of the
	// traffic (0% and 100%); at rest it is what you wrote. Without it, and
	// without a router, every ready pod gets requests: blueGreen and steps of 0%
	// need it. Default: none.
	// +optional
	Service string `json:"service,omitempty"`
}
