// Package cluster is the engine under the Kubernetes adapters: names, identity
// of pod templates, and a client that reads from a cache, never misses its own
// writes and writes with its own field manager. It knows Kubernetes objects and
// nothing of runs, splits or verdicts; it decides nothing.
//
// Read this file first, then client.go (reads and writes) and template.go (what
// makes a version).
package cluster

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Manager is the field manager of all that Haldane writes.
const Manager = "haldane"

// The labels and annotations that Haldane sets.
const (
	// ReleaseLabel on a user's object names the Release that works with it, and
	// on an object of Haldane the Release that owns it.
	ReleaseLabel = "haldane.dev/release"
	// RoleLabel on an object of Haldane says which role it serves: stable or canary.
	RoleLabel = "haldane.dev/role"
	// HoldAnnotation on a Deployment says why it is paused.
	HoldAnnotation = "haldane.dev/hold"
	// ContentAnnotation on a template says for which content of ConfigMaps and
	// Secrets it stands; on a Deployment, as "CONTENT=ANNOTATION", for which one a
	// template stands by another annotation or by none (package app, kube_content.go).
	ContentAnnotation = "haldane.dev/content"
)

// Name is the name of a release in a cluster: namespace/name. It is the record's
// name in the store and the release's name everywhere in the controller.
func Name(key types.NamespacedName) string { return key.Namespace + "/" + key.Name }

// Key is the namespace and the name in a release's name.
func Key(name string) types.NamespacedName {
	ns, n, ok := strings.Cut(name, "/")
	if !ok {
		return types.NamespacedName{Name: name}
	}
	return types.NamespacedName{Namespace: ns, Name: n}
}

// CanaryDeployment is the name of the second Deployment that runs the new version.
func CanaryDeployment(deployment string) string { return deployment + "-canary" }

// StableService is the name of the Service that selects stable's pods, beside a
// user's Service.
func StableService(service string) string { return service + "-stable" }

// CanaryService is the same for the canary's pods.
func CanaryService(service string) string { return service + "-canary" }
