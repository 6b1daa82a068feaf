package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// workload compiles the template of a version and the number of its instances.
func (c *checker) workload(path string, s *v1alpha1.WorkloadSpec) (release.Workload, int) {
	w := release.Workload{Rewrite: c.rewrite(path+".rewrite", s.Rewrite), WarmUp: c.warmUp(path+".warmUp", s.WarmUp)}
	replicas := defaultReplicas
	c.one(path, choice{"process", s.Process != nil}, choice{"endpoints", s.Endpoints != nil}, choice{"deployment", s.Deployment != nil})
	if s.Process != nil {
		w.Process, replicas = c.process(path+".process", s.Process)
	}
	if s.Endpoints != nil {
		w.Endpoints = c.endpoints(path+".endpoints", s.Endpoints)
		replicas = max(1, len(w.Endpoints.Addresses))
	}
	if s.Deployment != nil {
		c.name(path+".deployment.name", s.Deployment.Name, "a Deployment")
		w.Deployment = &release.Deployment{Name: s.Deployment.Name, Content: c.content(path+".deployment.content", s.Deployment.Content)}
	}
	return w, replicas
}

func (c *checker) content(path string, s *v1alpha1.ContentSpec) release.Content {
	if s == nil {
		return release.Content{}
	}
	if len(s.ConfigMaps)+len(s.Secrets) == 0 {
		c.add(path, "", "%s", needsSome("configMaps", "secrets"))
	}
	for _, list := range []struct {
		field, what string
		names       []string
	}{{"configMaps", "a ConfigMap", s.ConfigMaps}, {"secrets", "a Secret", s.Secrets}} {
		at := path + "." + list.field
		c.distinct(at, list.names, list.what)
		for i, name := range list.names {
			c.object(fmt.Sprintf("%s[%d]", at, i), name, list.what)
		}
	}
	return release.Content{ConfigMaps: slices.Clone(s.ConfigMaps), Secrets: slices.Clone(s.Secrets)}
}

