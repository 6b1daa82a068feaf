package kube

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// reachEvery is how often an API server that is away is asked again.
const reachEvery = time.Second

// reach waits until the API server answers or ctx ends, so that a controller that starts
// while it is away works as soon as it is back, and not when a kubelet's back-off
// starts it again. Credentials that are refused are an error.
func (s *Shell) reach(ctx context.Context) error {
	config := rest.CopyConfig(s.options.Config)
	config.Timeout = 5 * time.Second
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	asked, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return fmt.Errorf("connect to the cluster at %s: %w", s.options.Config.Host, err)
	}
	again := time.NewTicker(reachEvery)
	defer again.Stop()
	for told := false; ; told = true {
		_, err := asked.Get().AbsPath("/version").DoRaw(ctx)
		switch {
		case err == nil || apierrors.IsForbidden(err):
			return nil
		case apierrors.IsUnauthorized(err):
			return fmt.Errorf("connect to the cluster at %s: %w", s.options.Config.Host, err)
		case !told:
			s.options.Log.Warn("the API server can not be reached; it is asked every second", "server", s.options.Config.Host, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}
