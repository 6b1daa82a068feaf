package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/kube"
	"github.com/haldane-project/haldane/internal/reconcile"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/rollout"
	kubestore "github.com/haldane-project/haldane/internal/store/kube"
	"github.com/haldane-project/haldane/internal/workload/deployment"
)

// Cluster names a cluster and a namespace of it, as kubectl does.
type Cluster struct {
	Kubeconfig string // empty: KUBECONFIG, ~/.kube/config, or the pod's own account
	Context    string // empty: the current one
	Namespace  string // empty: the context's
}

// connect returns the configuration of clients and the namespace.
func (c Cluster) connect() (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: c.Context}
	overrides.Context.Namespace = c.Namespace
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	cfg, err := loaded.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("find the cluster: %w; name a kubeconfig with --kubeconfig or KUBECONFIG, and a context of it with --context", err)
	}
	namespace, _, err := loaded.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("find the namespace: %w", err)
	}
	cfg.QPS = -1 // the API server's own fairness limits us
	cfg.UserAgent = "haldane/" + Version
	return cfg, namespace, nil
}

func kubeScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, gatewayv1.Install} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// ControllerOptions of the controller.
type ControllerOptions struct {
	Cluster       Cluster
	AllNamespaces bool
	Selector      string // label selector of the Releases; empty: all
	Metrics       string // address; "0": none
	Health        string // address; "0": none
	LeaderElect   bool
	LeaderSpace   string // namespace of the lease; empty: the pod's own, or Cluster.Namespace
	PauseAtRest   bool   // for clusters without the admission policy
	Prometheus    string // address of the server where a release names no source; empty: none
	Data          string // directory for what is scraped; empty: a temporary one
	// SaveEvery and ShowEvery bound how old the judge's evidence and the figures
	// may be that a Release keeps and shows; zero: 15 s and 10 s.
	SaveEvery time.Duration
	ShowEvery time.Duration
	Log       *slog.Logger
}

// leaseName is the lease by which controllers agree on who works; that of a shard
// has a suffix.
const leaseName = "haldane"

// saveEvery is longer than on one machine: every save is a write to the API
// server. A controller that dies costs so much of the judge's evidence at most.
const saveEvery = 15 * time.Second

// showEvery is how old the figures may be that a Release shows of its instances
// while nothing else changes.
const showEvery = 10 * time.Second

// Controller runs the controller until ctx ends or another one leads.
func Controller(ctx context.Context, o ControllerOptions) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	so, err := shellOptions(o)
	if err != nil {
		return err
	}
	sh, err := kube.New(so)
	if err != nil {
		return err
	}
	db := kubestore.New(sh.Client, kubestore.Options{Namespace: so.Namespace, Log: o.Log})
	defer func() { _ = db.Close() }() // everything is saved in the cluster
	parts, err := clusterParts(sh, o)
	if err != nil {
		return err
	}
	if parts.close != nil {
		defer func() { _ = parts.close() }() // what is scraped is kept for queries only
	}
	counted := ownTallies()
	at := &clusterView{client: sh.Client, store: db, namespace: so.Namespace, content: sh.Content}
	passes := reconcile.New(reconcile.Ports{
		Store: db, Router: parts.router, Metrics: parts.metrics, Sinks: append(slices.Clone(parts.sinks), counted), Passed: counted.passed,
		Runtime: deployment.New(sh.Client, sh.Changes, deployment.Options{PauseAtRest: o.PauseAtRest}),
		Parse:   at.parse, Resolve: at.resolve, Ask: askWebhook, Explain: explain, SaveEvery: cmp.Or(o.SaveEvery, saveEvery), Defer: cmp.Or(o.ShowEvery, showEvery), Log: o.Log,
		Seen: func(rel release.Release, st rollout.State, backends []release.Backend, gone bool) {
			counted.seen(rel.Name, st, gone)
			if parts.seen != nil {
				parts.seen(rel, backends)
			}
		},
	})
	return sh.Run(ctx, passes.Run, db.Tell)
}

func shellOptions(o ControllerOptions) (kube.Options, error) {
	cfg, namespace, err := o.Cluster.connect()
	if err != nil {
		return kube.Options{}, err
	}
	scheme, err := kubeScheme()
	if err != nil {
		return kube.Options{}, err
	}
	out := kube.Options{Config: cfg, Scheme: scheme, Namespace: namespace, Metrics: o.Metrics, Health: o.Health,
		LeaderElect: o.LeaderElect, LeaderNamespace: o.LeaderSpace, LeaderID: leaseName, Log: o.Log,
		References: references, Optional: optionalKinds()}
	if o.AllNamespaces {
		out.Namespace = ""
	}
	if out.LeaderNamespace == "" {
		out.LeaderNamespace = ownNamespace(namespace)
	}
	if o.Selector != "" {
		if out.Selector, err = labels.Parse(o.Selector); err != nil {
			return out, fmt.Errorf("--selector %q: %w", o.Selector, err)
		}
		out.LeaderID = leaseName + "-" + shard(o.Selector) // each shard has a leader
	}
	return out, nil
}

// ownNamespace is the namespace of the pod that this runs in.
func ownNamespace(otherwise string) string {
	b, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if name := strings.TrimSpace(string(b)); err == nil && name != "" {
		return name
	}
	return otherwise
}
