package manifest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// Bounds of what is said about models.
const (
	maxPrompt = 64 << 10
	maxPaths  = 64
)

var (
	currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)
	priceNumber  = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9})?$`)
)

// modelInputs are what may be found by path in the requests of any JSON,
// modelFacts what may be in its answers.
var (
	modelInputs = []string{"text", "values"}
	modelFacts  = []string{"class", "error", "finish", "inputTokens", "model", "modelVersion", "outputTokens", "score", "text"}
)

func (c *checker) model(path string, s *v1alpha1.ModelSpec) *release.Model {
	if s == nil {
		return nil
	}
	m := &release.Model{
		Usage: s.Usage != nil && *s.Usage, Currency: defaultCurrency,
		Prices: c.prices(path+".prices", s.Prices), Paths: c.modelPaths(path+".paths", s.Paths),
		JSON: c.modelJSON(path+".json", modelFacts, s.JSON), Input: c.modelJSON(path+".input", modelInputs, s.Input),
	}
	if s.Currency != "" {
		m.Currency = s.Currency
		if !currencyCode.MatchString(s.Currency) {
			c.add(path+".currency", "three capital letters: USD", "%s is not the code of a currency", printable(s.Currency))
		}
	}
	if reads := slices.ContainsFunc(m.Paths, func(p release.ModelPath) bool { return p.API == release.JSONAPI }); !reads {
		for _, x := range []struct {
			name string
			used map[string]string
		}{{".json", m.JSON}, {".input", m.Input}} {
			if len(x.used) > 0 {
				c.add(path+x.name, "add one: paths: [{path: /predict, api: json}]", "is used by paths of the api json only, and there is none")
			}
		}
	}
	return m
}

func (c *checker) prices(path string, s map[string]v1alpha1.PriceSpec) map[string]release.Price {
	c.atMost(path, len(s), maxItems)
	var out map[string]release.Price
	for _, name := range slices.Sorted(maps.Keys(s)) {
		at, p := path+"["+name+"]", s[name]
		c.text(at, name, "the name of a model")
		price := release.Price{Input: c.price(at+".input", p.Input, 0), Output: c.price(at+".output", p.Output, 0)}
		price.Cached = c.price(at+".cached", p.Cached, price.Input)
		price.Reasoning = c.price(at+".reasoning", p.Reasoning, price.Output)
		if out == nil {
			out = map[string]release.Price{}
		}
		out[name] = price
	}
	return out
}

func (c *checker) price(path, value string, otherwise float64) float64 {
	if value == "" {
		return otherwise
	}
	v, err := strconv.ParseFloat(value, 64)
	if err != nil || !priceNumber.MatchString(value) {
		c.add(path, `a decimal number in quotes: "0.15"`, "%s is not the price of a million tokens", printable(value))
	}
	return v
}

func (c *checker) modelPaths(at string, s []v1alpha1.ModelPathSpec) []release.ModelPath {
	c.atMost(at, len(s), maxPaths)
	var known []string
	for _, api := range release.ModelAPIs() {
		known = append(known, string(api))
	}
	var out []release.ModelPath
	for i, p := range s {
		here := fmt.Sprintf("%s[%d]", at, i)
		if _, err := path.Match(p.Path, "/"); err != nil || !strings.HasPrefix(p.Path, "/") || len(p.Path) > maxText {
			c.add(here+".path", "a path begins with a slash, * stands for a part of it: /models/*/predict", "%s is not a pattern of paths", printable(p.Path))
		}
		if !slices.Contains(known, p.API) {
			c.add(here+".api", didYouMean(p.API, known), "unknown api %s", printable(p.API))
		}
		out = append(out, release.ModelPath{Path: p.Path, API: release.ModelAPI(p.API)})
	}
	return out
}

func (c *checker) modelJSON(path string, known []string, s map[string]string) map[string]string {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		at := path + "[" + name + "]"
		if !slices.Contains(known, name) {
			c.add(at, didYouMean(name, known), "unknown fact %s", printable(name))
		}
		if len(s[name]) > 256 || slices.Contains(strings.Split(s[name], "."), "") {
			c.add(at, "names joined by dots: result.0.label", "%s is not the path of a JSON field", printable(s[name]))
		}
	}
	return maps.Clone(s)
}
