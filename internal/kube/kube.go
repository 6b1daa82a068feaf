// Package kube is the controller's shell: it connects to a cluster, keeps a cache
// of what releases concern, tells which release a changed object concerns, lets
// one of several controllers work at a time, and answers probes and metrics. It
// names no adapter and decides nothing; internal/app gives it what to run.
//
// Read this file first, then concern.go (objects to releases) and watch.go (the
// informers).
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/workload"
)

// Options of a Shell.
type Options struct {
	Config *rest.Config
	Scheme *runtime.Scheme
	// Namespace that alone is worked in; empty: all.
	Namespace string
	// Selector of the Releases that are worked on, so that several controllers
	// share a cluster; nil: all.
	Selector labels.Selector
	// Metrics and Health are addresses, host:port; "0": none. Metrics are served
	// by HTTPS to whom the cluster lets read them.
	Metrics, Health string
	// LeaderElect lets one of several controllers of the same LeaderNamespace and
	// LeaderID work at a time.
	LeaderElect               bool
	LeaderNamespace, LeaderID string
	// References are the objects that a Release works with, "Kind/name", in its
	// namespace, beside its Deployment.
	References func(*v1alpha1.Release) []string
	// Optional are kinds that a cluster may lack: each is watched where it is
	// served, and as soon as it is.
	Optional []client.Object
	Log      *slog.Logger
}

// Leases are short: a controller that dies is replaced within five seconds.
const (
	leaseDuration = 3 * time.Second
	renewDeadline = 2500 * time.Millisecond
	retryPeriod   = 400 * time.Millisecond
)

// Shell is the controller without its work.
type Shell struct {
	options  Options
	manager  manager.Manager
	concerns *concerns
	named    *named
	running  context.Context // of Run, which all watches end with
	// Client reads from the cache.
	Client *cluster.Client
	// Changes has the releases whose objects changed.
	Changes *workload.Changes
}

// New connects to the cluster; nothing is watched yet.
func New(o Options) (*Shell, error) {
	ctrlLog := logr.FromSlogHandler(o.Log.Handler())
	log.SetLogger(ctrlLog) // the libraries log there too; only the first one holds
	lease, renew, retry := leaseDuration, renewDeadline, retryPeriod
	stopping := 20 * time.Second
	m, err := manager.New(o.Config, manager.Options{
		Scheme: o.Scheme, Logger: ctrlLog, Cache: cacheOptions(o), MapperProvider: newMapper,
		Metrics: metricsserver.Options{BindAddress: o.Metrics, SecureServing: true,
			FilterProvider: filters.WithAuthenticationAndAuthorization},
		HealthProbeBindAddress: o.Health,
		LeaderElection:         o.LeaderElect, LeaderElectionNamespace: o.LeaderNamespace, LeaderElectionID: o.LeaderID,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &lease, RenewDeadline: &renew, RetryPeriod: &retry,
		GracefulShutdownTimeout: &stopping,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster at %s: %w", o.Config.Host, err)
	}
	if err := m.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.Release{}, ByDeployment, deploymentOf); err != nil {
		return nil, fmt.Errorf("index the Releases by their Deployment: %w", err)
	}
	live, err := client.New(o.Config, client.Options{Scheme: o.Scheme, Mapper: m.GetRESTMapper(), HTTPClient: m.GetHTTPClient()})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster at %s: %w", o.Config.Host, err)
	}
	clients, err := kubernetes.NewForConfigAndClient(o.Config, m.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster at %s: %w", o.Config.Host, err)
	}
	s := &Shell{options: o, manager: m, concerns: newConcerns(o.References),
		Client: cluster.New(m.GetCache(), live), Changes: workload.NewChanges()}
	s.named = &named{clients: clients, changed: s.mark, by: map[types.NamespacedName]*watched{}}
	return s, nil
}

// Run watches, and runs the passes while this controller leads, until ctx ends.
// told hears of every changed Release. An error of a lost lease means that the
// process must end: another one leads.
func (s *Shell) Run(ctx context.Context, passes func(context.Context) error, told func(types.NamespacedName)) error {
	defer s.Changes.Close()
	s.running = ctx
	if err := s.reach(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if err := s.watchAll(ctx, told); err != nil {
		return err
	}
	var filled atomic.Bool
	synced := func(ctx context.Context) error {
		if !s.manager.GetCache().WaitForCacheSync(ctx) {
			return errNotFilled
		}
		filled.Store(true)
		return passes(ctx)
	}
	if err := s.manager.Add(manager.RunnableFunc(synced)); err != nil {
		return err
	}
	if err := s.probes(ctx, &filled); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.manager.Start(ctx) }()
	select {
	case err := <-ended:
		return ending(ctx, err)
	case <-ctx.Done():
	}
	if !filled.Load() { // no pass was made, and Start would never return (controller-runtime, pull request 3440)
		return nil
	}
	return ending(ctx, <-ended)
}

// ending is the error of a manager that ended otherwise than by its context.
func ending(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("the controller ended: %w", err)
	}
	return nil
}

var errNotFilled = errors.New("the cache is not filled yet")

// probes answers them: healthy while the process works, ready once the cache is
// filled, whether this controller leads or stands by.
func (s *Shell) probes(ctx context.Context, filled *atomic.Bool) error {
	if err := s.manager.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	go func() { // ends with ctx
		if s.manager.GetCache().WaitForCacheSync(ctx) {
			filled.Store(true)
		}
	}()
	return s.manager.AddReadyzCheck("cache", func(*http.Request) error {
		if !filled.Load() {
			return errNotFilled
		}
		return nil
	})
}

// Served reports whether the cluster serves an object's kind now.
func (s *Shell) Served(obj client.Object) bool {
	gvk, err := s.manager.GetClient().GroupVersionKindFor(obj)
	if err != nil {
		return false
	}
	_, err = s.manager.GetRESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	return err == nil || !meta.IsNoMatchError(err)
}

// ByDeployment is the field by which Client lists the Releases of a Deployment.
const ByDeployment = "spec.workload.deployment.name"

func deploymentOf(obj client.Object) []string {
	rel, ok := obj.(*v1alpha1.Release)
	if !ok || rel.Spec.Workload.Deployment == nil {
		return nil
	}
	return []string{rel.Spec.Workload.Deployment.Name}
}

func cacheOptions(o Options) cache.Options {
	c := cache.Options{DefaultTransform: strip, ReaderFailOnMissingInformer: true}
	if o.Namespace != "" {
		c.DefaultNamespaces = map[string]cache.Config{o.Namespace: {}}
	}
	if o.Selector != nil {
		c.ByObject = map[client.Object]cache.ByObject{&v1alpha1.Release{}: {Label: o.Selector}}
	}
	return c
}
