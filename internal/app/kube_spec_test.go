package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/manifest"
	kubestore "github.com/haldane-project/haldane/internal/store/kube"
)

const corpus = "../manifest/testdata"

// manifests are the files of the corpus, by name.
func manifests(t *testing.T, kind string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, ext := range []string{"*.yaml", "*.json"} {
		files, err := filepath.Glob(filepath.Join(corpus, kind, ext))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if out[kind+"/"+filepath.Base(f)], err = os.ReadFile(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(out) < 15 {
		t.Fatalf("the corpus has %d %s manifests", len(out), kind)
	}
	return out
}

// post sends a manifest as it is to the API server, with strict field validation.
func (s *shop) post(text []byte) (*v1alpha1.Release, error) {
	result := s.Client.CoreV1().RESTClient().Post().AbsPath("/apis/haldane.dev/v1alpha1/namespaces", s.ns, "releases").
		SetHeader("Content-Type", "application/yaml").Param("fieldValidation", "Strict").Body(text).Do(context.Background())
	if err := result.Error(); err != nil {
		return nil, err
	}
	raw, err := result.Raw()
	if err != nil {
		return nil, err
	}
	var rel v1alpha1.Release
	return &rel, json.Unmarshal(raw, &rel)
}

// verdict is what the controller says of a Release's spec: "" when it takes it,
// and otherwise why not. The Release is deleted then.
func (s *shop) verdict(rel *v1alpha1.Release) (why string) {
	s.Helper()
	s.until("the controller has seen "+rel.Name, func() error {
		now := s.release(rel.Name)
		c := meta.FindStatusCondition(now.Status.Conditions, "Stalled")
		if c == nil || c.ObservedGeneration != now.Generation {
			return errors.New("no condition")
		}
		if why = ""; c.Status == metav1.ConditionTrue && c.Reason == kubestore.InvalidSpec {
			why = c.Message
		}
		return nil
	})
	if err := s.live.Delete(context.Background(), rel); err != nil {
		s.Fatal(err)
	}
	s.until("the Release is gone", func() error {
		err := s.live.Get(context.Background(), ctrl.ObjectKeyFromObject(rel), &v1alpha1.Release{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %w", err)
	})
	return why
}

// refuses checks that a cluster refuses a manifest that validate refuses: the
// API server at once, or the controller in the same words.
func (s *shop) refuses(name string, text []byte) (by string) {
	s.Helper()
	_, _, err := manifest.Parse(name, text)
	var problems manifest.Errors
	if !errors.As(err, &problems) {
		s.Errorf("%s: validate accepts it: %v", name, err)
		return ""
	}
	rel, err := s.post(text)
	if err != nil {
		if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
			s.Errorf("%s: refused for another reason: %v", name, err)
		}
		if apierrors.IsInvalid(err) && !slices.ContainsFunc(problems, func(p manifest.Problem) bool { return names(err, p.Path) }) {
			s.Errorf("%s: validate says %v and the API server %v", name, problems, err)
		}
		return "API server: " + err.Error()
	}
	why := s.verdict(rel)
	for _, p := range problems {
		if want := p.Path + ": " + p.Message; !strings.Contains(why, want) {
			s.Errorf("%s: validate says %q and the controller %q", name, want, why)
		}
	}
	return "controller: " + why
}

// names reports whether an error names a field, or the object that it is of.
func names(err error, path string) bool {
	return strings.Contains(err.Error(), path) || strings.Contains(err.Error(), path[:max(0, strings.LastIndex(path, "."))]+": ")
}

// Whatever haldane validate refuses a cluster refuses, and nothing else.
func TestClusterRefusesWhatValidateRefuses(t *testing.T) {
	s := newShop(t)
	s.controller()
	for name, text := range manifests(t, "good") {
		rel, err := s.post(text)
		if err != nil {
			t.Errorf("%s: the API server refuses what validate accepts: %v", name, err)
			continue
		}
		if why := s.verdict(rel); why != "" {
			t.Errorf("%s: the controller refuses what validate accepts: %s", name, why)
		}
	}
	for name, text := range manifests(t, "bad") {
		t.Logf("%s: %.200s", name, s.refuses(name, text))
	}
	good, err := os.ReadFile(filepath.Join(corpus, "good", "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	server := 0
	for _, c := range oneFault {
		bad := bytes.Replace(good, []byte(c[0]), []byte(c[1]), 1)
		if bytes.Equal(bad, good) {
			t.Fatalf("%q is not in the file", c[0])
		}
		by := s.refuses(c[1], bad)
		if strings.HasPrefix(by, "API server") {
			server++
		}
		t.Logf("%s: %.300s", c[1], by)
	}
	t.Logf("of %d manifests with one fault the API server refused %d and the controller the others", len(oneFault), server)
}

// oneFault are edits of good/gateway.yaml, each of which makes it wrong.
var oneFault = [][2]string{
	{"deployment: {name: hello}", "deployment: {name: hello, replicas: 2}"},
	{"deployment: {name: hello}", "deployment: {name: Hello World}"},
	{"deployment: {name: hello}", "deployment: {}"},
	{"deployment: {name: hello}", "deployment: {name: hello}, process: {command: [x]}"},
	{"    gatewayAPI:", "    istio: {service: hello}\n    gatewayAPI:"},
	{"service: hello", "service: ''"},
	{"{kind: HTTPRoute, name: hello.web}", "{kind: TCPRoute, name: hello.grpc}"},
	{"{kind: HTTPRoute, name: hello.web}", "{kind: HTTPRoute, name: hello}"},
	{"settle: 0s", "settle: 1d"},
	{"settle: 0s", "settle: -1s"},
	{"weight: 10,", "weight: 101,"},
	{"weight: 10,", "weight: 0.5,"},
	{"weight: 10,", "weight: '0.125%',"},
	{"weight: 10,", "wait: 10,"},
	{"- {weight: 10, mirror: 5}", "- {weight: 50}\n      - {weight: 10}"},
	{"mirror: 5", "mirror: 101"},
	{"mirror: 5", "hold: 5"},
	{"mirror: 5", "hold: 2h"},
	{"mirror: 5", "hold: 9999999999h"},
	{"mirror: 5", "minRequests: 99999999999999999999"},
	{"mirror: 5", "looseness: 99999999999"},
	{"weight: 10,", "weight: 99999999999,"},
	{"weight: 10,", "weight: 1e308,"},
	{"weight: 10,", "weight: .nan,"},
	{"mirror: 5", "capacity: 5"},
	{"mirror: 5", "gates: [{person: true, webhook: {url: 'https://x'}}]"},
	{"mirror: 5", "gates: [{name: a, person: true}, {name: a, webhook: {url: 'https://x'}}]"},
	{"mirror: 5", "gates: [{webhook: {url: 'ftp://x'}}]"},
	{"mirror: 5", "require: maybe"},
	{`exact: "yes"`, `exact: "yes", prefix: y`},
	{`exact: "yes"`, `regexp: "a("`},
	{"  strategy:", "  analysis: {metrics: [{name: a, kind: gauge}]}\n  strategy:"},
	{"  strategy:", "  analysis: {metrics: [{name: a, kind: errors}, {name: a, kind: latency}]}\n  strategy:"},
	{"  strategy:", "  analysis: {falseRollback: 60}\n  strategy:"},
	{"  strategy:", "  keepRuns: 0\n  strategy:"},
	{"spec:\n", "spec:\n  version: canary\n"},
	{"    canary:", "    blueGreen: {}\n    canary:"},
}

// The table that kubectl get shows says where a run is.
func TestClusterTableSaysWhereARunIs(t *testing.T) {
	s := newShop(t)
	s.evidence = newScript()
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v1"), strings.Replace(fourSteps, "{weight: 10}", "{weight: 10, hold: 10m}", 1))
	s.controller()
	s.until("v1 serves", s.serves("hello", "v1"))
	s.until("the table at rest", s.row("Idle", "", "", "", "v1"))
	s.until("the API server has taken the policy in", s.policyHolds)
	s.Cluster.Apply(t, s.ns, fmt.Sprintf(shopDeployment, "v2"))
	s.until("the table midway", s.row("Progressing", "10%", "1/5", "v2", "v1"))
}

// row reports whether the table has these cells for the one Release, and a
// verdict and an age beside them.
func (s *shop) row(phase, weight, step, canary, stable string) func() error {
	return func() error {
		var table metav1.Table
		raw, err := s.Client.CoreV1().RESTClient().Get().AbsPath("/apis/haldane.dev/v1alpha1/namespaces", s.ns, "releases").
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(context.Background()).Raw()
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &table); err != nil || len(table.Rows) != 1 {
			return fmt.Errorf("%d rows: %w", len(table.Rows), err)
		}
		var columns, cells []string
		for i, c := range table.ColumnDefinitions {
			if c.Priority == 0 {
				columns, cells = append(columns, c.Name), append(cells, text(table.Rows[0].Cells[i]))
			}
		}
		if want := []string{"Name", "Phase", "Weight", "Step", "Canary", "Verdict", "Stable", "Age"}; !slices.Equal(columns, want) {
			return fmt.Errorf("the columns are %v, expected %v", columns, want)
		}
		want := []string{"hello", phase, weight, step, canary, cells[5], stable, cells[7]}
		if !slices.Equal(cells, want) || (step == "") != (cells[5] == "") || cells[7] == "" {
			return fmt.Errorf("the cells are %q, expected %q", cells, want)
		}
		return nil
	}
}

func text(cell any) string {
	if cell == nil {
		return ""
	}
	return fmt.Sprint(cell)
}
