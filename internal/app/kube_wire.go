package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/haldane-project/haldane/internal/cluster"
	"github.com/haldane-project/haldane/internal/kube"
	"github.com/haldane-project/haldane/internal/metric"
	"github.com/haldane-project/haldane/internal/notify"
	notifykube "github.com/haldane-project/haldane/internal/notify/kube"
	"github.com/haldane-project/haldane/internal/release"
	"github.com/haldane-project/haldane/internal/traffic"
	"github.com/haldane-project/haldane/internal/traffic/gatewayapi"
	"github.com/haldane-project/haldane/internal/traffic/istio"
	"github.com/haldane-project/haldane/internal/traffic/nginx"
	"github.com/haldane-project/haldane/internal/traffic/replicas"
)

// parts are what the controller's ports are made of beside store and runtime.
type parts struct {
	router  traffic.Router
	metrics metric.Provider
	sinks   []notify.Sink
	seen    func(release.Release, []release.Backend) // nil: nobody asks
	close   func() error                             // nil: nothing is open
}

// clusterParts makes them; a test puts its own in its place.
var clusterParts = func(sh *kube.Shell, o ControllerOptions) (parts, error) {
	dir := o.Data
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "haldane-controller-"); err != nil {
			return parts{}, fmt.Errorf("make a directory for what is scraped: %w; name one with --data", err)
		}
	}
	e, err := openEvidence(sh.Client, filepath.Join(dir, "metrics"), o.Prometheus, o.Log)
	if err != nil {
		return parts{}, err
	}
	return parts{router: clusterRouters(sh.Client), metrics: e, seen: e.seen, sinks: clusterSinks(sh, o), close: func() error {
		err := e.Close()
		if o.Data == "" {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return err
	}}, nil
}

// clusterSinks are those who hear of events.
func clusterSinks(sh *kube.Shell, o ControllerOptions) []notify.Sink {
	return []notify.Sink{notifykube.New(sh.Client, o.Log)}
}

// clusterRouters makes the routers of a cluster.
func clusterRouters(c *cluster.Client) routers {
	gateway := gatewayapi.New(c, nil)
	return routers{
		"gatewayAPI": gateway, "linkerd": gateway, "istio": istio.New(c, nil),
		"nginx": nginx.New(c, nil), "replicas": replicas.New(c),
	}
}
