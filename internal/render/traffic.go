package render

import "strings"

// route is the user's own route to the Service, where the router needs one.
func route(a App) (document, bool) {
	switch {
	case a.Router == "gatewayapi":
		return gatewayRoute(a), true
	case a.Router == "istio" && a.Gateway != "":
		return virtualService(a), true
	case a.Router == "nginx":
		return ingress(a), true
	}
	return document{}, false
}

// gateway parts the Gateway's namespace from its name.
func (a App) gateway() (namespace, name string) {
	if ns, name, found := strings.Cut(a.Gateway, "/"); found {
		return ns, name
	}
	return "", a.Gateway
}

func (a App) routeKind() string {
	if a.Protocol == "grpc" {
		return "GRPCRoute"
	}
	return "HTTPRoute"
}

func gatewayRoute(a App) document {
	namespace, name := a.gateway()
	parent := object{"name": name}
	if namespace != "" {
		parent["namespace"] = namespace
	}
	spec := object{
		"parentRefs": list{parent},
		"rules":      list{object{"backendRefs": list{object{"name": a.Name, "port": a.servicePort()}}}},
	}
	if a.Host != "" {
		spec["hostnames"] = list{a.Host}
	}
	r := a.head("gateway.networking.k8s.io/v1", a.routeKind())
	r["spec"] = spec
	return document{"The way of the users. During a run its backendRefs are split; at rest it is as it stands here.", r}
}

func virtualService(a App) document {
	where := a.Host
	if where == "" {
		where = "*"
	}
	v := a.head("networking.istio.io/v1", "VirtualService")
	v["spec"] = object{
		"hosts": list{where}, "gateways": list{a.Gateway},
		"http": list{object{"name": "all", "route": list{object{"destination": object{"host": a.Name, "port": object{"number": a.servicePort()}}}}}},
	}
	return document{"The way of the users. During a run its destination is split; at rest it is as it stands here.", v}
}

func ingress(a App) document {
	rule := object{"http": object{"paths": list{object{"path": "/", "pathType": "Prefix",
		"backend": object{"service": object{"name": a.Name, "port": object{"name": a.Protocol}}}}}}}
	if a.Host != "" {
		rule["host"] = a.Host
	}
	i := a.head("networking.k8s.io/v1", "Ingress")
	i["spec"] = object{"ingressClassName": "nginx", "rules": list{rule}}
	return document{"The way of the users. During a run a second Ingress with canary annotations stands beside it.", i}
}

func release(a App) document {
	r := a.head("haldane.dev/v1alpha1", "Release")
	r["spec"] = object{
		"workload": object{"deployment": object{"name": a.Name}},
		"traffic":  a.traffic(),
		"strategy": object{"canary": object{"steps": list{object{"weight": 5}, object{"weight": 10}, object{"weight": 50}}}},
		"analysis": a.analysis(),
	}
	return document{"New versions are let in by evidence: 5, 10, 50 % of the traffic, then all of it, or none.", r}
}

func (a App) traffic() object {
	switch a.Router {
	case "gatewayapi":
		route := object{"name": a.Name}
		if a.Protocol == "grpc" {
			route["kind"] = a.routeKind()
		}
		return object{"gatewayAPI": object{"service": a.Name, "routes": list{route}}}
	case "istio":
		istio := object{"service": a.Name}
		if a.Gateway != "" {
			istio["virtualServices"] = list{object{"name": a.Name}}
		}
		return object{"istio": istio}
	case "linkerd":
		return object{"linkerd": object{"service": a.Name}}
	case "nginx":
		return object{"nginx": object{"service": a.Name, "ingress": a.Name}}
	}
	return object{"replicas": object{"service": a.Name}}
}

func (a App) analysis() object {
	e, out := a.Evidence, object{}
	source := func(name string, o object) {
		if e.Layout != "" {
			o["layout"] = e.Layout
		}
		out[name] = o
	}
	if e.Prometheus != "" {
		source("prometheus", object{"address": e.Prometheus})
	}
	if port, path := e.scrape(); port > 0 {
		o := object{"port": port}
		if path != "" {
			o["path"] = path
		}
		if e.Pods != "" {
			namespace, labels, _ := strings.Cut(e.Pods, "/")
			selected := object{}
			for _, pair := range strings.Split(labels, ",") {
				key, value, _ := strings.Cut(pair, "=")
				selected[key] = value
			}
			o["pods"] = object{"namespace": namespace, "labels": selected}
		}
		source("scrape", o)
	}
	return out
}
