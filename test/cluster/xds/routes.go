package xds

import (
	"context"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/haldane-project/haldane/test/cluster"
)

const routeType = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

// Routes is what istiod tells an Envoy beside a client in namespace ns about
// requests to a port, such as "80": shares, conditions and mirrors.
func Routes(t testing.TB, istiod *cluster.Istiod, ns, port string) (*routev3.RouteConfiguration, error) {
	t.Helper()
	conn, err := grpc.NewClient(istiod.XDS, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&discoveryv3.DiscoveryRequest{TypeUrl: routeType, ResourceNames: []string{port},
		Node: &corev3.Node{Id: "sidecar~127.0.0.1~client." + ns + "~" + ns + ".svc.cluster.local"}})
	if err != nil {
		return nil, err
	}
	for {
		res, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		for _, r := range res.Resources {
			var c routev3.RouteConfiguration
			if err := r.UnmarshalTo(&c); err != nil {
				return nil, err
			}
			if c.Name == port {
				return &c, nil
			}
		}
	}
}
