// Command gitops says what Argo CD and Flux would say of objects: it runs their
// own packages. It reads JSON objects, one a line, and answers each with one
// line. Argo CD is configured by the ConfigMap that its argument names, as its
// own settings read it. It is a module of its own, because those packages pin
// other versions of what Haldane uses; it knows nothing of Haldane but that file.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

// Answer is what is said of one object.
type Answer struct {
	Argo    string `json:"argo"` // Healthy, Progressing, Degraded, Suspended, ...
	ArgoWhy string `json:"argoWhy"`
	Flux    string `json:"flux"` // Current, InProgress, Failed, ...
	FluxWhy string `json:"fluxWhy"`
	// Actions that a person can choose in Argo CD, with the object that each makes.
	Actions map[string]*unstructured.Unstructured `json:"actions,omitempty"`
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: gitops ARGOCD-CM.yaml < objects.json")
	}
	overrides, err := configured(args[0])
	if err != nil {
		return err
	}
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var text json.RawMessage
		if err := dec.Decode(&text); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read an object: %w", err)
		}
		var obj unstructured.Unstructured
		if err := obj.UnmarshalJSON(text); err != nil {
			return fmt.Errorf("decode an object: %w", err)
		}
		a, err := say(&obj, overrides)
		if err != nil {
			return fmt.Errorf("%s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
}

// configured reads Argo CD's ConfigMap with its own code.
func configured(file string) (map[string]v1alpha1.ResourceOverride, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var cm corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &cm); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	cm.Namespace = "argocd"
	cm.Labels = map[string]string{"app.kubernetes.io/part-of": "argocd"}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	return settings.NewSettingsManager(ctx, fake.NewClientset(&cm), cm.Namespace).GetResourceOverrides()
}

func say(obj *unstructured.Unstructured, overrides map[string]v1alpha1.ResourceOverride) (Answer, error) {
	var a Answer
	h, err := health.GetResourceHealth(obj, lua.ResourceHealthOverrides(overrides))
	if err != nil {
		return a, fmt.Errorf("argo CD's health: %w", err)
	}
	if h != nil { // nil: it has no opinion
		a.Argo, a.ArgoWhy = string(h.Status), h.Message
	}
	s, err := status.Compute(obj)
	if err != nil {
		return a, fmt.Errorf("flux's status: %w", err)
	}
	a.Flux, a.FluxWhy = s.Status.String(), s.Message
	a.Actions, err = actions(obj, overrides)
	return a, err
}

// actions tries every action that is offered.
func actions(obj *unstructured.Unstructured, overrides map[string]v1alpha1.ResourceOverride) (map[string]*unstructured.Unstructured, error) {
	vm := lua.VM{ResourceOverrides: overrides}
	discovery, err := vm.GetResourceActionDiscovery(obj)
	if err != nil || len(discovery) == 0 {
		return nil, err
	}
	offered, err := vm.ExecuteResourceActionDiscovery(obj, discovery)
	if err != nil {
		return nil, fmt.Errorf("argo CD's actions: %w", err)
	}
	out := map[string]*unstructured.Unstructured{}
	for _, o := range offered {
		if o.Disabled || len(o.Params) > 0 {
			continue
		}
		action, err := vm.GetResourceAction(obj, o.Name)
		if err != nil {
			return nil, err
		}
		made, err := vm.ExecuteResourceAction(obj, action.ActionLua, nil)
		if err != nil || len(made) != 1 {
			return nil, fmt.Errorf("argo CD's action %s makes %d objects: %w", o.Name, len(made), err)
		}
		out[o.Name] = made[0].UnstructuredObj
	}
	return out, nil
}
