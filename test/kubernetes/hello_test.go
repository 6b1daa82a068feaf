package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const exampleApp = "../../examples/hello"

// example is the text of examples/hello/kubernetes/gateway.yaml with what a user
// of this cluster would write otherwise: the gateway's namespace and where its
// counters are. Pairs of others are replaced, too.
func (w *world) example(others ...string) string {
	w.Helper()
	b, err := os.ReadFile(exampleApp + "/kubernetes/gateway.yaml")
	if err != nil {
		w.Fatal(err)
	}
	text := string(b)
	pairs := append([]string{
		"  - name: traefik\n    namespace: traefik\n", "  - name: " + w.traefik.Gateway + "\n    namespace: " + w.ns + "\n",
		"      pods:\n        labels:\n          app.kubernetes.io/name: traefik\n        namespace: traefik\n      port: 9100\n",
		fmt.Sprintf("      addresses: [%q]\n", scraped(w.traefik)),
	}, others...)
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(text, pairs[i]) != 1 {
			w.Fatalf("the example has %d times\n%s", strings.Count(text, pairs[i]), pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

// version replaces the example's first version by another one, with variables
// (YAML list items) beside its own.
func version(name string, env ...string) []string {
	with := "          value: " + name + "\n"
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		with += fmt.Sprintf("        - name: %s\n          value: %q\n", k, v)
	}
	return []string{"          value: v1\n", with, "hello:v1\n", "hello:" + name + "\n"}
}

// saying tells versions by what the example answers: {"version": ...}.
type saying struct{ http.RoundTripper }

func (s saying) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := s.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close() // it is read
	if err != nil {
		return nil, err
	}
	var said struct{ Version string }
	if json.Unmarshal(body, &said) == nil {
		res.Header.Set("X-Version", said.Version)
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// TestHelloExample: the Flask application of examples/hello with its own
// manifests. Under constant load v2, which fails, is taken off, and v3 is
// promoted; no request is lost, no pod is made anew at the promotion, and at rest
// the objects are what was applied.
func TestHelloExample(t *testing.T) {
	w := prepare(t)
	for _, tag := range []string{"v1", "v2", "v3"} {
		w.LoadFlask(t, "ghcr.io/haldane-project/hello:"+tag, exampleApp)
	}
	w.traefik = w.Traefik(t, w.ns)
	w.url, w.way = w.traefik.URL+"/hello", saying{&http.Transport{MaxIdleConnsPerHost: 512}}
	w.controller()
	w.Apply(t, w.ns, w.example())
	w.phase("v1", "Promoted")
	w.until("v1 answers", func() error { _, err := w.ask(); return err })
	route := written(w.object(httpRoutes, "hello"))
	tr := w.load(160)

	before := w.uids("v1")
	w.Apply(t, w.ns, w.example(version("v2", "ERROR_RATE=0.2")...))
	w.phase("v2", "RolledBack")
	w.Logf("v2: %s", w.release().Status.Run.Why)
	if now := w.uids("v1"); !cmp.Equal(now, before) || len(now) != 2 {
		t.Errorf("the pods of v1 are %v, before v2 they were %v", now, before)
	}

	good := w.example(version("v3")...)
	w.Apply(t, w.ns, good)
	w.phase("v3", "Baking", "Finishing", "Promoted")
	baked := w.uids("v3")
	w.phase("v3", "Promoted")
	w.until("the Deployment is an ordinary one", func() error {
		if d := w.deployment(); d.Spec.Paused || d.Status.UpdatedReplicas != 2 || d.Status.Replicas != 2 {
			return fmt.Errorf("paused %v, status %+v", d.Spec.Paused, d.Status)
		}
		return nil
	})
	w.until("the route is the user's", func() error {
		if diff := cmp.Diff(route, written(w.object(httpRoutes, "hello"))); diff != "" {
			return fmt.Errorf("it differs: %s", diff)
		}
		return nil
	})
	tr.end()
	if now := w.uids("v3"); !cmp.Equal(now, baked) || len(now) != 2 {
		t.Errorf("the pods of v3 are %v, they were %v when all traffic was on them", now, baked)
	}
	rest := written(w.object(deployments, "hello"))
	w.Apply(t, w.ns, good)
	if diff := cmp.Diff(rest, written(w.object(deployments, "hello"))); diff != "" {
		t.Errorf("the Deployment differs from what was applied: %s", diff)
	}
	w.onlyBad(tr, "v2")
}

// onlyBad asserts that each request was answered by a version, and that none
// failed but those of a bad one.
func (w *world) onlyBad(tr *traffic, version string) {
	w.Helper()
	shots := tr.all()
	if bad := lost(shots); len(bad) > 0 {
		w.Errorf("%d of %d requests were answered by no version, the first: %+v", len(bad), len(shots), bad[0])
	}
	by := map[string]int{}
	for _, s := range shots {
		by[s.Version]++
		if s.Failed() && s.Version != version {
			w.Errorf("a request failed: %+v", s)
		}
	}
	off, failed, _ := span(shots, version)
	w.Logf("%d requests, by version %v; %d of the bad one's failed; %v from the first failure to its last answer", len(shots), by, failed, off)
}

// uids are those of the example's pods of a version that never restarted.
func (w *world) uids(version string) []types.UID {
	w.Helper()
	list, err := w.Client.CoreV1().Pods(w.ns).List(context.Background(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=hello"})
	if err != nil {
		w.Fatal(err)
	}
	var out []types.UID
	for _, p := range list.Items {
		if c := p.Spec.Containers[0]; p.DeletionTimestamp != nil || !strings.HasSuffix(c.Image, ":"+version) {
			continue
		}
		out = append(out, p.UID)
		for _, c := range p.Status.ContainerStatuses {
			if c.RestartCount > 0 {
				w.Errorf("pod %s was restarted: %+v", p.Name, c)
			}
		}
	}
	slices.Sort(out)
	return out
}
