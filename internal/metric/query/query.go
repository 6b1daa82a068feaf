// Package query is PromQL with variables. A query is parsed, and values are put
// into its tree, never into its text: a name with a quote or a brace in it
// selects itself and cannot change the query. It knows no server and no store.
package query

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Vars are the values of the variables $release, $version, $role and $window,
// and of those that only a cluster has.
type Vars struct {
	Release string
	Version string
	Role    string        // stable or canary
	Window  time.Duration // $window: the range of rates
	Cluster *Cluster      // nil: not on Kubernetes
}

// Cluster are the variables that name Kubernetes objects of one version.
type Cluster struct {
	Namespace string // $namespace
	Service   string // $service: the Service that selects the version's pods
	Pods      string // $pods: a regular expression of the names of the version's pods
}

// names lists the variables that stand in label values, inCluster those of a cluster.
var (
	names     = []string{"release", "version", "role"}
	inCluster = []string{"namespace", "service", "pods"}
)

// Same reports whether both put the same into every query.
func (v Vars) Same(o Vars) bool {
	a, b := v.Cluster, o.Cluster
	v.Cluster, o.Cluster = nil, nil
	return v == o && (a == b || a != nil && b != nil && *a == *b)
}

// Query is a parsed query.
type Query struct{ text string }

// maxLength bounds the text of a query.
const maxLength = 10_000

// Parse reads a query. The error says where it is wrong; an unknown variable
// lists the known ones.
func Parse(text string) (*Query, error) {
	if len(text) > maxLength {
		return nil, fmt.Errorf("query of %d bytes: expected at most %d", len(text), maxLength)
	}
	q := &Query{text: text}
	if _, err := q.Bind(Vars{Release: "release", Version: "version", Role: "stable", Window: time.Minute, Cluster: &Cluster{}}); err != nil {
		return nil, err
	}
	return q, nil
}

// Bind returns the query as PromQL with the variables' values in it.
func (q *Query) Bind(v Vars) (string, error) {
	text := windowed(q.text, v.Window)
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return "", fmt.Errorf("query %q is not PromQL: %w", q.text, err)
	}
	if t := expr.Type(); t != parser.ValueTypeVector && t != parser.ValueTypeScalar {
		return "", fmt.Errorf("query %q gives a %s, expected one number at a time: wrap it in avg(), sum() or rate()", q.text, t)
	}
	b := binder{vars: v}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		b.node(n)
		return nil
	})
	if b.err != nil {
		return "", fmt.Errorf("query %q: %w", q.text, b.err)
	}
	return expr.String(), nil
}

// binder puts values into a tree.
type binder struct {
	vars Vars
	err  error
}

func (b *binder) node(n parser.Node) {
	switch n := n.(type) {
	case *parser.VectorSelector:
		for i, m := range n.LabelMatchers {
			n.LabelMatchers[i] = b.matcher(m)
		}
	case *parser.StringLiteral:
		n.Val = b.replace(n.Val, false)
	}
}

func (b *binder) matcher(m *labels.Matcher) *labels.Matcher {
	expression := m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp
	out, err := labels.NewMatcher(m.Type, m.Name, b.replace(m.Value, expression))
	if err != nil {
		b.err = err
		return m
	}
	return out
}

var variable = regexp.MustCompile(`\$(?:\{([A-Za-z_]+)\}|([A-Za-z_]+))`)

// replace puts values into text, which is a regular expression or is not.
func (b *binder) replace(text string, expression bool) string {
	return variable.ReplaceAllStringFunc(text, func(found string) string {
		name := strings.Trim(found, "${}")
		value, ok := b.vars.value(name)
		switch {
		case ok && name == "pods" && !expression:
			b.err = fmt.Errorf("variable %s is a regular expression; write it as one, such as pod=~%q", found, found)
		case ok && name == "pods":
			return "(?:" + value + ")"
		case ok && expression:
			return regexp.QuoteMeta(value)
		case ok:
			return value
		case slices.Contains(inCluster, name):
			b.err = fmt.Errorf("variable %s has a value on Kubernetes only; known here: $%s; as a range: [$window]", found, strings.Join(names, ", $"))
		default:
			b.err = fmt.Errorf("unknown variable %s; known in label values: $%s; as a range: [$window]", found, strings.Join(slices.Concat(names, inCluster), ", $"))
		}
		return found
	})
}

func (v Vars) value(name string) (string, bool) {
	switch name {
	case "release":
		return v.Release, true
	case "version":
		return v.Version, true
	case "role":
		return v.Role, true
	}
	if v.Cluster == nil {
		return "", false
	}
	switch name {
	case "namespace":
		return v.Cluster.Namespace, true
	case "service":
		return v.Cluster.Service, true
	case "pods":
		return v.Cluster.Pods, true
	}
	return "", false
}

// windowed puts the duration in place of $window outside of strings, which is
// where the grammar wants a duration.
func windowed(text string, d time.Duration) string {
	d = max(d, time.Second)
	var out strings.Builder
	var in byte // the quote that is open
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case in != 0 && c == '\\' && in != '`' && i+1 < len(text):
			out.WriteByte(c)
			i++
			c = text[i]
		case in != 0 && c == in:
			in = 0
		case in == 0 && slices.Contains([]byte("\"'`"), c):
			in = c
		case in == 0 && strings.HasPrefix(text[i:], "$window"):
			out.WriteString(model.Duration(d).String())
			i += len("$window") - 1
			continue
		}
		out.WriteByte(c)
	}
	return out.String()
}

// Selector reports whether the query is a plain selector of series, so that a
// range may follow it.
func (q *Query) Selector() bool {
	text, err := q.Bind(Vars{Release: "r", Version: "v", Role: "stable", Window: time.Minute, Cluster: &Cluster{}})
	if err != nil {
		return false
	}
	_, err = parser.NewParser(parser.Options{}).ParseMetricSelector(text)
	return err == nil
}

// Ratio takes the query apart where it is one selector divided by another.
func (q *Query) Ratio() (numerator, denominator string, ok bool) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(windowed(q.text, time.Minute))
	if err != nil {
		return "", "", false
	}
	b, ok := expr.(*parser.BinaryExpr)
	if !ok || b.Op != parser.DIV {
		return "", "", false
	}
	upper, ok := unwrapped(b.LHS).(*parser.VectorSelector)
	if !ok {
		return "", "", false
	}
	lower, ok := unwrapped(b.RHS).(*parser.VectorSelector)
	if !ok {
		return "", "", false
	}
	return upper.String(), lower.String(), true
}

func unwrapped(e parser.Expr) parser.Expr {
	for {
		p, ok := e.(*parser.ParenExpr)
		if !ok {
			return e
		}
		e = p.Expr
	}
}
