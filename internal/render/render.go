// Package render writes the Kubernetes objects of an application from a few
// answers: its Deployment, its Service, the route that its users take, and the
// Release that lets new versions in by evidence. It is pure: answers in, YAML
// out. It must not know a cluster; whether an API server takes what it writes
// is what its tests ask a real one.
//
// Read this file first, then workload.go and traffic.go.
package render

import (
	"bytes"
	"fmt"

	"sigs.k8s.io/yaml"
)

// App is what has to be known about an application.
type App struct {
	Name      string // of every object
	Namespace string // their namespace; empty: that of whoever applies them
	Image     string // with a tag or a digest, which names the version
	Port      int    // that the container listens on
	Protocol  string // http or grpc; empty: http
	Probe     string // path that answers 200 once the container can serve; empty: /; not for grpc
	Env       map[string]string
	User      int64 // that the container runs as; 0: the image's own
	CPU       string
	Memory    string

	Replicas    int
	MaxReplicas int // over Replicas: a HorizontalPodAutoscaler

	Router   string // one of Routers
	Gateway  string // NAME or NAMESPACE/NAME; for gatewayapi, and for istio where users come through one
	Host     string // that users ask for; empty: any
	Evidence Evidence
}

// Evidence is where the counters are that tell the versions apart.
type Evidence struct {
	Prometheus string // address of a server
	Scrape     string // PORT or PORT/PATH of pods; of a router's, if Pods is given
	Pods       string // NAMESPACE/LABEL=VALUE,... of a router
	Layout     string // of the series; empty: the router's own, or http
}

// Routers are the ways to split the traffic.
var Routers = []string{"gatewayapi", "istio", "linkerd", "nginx", "replicas"}

// object is one Kubernetes object, as its JSON.
type object = map[string]any

// list is a JSON array.
type list = []any

// document is an object and what a reader should know of it.
type document struct {
	comment string
	object  object
}

// YAML returns the objects of an application in the order in which they are
// applied. The error is Problems.
func YAML(a App) ([]byte, error) {
	a.defaults()
	if problems := a.check(); len(problems) > 0 {
		return nil, problems
	}
	docs := []document{deployment(a), service(a)}
	if a.MaxReplicas > a.Replicas {
		docs = append(docs, autoscaler(a))
	}
	if a.Replicas > 1 {
		docs = append(docs, budget(a))
	}
	if route, ok := route(a); ok {
		docs = append(docs, route)
	}
	docs = append(docs, release(a))
	var out bytes.Buffer
	for i, d := range docs {
		if i > 0 {
			out.WriteString("---\n")
		}
		text, err := yaml.Marshal(d.object)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", d.object["kind"], err)
		}
		fmt.Fprintf(&out, "# %s\n%s", d.comment, text)
	}
	return out.Bytes(), nil
}

func (a *App) defaults() {
	for field, otherwise := range map[*string]string{
		&a.Protocol: "http", &a.Probe: "/", &a.CPU: "100m", &a.Memory: "256Mi", &a.Router: "replicas",
	} {
		if *field == "" {
			*field = otherwise
		}
	}
	if a.Replicas == 0 {
		a.Replicas = 2
	}
}

// head begins an object.
func (a App) head(version, kind string) object {
	meta := object{"name": a.Name, "labels": a.labels()}
	if a.Namespace != "" {
		meta["namespace"] = a.Namespace
	}
	return object{"apiVersion": version, "kind": kind, "metadata": meta}
}

// labels select the pods of every version.
func (a App) labels() object { return object{"app.kubernetes.io/name": a.Name} }
