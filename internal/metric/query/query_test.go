package query_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/haldane-project/haldane/internal/metric/query"
)

var vars = query.Vars{
	Release: "hello", Version: `v.2"} or up{a="`, Role: "canary", Window: 30 * time.Second,
	Cluster: &query.Cluster{Namespace: "a.b", Pods: "hello-7d-[a-z0-9]+|hello-8e-[a-z0-9]+"},
}

func TestBind(t *testing.T) {
	cases := []struct{ text, want string }{
		{`avg(q{version="$version"})`, `avg(q{version="v.2\"} or up{a=\""})`},
		{`rate(x{release="$release",role='${role}'}[$window])`, `rate(x{release="hello",role="canary"}[30s])`},
		{`sum(q{version=~"a|$version"})`, `sum(q{version=~"a|v\\.2\"\\} or up\\{a=\""})`},
		{`q{path=~"/a$"}`, `q{path=~"/a$"}`},
		{`max(q{note="[$role]"}) * 2`, `max(q{note="[canary]"}) * 2`},
		{`q{pod=~"$pods|x",namespace=~"$namespace"}`, `q{namespace=~"a\\.b",pod=~"(?:hello-7d-[a-z0-9]+|hello-8e-[a-z0-9]+)|x"}`},
	}
	for _, c := range cases {
		q, err := query.Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got, err := q.Bind(vars); err != nil || got != c.want {
			t.Errorf("%s\n got %s %v\nwant %s", c.text, got, err, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	cases := []struct{ text, want string }{
		{`avg(`, "not PromQL"},
		{`q{version="$revision"}`, "$version"},
		{`q{deployment="$workload"}`, "$namespace, $service, $pods"},
		{`q{pod="$pods"}`, `pod=~"$pods"`},
		{`q[5m]`, "one number at a time"},
		{`"text"`, "one number at a time"},
		{strings.Repeat("1+", 6000) + "1", "at most"},
	}
	for _, c := range cases {
		if _, err := query.Parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s: error %v, want one with %q", c.text, err, c.want)
		}
	}
}

// FuzzBind checks that a variable's value, whatever is in it, never changes the
// shape of a query.
func FuzzBind(f *testing.F) {
	f.Add(`rate(x{a="$version"}[$window])`, `"} or up`)
	f.Add(`sum(q{v=~"$version|b"}) by (x)`, "`\\")
	f.Add(`label_replace(q, "a", "$version", "b", "(.*)")`, "$1")
	f.Fuzz(func(t *testing.T, text, version string) {
		q, err := query.Parse(text)
		if err != nil {
			return
		}
		plain, err := q.Bind(query.Vars{Version: "x", Window: time.Minute})
		if err != nil {
			return
		}
		odd, err := q.Bind(query.Vars{Version: version, Window: time.Minute})
		if err != nil {
			t.Fatalf("%q binds %q but not %q: %v", text, "x", version, err)
		}
		if a, b := shape(t, plain), shape(t, odd); a != b {
			t.Errorf("%q with %q has the shape\n%s, want\n%s", text, version, b, a)
		}
	})
}

func shape(t *testing.T, promql string) string {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(promql)
	if err != nil {
		t.Fatalf("a bound query does not parse: %v", err)
	}
	var out strings.Builder
	parser.Inspect(expr, func(n parser.Node, path []parser.Node) error {
		fmt.Fprintf(&out, "%d:%T ", len(path), n)
		return nil
	})
	return out.String()
}
