package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/kube"
	"github.com/haldane-project/haldane/internal/manifest"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/store"
	kubestore "github.com/haldane-project/haldane/internal/store/kube"
)

// clusterView turns a Release of a cluster into the release that it declares
// now: its spec, and the version that its Deployment's template is. What keeps it
// from that is told as a condition.
type clusterView struct {
	client    *cluster.Client
	store     *kubestore.Store
	namespace string
	content   func(kind string, key types.NamespacedName) (map[string][]byte, error) // nil data: there is no such object
}

var errRefused = errors.New("the release can not be worked on")

// parse implements reconcile's Parse. A spec that is refused leaves the one
// before in force, so that a run that is under way is still judged.
func (v *clusterView) parse(rec store.Record) (release.Release, error) {
	ctx := context.Background()
	rel, err := declared(rec.Name, rec.Manifest)
	if err == nil {
		return rel, v.store.ClearNote(ctx, rec.Name, kubestore.InvalidSpec, kubestore.NotSupported)
	}
	reason := kubestore.InvalidSpec
	if errors.Is(err, errNotHere) {
		reason = kubestore.NotSupported
	}
	note := kubestore.Note{Reason: reason, Message: inOneLine(err), Refused: true}
	if told := v.store.Note(ctx, rec.Name, note); told != nil {
		return release.Release{}, errors.Join(err, told)
	}
	before, readErr := v.store.Accepted(ctx, rec.Name)
	if readErr != nil || len(before) == 0 {
		if rec.Deleting && readErr == nil { // nothing was ever begun for it
			return release.Release{}, errors.Join(err, v.store.LetGo(ctx, rec.Name))
		}
		return release.Release{}, errors.Join(err, readErr)
	}
	return declared(rec.Name, before)
}

