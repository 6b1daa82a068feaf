package prometheus

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/haldane-project/haldane/internal/metric/query"
)

// Layout says which series tell of one version's requests. Selectors may hold
// variables (package query).
type Layout struct {
	// Own: a version's own instances export the series, so that Options.Own stands
	// in the selectors beside what is given here.
	Own bool
	// Drawn: the series are those of the router that draws a version for each
	// request, and hold nothing else: no probes, no copies.
	Drawn bool
	// Requests selects the counter of requests.
	Requests string
	// Buckets selects the times of requests: the _bucket series of a classic
	// histogram, or a native histogram. Empty: latency is not measured.
	Buckets string
	// Unit is how many seconds 1 is in the histogram's bounds; 0 means 1.
	Unit float64
	// Failed are labels and the values, as regular expressions, of which any one
	// says that a series counts failed requests.
	Failed map[string]string
	// Canary holds the selectors of the canary's requests where they are not
	// stable's with the other version's variables; nil: they are.
	Canary *Layout
}

// grpcFault matches the gRPC codes that are the server's fault: UNKNOWN,
// DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS.
//
// Traefik's code is a call's gRPC status, too, but UNKNOWN (2) where it did not see
// one, which is so for good calls of most servers: that one is no failure there.
const grpcFault = `2|4|12|13|14|15`

// Layouts are those of the systems that Haldane knows, by their names. What a mesh
// tells of a request's workload names none of them: both versions' pods may have
// the same, since a promotion keeps the pods of a Deployment that is gone. Sources:
// OpenTelemetry's HTTP conventions; Istio "Standard Metrics"; Traefik "Metrics";
// Envoy "Cluster manager statistics" with Prometheus tags; Linkerd "Proxy
// Metrics"; ingress-nginx "Prometheus metrics".
var Layouts = map[string]Layout{
	"http": {
		Own:      true,
		Requests: `http_server_request_duration_seconds_count`,
		Buckets:  `{__name__=~"http_server_request_duration_seconds(_bucket)?"}`,
		Failed:   map[string]string{"code": `5.*`, "status": `5.*`, "status_code": `5.*`, "http_response_status_code": `5.*`},
	},
	"istio": {
		Own:      true,
		Requests: `istio_requests_total{reporter="destination"}`,
		Buckets:  `istio_request_duration_milliseconds_bucket{reporter="destination"}`,
		Unit:     0.001,
		Failed:   map[string]string{"response_code": `5.*`, "grpc_response_status": grpcFault},
	},
	"traefik": {
		Drawn:    true,
		Requests: `traefik_service_requests_total{service=~"$namespace-$service-(http-)?[0-9]+@kubernetes.*|$namespace-.*-$service-[0-9]+@kubernetes.*"}`,
		Buckets:  `traefik_service_request_duration_seconds_bucket{service=~"$namespace-$service-(http-)?[0-9]+@kubernetes.*|$namespace-.*-$service-[0-9]+@kubernetes.*"}`,
		Failed:   map[string]string{"code": `5..|4|12|13|14|15`},
	},
	"envoy": {
		Drawn:    true,
		Requests: `envoy_cluster_upstream_rq{envoy_cluster_name=~"` + envoyCluster + `"}`,
		Buckets:  `envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=~"` + envoyCluster + `"}`,
		Unit:     0.001,
		Failed:   map[string]string{"envoy_response_code": `5.*`},
	},
	"linkerd": {
		Own:      true,
		Requests: `response_total{direction="inbound"}`,
		Buckets:  `response_latency_ms_bucket{direction="inbound"}`,
		Unit:     0.001,
		Failed:   map[string]string{"classification": `failure`},
	},
	"nginx": {
		Drawn:    true,
		Requests: `nginx_ingress_controller_requests{` + nginxStable + `}`,
		Buckets:  `nginx_ingress_controller_request_duration_seconds_bucket{` + nginxStable + `}`,
		Failed:   map[string]string{"status": `5.*`},
		Canary: &Layout{
			Requests: `nginx_ingress_controller_requests{` + nginxCanary + `}`,
			Buckets:  `nginx_ingress_controller_request_duration_seconds_bucket{` + nginxCanary + `}`,
		},
	},
}

