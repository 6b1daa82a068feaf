package manifest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

func (c *checker) traffic(path string, s *v1alpha1.TrafficSpec) release.Traffic {
	set := c.one(path, choice{"embedded", s.Embedded != nil}, choice{"gatewayAPI", s.GatewayAPI != nil}, choice{"istio", s.Istio != nil},
		choice{"linkerd", s.Linkerd != nil}, choice{"nginx", s.NGINX != nil}, choice{"replicas", s.Replicas != nil})
	switch path += "." + set; set {
	case "embedded":
		return release.Traffic{Embedded: c.embedded(path, s.Embedded)}
	case "gatewayAPI":
		return release.Traffic{GatewayAPI: c.gatewayAPI(path, s.GatewayAPI)}
	case "istio":
		return release.Traffic{Istio: c.istio(path, s.Istio)}
	case "linkerd":
		return release.Traffic{Linkerd: c.linkerd(path, s.Linkerd)}
	case "nginx":
		return release.Traffic{NGINX: c.nginx(path, s.NGINX)}
	case "replicas":
		return release.Traffic{Replicas: c.replicas(path, s.Replicas)}
	}
	return release.Traffic{}
}

func (c *checker) embedded(path string, s *v1alpha1.EmbeddedSpec) *release.Embedded {
	if s.Listen == "" {
		c.add(path+".listen", "", "is missing; expected host:port, such as 127.0.0.1:8080")
	} else {
		c.hostPort(path+".listen", s.Listen, "host:port, such as 127.0.0.1:8080", true)
	}
	if s.TestHeader != "" {
		c.header(path+".testHeader", s.TestHeader)
	}
	return &release.Embedded{
		Listen:     s.Listen,
		TLS:        c.tls(path+".tls", s.TLS),
		Sticky:     c.sticky(path+".sticky", s.Sticky),
		TestHeader: s.TestHeader,
		Shield:     c.shield(path+".shield", s.Shield),
		Timeouts:   c.timeouts(path+".timeouts", s.Timeouts),
		Model:      c.model(path+".model", s.Model),
		Feedback:   c.feedback(path+".feedback", s.Feedback),
		Mirror:     c.mirroring(path+".mirror", s.Mirror),
	}
}

func (c *checker) tls(path string, s *v1alpha1.TLSSpec) *release.TLS {
	if s == nil {
		return nil
	}
	c.text(path+".certFile", s.CertFile, "the name of a PEM file")
	c.text(path+".keyFile", s.KeyFile, "the name of a PEM file")
	s.CertFile, s.KeyFile = c.absolute(s.CertFile), c.absolute(s.KeyFile)
	return &release.TLS{CertFile: s.CertFile, KeyFile: s.KeyFile}
}

func (c *checker) sticky(path string, s *v1alpha1.StickySpec) release.Sticky {
	if s == nil {
		return release.Sticky{}
	}
	c.one(path, choice{"cookie", s.Cookie != ""}, choice{"header", s.Header != ""}, choice{"jwt", s.JWT != ""}, choice{"client", s.Client}, choice{"json", s.JSON != ""})
	if s.Cookie != "" && !httpguts.ValidHeaderFieldName(s.Cookie) {
		c.add(path+".cookie", "", "%s is not the name of a cookie", printable(s.Cookie))
	}
	if s.Header != "" {
		c.header(path+".header", s.Header)
	}
	if s.JWT != "" {
		c.text(path+".jwt", s.JWT, "the name of a claim")
	}
	if len(s.JSON) > 256 || s.JSON != "" && slices.Contains(strings.Split(s.JSON, "."), "") {
		c.add(path+".json", "names joined by dots: metadata.conversation", "%s is not the path of a JSON field", printable(s.JSON))
	}
	sticky := release.Sticky{Cookie: s.Cookie, Header: s.Header, JWT: s.JWT, Client: s.Client, JSON: s.JSON}
	if s.TTL != nil && s.Cookie == "" {
		c.add(path+".ttl", "", "only a cookie has a TTL")
	}
	if s.Cookie != "" {
		sticky.TTL = c.duration(path+".ttl", s.TTL, defaultCookieTTL, false)
	}
	return sticky
}

func (c *checker) shield(path string, s *v1alpha1.ShieldSpec) release.Shield {
	if s == nil {
		s = &v1alpha1.ShieldSpec{}
	}
	shield := release.Shield{Enabled: s.Enabled == nil || *s.Enabled, Methods: defaultShielded(),
		MaxBody: count(c, path+".maxBody", s.MaxBody, defaultShieldBody, 0, 16<<20)}
	if len(s.Methods) == 0 {
		return shield
	}
	known := append(defaultShielded(), http.MethodPost, http.MethodPatch)
	for i, m := range s.Methods {
		at := fmt.Sprintf("%s.methods[%d]", path, i)
		if !slices.Contains(known, m) {
			c.add(at, didYouMean(strings.ToUpper(m), known), "unknown method %s", printable(m))
		}
		if slices.Contains(s.Methods[:i], m) {
			c.add(at, "", "%s stands twice", m)
		}
	}
	shield.Methods = slices.Clone(s.Methods)
	return shield
}

func (c *checker) timeouts(path string, s *v1alpha1.TimeoutsSpec) release.Timeouts {
	if s == nil {
		s = &v1alpha1.TimeoutsSpec{}
	}
	return release.Timeouts{
		Header:   c.duration(path+".header", s.Header, defaultHeaderTimeout, false),
		Idle:     c.duration(path+".idle", s.Idle, defaultIdleTimeout, false),
		Response: c.duration(path+".response", s.Response, defaultResponseTimeout, true),
	}
}
