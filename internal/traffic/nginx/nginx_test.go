package nginx_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic/nginx"
	"github.com/haldane-project/haldane/internal/traffic/traffictest"
	"github.com/haldane-project/haldane/test/cluster"
	"github.com/haldane-project/haldane/test/routed"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	cluster.Main(m)
}

const userIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations: {nginx.ingress.kubernetes.io/proxy-body-size: 8m}
spec:
  ingressClassName: nginx
  tls: [{hosts: [hello.test], secretName: hello-tls}]
  rules:
  - host: hello.test
    http:
      paths:
      - {path: /other, pathType: Prefix, backend: {service: {name: other, port: {number: 80}}}}
      - {path: /, pathType: Prefix, backend: {service: {name: hello, port: {name: http}}}}
  - host: other.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: other, port: {number: 80}}}}]}
`

func newWorld(t *testing.T) *routed.World {
	t.Helper()
	w := routed.New(t, cluster.ControlPlane(t), "", release.Traffic{NGINX: &release.NGINX{Service: "hello", Ingress: "web"}})
	w.Router = nginx.New(w.Client, nil)
	return w
}

// ingress reads an Ingress; nil: there is none.
func ingress(t *testing.T, w *routed.World, name string) *networkingv1.Ingress {
	t.Helper()
	var i networkingv1.Ingress
	err := w.API.Get(context.Background(), client.ObjectKey{Namespace: w.NS, Name: name}, &i)
	if apierrors.IsNotFound(err) {
		return nil
	}
	routed.Must(t, err)
	return &i
}

// leads is the Service behind the last path of the first rule.
func leads(i *networkingv1.Ingress) string {
	p := i.Spec.Rules[0].HTTP.Paths
	return p[len(p)-1].Backend.Service.Name
}

// marks are the canary annotations, without their common beginning.
func marks(i *networkingv1.Ingress) map[string]string {
	out := map[string]string{}
	for k, v := range i.Annotations {
		if rest, ok := strings.CutPrefix(k, "nginx.ingress.kubernetes.io/canary"); ok {
			out[rest] = v
		}
	}
	return out
}

// The suite on a real API server, with a reader of the Ingresses in the
// controller's place: it follows the canary's annotations as it documents them.
func TestConformance(t *testing.T) {
	traffictest.Run(t, func(t *testing.T) traffictest.Harness {
		w := newWorld(t)
		w.C.Apply(t, w.NS, userIngress)
		return w.Harness(func(t *testing.T) routed.Draw { return reads(t, w) })
	})
}

func reads(t *testing.T, w *routed.World) routed.Draw {
	base, c := leads(ingress(t, w, "web")), ingress(t, w, "web-canary")
	if c == nil || leads(c) == base {
		return func() (string, map[string]string) { return base, nil }
	}
	m, total := marks(c), 100
	weight, err := strconv.Atoi(m["-weight"])
	routed.Must(t, err)
	if text := m["-weight-total"]; text != "" {
		total, err = strconv.Atoi(text)
		routed.Must(t, err)
	}
	return func() (string, map[string]string) {
		if rand.IntN(total) < weight {
			return leads(c), nil
		}
		return base, nil
	}
}

// A run from rest to rest: the Services and the share in each step. The user's
// Ingress never leads to a Service that may have no endpoints.
func TestIngressIsSplitAndRestored(t *testing.T) {
	w := newWorld(t)
	w.C.Apply(t, w.NS, userIngress)
	before := routed.AtRest(w.Object(t, nginx.Ingress, "web"))
	w.Run(t, traffictest.A)
	w.Rest(t)
	if ingress(t, w, "web-canary") != nil {
		t.Error("at rest there is a second Ingress")
	}
	w.Run(t, traffictest.B)
	for _, x := range []struct {
		weight       release.Weight
		base, canary string
		marks        map[string]string
	}{
		{0, "hello-stable", "hello-canary", map[string]string{"": "true", "-weight": "0"}},
		{1000, "hello-stable", "hello-canary", map[string]string{"": "true", "-weight": "10"}},
		{25, "hello-stable", "hello-canary", map[string]string{"": "true", "-weight": "25", "-weight-total": "10000"}},
		{5000, "hello-stable", "hello-canary", map[string]string{"": "true", "-weight": "50"}},
		{release.Full, "hello-canary", "hello-stable", map[string]string{"": "true", "-weight": "0"}},
		{0, "hello-stable", "hello-canary", map[string]string{"": "true", "-weight": "0"}},
	} {
		routed.Must(t, w.Apply(traffictest.Split(x.weight)))
		user, c := ingress(t, w, "web"), ingress(t, w, "web-canary")
		if leads(user) != x.base || leads(c) != x.canary {
			t.Errorf("weight %d: %s and %s, want %s and %s", x.weight, leads(user), leads(c), x.base, x.canary)
		}
		if diff := cmp.Diff(x.marks, marks(c)); diff != "" {
			t.Errorf("weight %d:\n%s", x.weight, diff)
		}
		if len(c.Spec.Rules) != 1 || len(c.Spec.Rules[0].HTTP.Paths) != 1 || c.Spec.Rules[0].Host != "hello.test" || *c.Spec.IngressClassName != "nginx" {
			t.Errorf("weight %d: the second Ingress has %+v: want only the paths to the Service", x.weight, c.Spec)
		}
		if p := user.Spec.Rules[0].HTTP.Paths; len(p) != 2 || p[0].Backend.Service.Name != "other" {
			t.Errorf("weight %d: the user's Ingress has %+v", x.weight, p)
		}
		mark := w.C.Mark(t)
		routed.Must(t, w.Apply(traffictest.Split(x.weight)))
		if writes := w.C.Requests(t, mark, func(r cluster.Request) bool { return r.Write() && strings.HasPrefix(r.Object, w.NS) }); len(writes) > 0 {
			t.Errorf("weight %d: the same again took %v", x.weight, writes)
		}
	}
	w.Rest(t)
	if diff := cmp.Diff(before, routed.AtRest(w.Object(t, nginx.Ingress, "web"))); diff != "" {
		t.Errorf("at rest the Ingress differs from what the user wrote:\n%s", diff)
	}
	if ingress(t, w, "web-canary") != nil {
		t.Error("at rest the second Ingress is left")
	}
	w.C.Apply(t, w.NS, strings.Replace(userIngress, "8m", "9m", 1)) // nobody is in the way
}

// Conditions, and what the controller can not do.
func TestConditionsAndLimits(t *testing.T) {
	w := newWorld(t)
	w.C.Apply(t, w.NS, userIngress)
	w.Run(t, traffictest.A)
	w.Run(t, traffictest.B)
	matched := func(m ...release.Match) release.Split {
		s := traffictest.Split(500)
		for _, x := range m {
			s.Matched = append(s.Matched, release.Matched{Version: traffictest.B, Match: x})
		}
		return s
	}
	header := func(h release.HeaderMatch) release.Match {
		return release.Match{Headers: []release.HeaderMatch{h}}
	}
	for _, x := range []struct {
		match release.Match
		want  map[string]string
	}{
		{header(release.HeaderMatch{Name: "X-Beta", Exact: "on"}), map[string]string{"-by-header": "X-Beta", "-by-header-value": "on"}},
		{header(release.HeaderMatch{Name: "X-Beta", Prefix: "a.b"}), map[string]string{"-by-header": "X-Beta", "-by-header-pattern": `^a\.b`}},
		{header(release.HeaderMatch{Name: "X-Beta", Regexp: "a|b"}), map[string]string{"-by-header": "X-Beta", "-by-header-pattern": `^(?:a|b)$`}},
		{release.Match{Cookie: &release.HeaderMatch{Name: "beta", Exact: "always"}}, map[string]string{"-by-cookie": "beta"}},
	} {
		routed.Must(t, w.Apply(matched(x.match)))
		x.want[""], x.want["-weight"] = "true", "5"
		if diff := cmp.Diff(x.want, marks(ingress(t, w, "web-canary"))); diff != "" {
			t.Errorf("%+v:\n%s", x.match, diff)
		}
	}
	before := ingress(t, w, "web-canary").ResourceVersion
	mirror := traffictest.Split(0)
	mirror.Mirror = &release.Mirror{Version: traffictest.B, Share: 1000}
	on := header(release.HeaderMatch{Name: "X-Beta", Exact: "on"})
	for want, s := range map[string]release.Split{
		"copies all requests or none":  mirror,
		"can not match the path /beta": matched(release.Match{Path: "/beta"}),
		"takes one condition":          matched(on, on),
		"one header or one cookie":     matched(release.Match{}),
		"with the value always only":   matched(release.Match{Cookie: &release.HeaderMatch{Name: "beta", Exact: "1"}}),
	} {
		if err := w.Apply(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v: want %q", err, want)
		}
	}
	if ingress(t, w, "web-canary").ResourceVersion != before {
		t.Error("the second Ingress was written none the less")
	}
}

// Edits midway, a second Ingress of somebody else, and one that leads elsewhere.
func TestEditsAndBadInput(t *testing.T) {
	w := newWorld(t)
	w.Run(t, traffictest.A)
	wants := func(what string) {
		t.Helper()
		if err := w.Apply(traffictest.Split(0)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v: want %q", err, what)
		}
	}
	w.Run(t, traffictest.B)
	wants("Ingress web does not exist in namespace " + w.NS + ": create it")
	w.C.Apply(t, w.NS, strings.ReplaceAll(userIngress, "name: hello,", "name: elsewhere,"))
	wants("no path of its rules leads to Service hello (they lead to other, elsewhere)")
	w.C.Apply(t, w.NS, userIngress, strings.Replace(userIngress, "name: web", "name: web-canary", 1))
	wants("Ingress web-canary exists and is not Haldane's")
	routed.Must(t, w.API.Delete(context.Background(), ingress(t, w, "web-canary")))
	routed.Must(t, w.Apply(traffictest.Split(0)))
	routed.Must(t, w.Apply(traffictest.Split(1000)))
	user := ingress(t, w, "web")
	user.Spec.Rules[0].Host = "new.test"
	routed.Must(t, w.API.Update(context.Background(), user))
	c := ingress(t, w, "web-canary")
	c.Annotations["nginx.ingress.kubernetes.io/canary-weight"] = "90"
	routed.Must(t, w.API.Update(context.Background(), c))
	if o := w.Observe(t); !o.Pending || o.Open {
		t.Errorf("%+v: want it pending after the edits, and parted", o)
	}
	routed.Must(t, w.Apply(traffictest.Split(1000)))
	c = ingress(t, w, "web-canary")
	if c.Spec.Rules[0].Host != "new.test" || marks(c)["-weight"] != "10" {
		t.Errorf("the second Ingress has %+v, %v: want the new host and 10 %%", c.Spec.Rules, marks(c))
	}
	w.Rest(t)
	if user = ingress(t, w, "web"); user.Spec.Rules[0].Host != "new.test" || leads(user) != "hello" {
		t.Errorf("at rest %+v: want the edit", user.Spec.Rules)
	}
}