// envoyCluster are the names of the clusters that Envoy has for a Service:
// NAMESPACE_SERVICE_PORT (Contour), kube_NAMESPACE_SERVICE_PORT (kgateway),
// NAMESPACE-SERVICE-PORT_SYSTEM (Gloo), NAMESPACE/GATEWAY/NAMESPACE:SERVICE:PORT
// (Cilium). Envoy Gateway has one for all Services of a route's rule, which
// matches for neither.
const envoyCluster = `(.*[/_|.:])?($namespace[/_|.:]$service|$namespace-$service-[0-9]+)([/_|.:].*)?`

// ingress-nginx's monitor.lua counts a request for the Service of the location
// that it came to, whichever version answered, and names the alternative backend,
// NAMESPACE-SERVICE-PORT, in label canary where that answered: empty or "-" where
// it did not. A Prometheus server that labels what it scrapes with the
// controller's own namespace and service renames these two (exported_).
const (
	nginxStable = `exported_namespace="$namespace",exported_service="$service",canary=~"-?"`
	nginxCanary = `exported_namespace="$namespace",canary=~"$namespace-$service-.+"`
)

// Unrenamed is the layout where no label was renamed (exported_): what is scraped
// without labels of the target that have the same names.
func (l Layout) Unrenamed() Layout {
	l.Requests, l.Buckets = unrenamed.Replace(l.Requests), unrenamed.Replace(l.Buckets)
	if l.Canary != nil {
		c := l.Canary.Unrenamed()
		l.Canary = &c
	}
	return l
}

var unrenamed = strings.NewReplacer("exported_", "")

// role is the layout with the selectors of one role's version.
func (l Layout) role(who int) Layout {
	if who == canary && l.Canary != nil {
		l.Requests, l.Buckets = l.Canary.Requests, l.Canary.Buckets
	}
	return l
}

// of puts the matchers of a version's own instances into the selectors, where it
// is these that export the series.
func (l Layout) of(own string) Layout {
	if l.Own {
		l.Requests, l.Buckets = beside(l.Requests, own), beside(l.Buckets, own)
	}
	return l
}

// beside adds matchers to a selector; empty stays empty.
func beside(selector, matchers string) string {
	head, braces := strings.CutSuffix(selector, "}")
	switch {
	case selector == "":
		return ""
	case braces:
		return head + "," + matchers + "}"
	}
	return selector + "{" + matchers + "}"
}

// LayoutNames lists the known layouts.
func LayoutNames() []string { return slices.Sorted(maps.Keys(Layouts)) }

// reading is a layout that was found to be right.
type reading struct {
	requests, buckets *query.Query // buckets: nil where latency is not measured
	unit              float64
	failed            map[string]*regexp.Regexp
}

func (l Layout) compile() (*reading, error) {
	out := &reading{unit: l.Unit, failed: map[string]*regexp.Regexp{}}
	if out.unit == 0 {
		out.unit = 1
	}
	var err error
	if out.requests, err = selector("counter of requests", l.Requests); err != nil {
		return nil, err
	}
	if l.Buckets != "" {
		if out.buckets, err = selector("histogram of requests' times", l.Buckets); err != nil {
			return nil, err
		}
	}
	for label, values := range l.Failed {
		if out.failed[label], err = regexp.Compile("^(?:" + values + ")$"); err != nil {
			return nil, fmt.Errorf("failed values of label %s: %w", label, err)
		}
	}
	return out, nil
}

func selector(what, text string) (*query.Query, error) {
	q, err := query.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if !q.Selector() {
		return nil, fmt.Errorf("%s %q: expected a selector such as %s{version=\"$version\"}", what, text, Layouts["http"].Requests)
	}
	return q, nil
}

// isFailed reports whether a series counts failed requests.
func (r *reading) isFailed(labels map[string]string) bool {
	for name, values := range r.failed {
		if v, ok := labels[name]; ok && values.MatchString(v) {
			return true
		}
	}
	return false
}

// KnownLayout returns a layout by its name.
func KnownLayout(name string) (Layout, error) {
	l, ok := Layouts[name]
	if !ok {
		return Layout{}, fmt.Errorf("there is no layout %q; known: %s", name, strings.Join(LayoutNames(), ", "))
	}
	return l, nil
}
