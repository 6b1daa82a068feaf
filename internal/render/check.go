package render

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Problem is one answer that can not be used. Field is the flag's name.
type Problem struct{ Field, Message string }

// Problems are all of them.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = fmt.Sprintf("--%s %s", one.Field, one.Message)
	}
	return strings.Join(lines, "\n")
}

var (
	label    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	host     = regexp.MustCompile(`^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	image    = regexp.MustCompile(`^[^\s:@]+(:[0-9]+/[^\s:@]+)?(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
	pod      = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[^\s=,]+=[^\s=,]+(,[^\s=,]+=[^\s=,]+)*$`)
	ownPods  = []string{"", "http", "istio", "linkerd"} // layouts of what the versions themselves export
	layouts  = []string{"", "envoy", "http", "istio", "linkerd", "nginx", "traefik"}
)

// longest is what leaves room for NAME-canary and NAME-stable.
const longest = 56

func (a App) check() Problems {
	var out Problems
	need := out.need
	need(label.MatchString(a.Name) && len(a.Name) <= longest, "name", "is %q; expected at most %d small letters, digits and -", a.Name, longest)
	need(a.Namespace == "" || label.MatchString(a.Namespace), "namespace", "is %q; expected small letters, digits and -", a.Namespace)
	need(image.MatchString(a.Image), "image", "is %q; expected an image such as registry.example/hello:v1", a.Image)
	_, tag, _ := strings.Cut(a.Image[strings.LastIndex(a.Image, "/")+1:], ":")
	need(tag != "" && tag != "latest" || a.Image == "", "image", "is %q: give a tag other than latest, or a digest, since it names the version", a.Image)
	need(a.Port >= 1 && a.Port <= 65535, "port", "is %d; expected the port that the container listens on, 1 to 65535", a.Port)
	need(a.Protocol == "http" || a.Protocol == "grpc", "protocol", "is %q; expected http or grpc", a.Protocol)
	need(strings.HasPrefix(a.Probe, "/"), "probe", "is %q; expected a path such as /healthz", a.Probe)
	need(a.User >= 0 && a.User < 1<<31, "user", "is %d; expected a user's number", a.User)
	need(a.Replicas >= 1 && a.Replicas <= 1000, "replicas", "is %d; expected 1 to 1000", a.Replicas)
	need(a.MaxReplicas == 0 || a.MaxReplicas > a.Replicas, "max-replicas", "is %d; expected more than --replicas %d", a.MaxReplicas, a.Replicas)
	for name, value := range a.Env {
		need(variable.MatchString(name), "env", "names %q; expected letters, digits and _", name)
		need(utf8.ValidString(value) && !strings.ContainsFunc(value, unwritable), "env", "%s holds a sign that YAML can not carry; keep such values in a Secret", name)
	}
	for field, text := range map[string]string{"cpu": a.CPU, "memory": a.Memory} {
		q, err := resource.ParseQuantity(text)
		need(err == nil && q.Sign() > 0, field, "is %q; expected a quantity such as 100m or 256Mi", text)
	}
	slices.SortFunc(out, func(a, b Problem) int { return strings.Compare(a.Field, b.Field) })
	return append(out, a.checkTraffic()...)
}

// need adds a problem with a field unless it is as it should be.
func (p *Problems) need(ok bool, field, format string, args ...any) {
	if !ok {
		*p = append(*p, Problem{field, fmt.Sprintf(format, args...)})
	}
}

func (a App) checkTraffic() Problems {
	var out Problems
	need := out.need
	need(slices.Contains(Routers, a.Router), "router", "is %q; expected one of %s", a.Router, strings.Join(Routers, ", "))
	need(a.Router != "gatewayapi" || a.Gateway != "", "gateway", "is missing; expected the Gateway that users come through, NAME or NAMESPACE/NAME")
	for _, part := range strings.SplitN(a.Gateway, "/", 2) {
		need(a.Gateway == "" || label.MatchString(part), "gateway", "is %q; expected NAME or NAMESPACE/NAME", a.Gateway)
	}
	need(a.Gateway == "" || a.Router == "gatewayapi" || a.Router == "istio", "gateway", "has no meaning with --router %s", a.Router)
	need(a.Host == "" || host.MatchString(a.Host), "host", "is %q; expected a name such as hello.example.org", a.Host)
	need(a.Protocol != "grpc" || a.Router != "nginx", "router", "is nginx, which is rendered for http; take another for grpc")
	return append(out, a.checkEvidence()...)
}

func (a App) checkEvidence() Problems {
	var out Problems
	need, e := out.need, a.Evidence
	need(a.Protocol != "grpc" || a.Router != "gatewayapi" || e.Layout == "istio" || e.Layout == "linkerd", "layout",
		"is %q, which does not tell failed gRPC calls, HTTP 200, from good ones; expected istio or linkerd (or write analysis.prometheus.series into a Release of your own)", e.Layout)
	need(e.Prometheus != "" || e.Scrape != "", "prometheus", "or --scrape is missing: where are the counters that tell the versions apart?")
	u, err := url.Parse(e.Prometheus)
	need(e.Prometheus == "" || err == nil && u.User == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https"),
		"prometheus", "is %q; expected an address such as http://prometheus.monitoring:9090, without a password", e.Prometheus)
	port, _ := e.scrape()
	need(e.Scrape == "" || port > 0, "scrape", "is %q; expected PORT or PORT/PATH, such as 9090/metrics", e.Scrape)
	need(e.Pods == "" || e.Scrape != "" && pod.MatchString(e.Pods), "scrape-pods", "is %q; expected NAMESPACE/LABEL=VALUE beside --scrape", e.Pods)
	need(e.Pods == "" || e.Layout == "" && a.Router == "nginx" || !slices.Contains(ownPods, e.Layout), "layout",
		"is missing, or one of the versions' own pods, and --scrape-pods names a router's; expected envoy, nginx or traefik")
	need(slices.Contains(layouts, e.Layout), "layout", "is %q; expected one of %s", e.Layout, strings.Join(layouts[1:], ", "))
	return out
}

// unwritable signs are not YAML's.
func unwritable(r rune) bool {
	return unicode.IsControl(r) && !strings.ContainsRune("\t\n\r", r) || r == 0xFFFE || r == 0xFFFF || r == 0xFEFF
}

// scrape parts the port from the path; 0: neither.
func (e Evidence) scrape() (port int, path string) {
	text, rest, found := strings.Cut(e.Scrape, "/")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 65535 {
		return 0, ""
	}
	if found {
		path = "/" + rest
	}
	return n, path
}
