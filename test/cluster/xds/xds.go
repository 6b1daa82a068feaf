// Package xds dials as a proxyless gRPC client of Istio: the client itself takes
// routes and endpoints from istiod and splits its calls. It knows nothing of
// what is split.
package xds

import (
	"encoding/json"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/xds"

	"github.com/haldane-project/haldane/test/cluster"
)

// Dial returns a client in namespace ns of target, HOST:PORT of a Service or
// ServiceEntry. Give each call a deadline. A call's share is drawn at random, so
// compare counts with a binomial interval. Mirrors are not made by such clients.
func Dial(t testing.TB, istiod *cluster.Istiod, ns, target string) *grpc.ClientConn {
	t.Helper()
	bootstrap, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri": istiod.XDS, "channel_creds": []any{map[string]string{"type": "insecure"}}, "server_features": []string{"xds_v3"},
		}},
		"node": map[string]any{
			"id": "sidecar~127.0.0.1~client." + ns + "~" + ns + ".svc.cluster.local",
			// GENERATOR is what makes istiod answer a client without a proxy.
			"metadata": map[string]string{"GENERATOR": "grpc", "NAMESPACE": ns, "CLUSTER_ID": "Kubernetes"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := xds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(resolver))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
