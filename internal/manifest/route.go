package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// routers reports what a router does not do for a workload or a strategy.
func (c *checker) routers(rel release.Release) {
	t, w := rel.Traffic, rel.Version.Workload
	if t.Embedded != nil || t == (release.Traffic{}) {
		return
	}
	if w.Process != nil || w.Endpoints != nil {
		c.add("spec.traffic", "set spec.traffic.embedded, or spec.workload.deployment", "the routers of a cluster need a workload that is a Deployment")
	}
	if w.Rewrite != nil {
		c.add("spec.workload.rewrite", "remove it, or set spec.traffic.embedded", "only the embedded proxy rewrites requests")
	}
	c.grpc(rel)
	for i, step := range rel.Strategy.Compile(rel.Analysis, rel.Replicas).Steps {
		if step.Mirror > 0 && t.GatewayAPI == nil && t.Istio == nil {
			c.add("spec.strategy", "use gatewayAPI, istio or embedded", "step %d copies requests, which this router does not do", i+1)
		}
		if t.Replicas != nil {
			c.byInstances(i, step, t.Replicas)
		}
	}
}

// byInstances reports what a step asks that nothing does where the share follows
// the instances.
func (c *checker) byInstances(i int, step release.Step, r *release.Replicas) {
	if len(step.Matches) > 0 {
		c.add("spec.strategy", "use a router", "step %d matches requests, which nothing can where the share follows the instances", i+1)
	}
	if step.Weight == 0 && r.Service == "" {
		c.add("spec.strategy", "name your Service in spec.traffic.replicas.service, or use a router",
			"step %d runs instances that are to get no request, which nothing sees to where the share follows the instances", i+1)
	}
}

func (c *checker) replicas(path string, s *v1alpha1.ReplicasSpec) *release.Replicas {
	if s.Service != "" {
		c.name(path+".service", s.Service, "a Service")
	}
	return &release.Replicas{Service: s.Service}
}

// grpcLayouts are the layouts that tell how gRPC calls ended; to the others one
// that failed is an HTTP 200. Traefik's tells it of some.
var grpcLayouts = []string{"istio", "linkerd"}

// grpc reports what is not known of the calls of a GRPCRoute.
func (c *checker) grpc(rel release.Release) {
	g, a := rel.Traffic.GatewayAPI, rel.Analysis
	if g == nil || !slices.ContainsFunc(g.Routes, func(r release.RouteRef) bool { return r.Kind == "GRPCRoute" }) {
		return
	}
	for i, step := range rel.Strategy.Compile(a, rel.Replicas).Steps {
		if step.Mirror > 0 {
			c.add("spec.strategy", "leave mirror out, or lead the calls by an HTTPRoute, which gRPC may take too",
				"step %d copies requests of a GRPCRoute: the Gateway API has no feature by which a gateway says that it does", i+1)
		}
	}
	if !slices.ContainsFunc(a.Metrics, func(m release.Metric) bool { return m.Kind == release.Errors && m.Source == (release.Source{}) }) {
		return
	}
	series := func(path string, s release.Series) {
		if s.Requests == "" && !slices.Contains(grpcLayouts, s.Layout) {
			c.add(path, "write layout: "+strings.Join(grpcLayouts, " or ")+", series with the label of the gRPC status, or give the metrics of kind errors a source",
				"the layout %s does not tell which calls of a GRPCRoute failed: they are HTTP 200", cmp.Or(s.Layout, "http"))
		}
	}
	if a.Prometheus != nil {
		series("spec.analysis.prometheus.layout", a.Prometheus.Series)
	}
	if a.Scrape != nil {
		series("spec.analysis.scrape.layout", a.Scrape.Series)
	}
}

