package proxy

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// rule is a compiled match.
type rule struct {
	to      *target
	headers []headerRule
	cookie  *headerRule
	path    string
	cohort  release.Weight
}

type headerRule struct {
	name   string // canonical; a cookie's as written
	exact  string
	prefix string
	re     *regexp.Regexp
}

func compileRule(m release.Matched, targets map[release.VersionID]*target) (rule, error) {
	rl := rule{to: targets[m.Version], path: m.Match.Path, cohort: m.Match.Cohort}
	if rl.to == nil {
		return rl, fmt.Errorf("a match leads to version %s, which is not among the shares of the split", m.Version)
	}
	for _, h := range m.Match.Headers {
		c, err := compileHeader(h)
		if err != nil {
			return rl, err
		}
		c.name = http.CanonicalHeaderKey(c.name)
		rl.headers = append(rl.headers, c)
	}
	if m.Match.Cookie != nil {
		c, err := compileHeader(*m.Match.Cookie)
		if err != nil {
			return rl, err
		}
		rl.cookie = &c
	}
	return rl, nil
}

func compileHeader(h release.HeaderMatch) (headerRule, error) {
	c := headerRule{name: h.Name, exact: h.Exact, prefix: h.Prefix}
	if h.Regexp == "" {
		return c, nil
	}
	re, err := regexp.Compile(`^(?:` + h.Regexp + `)$`)
	if err != nil {
		return c, fmt.Errorf("the match of %s: regular expression %q: %w", h.Name, h.Regexp, err)
	}
	c.re = re
	return c, nil
}

// holds reports whether all conditions hold. The path is compared as it was
// sent, byte for byte: what the instance gets is what was compared.
func (rl *rule) holds(r *http.Request, k key) bool {
	if rl.path != "" && !strings.HasPrefix(r.URL.EscapedPath(), rl.path) {
		return false
	}
	for i := range rl.headers {
		if !rl.headers[i].anyOf(r.Header[rl.headers[i].name]) {
			return false
		}
	}
	if rl.cookie != nil && !rl.cookie.matches(cookieValue(r.Header, rl.cookie.name)) {
		return false
	}
	if rl.cohort > 0 && (!k.set || point(k.cohort) >= rl.cohort) {
		return false
	}
	return rl.path != "" || len(rl.headers) > 0 || rl.cookie != nil || rl.cohort > 0
}

func (h *headerRule) anyOf(values []string) bool {
	for _, v := range values {
		if h.matches(v) {
			return true
		}
	}
	return false
}

func (h *headerRule) matches(v string) bool {
	switch {
	case h.re != nil:
		return h.re.MatchString(v)
	case h.prefix != "":
		return strings.HasPrefix(v, h.prefix)
	default:
		return v == h.exact && v != ""
	}
}
