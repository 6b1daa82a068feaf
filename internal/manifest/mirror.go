package manifest

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// Defaults of spec.traffic.embedded.mirror.
const (
	defaultMirrorTimeout   = 30 * time.Second
	defaultMirrorBudget    = 64
	defaultMirrorBody      = 256 << 10
	defaultMirrorNoise     = release.Full / 5
	defaultCompareHow      = release.CompareByType
	defaultCompareThresh   = 0.8
	defaultKeepCount       = 50
	defaultKeepAge         = 24 * time.Hour
	maxPatterns            = 16
	maxMirrored, maxIgnore = 1024, 64
)

// mirroredMethods may be copied; the first three are safe (RFC 9110, 9.2.1) and
// the default.
var mirroredMethods = []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

func (c *checker) mirroring(path string, s *v1alpha1.MirrorSpec) release.Mirroring {
	if s == nil {
		s = &v1alpha1.MirrorSpec{}
	}
	m := release.Mirroring{
		Methods: slices.Clone(mirroredMethods[:3]),
		Timeout: c.duration(path+".timeout", s.Timeout, defaultMirrorTimeout, false),
		Budget:  int(count(c, path+".budget", s.Budget, defaultMirrorBudget, 1, maxMirrored)),
		MaxBody: count(c, path+".maxBody", s.MaxBody, defaultMirrorBody, 0, 16<<20),
		Noise:   c.share(path+".noise", s.Noise, defaultMirrorNoise), Credentials: s.Credentials != nil && *s.Credentials,
		Compare: c.comparing(path+".compare", s.Compare), Keep: c.keeping(path+".keep", s.Keep),
	}
	for i, method := range s.Methods {
		at := fmt.Sprintf("%s.methods[%d]", path, i)
		if !slices.Contains(mirroredMethods, method) {
			c.add(at, didYouMean(strings.ToUpper(method), mirroredMethods), "unknown method %s", printable(method))
		}
		if slices.Contains(s.Methods[:i], method) {
			c.add(at, "", "%s stands twice", method)
		}
	}
	if len(s.Methods) > 0 {
		m.Methods = slices.Clone(s.Methods)
	}
	return m
}

func (c *checker) comparing(path string, s *v1alpha1.CompareSpec) release.Comparing {
	if s == nil {
		s = &v1alpha1.CompareSpec{}
	}
	c.atMost(path+".ignore", len(s.Ignore), maxIgnore)
	for i, p := range s.Ignore {
		if len(p) > 256 || slices.Contains(strings.Split(p, "."), "") {
			c.add(fmt.Sprintf("%s.ignore[%d]", path, i), "names joined by dots: choices.*.index", "%s is not the path of a JSON field", printable(p))
		}
	}
	return release.Comparing{
		How: word(c, path+".how", s.How, defaultCompareHow, release.CompareWays()...), Ignore: slices.Clone(s.Ignore),
		Tolerance: c.probability(path+".tolerance", s.Tolerance, 0, 0, 1),
		Threshold: c.probability(path+".threshold", s.Threshold, defaultCompareThresh, 0, 1),
	}
}

func (c *checker) keeping(path string, s *v1alpha1.KeepSpec) release.Keeping {
	if s == nil {
		s = &v1alpha1.KeepSpec{}
	}
	c.atMost(path+".fields", len(s.Fields), maxIgnore)
	c.atMost(path+".patterns", len(s.Patterns), maxPatterns)
	for i, f := range s.Fields {
		c.text(fmt.Sprintf("%s.fields[%d]", path, i), f, "the name of a member of JSON")
	}
	for i, p := range s.Patterns {
		at := fmt.Sprintf("%s.patterns[%d]", path, i)
		c.text(at, p, "a regular expression")
		if _, err := regexp.Compile(p); err != nil {
			c.add(at, "the syntax is RE2's", "%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	}
	return release.Keeping{
		Count: int(count(c, path+".count", s.Count, defaultKeepCount, 0, 1000)), Age: c.duration(path+".age", s.Age, defaultKeepAge, false),
		Fields: slices.Clone(s.Fields), Texts: slices.Clone(s.Patterns),
	}
}