func (c *checker) gatewayAPI(path string, s *v1alpha1.GatewayAPISpec) *release.GatewayAPI {
	c.service(path+".service", s.Service)
	g := &release.GatewayAPI{Service: s.Service, Settle: c.duration(path+".settle", s.Settle, defaultRouteSettle, true)}
	if len(s.Routes) == 0 {
		c.add(path+".routes", "", "is empty; expected the routes that lead to the Service, such as [{name: hello}]")
	}
	c.atMost(path+".routes", len(s.Routes), 16)
	for i, r := range s.Routes {
		at := fmt.Sprintf("%s.routes[%d]", path, i)
		route := release.RouteRef{Kind: word(c, at+".kind", r.Kind, "HTTPRoute", "HTTPRoute", "GRPCRoute"), Name: r.Name, Rules: slices.Clone(r.Rules)}
		c.object(at+".name", r.Name, "a route")
		c.distinct(at+".rules", r.Rules, "a rule")
		if slices.ContainsFunc(g.Routes, func(o release.RouteRef) bool { return o.Kind == route.Kind && o.Name == route.Name }) {
			c.add(at, "", "%s %s stands twice", route.Kind, printable(route.Name))
		}
		g.Routes = append(g.Routes, route)
	}
	return g
}

func (c *checker) istio(path string, s *v1alpha1.IstioSpec) *release.Istio {
	c.service(path+".service", s.Service)
	o := &release.Istio{Service: s.Service, Settle: c.duration(path+".settle", s.Settle, defaultMeshSettle, true)}
	c.atMost(path+".virtualServices", len(s.VirtualServices), 16)
	for i, v := range s.VirtualServices {
		at := fmt.Sprintf("%s.virtualServices[%d]", path, i)
		c.object(at+".name", v.Name, "a VirtualService")
		c.distinct(at+".routes", v.Routes, "a route")
		if slices.ContainsFunc(o.VirtualServices, func(x release.VirtualService) bool { return x.Name == v.Name }) {
			c.add(at, "", "VirtualService %s stands twice", printable(v.Name))
		}
		o.VirtualServices = append(o.VirtualServices, release.VirtualService{Name: v.Name, Routes: slices.Clone(v.Routes)})
	}
	o.DestinationRule = c.destinationRule(path+".destinationRule", s.DestinationRule)
	return o
}

func (c *checker) destinationRule(path string, s *v1alpha1.DestinationRuleSpec) release.DestinationRule {
	d := release.DestinationRule{Stable: defaultStableSubset, Canary: defaultCanarySubset}
	if s == nil {
		return d
	}
	c.object(path+".name", s.Name, "a DestinationRule")
	d.Name = s.Name
	if s.StableSubset != "" {
		c.name(path+".stableSubset", s.StableSubset, "a subset")
		d.Stable = s.StableSubset
	}
	if s.CanarySubset != "" {
		c.name(path+".canarySubset", s.CanarySubset, "a subset")
		d.Canary = s.CanarySubset
	}
	if d.Stable == d.Canary {
		c.add(path+".canarySubset", "name another one", "the two subsets have one name, %s", printable(d.Canary))
	}
	return d
}

func (c *checker) linkerd(path string, s *v1alpha1.LinkerdSpec) *release.Linkerd {
	c.service(path+".service", s.Service)
	return &release.Linkerd{Service: s.Service, Port: count(c, path+".port", s.Port, 0, 1, 65535),
		Settle: c.duration(path+".settle", s.Settle, defaultMeshSettle, true)}
}

func (c *checker) nginx(path string, s *v1alpha1.NGINXSpec) *release.NGINX {
	c.service(path+".service", s.Service)
	c.object(path+".ingress", s.Ingress, "an Ingress")
	return &release.NGINX{Service: s.Service, Ingress: s.Ingress, Settle: c.duration(path+".settle", s.Settle, defaultRouteSettle, true)}
}

// service checks the name of a Service beside which SERVICE-stable and
// SERVICE-canary are to stand.
func (c *checker) service(path, name string) {
	c.name(path, name, "a Service")
	if most := 63 - len("-stable"); len(name) > most && len(name) <= 63 {
		c.add(path, "", "has %d characters; at most %d are taken, since %s-stable stands beside it", len(name), most, name)
	}
}

// distinct checks a list of names.
func (c *checker) distinct(path string, names []string, what string) {
	c.atMost(path, len(names), 16)
	for i, n := range names {
		at := fmt.Sprintf("%s[%d]", path, i)
		c.text(at, n, "the name of "+what)
		if slices.Contains(names[:i], n) {
			c.add(at, "", "%s stands twice", printable(n))
		}
	}
}
