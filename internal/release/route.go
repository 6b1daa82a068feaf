package release

import "time"

// GatewayAPI splits in routes of the Gateway API that refer to a Service.
type GatewayAPI struct {
	Service string
	Routes  []RouteRef
	Settle  time.Duration // from an accepted route to the data plane
}

// RouteRef names one HTTPRoute or GRPCRoute.
type RouteRef struct {
	Kind  string
	Name  string
	Rules []string // by name or number; empty: all that refer to the Service
}

// Istio splits in VirtualServices by the subsets of one DestinationRule.
type Istio struct {
	Service         string
	VirtualServices []VirtualService // empty: Haldane owns one
	DestinationRule DestinationRule
	Settle          time.Duration
}

// VirtualService is one of the user's.
type VirtualService struct {
	Name   string
	Routes []string // by name; empty: all that send requests to the Service
}

// DestinationRule holds the two subsets; without a name Haldane owns it.
type DestinationRule struct {
	Name           string
	Stable, Canary string
}

// Linkerd splits in an HTTPRoute whose parent is a Service.
type Linkerd struct {
	Service string
	Port    int32 // 0: the only one
	Settle  time.Duration
}

// NGINX splits by a second Ingress with canary annotations.
type NGINX struct {
	Service string
	Ingress string
	Settle  time.Duration
}

// Replicas is no router: the share follows the instances.
type Replicas struct {
	Service string // whose selector leads to one version alone; empty: none
}