func inOneLine(err error) string {
	var problems manifest.Errors
	if !errors.As(err, &problems) {
		return err.Error()
	}
	var out []string
	for _, p := range problems {
		text := p.Path + ": " + p.Message
		if p.Hint != "" {
			text += " (" + p.Hint + ")"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

var errNotHere = errors.New("not in a cluster")

// declared is the release of a stored manifest, by its name in the cluster.
func declared(name string, doc json.RawMessage) (release.Release, error) {
	var obj v1alpha1.Release
	if err := json.NewDecoder(bytes.NewReader(doc)).Decode(&obj); err != nil {
		return release.Release{}, fmt.Errorf("the stored manifest does not decode: %w", err)
	}
	rel, err := manifest.FromObject(obj)
	if err != nil {
		return rel, err
	}
	rel.Name = name
	return rel, inCluster(rel)
}

// inCluster says why the controller can not work on a release.
func inCluster(rel release.Release) error {
	switch {
	case rel.Version.Workload.Deployment == nil:
		return fmt.Errorf("spec.workload: a cluster runs deployment; process and endpoints need the local daemon (haldane serve): %w", errNotHere)
	case rel.Traffic.Embedded != nil:
		return fmt.Errorf("spec.traffic.embedded: the embedded proxy needs the local daemon (haldane serve); a cluster splits with gatewayAPI, istio, linkerd, nginx or replicas: %w", errNotHere)
	}
	return nil
}

// resolve implements reconcile's Resolve.
func (v *clusterView) resolve(ctx context.Context, rel release.Release) (release.Release, error) {
	key := cluster.Key(rel.Name)
	name := rel.Version.Workload.Deployment.Name
	var d appsv1.Deployment
	err := v.client.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: name}, &d)
	if other, failed := v.owner(ctx, key, name, d.Labels[cluster.ReleaseLabel]); failed != nil {
		return rel, failed
	} else if other != "" {
		return rel, v.taken(ctx, rel.Name, name, other)
	}
	switch {
	case apierrors.IsNotFound(err):
		rel.Version.ID, rel.Replicas = "", max(rel.Replicas, 1)
		return rel, v.store.Note(ctx, rel.Name, kubestore.Note{Reason: kubestore.WorkloadNotFound,
			Message: fmt.Sprintf("There is no Deployment %s in namespace %s: create it, or name another in spec.workload.deployment.name.", name, key.Namespace)})
	case err != nil:
		return rel, fmt.Errorf("read Deployment %s/%s: %w", key.Namespace, name, err)
	}
	with, err := v.withContent(ctx, rel, &d)
	if err != nil {
		return rel, err
	}
	d = *with
	rel.Replicas = 1
	if d.Spec.Replicas != nil {
		rel.Replicas = int(*d.Spec.Replicas)
	}
	given := rel.Version.Name
	if given == string(rel.Version.ID) { // nobody gave one
		given = ""
	}
	rel.Version.ID = cluster.TemplateID(d.Spec.Template)
	if rel.Version.Name = given; given == "" {
		rel.Version.Name = cluster.VersionName(d.Spec.Template)
	}
	return rel, v.clear(ctx, rel.Name)
}

// clear takes a note about the workload back; one about the spec stays.
func (v *clusterView) clear(ctx context.Context, name string) error {
	return v.store.ClearNote(ctx, name, kubestore.WorkloadNotFound, kubestore.WorkloadTaken)
}

// owner is another Release that has a Deployment; empty: none. The Deployment's
// label tells, also of a Release that another controller works on (--selector);
// without one the oldest Release has it. The label of a Release that is no more,
// or works with another Deployment now, means nothing.
func (v *clusterView) owner(ctx context.Context, key types.NamespacedName, deployment, label string) (string, error) {
	if label == key.Name {
		return "", nil
	}
	if label == "" {
		return v.elder(ctx, key, deployment)
	}
	var other v1alpha1.Release
	at := types.NamespacedName{Namespace: key.Namespace, Name: label}
	err := v.client.Get(ctx, at, &other)
	if apierrors.IsNotFound(err) { // or of another shard
		err = v.client.Live(ctx, at, &other)
	}
	switch {
	case apierrors.IsNotFound(err):
		return v.elder(ctx, key, deployment)
	case err != nil:
		return "", fmt.Errorf("read Release %s, which Deployment %s is labelled with: %w", at, deployment, err)
	case other.Spec.Workload.Deployment == nil || other.Spec.Workload.Deployment.Name != deployment:
		return v.elder(ctx, key, deployment)
	}
	return label, nil
}

// elder is the oldest Release of a Deployment where that is another one; empty: it is not.
func (v *clusterView) elder(ctx context.Context, key types.NamespacedName, deployment string) (string, error) {
	var list v1alpha1.ReleaseList
	if err := v.client.List(ctx, &list, client.InNamespace(key.Namespace), client.MatchingFields{kube.ByDeployment: deployment}, client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list the Releases of Deployment %s in namespace %s: %w", deployment, key.Namespace, err)
	}
	var own *v1alpha1.Release
	for i := range list.Items {
		if list.Items[i].Name == key.Name {
			own = &list.Items[i]
		}
	}
	for i := range list.Items {
		o := &list.Items[i]
		if own == nil || o.Name == key.Name {
			continue
		}
		if o.CreationTimestamp.Before(&own.CreationTimestamp) ||
			o.CreationTimestamp.Equal(&own.CreationTimestamp) && o.Name < own.Name {
			return o.Name, nil
		}
	}
	return "", nil
}

// taken refuses the younger of two Releases on one Deployment; when it is
// deleted there is nothing of its own to restore.
func (v *clusterView) taken(ctx context.Context, release, deployment, other string) error {
	note := kubestore.Note{Reason: kubestore.WorkloadTaken, Refused: true,
		Message: fmt.Sprintf("Release %s works with Deployment %s already: delete one of the two, or name another Deployment.", other, deployment)}
	err := v.store.Note(ctx, release, note)
	rec, readErr := v.store.Get(ctx, release)
	if readErr == nil && rec.Deleting {
		err = errors.Join(err, v.store.LetGo(ctx, release))
	}
	return errors.Join(fmt.Errorf("%w: %s", errRefused, note.Message), err)
}

// shard names a selector in the name of a lease.
func shard(selector string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(selector)) // never fails
	return fmt.Sprintf("%08x", h.Sum32())
}