func (c *checker) process(path string, s *v1alpha1.ProcessSpec) (*release.Process, int) {
	if len(s.Command) == 0 {
		c.add(path+".command", "", "is empty; expected a program and its arguments, such as [python3, app.py]")
	} else {
		c.text(path+".command[0]", s.Command[0], "the name of a program")
	}
	c.atMost(path+".command", len(s.Command), maxItems)
	for i, arg := range s.Command {
		if strings.Contains(arg, "\x00") {
			c.add(fmt.Sprintf("%s.command[%d]", path, i), "", "holds a NUL, which no program can be given")
		}
	}
	if s.Dir != "" || c.dir != "" {
		s.Dir = c.absolute(s.Dir)
	}
	p := &release.Process{
		Command: slices.Clone(s.Command),
		Dir:     s.Dir,
		PortEnv: defaultPortEnv,
		Ready:   c.probe(path+".ready", s.Ready),
		Drain:   c.duration(path+".drain", s.Drain, defaultDrain, true),
		H2C:     word(c, path+".protocol", s.Protocol, defaultProtocol, "http", "h2c") == "h2c",
	}
	if s.PortEnv != "" {
		p.PortEnv = s.PortEnv
		c.variable(path+".portEnv", s.PortEnv)
	}
	p.Env = c.env(path+".env", s.Env, p.PortEnv)
	return p, int(count(c, path+".replicas", s.Replicas, defaultReplicas, 1, 100))
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (c *checker) variable(path, name string) {
	if !variableName.MatchString(name) || len(name) > 256 {
		c.add(path, "letters, digits and _, not beginning with a digit", "%s is not the name of an environment variable", printable(name))
	}
}

// env compiles the environment, sorted by name, so that the order in the file
// makes no version.
func (c *checker) env(path string, env map[string]string, portEnv string) []release.EnvVar {
	c.atMost(path, len(env), maxItems)
	var out []release.EnvVar
	for _, name := range slices.Sorted(maps.Keys(env)) {
		at, value := path+"["+name+"]", env[name]
		c.variable(at, name)
		if name == portEnv {
			c.add(at, "name another variable in portEnv, or remove this one", "%s tells the instance its port", name)
		}
		if len(value) > 128<<10 || strings.Contains(value, "\x00") {
			c.add(at, "", "is longer than 128 KiB or holds a NUL")
		}
		v := release.EnvVar{Name: name, Value: value}
		switch kind, rest, _ := strings.Cut(value, ":"); kind {
		case "env":
			v.Value, v.ValueFrom = "", value
			c.variable(at, rest)
		case "file":
			v.Value, v.ValueFrom = "", "file:"+c.absolute(rest)
			env[name] = v.ValueFrom
			c.text(at, rest, "the name of a file after file:")
		case "text":
			v.Value = rest
		}
		out = append(out, v)
	}
	return out
}

func (c *checker) endpoints(path string, s *v1alpha1.EndpointsSpec) *release.Endpoints {
	if len(s.Addresses) == 0 {
		c.add(path+".addresses", "", "is empty; expected at least one address, such as 10.0.0.7:8080")
	}
	c.atMost(path+".addresses", len(s.Addresses), maxItems)
	seen := map[string]int{}
	for i, a := range s.Addresses {
		at := fmt.Sprintf("%s.addresses[%d]", path, i)
		if first, twice := seen[a]; twice {
			c.add(at, "", "%s stands twice; the first one is addresses[%d]", a, first)
			continue
		}
		seen[a] = i
		c.address(at, a)
	}
	return &release.Endpoints{
		Addresses: slices.Clone(s.Addresses),
		Ready:     c.probe(path+".ready", s.Ready),
		Drain:     c.duration(path+".drain", s.Drain, defaultDrain, true),
	}
}

// address checks host:port, or scheme://host:port with http, https or h2c.
func (c *checker) address(path, value string) {
	const want = "host:port, http://host:port, https://host:port or h2c://host:port"
	hostPort := value
	if strings.Contains(value, "://") {
		u, err := url.Parse(value)
		switch {
		case err != nil:
			c.add(path, "expected "+want, "%s is not an address", printable(value))
			return
		case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "h2c":
			c.add(path, didYouMean(u.Scheme, []string{"http", "https", "h2c"}), "unknown scheme %s", printable(u.Scheme))
			return
		case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
			c.add(path, "a path is put in front by workload.rewrite.pathPrefix", "an address has a host and a port only")
			return
		}
		hostPort = u.Host
		if u.Port() == "" && u.Scheme != "h2c" {
			hostPort = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
		}
	}
	c.hostPort(path, hostPort, want, false)
}

// hostPort checks host:port. A listener may leave out the host and have port 0.
func (c *checker) hostPort(path, value, want string, listener bool) {
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		c.add(path, "expected "+want, "%s is not host:port", printable(value))
		return
	}
	low := 1
	if listener {
		low = 0
	}
	if n, err := strconv.Atoi(port); err != nil || n < low || n > 65535 || port[0] == '+' {
		c.add(path, "", "the port %s is not a number between %d and 65535", printable(port), low)
	}
	if _, err := netip.ParseAddr(host); err == nil || (host == "" && listener) {
		return
	}
	if !hostName.MatchString(host) || len(host) > 253 {
		c.add(path, "expected "+want, "%s is neither an IP address nor a host name", printable(host))
	}
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?)*\.?$`)

func (c *checker) probe(path string, s *v1alpha1.ProbeSpec) release.Probe {
	if s == nil {
		s = &v1alpha1.ProbeSpec{}
	}
	c.urlPath(path+".http", s.HTTP, true)
	return release.Probe{
		HTTP:     s.HTTP,
		Interval: c.duration(path+".interval", s.Interval, defaultProbeInterval, false),
		Timeout:  c.duration(path+".timeout", s.Timeout, defaultProbeTimeout, false),
		Deadline: c.duration(path+".deadline", s.Deadline, defaultProbeDeadline, false),
	}
}

// urlPath checks a path of a URL, with or without a query.
func (c *checker) urlPath(path, value string, optional bool) {
	if value == "" && optional {
		return
	}
	u, err := url.ParseRequestURI(value)
	if err != nil || !strings.HasPrefix(value, "/") || u.Host != "" || len(value) > maxText || strings.ContainsAny(value, " \t\r\n\x00#") {
		c.add(path, "a path begins with a slash: /healthz", "%s is not a path", printable(value))
	}
}

func (c *checker) warmUp(path string, s *v1alpha1.WarmUpSpec) *release.WarmUp {
	if s == nil {
		return nil
	}
	c.urlPath(path+".path", s.Path, false)
	if s.Body != "" && !json.Valid([]byte(s.Body)) {
		c.add(path+".body", `write JSON in a block: body: |`, "is not JSON")
	}
	return &release.WarmUp{Path: s.Path, Body: s.Body, Requests: int(count(c, path+".requests", s.Requests, defaultWarmRequests, 1, 10_000))}
}

func (c *checker) rewrite(path string, s *v1alpha1.RewriteSpec) *release.Rewrite {
	if s == nil {
		return nil
	}
	c.urlPath(path+".pathPrefix", s.PathPrefix, true)
	if strings.Contains(s.PathPrefix, "?") {
		c.add(path+".pathPrefix", "", "a prefix has no query")
	}
	c.atMost(path+".setHeaders", len(s.SetHeaders), maxItems)
	for _, name := range slices.Sorted(maps.Keys(s.SetHeaders)) {
		at := path + ".setHeaders[" + name + "]"
		c.header(at, name)
		if !httpguts.ValidHeaderFieldValue(s.SetHeaders[name]) {
			c.add(at, "", "holds a line break or a control character")
		}
	}
	c.atMost(path+".removeHeaders", len(s.RemoveHeaders), maxItems)
	for i, name := range s.RemoveHeaders {
		c.header(fmt.Sprintf("%s.removeHeaders[%d]", path, i), name)
	}
	if len(s.System) > maxPrompt {
		c.add(path+".system", "", "is longer than 64 KiB")
	}
	return &release.Rewrite{
		System:     s.System,
		PathPrefix: s.PathPrefix, SetHeaders: maps.Clone(s.SetHeaders),
		RemoveHeaders: slices.Clone(s.RemoveHeaders), SetJSON: c.setJSON(path+".setJSON", s.SetJSON),
	}
}

// framing are headers that belong to a connection, not to a request.
var framing = []string{"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}

func (c *checker) header(path, name string) {
	switch {
	case name == "":
		c.add(path, "", "is missing; expected the name of a header")
	case !httpguts.ValidHeaderFieldName(name) || len(name) > 256:
		c.add(path, "", "%s is not the name of a header", printable(name))
	case slices.Contains(framing, strings.ToLower(name)):
		c.add(path, "", "%s belongs to the connection and cannot be used", name)
	}
}

func (c *checker) setJSON(path string, set map[string]v1alpha1.JSONValue) map[string]any {
	if len(set) == 0 {
		return nil
	}
	c.atMost(path, len(set), maxItems)
	out := make(map[string]any, len(set))
	for _, name := range slices.Sorted(maps.Keys(set)) {
		at := path + "[" + name + "]"
		if slices.Contains(strings.Split(name, "."), "") || len(name) > 256 {
			c.add(at, "names joined by dots: options.temperature", "%s is not the path of a JSON field", printable(name))
		}
		var v any
		if err := json.Unmarshal(set[name].Raw, &v); err != nil {
			c.add(at, "", "is not a JSON value: %v", err)
		}
		out[name] = v
	}
	return out
}
